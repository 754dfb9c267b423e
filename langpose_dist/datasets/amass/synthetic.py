"""The record by which a synthetic corpus is known; ``langpose data synthesize`` writes it."""

from pathlib import Path

from pydantic import BaseModel, ConfigDict, ValidationError

RECORD = "synthesis.json"
"""Name of the record, in the corpus's folder from the first moment on."""


class SyntheticRecord(BaseModel):
    """The part of the record that others than its writer need."""

    model_config = ConfigDict(frozen=True, extra="ignore", allow_inf_nan=False)

    seed: int
    hours: float
    complete: bool = False
    """False until all files are written."""


def read_record(path: Path) -> SyntheticRecord | None:
    """Read a record; ``None`` if the file is damaged or of something else."""
    try:
        return SyntheticRecord.model_validate_json(path.read_bytes())
    except (OSError, ValidationError):
        return None
