"""A trained model for use from Python, which Hugging Face's hub and folders can hold."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Self

import numpy as np
from huggingface_hub import ModelCard, ModelCardData, PyTorchModelHubMixin, snapshot_download
from jaxtyping import Float
from safetensors import SafetensorError
from torch import Tensor, nn

from langpose_dist.config import UserError
from langpose_dist.export.facts import LICENCE, as_lifting_model, describe
from langpose_dist.host.atomic import hash_file, write_text
from langpose_dist.inference.model import LiftingModel
from langpose_dist.models.weights import write_weights
from langpose_dist.report.card import describe_numbers
from langpose_dist.runs.folder import RunFolder
from langpose_dist.tasks.exported import Exported, load_exported

_WEIGHTS, _CONFIG = "model.safetensors", "config.json"
_TAGS = ["3d-human-pose-estimation", "pose-lifting"]
_CARD = """# LangPose

Lifts 2D keypoints of a person to 3D poses. Trained with `langpose_dist`.

## Use

    pip install langpose-dist

    from langpose_dist import LangPose
    model = LangPose.from_pretrained("this folder, or OWNER/NAME on the hub")
    poses_3d = model.lift(keypoints_2d)

{interface}

## Numbers

{numbers}

## Origin

{origin}

The weights may be used as the licence of the data that they were trained on allows.
"""


class LangPose(nn.Module, PyTorchModelHubMixin):
    """A trained model, in evaluation mode and on the CPU until it is moved.

    ``save_pretrained``, ``from_pretrained`` and ``push_to_hub`` are those of ``huggingface_hub``; a folder
    needs no network. Its weights are a file like those of a run, which every command takes.

    Attributes:
        facts: Name -> fact that goes with the model wherever it is exported to.
        evaluation: Content of the run's ``evaluation.json``; ``None`` if it was never evaluated.

    Args:
        exported: The model.
        weights_sha256: Hash of its file.
        evaluation: Its numbers.
        licence: Of the training data; default: what the run's configuration states.
    """

    def __init__(
        self,
        exported: Exported,
        weights_sha256: str,
        evaluation: Mapping[str, Any] | None = None,
        licence: str | None = None,
    ) -> None:
        super().__init__()
        self.exported = exported
        self.model = exported.model
        self.evaluation = evaluation
        self.facts = describe(exported, weights_sha256, licence)

    @classmethod
    def open(cls, weights: Path, *, licence: str | None = None) -> Self:
        """Read a model from a file, and what stands beside it in the folder of a run or of an export.

        Args:
            weights: Exported safetensors.
            licence: As above.

        Raises:
            UserError: If the file holds no such model, one that lifts no poses, or a file beside is damaged.
        """
        exported = load_exported(weights)
        if not hasattr(exported.model, "lift_windows"):
            raise UserError(f"{weights}: task={exported.config.task} lifts no poses")
        config = weights.with_name(_CONFIG)
        if licence is None and config.is_file():
            licence = _read_licence(config)
        evaluation = RunFolder(weights.parent).read_evaluation()
        return cls(exported, hash_file(weights), evaluation, licence).eval()

    @property
    def lifting_model(self) -> LiftingModel:
        """The same model as ``langpose_dist.inference.lift.lift_tracks`` takes it: from pixels."""
        return as_lifting_model(self.exported, self.facts)

    def lift(self, keypoints_2d: np.ndarray) -> np.ndarray:
        """Lift clips of any length.

        Args:
            keypoints_2d: T x 17 x 3, or B x T x 17 x 3: x and y in half image widths from the image's centre,
                y down, and the confidence; all zero where a joint is missing. At the model's frame rate.

        Returns:
            float32, of the input's shape: metres, camera axes (x right, y down, z forward), pelvis near 0.

        Raises:
            ValueError: If the input is something else, such as pixels.
        """
        given = np.asarray(keypoints_2d)
        if given.dtype.kind not in "fiub":
            raise ValueError(f"keypoints_2d has type {given.dtype}, not real numbers; give float32")
        clips = given.astype(np.float32)
        if clips.ndim not in (3, 4):
            raise ValueError(f"keypoints_2d has shape {clips.shape}, not T x 17 x 3 or B x T x 17 x 3")
        return self.exported.predict(clips[None])[0] if clips.ndim == 3 else self.exported.predict(clips)

    def forward(self, keypoints_2d: Float[Tensor, "B T J 3"]) -> Float[Tensor, "B T J 3"]:
        """Poses of windows, in the space that the model was trained for."""
        return self.exported.model.lift_windows(keypoints_2d)  # pyright: ignore[reportCallIssue]

    def save(self, path: Path) -> None:
        """Write the weights as one file like those of a run, which every command takes.

        Raises:
            UserError: If there is no space or no access.
        """
        try:
            write_weights(path, self.model.state_dict(), self.exported.header)
        except (OSError, SafetensorError) as error:
            raise UserError(f"{path} cannot be written: {error}") from None

    def generate_model_card(self, *args: Any, **kwargs: Any) -> ModelCard:
        """The folder's README.md."""
        data = ModelCardData(library_name="langpose_dist", license="other", tags=_TAGS)
        text = _CARD.format(
            interface=self.exported.task.interface.description,
            numbers=describe_numbers(self.evaluation),
            origin="\n".join(f"- {name}: {value}" for name, value in self.facts.items()),
        )
        return ModelCard(f"---\n{data.to_yaml()}\n---\n{text}")

    def _save_pretrained(self, save_directory: Path) -> None:
        weights = save_directory / _WEIGHTS
        self.save(weights)
        self.facts["weights_sha256"] = hash_file(weights)
        content = {"model_type": "langpose", **self.facts}
        write_text(save_directory / _CONFIG, json.dumps(content, indent=2))
        if self.evaluation is not None:
            write_text(RunFolder(save_directory).evaluation, json.dumps(self.evaluation, indent=2))

    @classmethod
    def _from_pretrained(  # pyright: ignore[reportIncompatibleMethodOverride]
        cls, *, model_id: str, map_location: str = "cpu", **options: Any
    ) -> Self:
        folder = Path(model_id)
        if not folder.is_dir():
            names = [_WEIGHTS, _CONFIG, RunFolder(model_id).evaluation.name]
            folder = Path(snapshot_download(model_id, allow_patterns=names, **options))
        return cls.open(folder / _WEIGHTS).to(map_location)


def _read_licence(config: Path) -> str | None:
    try:
        content = json.loads(config.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise UserError(f"{config} cannot be read: {error}; export the model again") from None
    if not isinstance(content, dict) or not isinstance(content.get(LICENCE), str | None):
        raise UserError(f"{config} must be a JSON object whose {LICENCE} is a text; export the model again")
    return content.get(LICENCE)
