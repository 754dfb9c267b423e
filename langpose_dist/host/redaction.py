"""Credentials kept out of all that is written down, and texts of others made safe to print."""

import re
from collections.abc import Mapping

_HIDDEN = "REDACTED"
_SECRET_NAME = re.compile(
    r"(^|[^a-z0-9])(api_?key|auth|authorization|credentials?|key|passphrase|\w*passw(or)?d|pwd|secret|sig|signature"
    r"|token)([^a-z0-9]|$)",
    re.IGNORECASE,
)
# A password may hold any sign, so where there is a colon everything up to the last @ goes.
_USER_INFO = re.compile(
    r"(?P<scheme>[a-z][a-z0-9+.-]*://)(?:[^/?#\s:@\"']*:[^\s\"']*|[^/?#\s\"']+)@", re.IGNORECASE
)
_QUERY_VALUE = re.compile(r"(?P<name>[?&;][^=&;#\s]+=)(?P<value>[^&;#\s]+)")


def printable(text: str) -> str:
    """The text as one line that says no more to a terminal than what it shows.

    What others wrote may hold control characters, which move the cursor and forge lines. White space becomes
    a space, all else that cannot be seen ``?``.
    """
    return "".join(sign if sign.isprintable() else " " if sign.isspace() else "?" for sign in text)


def presentable(text: str) -> str:
    """A message of several lines as a person may see it: printable, without the credentials of any URL."""
    return "\n".join(map(printable, redact(text).split("\n")))


def redact(text: str) -> str:
    """The text without the credentials of any URL in it.

    ``postgresql://user:password@host/db`` loses ``user:password``; a query value whose name looks like a
    credential is hidden too.
    """
    text = _USER_INFO.sub(rf"\g<scheme>{_HIDDEN}@", text)
    return _QUERY_VALUE.sub(
        lambda match: match["name"] + (_HIDDEN if _SECRET_NAME.search(match["name"]) else match["value"]),
        text,
    )


def redact_values(values: Mapping[str, str]) -> dict[str, str]:
    """A copy in which values are hidden whose name looks like a credential, and URLs are redacted."""
    return {name: _HIDDEN if _SECRET_NAME.search(name) else redact(value) for name, value in values.items()}


def is_secret(name: str, value: str) -> bool:
    """True if the name or the value looks like a credential."""
    return redact_values({name: value}) != {name: value}


def holds_secret(word: str) -> bool:
    """True if a word of a command line, such as ``name=value``, looks like a credential."""
    name, has_value, value = word.partition("=")
    return redact(word) != word or bool(has_value and is_secret(name, value))
