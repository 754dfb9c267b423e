"""The package as one file, so that a registered model runs where nobody installed it."""

from pathlib import Path
from zipfile import ZIP_DEFLATED, ZipFile, ZipInfo

import langpose_dist


def write_code(path: Path) -> None:
    """Write the package's modules as a zip file, from which Python imports them as they are.

    The same modules give the same bytes.
    """
    package = Path(langpose_dist.__file__).parent
    with ZipFile(path, "w") as archive:
        for file in sorted(package.rglob("*.py")):
            entry = ZipInfo(file.relative_to(package.parent).as_posix())  # its time is a constant
            archive.writestr(entry, file.read_bytes(), ZIP_DEFLATED)
