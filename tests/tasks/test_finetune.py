from pathlib import Path
from typing import Any

import pytest
import torch

from langpose_dist.batch import WindowBatch
from langpose_dist.config import RunConfig, UserError
from langpose_dist.data.corpus import Corpus
from langpose_dist.geometry import flip_pose
from langpose_dist.losses.pose import position_loss, scaled_position_loss, velocity_loss
from langpose_dist.models.lifter import Lifter, depth_of, part_of
from langpose_dist.models.lifting import lift_windows
from langpose_dist.models.weights import weights_header, write_weights
from langpose_dist.skeleton import H36M17
from langpose_dist.tasks.exported import load_exported
from langpose_dist.tasks.finetune import FinetuneTask
from langpose_dist.train.engine import build_optimizer
from tests.corpus import build_corpus, tiny_config


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("corpus")
    build_corpus(folder)
    return folder


def finetune_config(root: Path, **changes: Any) -> RunConfig:
    return tiny_config(root, **changes).model_copy(update={"task": "finetune"})


def setting(root: Path, **changes: Any) -> tuple[FinetuneTask, WindowBatch]:
    config = finetune_config(root, **changes)
    corpus = FinetuneTask.open(config)
    batch = corpus.training_set[[(0, number) for number in range(4)]]
    assert isinstance(batch, WindowBatch)
    return FinetuneTask.build(config, corpus), batch


def problems(root: Path, **changes: Any) -> list[str]:
    config = finetune_config(root, **changes)
    return list(FinetuneTask.problems(config, Corpus.open(config)))


def test_terms_are_those_of_the_recipe_and_no_label_is_seen(root: Path) -> None:
    task, windows = setting(root)
    assert task.weights == {"loss_3d": 1.0, "loss_n": 0.5, "loss_v": 20.0}
    terms = task.eval()(windows)
    batch = task.observe(windows)
    predicted = task.model(batch.keypoints_2d)
    expected = [
        loss(predicted, batch.poses_3d, batch.frame_mask)
        for loss in (position_loss, scaled_position_loss, velocity_loss)
    ]
    assert list(terms) == ["loss_3d", "loss_n", "loss_v"]
    for found, value in zip(terms.values(), expected, strict=True):
        torch.testing.assert_close(found, value)
    assert (windows.label_candidates == -1).all()
    assert not windows.span_mask.any()
    assert FinetuneTask.open(finetune_config(root)).vocabulary.labels == ()


def test_optional_terms_are_computed_where_they_weigh(root: Path) -> None:
    names = ("limb", "limb_variance", "angle", "angle_velocity")
    task, windows = setting(root, finetune={f"lambda_{name}": 0.1 for name in names})
    terms = task(windows)
    assert all(terms[f"loss_{name}"].isfinite().all() for name in names)
    assert all((terms[f"loss_{name}"] > 0).all() for name in names)


def test_image_25d_is_measured_in_millimetres_of_the_figure(root: Path) -> None:
    task, windows = setting(root, target={"space": "image_25d"})
    batch = task.observe(windows)
    # The virtual camera's factor is depth over focal length: metres per half image width.
    assert ((batch.metres > 0.5) & (batch.metres < 20)).all()
    columns = task.scorer()(windows).columns
    scaled = (task.model(batch.keypoints_2d) - batch.poses_3d) * batch.metres[..., None, None]
    frames = batch.frame_mask.sum(dim=1)
    expected = (scaled.norm(dim=-1).mean(dim=-1) * batch.frame_mask).sum(dim=1) / frames * 1000
    torch.testing.assert_close(columns["mpjpe_mm"].values.float(), expected)


def test_flip_averaging_makes_the_answer_mirror_with_its_input(root: Path) -> None:
    task, windows = setting(root, evaluation={"flip_averaging": True})
    keypoints = task.eval().observe(windows).keypoints_2d
    answer = lift_windows(task.model, keypoints, flip_averaging=True)
    mirrored = lift_windows(task.model, flip_pose(keypoints, H36M17), flip_averaging=True)
    torch.testing.assert_close(flip_pose(mirrored, H36M17), answer)
    assert not torch.allclose(answer, task.model(keypoints), atol=1e-3)
    picture = task.scorer()(windows).picture
    assert picture is not None
    valid = windows.frame_mask[0]
    torch.testing.assert_close(picture(0).predicted_poses, answer[0][valid])


def test_frozen_parts_keep_their_weights(root: Path) -> None:
    task, windows = setting(root, finetune={"frozen": ["embeddings", "head"]})
    sum(values.mean() for values in task(windows).values()).backward()  # type: ignore[union-attr]
    for name, parameter in task.model.encoder.named_parameters():
        assert (parameter.grad is None) == (part_of(name) != "blocks"), name


def test_layer_decay_lowers_the_rate_towards_the_input(root: Path) -> None:
    task, _ = setting(
        root, finetune={"layer_decay": 0.5}, model={"depth": 3}, optimizer={"learning_rate": 1.0}
    )
    assert depth_of("joints_embed.weight", 3) == 3
    assert depth_of("blocks_st.0.norm1_s.weight", 3) == 2
    assert depth_of("blocks_ts.2.norm1_s.weight", 3) == depth_of("ts_attn.2.weight", 3) == 0
    assert depth_of("head.weight", 3) == depth_of("norm.bias", 3) == 0
    optimizer = build_optimizer(task, task.config.optimizer, fused=False)
    assert [group["lr"] for group in optimizer.param_groups[::2]] == [1.0, 0.5, 0.25, 0.125]
    grouped = [parameter for group in optimizer.param_groups for parameter in group["params"]]
    assert len(grouped) == len(set(map(id, grouped))) == len(list(task.parameters()))
    head = task.model.encoder.head.weight
    assert any(head is parameter for parameter in optimizer.param_groups[0]["params"])


@pytest.mark.parametrize(("decay_all", "expected"), [(False, [0.1, 0.0]), (True, [0.1, 0.1])])
def test_weight_decay_on_matrices_or_on_all(root: Path, decay_all: bool, expected: list[float]) -> None:
    task, _ = setting(root, optimizer={"decay_all": decay_all, "weight_decay": 0.1})
    optimizer = build_optimizer(task, task.config.optimizer, fused=False)
    assert [group["weight_decay"] for group in optimizer.param_groups] == expected


def test_the_average_follows_the_weights_and_is_what_is_evaluated(root: Path) -> None:
    task, windows = setting(root, finetune={"ema_decay": 0.9})
    assert task.model.average is not None
    before = task.model.average.head.weight.clone()
    with torch.no_grad():
        task.model.encoder.head.weight += 1.0
    task.after_step()
    torch.testing.assert_close(task.model.average.head.weight, before + 0.1)
    keypoints = task.observe(windows).keypoints_2d
    task.eval()
    torch.testing.assert_close(task.model(keypoints), task.model.average.lift_windows(keypoints))
    task.train()
    torch.testing.assert_close(task.model(keypoints), task.model.encoder.lift_windows(keypoints))


def export(task: FinetuneTask, path: Path, **extra: str) -> Path:
    write_weights(
        path, task.model.state_dict(), weights_header(task.header(), task.config, {"fps": "30.0", **extra})
    )
    return path


@pytest.mark.parametrize("space", ["camera", "image_25d"])
def test_an_export_answers_in_metres(root: Path, tmp_path: Path, space: str) -> None:
    task, windows = setting(root, target={"space": space}, finetune={"ema_decay": 0.5})
    exported = load_exported(export(task, tmp_path / "model.safetensors"))
    assert exported.header["space"] == space
    keypoints = task.observe(windows).keypoints_2d
    poses = torch.from_numpy(exported.predict(keypoints.numpy()))
    raw = task.eval().model(keypoints)
    if space == "camera":
        torch.testing.assert_close(poses, raw)
        assert "scale_source" not in exported.header
    else:
        # Limbs add up to those of the made-up figures, whatever the unit of the prediction.
        assert exported.header["scale_source"] == "mean limb lengths of the training data"
        assert task.model.limb_total == pytest.approx(4.2, abs=0.1)
        upper, lower = (list(ends) for ends in zip(*H36M17.bones, strict=True))
        total = (poses[..., lower, :] - poses[..., upper, :]).norm(dim=-1).sum(dim=-1).mean(dim=-1)
        assert total.tolist() == pytest.approx([task.model.limb_total] * 4, rel=1e-4)


def test_it_starts_from_the_average_of_another_run(root: Path, tmp_path: Path) -> None:
    first, _ = setting(root, finetune={"ema_decay": 0.5})
    assert first.model.average is not None
    with torch.no_grad():
        first.model.average.head.weight.fill_(0.25)
    path = export(first, tmp_path / "model.safetensors")
    second, _ = setting(root, model={"initial_weights": str(path)})
    assert (second.model.encoder.head.weight == 0.25).all()


def test_other_rates_and_spaces_of_the_initial_weights_are_said(root: Path, tmp_path: Path) -> None:
    first, _ = setting(root)
    path = export(first, tmp_path / "model.safetensors")
    config = finetune_config(root, model={"initial_weights": str(path)}, target={"space": "image_25d"})
    corpus = FinetuneTask.open(config)
    notes = list(FinetuneTask.notes(config, corpus))
    assert [note for note in notes if "predict camera, target.space=image_25d" in note]
    slow = corpus.manifest.model_copy(update={"fps": 50.0})
    notes = list(FinetuneTask.notes(config, Corpus(config, slow, corpus.reader, corpus.vocabulary)))
    assert [note for note in notes if "30 frames per second, the data have 50" in note]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"loss": {"lambda_3d": 0.0, "lambda_v": 0.0}, "finetune": {"lambda_n": 0.0}},
            "must be above 0",
        ),
        ({"finetune": {"frozen": ["embeddings", "blocks", "head"]}}, "nothing is trained"),
        ({"finetune": {"ema_decay": 0.9}, "train": {"zero_stage": 3}}, "use stage 0, 1 or 2"),
    ],
)
def test_options_that_cannot_train_are_refused(root: Path, changes: dict[str, Any], message: str) -> None:
    found = problems(root, **changes)
    assert len(found) == 1
    assert message in found[0]


def test_a_test_split_does_not_choose_the_checkpoint(root: Path, tmp_path: Path) -> None:
    config = finetune_config(root)
    corpus = Corpus.open(config)
    shards = tuple(
        shard.model_copy(
            update={
                "samples": tuple(
                    sample.model_copy(update={"source_split": "test"}) for sample in shard.samples
                )
            }
        )
        for shard in corpus.manifest.shards
    )
    manifest = corpus.manifest.model_copy(update={"shards": shards})
    found = list(FinetuneTask.problems(config, Corpus(config, manifest, corpus.reader, corpus.vocabulary)))
    assert "data.validation_split=validation holds test recordings" in found[0]


def test_a_recording_camera_without_a_lens_is_named(tmp_path: Path) -> None:
    build_corpus(tmp_path, is_recorded=True)  # its camera has a rotation alone
    config = finetune_config(tmp_path, target={"space": "image_25d"}, data={"observation": "stored"})
    batch = FinetuneTask.open(config).training_set[[(0, 0)]]
    assert isinstance(batch, UserError)
    assert "image_size, which target.space=image_25d needs; set target.space=camera" in str(batch)


def test_a_lifter_is_built_without_memory(root: Path) -> None:
    config = finetune_config(root)
    model = FinetuneTask.rebuild(config, {})
    assert isinstance(model, Lifter)
    assert all(parameter.is_meta for parameter in model.parameters())
