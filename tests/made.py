"""Small data sets, made up in memory, for tests of several folders."""

from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import pytest
import torch

from langpose_dist.data.manifest import Manifest
from langpose_dist.data.sample import Sample, Span
from langpose_dist.datasets.shard_writer import ShardWriter, write_manifest
from langpose_dist.datasets.statistics import StatisticsAccumulator

# Joint, parent, offset in cm: x to the left, y up, z forward.
FIGURE = (
    ("joint_Root", None, (0, 0, 0)),
    ("Hips", "joint_Root", (0, 90, 0)),
    ("Spine", "Hips", (0, 15, 0)),
    ("Chest", "Spine", (0, 10, 0)),
    ("Neck", "Chest", (0, 15, 0)),
    ("Head", "Neck", (0, 5, 0)),
    ("UpperArm_L", "Chest", (15, 10, 0)),
    ("LowerArm_L", "UpperArm_L", (25, 0, 0)),
    ("Hand_L", "LowerArm_L", (20, 0, 0)),
    ("UpperArm_R", "Chest", (-15, 10, 0)),
    ("LowerArm_R", "UpperArm_R", (-25, 0, 0)),
    ("Hand_R", "LowerArm_R", (-20, 0, 0)),
    ("UpperLeg_L", "Hips", (10, 0, 0)),
    ("LowerLeg_L", "UpperLeg_L", (0, -40, 0)),
    ("Foot_L", "LowerLeg_L", (0, -40, 0)),
    ("UpperLeg_R", "Hips", (-10, 0, 0)),
    ("LowerLeg_R", "UpperLeg_R", (0, -40, 0)),
    ("Foot_R", "LowerLeg_R", (0, -40, 0)),
)


def _hierarchy(parent: str | None, without: str) -> str:
    blocks = []
    for name, above, (x, y, z) in FIGURE:
        if above != parent:
            continue
        inside = f"OFFSET {x} {y} {z}\nCHANNELS 3 Zrotation Xrotation Yrotation\n" + _hierarchy(name, without)
        shown = "Other" if name == without else name
        blocks.append(f"{'JOINT' if parent else 'ROOT'} {shown}\n{{\n{inside}}}\n")
    return "".join(blocks) or "End Site\n{\nOFFSET 0 0 0\n}\n"


def figure_bvh(
    num_frames: int = 12,
    rotation: Mapping[str, tuple[float, float, float]] | None = None,
    frame_time: str = "0.0333333",
    without: str = "",
) -> str:
    """A BVH file in which some joints turn evenly from 0 to the given Z, X and Y degrees."""
    final = np.zeros((len(FIGURE), 3))
    for joint, degrees in (rotation or {}).items():
        final[[name for name, _, _ in FIGURE].index(joint)] = degrees
    rows = [
        " ".join(f"{value:.6f}" for value in (final * share).ravel())
        for share in np.linspace(0, 1, num_frames)
    ]
    header = f"MOTION\nFrames:\t{num_frames}\nFrame Time: {frame_time}\n"
    return "HIERARCHY\n" + _hierarchy(None, without) + header + "\n".join(rows) + "\n"


@pytest.fixture
def make_bvh() -> Callable[..., str]:
    """Text of a hand-made file; see ``figure_bvh``."""
    return figure_bvh


@pytest.fixture
def mocap(tmp_path: Path) -> Path:
    """A folder of nine clips: three actions in three styles."""
    folder = tmp_path / "mocap"
    folder.mkdir()
    for number, action in enumerate(("walk", "wave-left-hand", "wave-right-hand")):
        for style in ("normal", "not-confident", "old"):
            text = figure_bvh(10 + number, {"LowerArm_R": (30.0 * number, 0, 0)})
            (folder / f"dataset-1_{action}_{style}_001.bvh").write_text(text)
    return folder


@pytest.fixture
def samples() -> list[Sample]:
    """Seven clips of 5 to 11 frames with random poses."""
    random = np.random.default_rng(0)
    return [
        Sample(
            key=f"clip_{number}",
            poses_3d=random.normal(size=(5 + number, 17, 3)).astype(np.float32),
            spans=(Span("walk" if number % 2 else "wave left hand", 0, 5),),
            meta={
                "dataset": "made",
                "fps": 30.0,
                "subject": "s1",
                "action": "jogging",
                "recording": f"s1 jogging {number + 2}",
                "camera": "left",
                "valid_frames": [[0, 2], [3, 5]],
            },
        )
        for number in range(7)
    ]


def write_dataset(folder: Path, samples: list[Sample]) -> Manifest:
    """Shards of three samples; the last sample is for validation."""
    statistics = StatisticsAccumulator()
    shards = []
    for split, number, chosen in (
        ("train", 0, samples[:3]),
        ("train", 1, samples[3:-1]),
        ("validation", 0, samples[-1:]),
    ):
        with ShardWriter(folder / f"{split}-{number:06d}.tar", split) as writer:
            for sample in chosen:
                writer.add(sample)
            shards.append(writer.finish())
    for sample in samples[:-1]:
        statistics.add(sample)
    manifest = Manifest.create(
        tool_version="1",
        dataset="made",
        source="test",
        fps=30.0,
        statistics=statistics.result(),
        shards=tuple(shards),
        build={},
        skipped=(),
    )
    write_manifest(manifest, folder)
    return manifest


@pytest.fixture
def dataset(tmp_path: Path, samples: list[Sample]) -> Path:
    """A folder of two training shards and one for validation."""
    folder = tmp_path / "shards"
    folder.mkdir()
    write_dataset(folder, samples)
    return folder


@pytest.fixture(scope="session")
def tiny_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A BERT of width 16 with random weights and a vocabulary of ten words."""
    from transformers import BertConfig, BertModel, BertTokenizer

    folder = tmp_path_factory.mktemp("tiny-bert")
    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "walk", "slowly", "forward", "dance", "left"]
    vocabulary = folder / "vocab.txt"
    vocabulary.write_text("\n".join(words))
    BertTokenizer(vocab=str(vocabulary)).save_pretrained(folder)
    torch.manual_seed(0)
    config = BertConfig(
        vocab_size=len(words),
        hidden_size=16,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=32,
        max_position_embeddings=32,
    )
    BertModel(config).save_pretrained(folder)
    return folder
