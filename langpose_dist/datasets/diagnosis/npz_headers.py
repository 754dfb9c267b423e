"""A look into npz files without reading their arrays."""

import zipfile
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from langpose_dist.data.sample import DataError

_SMALL = 10_000
"""Bytes of an array that may be read whole."""


@dataclass(frozen=True)
class NpzHeaders:
    """What was asked for of an npz file."""

    names: frozenset[str]
    """Of all arrays."""
    shapes: dict[str, tuple[int, ...]]
    values: dict[str, Any]
    """Small arrays of numbers or text."""


def read_npz_headers(path: Path, shapes: Collection[str] = (), values: Collection[str] = ()) -> NpzHeaders:
    """Read the shapes of some arrays and the values of small ones; what is not there is left out.

    Raises:
        DataError: If it is no npz file, or damaged where it was read.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            names = frozenset(name.removesuffix(".npy") for name in archive.namelist())
            found_shapes = {name: _shape(archive, name) for name in shapes if name in names}
            found_values = {
                name: _value(archive, name)
                for name in values
                if name in names and archive.getinfo(f"{name}.npy").file_size <= _SMALL
            }
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror or error}") from None
    except Exception:  # zipfile, zlib and numpy raise many kinds on damaged files
        raise DataError(f"{path} is no npz file, or is damaged; copy it again") from None
    return NpzHeaders(names, found_shapes, found_values)


def npy_shape(path: Path) -> tuple[int, ...]:
    """Shape of the array in an npy file.

    Raises:
        DataError: If it is none, or damaged.
    """
    try:
        with path.open("rb") as file:
            return _read_shape(file)
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror or error}") from None
    except Exception:  # numpy raises many kinds on damaged files
        raise DataError(f"{path} is no npy file, or is damaged; copy it again") from None


def _shape(archive: zipfile.ZipFile, name: str) -> tuple[int, ...]:
    with archive.open(f"{name}.npy") as member:
        return _read_shape(member)


def _read_shape(file: Any) -> tuple[int, ...]:
    readers = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}
    return readers[np.lib.format.read_magic(file)](file)[0]


def _value(archive: zipfile.ZipFile, name: str) -> Any:
    """The array; ``None`` if it holds objects, which are not read."""
    with archive.open(f"{name}.npy") as member:
        try:
            return np.lib.format.read_array(member, allow_pickle=False)
        except ValueError:
            return None
