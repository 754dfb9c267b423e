"""ONNX: the lifting of windows as one file, for runtimes of any language.

A graph cannot refuse an input with a sentence of its own. The name of its time axis says the limit
(``frames_max_243``), and a longer window fails inside any runtime instead of giving wrong poses;
``OnnxLifter`` checks before it asks the runtime, and says why.
"""

import contextlib
import logging
import warnings
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float

from langpose_dist.config import UserError
from langpose_dist.export.model import LangPose
from langpose_dist.host.atomic import PARTIAL
from langpose_dist.keypoints import check_keypoints
from langpose_dist.skeleton import H36M17

INPUT, OUTPUT = "keypoints_2d", "poses_3d"


def write_onnx(path: Path, model: LangPose) -> None:
    """Write a model as one ONNX file with any batch size and number of frames, and ``model.facts`` in it.

    Args:
        path: Replaced if it exists.
        model: Its poses are in its own space and unit, as the facts say: what ``LangPose.lift`` adds for a
            whole clip (windows, size of a person) is no part of the graph.

    Raises:
        UserError: If the extra ``onnx`` is not installed.
    """
    try:
        import onnxscript
    except ImportError:
        raise UserError("ONNX needs packages that are missing: install langpose-dist[onnx]") from None
    import torch._dynamo  # here, as the exporter makes a failure of its own of a Ctrl-C during this import

    max_frames = model.exported.config.window.num_frames
    # Sizes of 1 would be taken for constants.
    example = torch.zeros(3, min(4, max_frames), H36M17.num_joints, 3)
    any_size = torch.export.Dim.DYNAMIC
    with _exporting():
        program = torch.onnx.export(
            model,
            (example,),
            input_names=[INPUT],
            output_names=[OUTPUT],
            dynamo=True,
            dynamic_shapes={INPUT: {0: any_size, 1: any_size}},
            verbose=False,
        )
    assert program is not None
    graph = program.model.graph
    for value in (*graph.inputs, *graph.outputs):
        value.shape = onnxscript.ir.Shape(["batch", f"frames_max_{max_frames}", H36M17.num_joints, 3])
    program.model.metadata_props.update(model.facts)
    partial = path.with_name(path.name + PARTIAL)
    program.save(partial, external_data=False)
    partial.replace(path)


@contextlib.contextmanager
def _exporting() -> Iterator[None]:
    """Keep torch's exporter from warning of its own parts, and give it a lerp that torch 2.6 exports too."""
    before, lerp = logging.root.manager.disable, torch.lerp
    logging.disable(logging.WARNING)
    torch.lerp = lambda start, end, weight: start + weight * (end - start)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        torch.lerp = lerp
        logging.disable(before)


class OnnxLifter:
    """An ONNX file of ours in ONNX Runtime.

    Attributes:
        facts: What the file says of itself.

    Args:
        path: The file.
        providers: Devices of ONNX Runtime, best first.

    Raises:
        UserError: If the extra ``onnx`` is not installed.
    """

    def __init__(self, path: Path | str, providers: tuple[str, ...] = ("CPUExecutionProvider",)) -> None:
        try:
            import onnxruntime
        except ImportError:
            raise UserError("ONNX needs packages that are missing: install langpose-dist[onnx]") from None
        self._session = onnxruntime.InferenceSession(str(path), providers=list(providers))
        self.facts: dict[str, str] = self._session.get_modelmeta().custom_metadata_map

    def lift_windows(self, keypoints_2d: Float[np.ndarray, "B T J 3"]) -> Float[np.ndarray, "B T J 3"]:
        """Poses of windows, in the space and unit that the facts name.

        Args:
            keypoints_2d: x and y in half image widths from the centre, y down, and confidence.

        Raises:
            ValueError: If a window is longer than the model's, or the input breaks the contract of
                ``check_keypoints``.
        """
        check_keypoints(keypoints_2d)
        num_frames, limit = keypoints_2d.shape[1], int(self.facts["max_frames"])
        if num_frames > limit:
            raise ValueError(
                f"keypoints_2d has {num_frames} frames, this model takes windows of at most {limit}; cut the "
                "clip into windows"
            )
        (poses,) = self._session.run([OUTPUT], {INPUT: keypoints_2d.astype(np.float32)})
        return np.asarray(poses)
