"""The text that a stored model carries for whoever finds it."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from langpose_dist.report.card import describe_numbers
from langpose_dist.tracking.registry.versions import Tag

_CARD = """# {name}

LangPose: lifts 2D keypoints of a person to 3D poses. Skeleton: the 17 joints of Human3.6M, named in
`langpose_dist/skeleton.py`. Trained with `langpose_dist`.

## Load

    pip install mlflow torch numpy safetensors
    export MLFLOW_TRACKING_URI=...        # where this model is registered

    import mlflow
    model = mlflow.pyfunc.load_model("models:/{name}/VERSION")    # or models:/{name}@ALIAS
    poses_3d = model.predict(keypoints_2d)

- `keypoints_2d`: float32 (clips, frames, 17, 3). x and y in half image widths from the image centre, y down,
  then the confidence; all zero where a joint is missing. Any number of frames.
- `poses_3d`: float32 (clips, frames, 17, 3), metres, camera axes (x right, y down, z forward), pelvis near 0.

Nothing is pickled: `pyfunc.py` is text, `artifacts/` holds the weights as safetensors, the text of the code
that runs them in `langpose_dist.zip`, the configuration and the evaluation.

## Numbers

{numbers}

## Origin

{origin}
"""


_SPACES = {
    "camera": "camera: metres",
    "image_25d": "image_25d: its figures are scaled to the mean limb lengths of the training data",
}


def write_model_card(
    folder: Path, *, name: str, run_id: str, evaluation: Mapping[str, Any] | None, tags: Mapping[str, str]
) -> None:
    """Write ``model_card.md``.

    Args:
        folder: Of the model.
        name: In the registry.
        run_id: Run that the weights come from.
        evaluation: Content of ``evaluation.json``; ``None`` if the model was never evaluated.
        tags: Of the version.
    """
    origin = {
        "MLflow run": run_id,
        "training data, fingerprint": tags.get("data_fingerprint", "unknown"),
        "licence of the training data": tags[Tag.LICENCE],
        "commit": tags.get("git_commit", "unknown")
        + (" with uncommitted changes" if tags.get("git_dirty") == "true" else ""),
        "configuration hash": tags.get("config_hash", "unknown"),
        "weights started from": ", ".join(json.loads(tags[Tag.PARENTS])) or "nothing: trained from scratch",
        "task": tags.get(Tag.TASK, "pretrain"),
        "space that it was trained to predict": _SPACES[tags.get(Tag.SPACE, "camera")],
        "SHA-256 of the weights": tags[Tag.WEIGHTS],
    }
    if Tag.PARENT_RUN in tags:
        origin["MLflow run of the sweep or other run that it belongs to"] = tags[Tag.PARENT_RUN]
    card = _CARD.format(
        name=name,
        numbers=describe_numbers(evaluation),
        origin="\n".join(f"- {title}: {value}" for title, value in origin.items()),
    )
    (folder / "model_card.md").write_text(card, encoding="utf-8")
