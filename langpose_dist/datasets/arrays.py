"""Arrays of frames as they come out of files, checked."""

from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float64

from langpose_dist.data.sample import DataError

LARGEST = 1e30
"""Numbers from here on might overflow float32."""


def read_npy(path: Path) -> np.ndarray:
    """Numbers of an npy file, as a map of it: a header that promises more than there is takes no memory.

    Raises:
        DataError: If it is no whole file of numbers.
        OSError: If it cannot be read.
    """
    try:
        content = np.lib.format.open_memmap(path, mode="r")
    except OSError:
        raise
    except Exception as error:  # numpy raises several kinds on damaged headers
        reason = " ".join(str(error).split())
        raise DataError(f"not a whole npy file of numbers: {reason}; copy it again") from None
    if content.dtype.kind not in "fiu":
        raise DataError(f"wrong type: {content.dtype}, not numbers")
    return content


def take_frames(values: Any, name: str, shape: tuple[int, ...]) -> Float64[np.ndarray, "T *C"]:
    """Frames as finite numbers.

    Args:
        values: Content of the file.
        name: Named in messages.
        shape: Of each frame.

    Raises:
        DataError: If they are something else.
    """
    if not isinstance(values, np.ndarray) or values.dtype.kind not in "fiu":
        raise DataError(f"array missing: no numbers under {name!r}")
    if values.ndim != 1 + len(shape) or values.shape[1:] != shape or len(values) == 0:
        raise DataError(
            f"wrong shape: {name} is {values.shape}, not T x {' x '.join(map(str, shape)) or 'nothing'}"
        )
    if not (np.abs(values) < LARGEST).all():
        raise DataError(f"NaN or infinity: in {name}, or numbers too large for float32")
    return values.astype(np.float64)
