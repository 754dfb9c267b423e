"""Older official files of the SMPL family: pickles with objects of chumpy and scipy; only numbers are kept.

chumpy, in which the models were fitted, can no longer be installed. Two of its classes occur: an array, and
a selection of another's elements.
"""

from pathlib import Path
from typing import Any

import numpy as np

from langpose_dist.data.sample import DataError
from langpose_dist.datasets.pickles import load_pickle


class _Array:
    """``chumpy.ch.Ch``."""

    x: np.ndarray


class _Selection:
    """``chumpy.reordering.Select``: of the elements of ``a`` in C order."""

    a: Any
    idxs: np.ndarray
    preferred_shape: tuple[int, ...]


class _Columns:
    """scipy's sparse matrix, compressed by columns."""

    data: np.ndarray
    indices: np.ndarray
    indptr: np.ndarray
    _shape: tuple[int, int]


_STAND_INS = {
    "chumpy.ch.Ch": _Array,
    "chumpy.reordering.Select": _Selection,
    "scipy.sparse.csc.csc_matrix": _Columns,
    "scipy.sparse._csc.csc_matrix": _Columns,
}


def load_body_pickle(path: Path) -> dict[str, Any]:
    """Parts of a body model by name, sparse and chumpy arrays as plain ones; nothing in the file can run.

    Raises:
        DataError: If it cannot be read, is damaged or holds other classes.
    """
    members = load_pickle(path, _STAND_INS)
    if not isinstance(members, dict):
        raise DataError(f"{path} holds a {type(members).__name__}, not the parts of a body model")
    try:
        return {name: _to_numbers(value) for name, value in members.items()}
    except (AttributeError, TypeError, ValueError, IndexError, RecursionError) as error:
        raise DataError(f"{path} is damaged: {type(error).__name__} in an array; copy it again") from None


def _to_numbers(value: Any) -> Any:
    if isinstance(value, _Array):
        return value.x
    if isinstance(value, _Selection):
        return _to_numbers(value.a).ravel()[value.idxs].reshape(value.preferred_shape)
    if isinstance(value, _Columns):
        dense = np.zeros(value._shape)
        columns = np.repeat(np.arange(dense.shape[1]), np.diff(value.indptr))
        np.add.at(dense, (value.indices, columns), value.data)
        return dense
    return value
