"""The text that a stored model carries for whoever finds it."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from langpose_dist.tracking.registry.versions import Tag

_CARD = """# {name}

LangPose: lifts 2D keypoints of a person to 3D poses. Skeleton: the 17 joints of Human3.6M, named in
`langpose_dist/skeleton.py`. Trained with `langpose_dist`.

## Load

    pip install langpose-dist
    export MLFLOW_TRACKING_URI=...        # where this model is registered

    import mlflow
    model = mlflow.pyfunc.load_model("models:/{name}/VERSION")    # or models:/{name}@ALIAS
    poses_3d = model.predict(keypoints_2d)

- `keypoints_2d`: float32 (clips, frames, 17, 3). x and y in half image widths from the image centre, y down,
  then the confidence; all zero where a joint is missing. Any number of frames.
- `poses_3d`: float32 (clips, frames, 17, 3), metres, camera axes (x right, y down, z forward), pelvis near 0.

Nothing is pickled: `pyfunc.py` is the code as text, `artifacts/` holds the weights as safetensors, the
configuration and the evaluation.

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
        numbers=_numbers(evaluation) if evaluation else "This model was never evaluated.",
        origin="\n".join(f"- {title}: {value}" for title, value in origin.items()),
    )
    (folder / "model_card.md").write_text(card, encoding="utf-8")


def _numbers(evaluation: Mapping[str, Any]) -> str:
    conditions = evaluation.get("conditions", {})
    lines = [
        f"Split `{evaluation.get('split')}` of {evaluation.get('dataset')}, fingerprint "
        f"`{evaluation.get('data_fingerprint')}`: {evaluation.get('num_windows')} windows, "
        f"{evaluation.get('num_frames')} frames. 2D input: {evaluation.get('source_2d')}.",
        "",
        "| metric | " + " | ".join(conditions) + " |",
        "|---" * (1 + len(conditions)) + "|",
    ]
    for metric in dict.fromkeys(name for values in conditions.values() for name in values):
        cells = [f"{values[metric]:.4g}" if metric in values else "-" for values in conditions.values()]
        lines.append(f"| `{metric}` | " + " | ".join(cells) + " |")
    lines.append("")
    lines += [f"- `{name}`: {meaning}" for name, meaning in evaluation.get("protocol", {}).items()]
    return "\n".join(lines)
