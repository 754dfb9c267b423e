"""Mistakes of a user, as one line for a person."""


class UserError(ValueError):
    """A mistake of the user; the message is one line for a person."""


class ConfigError(UserError):
    """A configuration that cannot be used."""
