"""Mistakes of a user, as one line for a person."""

import difflib
from collections.abc import Collection


class UserError(ValueError):
    """A mistake of the user; the message is one line for a person."""


class ConfigError(UserError):
    """A configuration that cannot be used."""


def suggest(word: str, candidates: Collection[str]) -> str:
    """``; did you mean 'this'?``, or nothing where no candidate is near."""
    matches = difflib.get_close_matches(word, candidates, n=1)
    if not matches:
        last = word.rsplit(".", 1)[-1]
        matches = [name for name in candidates if name.rsplit(".", 1)[-1] == last]
    return f"; did you mean {matches[0]!r}?" if matches else ""


def suggest_or_list(word: str, known: Collection[str]) -> str:
    """As ``suggest``; where no name is near, all of them."""
    return suggest(word, known) or f"; known are {', '.join(known)}"
