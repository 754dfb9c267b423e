"""Start the motion encoder from published weights: MotionBERT checkpoints, or our own exports."""

import json
import pickle
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import load_file
from torch import Tensor

from langpose_dist.config import ModelConfig, UserError
from langpose_dist.models.dstformer import DSTformer
from langpose_dist.models.pooling import PosePooling
from langpose_dist.models.weights import is_export, read_header, without_wrappers

# MotionBERT's training files keep their best loss as a numpy scalar. Rebuilding one from its bytes runs no
# code of the file's choice. numpy 1 wrote another module name.
_NUMPY_SCALARS: list[Any] = [
    np.dtype,
    *(type(np.dtype(kind)) for kind in ("f2", "f4", "f8", "i4", "i8", "?")),
    (np._core.multiarray.scalar, "numpy._core.multiarray.scalar"),  # pyright: ignore[reportAttributeAccessIssue]
    (np._core.multiarray.scalar, "numpy.core.multiarray.scalar"),  # pyright: ignore[reportAttributeAccessIssue]
]
MOTIONBERT_HEADS = 8
"""Attention heads of every published MotionBERT model; its files do not say it."""
_NUM_NAMED = 3  # keys that an error message names


def load_encoder_weights(encoder: DSTformer, path: Path | str) -> None:
    """Copy weights from a file into the encoder.

    Args:
        encoder: May have fewer frames than the file: it then gets the first frames' time embeddings.
        path: A MotionBERT checkpoint (``model_pos`` or ``model``, or a bare state dict, with or without
            ``backbone.`` and prefixes of wrappers), or safetensors that we exported.

    Raises:
        UserError: If the file cannot be read without running code, does not fit the encoder, or was trained
            with another number of heads.
    """
    path = Path(path)
    if not path.is_file():
        raise UserError(f"weights {path}: no such file")
    _check_heads(encoder.config.num_heads, path)
    state = _encoder_entries(read_weights(path), path)
    expected = encoder.state_dict()
    time_embedding = state.get("temp_embed")
    if time_embedding is not None and time_embedding.ndim == 4:
        if time_embedding.shape[1] < encoder.num_frames:
            raise UserError(
                f"weights {path} know {time_embedding.shape[1]} frames, fewer than "
                f"window.num_frames={encoder.num_frames}; lower it"
            )
        state["temp_embed"] = time_embedding[:, : encoder.num_frames]
    if problems := _misfits(state, expected):
        config = encoder.config
        dims = ", ".join(
            f"model.{name}={getattr(config, name):g}"
            for name in ("dim", "dim_representation", "depth", "mlp_ratio")
        )
        raise UserError(f"weights {path} do not fit the configured encoder ({dims}): {'; '.join(problems)}")
    if broken := [key for key, value in state.items() if not value.isfinite().all()]:
        raise UserError(f"weights {path} hold NaN or infinity in {_name_some(broken)}")
    encoder.load_state_dict(state)


def load_pooling_weights(pooling: PosePooling, path: Path | str) -> bool:
    """Copy the pose pooling of a pretrained model; false where the file has none.

    Raises:
        UserError: If it cannot be read without running code, or is of other widths.
    """
    content = read_weights(Path(path))
    prefix = "pose_pooling."
    tensors = {str(key): value for key, value in content.items() if isinstance(value, Tensor)}
    tensors = without_wrappers(tensors)
    state = {key.removeprefix(prefix): value for key, value in tensors.items() if key.startswith(prefix)}
    if not state:
        return False
    if problems := _misfits(state, pooling.state_dict()):
        raise UserError(
            f"the pose pooling of {path} does not fit: {'; '.join(problems)}; set model.pool_dim and "
            "model.embed_dim as its run had them"
        )
    pooling.load_state_dict(state)
    return True


def read_motionbert(path: Path | str) -> DSTformer:
    """The encoder of a MotionBERT checkpoint, of the shapes that it has; it predicts ``image_25d``.

    Raises:
        UserError: As ``load_encoder_weights``.
    """
    path = Path(path)
    if not path.is_file():
        raise UserError(f"model {path}: no such file or run")
    state = _encoder_entries(read_weights(path), path)
    try:
        _, num_frames, _, dim = state["temp_embed"].shape
        sizes = ModelConfig(
            dim=dim,
            dim_representation=len(state["pre_logits.fc.weight"]),
            depth=1 + max(int(key.split(".")[1]) for key in state if key.startswith("blocks_st.")),
            num_heads=MOTIONBERT_HEADS,
            mlp_ratio=len(state["blocks_st.0.mlp_s.fc1.weight"]) / dim,
        )
    except (KeyError, ValueError):
        raise UserError(f"model {path} is neither an export of langpose_dist nor MotionBERT's") from None
    encoder = DSTformer(sizes, num_frames=num_frames)
    load_encoder_weights(encoder, path)
    return encoder.eval()


def _check_heads(num_heads: int, path: Path) -> None:
    """Refuse another number of heads: the shapes are the same, and the poses decimetres off."""
    stated = MOTIONBERT_HEADS
    if path.suffix == ".safetensors" and is_export(path):
        stated = json.loads(read_header(path)["config"])["model"]["num_heads"]
    if stated != num_heads:
        raise UserError(
            f"weights {path} were trained with {stated} attention heads, model.num_heads={num_heads}; "
            f"set model.num_heads={stated}"
        )


def read_weights(path: Path) -> Any:
    """Content of a safetensors file, or of one by ``torch.save``.

    Raises:
        UserError: If it cannot be read without running code.
    """
    try:
        if path.suffix == ".safetensors":
            return load_file(path)
        with torch.serialization.safe_globals(_NUMPY_SCALARS):
            return torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError:
        raise UserError(
            f"weights {path} cannot be read as plain tensors; a file that needs pickle is refused, as it "
            "could run code: save only its state dict"
        ) from None
    except Exception as error:  # a damaged file can make torch raise almost anything
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise UserError(f"weights {path} are damaged or of another format: {reason}") from None


def _encoder_entries(content: Any, path: Path) -> dict[str, Tensor]:
    """The encoder's own entries, keyed as the encoder names them."""
    if isinstance(content, Mapping):
        names = ("model_pos", "model", "state_dict")
        content = next((content[key] for key in names if key in content), content)
    if not isinstance(content, Mapping) or not content:
        raise UserError(f"weights {path} hold no state dict")
    state = {str(key): value for key, value in content.items() if isinstance(value, Tensor)}
    state = without_wrappers(state)
    for prefix in ("average.", "encoder.", "backbone."):
        if any(key.startswith(prefix) for key in state):
            return {key.removeprefix(prefix): v for key, v in state.items() if key.startswith(prefix)}
    return state


def _misfits(state: Mapping[str, Tensor], expected: Mapping[str, Tensor]) -> list[str]:
    missing = [key for key in expected if key not in state]
    unknown = [key for key in state if key not in expected]
    other = [
        f"{key} {_shape(state[key])} instead of {_shape(value)}"
        for key, value in expected.items()
        if key in state and state[key].shape != value.shape
    ]
    found = {"missing": missing, "unknown": unknown, "of other shape": other}
    return [f"{len(keys)} {what} ({_name_some(keys)})" for what, keys in found.items() if keys]


def _shape(tensor: Tensor) -> str:
    return "x".join(map(str, tensor.shape))


def _name_some(keys: list[str]) -> str:
    return ", ".join(keys[:_NUM_NAMED]) + (", ..." if len(keys) > _NUM_NAMED else "")
