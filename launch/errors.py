"""What is wrong with the way a training is started."""


class StartError(Exception):
    """A user's mistake: value, limit and remedy in one line."""
