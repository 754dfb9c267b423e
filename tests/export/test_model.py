import json
from pathlib import Path
from typing import Any

import huggingface_hub.hub_mixin
import numpy as np
import pytest

import langpose_dist
from langpose_dist.config import UserError
from langpose_dist.export.model import LangPose
from langpose_dist.models.weights import weights_header, write_weights
from langpose_dist.spaces import limb_lengths
from tests.export.trained import as_tensor, clips, make_image_run, make_run
from tests.tracking.registering import evaluation, tiny_config


def open_run(folder: Path) -> LangPose:
    return LangPose.open(make_run(folder) / "model.safetensors")


def test_one_clip_and_several_give_the_same_poses(tmp_path: Path) -> None:
    model = open_run(tmp_path)
    several = clips(3, 22)
    poses = model.lift(several)
    assert (poses.shape, poses.dtype) == ((3, 22, 17, 3), np.float32)
    np.testing.assert_allclose(model.lift(several[1]), poses[1], atol=1e-6)
    # The first window has the window's length: what the network itself gives.
    np.testing.assert_allclose(
        poses[:, :9], model(as_tensor(several[:, :9])).detach().numpy(), rtol=1e-5, atol=1e-6
    )


def test_figures_of_the_image_s_space_become_people_of_the_stated_size(tmp_path: Path) -> None:
    model = LangPose.open(make_image_run(tmp_path) / "model.safetensors")
    totals = limb_lengths(as_tensor(model.lift(clips(2, 5)))).sum(dim=-1).mean(dim=-1)
    assert totals.tolist() == pytest.approx([4.0, 4.0], rel=1e-4)
    assert {name: model.facts[name] for name in ("space", "unit", "limb_total_m", "scale_source")} == {
        "space": "image_25d",
        "unit": "half image widths",
        "limb_total_m": "4.000000",
        "scale_source": "a guess",
    }


@pytest.mark.parametrize(
    ("keypoints_2d", "message"),
    [
        (clips(5) * 640, "these look like pixels; give half image widths"),
        (clips(), r"has shape \(17, 3\), not T x 17 x 3"),
        (np.zeros((4, 16, 3)), "not ... x 17 x 3"),
        (np.full((4, 17, 3), np.nan), "not finite"),
        (clips(4) + 1j, "has type complex64, not real numbers; give float32"),
        (np.full((4, 17, 3), {}), "has type object, not real numbers; give float32"),
        (np.full((4, 17, 3), "0.5"), "has type <U3, not real numbers; give float32"),
    ],
)
def test_what_is_no_clip_is_refused(tmp_path: Path, keypoints_2d: np.ndarray, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        open_run(tmp_path).lift(keypoints_2d)


def test_a_folder_gives_the_model_back_without_a_network(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("langpose_dist.export.model.snapshot_download", None)
    run = tmp_path / "run"
    model = open_run(run)
    model.save_pretrained(tmp_path / "hub")
    # The same file, so its hash is still that of the registry.
    assert (tmp_path / "hub/model.safetensors").read_bytes() == (run / "model.safetensors").read_bytes()
    again = LangPose.from_pretrained(tmp_path / "hub")
    assert not again.training
    assert (again.facts, again.evaluation) == (model.facts, evaluation())
    np.testing.assert_array_equal(again.lift(clips(12)), model.lift(clips(12)))
    assert langpose_dist.load(str(tmp_path / "hub")).facts == model.facts


def test_the_folder_says_what_the_model_is(tmp_path: Path) -> None:
    open_run(tmp_path / "run").save_pretrained(tmp_path / "hub")
    content = json.loads((tmp_path / "hub/config.json").read_text())
    expected = {"space": "camera", "unit": "metres", "skeleton": "h36m17", "max_frames": "9", "fps": "30.0"}
    assert content.items() >= expected.items()
    card = (tmp_path / "hub/README.md").read_text(encoding="utf-8")
    assert card.startswith("---\nlibrary_name: langpose_dist\n")
    for text in (
        "| `mpjpe_mm` | 70 | 80 |",
        "`mpjpe_mm`: mean per-joint position error",
        "2D input: synthetic: ground-truth 3D through a virtual camera",
        f"training_data_fingerprint: {'d' * 64}",
        "training_data_licence: CC BY 4.0",
        content["weights_sha256"],
        "half image widths from the image centre",
        "units_per_metre: ",
        "normalisation_box: of a window of pixels (u, v)",
    ):
        assert text in card, text


def test_changed_weights_are_saved_as_they_are_now(tmp_path: Path) -> None:
    model = open_run(tmp_path / "run")
    before = model.facts["weights_sha256"]
    for parameter in model.parameters():
        parameter.requires_grad_(False).mul_(1.5)
    model.save_pretrained(tmp_path / "hub")
    again = LangPose.from_pretrained(tmp_path / "hub")
    assert again.facts["weights_sha256"] == model.facts["weights_sha256"] != before
    np.testing.assert_array_equal(again.lift(clips(12)), model.lift(clips(12)))


def test_a_push_uploads_the_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    uploads: list[Any] = []

    class Hub:
        def __init__(self, token: str | None) -> None:
            pass

        def create_repo(self, repo_id: str, **_: Any) -> "Hub":
            self.repo_id = repo_id
            return self

        def upload_folder(self, folder_path: Path, repo_id: str, **_: Any) -> str:
            uploads.append((repo_id, sorted(path.name for path in folder_path.iterdir())))
            return "a commit"

    monkeypatch.setattr(huggingface_hub.hub_mixin, "HfApi", Hub)
    assert open_run(tmp_path).push_to_hub("me/small") == "a commit"
    assert uploads == [("me/small", ["README.md", "config.json", "evaluation.json", "model.safetensors"])]


def test_a_name_of_the_hub_is_fetched(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    open_run(tmp_path / "run").save_pretrained(tmp_path / "hub")
    asked = []

    def snapshot_download(name: str, *, allow_patterns: list[str], revision: str | None, **_: Any) -> str:
        asked.append((name, allow_patterns, revision))
        return str(tmp_path / "hub")

    monkeypatch.setattr("langpose_dist.export.model.snapshot_download", snapshot_download)
    monkeypatch.setattr(
        huggingface_hub.hub_mixin, "hf_hub_download", lambda **_: str(tmp_path / "hub/config.json")
    )
    model = LangPose.from_pretrained("me/small", revision="v1")
    assert model.lift(clips(3)).shape == (3, 17, 3)
    assert asked == [("me/small", ["model.safetensors", "config.json", "evaluation.json"], "v1")]


def test_a_model_that_lifts_no_poses_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = make_run(tmp_path)
    monkeypatch.delattr("langpose_dist.models.langpose.LangPose.lift_windows")
    with pytest.raises(UserError, match="task=pretrain lifts no poses"):
        LangPose.open(run / "model.safetensors")


def test_a_damaged_header_is_one_line(tmp_path: Path) -> None:
    path = tmp_path / "model.safetensors"
    write_weights(path, {}, weights_header({}, tiny_config(), {}))
    with pytest.raises(UserError, match="cannot be rebuilt by langpose_dist"):
        LangPose.open(path)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ('{"training_data_licence": ', "cannot be read: "),
        ("[" * 100_000, "cannot be read: "),
        ('["CC BY 4.0"]', "must be a JSON object whose training_data_licence is a text; export"),
        ('{"training_data_licence": 4}', "must be a JSON object whose training_data_licence is a text"),
    ],
)
def test_a_damaged_config_beside_the_weights_is_one_line(tmp_path: Path, content: str, message: str) -> None:
    run = make_run(tmp_path)
    (run / "config.json").write_text(content, encoding="utf-8")
    with pytest.raises(UserError, match=f"config.json {message}"):
        LangPose.open(run / "model.safetensors")
