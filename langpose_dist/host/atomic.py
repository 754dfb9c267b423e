"""Files that are replaced whole."""

from pathlib import Path


def replace_text(path: Path, text: str) -> None:
    """Write a text file, whole or not at all: whoever reads meanwhile, or after a kill, finds the old one.

    Args:
        path: The file; beside it stands ``NAME.partial`` meanwhile.
        text: Its new content.

    Raises:
        OSError: If there is no space or no access.
    """
    partial = path.with_name(f"{path.name}.partial")
    partial.write_text(text, encoding="utf-8")
    partial.replace(path)
