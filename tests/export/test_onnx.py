import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from langpose_dist.config import RunConfig, UserError
from langpose_dist.export.model import LangPose
from langpose_dist.export.onnx import OnnxLifter, write_onnx
from tests.export.trained import as_tensor, clips, make_image_run, make_run

pytest.importorskip("onnxscript", reason="the extra onnx is not installed")
onnx = pytest.importorskip("onnx")
onnxruntime = pytest.importorskip("onnxruntime")


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> tuple[LangPose, Path]:
    """A tiny model, with averaged weights, and its ONNX file."""
    folder = tmp_path_factory.mktemp("onnx")
    model = LangPose.open(make_image_run(folder) / "model.safetensors")
    write_onnx(folder / "model.onnx", model)
    return model, folder / "model.onnx"


def largest_difference(model: LangPose, path: Path, shapes: list[tuple[int, int]]) -> float:
    lifter = OnnxLifter(path)
    found = 0.0
    for shape in shapes:
        windows = clips(*shape)
        with torch.inference_mode():
            expected = model(as_tensor(windows)).numpy()
        found = max(found, float(np.abs(lifter.lift_windows(windows) - expected).max()))
    return found


def test_every_length_and_batch_size_equals_torch(pair: tuple[LangPose, Path]) -> None:
    model, path = pair
    shapes = [(num_windows, length) for length in range(1, 10) for num_windows in (1, 2, 3, 5)]
    assert largest_difference(model, path, shapes) < 1e-5


def test_it_is_one_file_of_standard_operators_that_says_what_it_is(pair: tuple[LangPose, Path]) -> None:
    model, path = pair
    assert sorted(entry.name for entry in path.parent.iterdir()) == ["model.onnx", "model.safetensors"]
    file = onnx.load(path, load_external_data=False)
    onnx.checker.check_model(file)
    assert {domain.domain for domain in file.opset_import} == {""}
    assert {entry.key: entry.value for entry in file.metadata_props}.items() >= model.facts.items()
    assert OnnxLifter(path).facts == model.facts
    (given,) = onnxruntime.InferenceSession(path).get_inputs()
    assert (given.name, given.shape) == ("keypoints_2d", ["batch", "frames_max_9", 17, 3])


def test_a_window_that_is_too_long_is_never_lifted(pair: tuple[LangPose, Path]) -> None:
    _, path = pair
    with pytest.raises(ValueError, match=r"has 10 frames, this model takes windows of at most 9; cut"):
        OnnxLifter(path).lift_windows(clips(1, 10))
    session = onnxruntime.InferenceSession(path)  # nor by somebody else's program
    with pytest.raises(Exception, match="9 by 10"):
        session.run(None, {"keypoints_2d": clips(1, 10)})


def test_pixels_are_refused(pair: tuple[LangPose, Path]) -> None:
    with pytest.raises(ValueError, match="these look like pixels"):
        OnnxLifter(pair[1]).lift_windows(clips(1, 4) * 640)


def test_a_failed_export_leaves_no_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model = LangPose.open(make_run(tmp_path / "run") / "model.safetensors")
    monkeypatch.setitem(sys.modules, "onnxscript", None)
    with pytest.raises(UserError, match=r"install langpose-dist\[onnx\]"):
        write_onnx(tmp_path / "model.onnx", model)
    assert not list(tmp_path.glob("*.onnx*"))


def test_what_hides_a_ctrl_c_is_imported_before_the_export(tmp_path: Path) -> None:
    code = """
import sys, torch
from pathlib import Path
from langpose_dist.export.model import LangPose
from langpose_dist.export.onnx import write_onnx

def export(*_, **__):
    print("torch._dynamo" in sys.modules)
    raise KeyboardInterrupt

torch.onnx.export = export
folder = Path(sys.argv[1])
try:
    write_onnx(folder / "model.onnx", LangPose.open(folder / "model.safetensors"))
except KeyboardInterrupt:
    print("interrupted")
"""
    command = (sys.executable, "-c", code, str(make_run(tmp_path)))
    process = subprocess.run(command, capture_output=True, text=True, check=True, timeout=300)
    assert process.stdout == "True\ninterrupted\n"


def test_torch_is_left_as_it_was(pair: tuple[LangPose, Path]) -> None:
    start, end = torch.zeros(1), torch.ones(1)
    assert torch.lerp(start, end, 0.25).item() == 0.25
    assert type(torch.lerp).__name__ == "builtin_function_or_method"


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_the_paper_s_model_equals_torch_for_every_length(tmp_path: Path) -> None:
    model = LangPose.open(make_run(tmp_path, RunConfig()) / "model.safetensors")
    write_onnx(tmp_path / "model.onnx", model)
    lengths = [*range(1, 10), *range(27, 243, 24), 242, 243]
    shapes = [(1, length) for length in lengths] + [(3, 2), (2, 61), (2, 243)]
    assert largest_difference(model, tmp_path / "model.onnx", shapes) < 1e-5
    code = "import sys, onnxruntime; print(onnxruntime.InferenceSession(sys.argv[1]).get_inputs()[0].shape)"
    command = (sys.executable, "-c", code, str(tmp_path / "model.onnx"))
    process = subprocess.run(command, capture_output=True, text=True, check=True, timeout=300)
    assert (process.stdout, process.stderr) == ("['batch', 'frames_max_243', 17, 3]\n", "")
