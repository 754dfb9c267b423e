"""Types of command-line options, for ``argparse``."""

import argparse
import math
import re
from pathlib import Path

from langpose_dist.host.paths import expand_home

_DIGITS = re.compile(r"0|[1-9][0-9]*")
_NUMBER = re.compile(r"\+?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][-+]?[0-9]+)?")


def place(text: str) -> str:
    """Parse a path, URL or URI; a leading ``~`` is the home folder."""
    try:
        if not text:
            raise ValueError("an empty name is no file or folder; write . for this folder")
        return expand_home(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def local_path(text: str) -> Path:
    """Parse a path; a leading ``~`` is the home folder."""
    return Path(place(text))


def whole_number(text: str) -> int:
    """Parse a whole number of at least 0."""
    return _parse_whole(text, 0, 2**63 - 1)


def count(text: str) -> int:
    """Parse a whole number above 0."""
    return _parse_whole(text, 1, 2**31 - 1)


def port(text: str) -> int:
    """Parse a TCP port."""
    return _parse_whole(text, 1, 65535)


def positive_number(text: str) -> float:
    """Parse a number above 0."""
    value = float(text) if _NUMBER.fullmatch(text) else 0.0
    if not 0 < value < math.inf:
        raise argparse.ArgumentTypeError(f"{text!r} must be a number above 0")
    return value


def _parse_whole(text: str, lowest: int, highest: int) -> int:
    if not _DIGITS.fullmatch(text) or len(text) > 19 or not lowest <= int(text) <= highest:
        raise argparse.ArgumentTypeError(f"{text!r} must be a whole number from {lowest} to {highest}")
    return int(text)
