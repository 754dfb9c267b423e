import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import langpose_dist
from langpose_dist.cli.main import main
from langpose_dist.config import UserError
from langpose_dist.export.model import LangPose
from tests.export.trained import clips, make_run
from tests.tracking.registering import Store, evaluation, run_python

# MLflow's tables use a loading strategy that SQLAlchemy 2.1 deprecates.
pytestmark = pytest.mark.filterwarnings(
    "ignore:The ``noload`` loader strategy:sqlalchemy.exc.SADeprecationWarning"
)
ROOT = Path(__file__).parents[1]


def test_importing_the_package_imports_nothing_heavy() -> None:
    code = (
        "import langpose_dist, sys; print(langpose_dist.__version__, {'torch', 'mlflow'} & set(sys.modules))"
    )
    process = subprocess.run(
        (sys.executable, "-c", code), cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert process.stdout == f"{langpose_dist.__version__} set()\n"


def test_the_public_names_are_listed_and_others_are_not_there() -> None:
    assert {"load", "LangPose"} <= set(dir(langpose_dist))
    assert langpose_dist.LangPose is LangPose
    with pytest.raises(AttributeError, match="has no attribute 'lod'"):
        langpose_dist.lod  # noqa: B018


def test_a_run_and_its_file_are_the_same_model(tmp_path: Path) -> None:
    run = make_run(tmp_path)
    by_folder, by_file = (langpose_dist.load(str(path)) for path in (run, run / "model.safetensors"))
    assert by_folder.facts == by_file.facts
    np.testing.assert_array_equal(by_folder.lift(clips(4)), by_file.lift(clips(4)))


def test_what_is_no_model_is_a_user_error(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no such file or run folder"):
        langpose_dist.load(str(tmp_path / "none"))


def test_the_readme_s_lines_run_as_they_are_written(tmp_path: Path) -> None:
    section = (ROOT / "README.md").read_text(encoding="utf-8").split("## Using a model")[1].split("\n## ")[0]
    code = "".join(re.findall(r"```python\n(.*?)```", section, re.DOTALL))
    assert code.count("langpose_dist.load") == code.count("mlflow.pyfunc.load_model") == 1
    folder = tmp_path / "runs/quickstart"
    folder.mkdir(parents=True)
    Store(f"sqlite:///{folder}/mlflow.db", folder).register("langpose-small", evaluation())
    np.save(tmp_path / "keypoints.npy", clips(12))
    # The second block's poses take the place of the first's, which are the same.
    code = code.replace("import mlflow", "lifted = poses\nimport mlflow")
    run_python(
        code + "\nassert np.allclose(poses[0], lifted, atol=1e-6) and lifted.shape == keypoints_2d.shape",
        folder=tmp_path,
        XDG_CACHE_HOME=str(tmp_path / "cache"),
    )


def test_a_detector_s_file_is_lifted_as_infer_does(tmp_path: Path) -> None:
    page = (ROOT / "docs/export.md").read_text(encoding="utf-8")
    blocks = re.findall(r"```python\n(.*?)```", page, re.DOTALL)
    (code,) = (block for block in blocks if "read_tracks" in block)
    detections = ROOT / "tests/detections/files/alphapose_halpe26/one_person_numbered.json"
    (tmp_path / "keypoints.json").write_bytes(detections.read_bytes())
    run = make_run(tmp_path / "runs/one")
    run_python(f"{code}\nnp.save('poses.npy', poses)", folder=tmp_path)
    out = tmp_path / "out"
    words = ["infer", str(tmp_path / "keypoints.json"), "--model", str(run), "--fps", "30", "--out", str(out)]
    assert main([*words, "--formats", "npz"]) == 0
    (path,) = out.glob("*.npz")
    with np.load(path) as file:
        np.testing.assert_allclose(np.load(tmp_path / "poses.npy"), file["poses_3d"], atol=1e-5)
