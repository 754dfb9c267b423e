"""Arrays of frames as they come out of files, checked."""

from typing import Any

import numpy as np
from jaxtyping import Float64

from langpose_dist.data.sample import DataError

LARGEST = 1e30
"""Numbers from here on might overflow float32."""


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
