"""What a data set holds, as ``langpose data`` prints it."""

import json
from typing import Any

from langpose_dist.config import TextConfig, UserError
from langpose_dist.data.manifest import Manifest
from langpose_dist.datasets.build import count_reasons, describe_skipped
from langpose_dist.models.tokens import load_tokenizer
from langpose_dist.tasks.labels import describe_labels


def label_notes(manifest: Manifest) -> list[str]:
    """Lines about labels that the default encoder cuts, cannot tell apart or does not know."""
    labels = sorted({label for split in manifest.splits for label in manifest.label_counts(split)})
    if not labels:
        return []
    config = TextConfig()
    try:
        return list(describe_labels(labels, load_tokenizer(config), config))
    except UserError as error:
        return [f"the labels were not tried on a text encoder: {error}"]


def summarise(manifest: Manifest) -> dict[str, Any]:
    """What a data set holds, for JSON."""
    return {
        "dataset": manifest.dataset,
        "source": manifest.source,
        "fps": manifest.fps,
        "unit": manifest.unit,
        "axes": manifest.axes,
        "skeleton": manifest.skeleton,
        "splits": {
            name: {
                "clips": split.num_samples,
                "frames": split.num_frames,
                "hours": split.num_frames / manifest.fps / 3600,
                "shards": len(manifest.shards_of(name)),
                "label_counts": manifest.label_counts(name),
            }
            for name, split in manifest.splits.items()
        },
        "num_bytes": sum(shard.num_bytes for shard in manifest.shards),
        "skipped": {"total": len(manifest.skipped), "reasons": count_reasons(manifest.skipped)},
        "ignored": manifest.num_ignored,
        "label_notes": label_notes(manifest),
        "fingerprint": manifest.fingerprint,
        "tool_version": manifest.tool_version,
        "build": manifest.build,
    }


def print_summary(title: str, manifest: Manifest) -> None:
    """What a data set holds, for a person."""
    num_bytes = sum(shard.num_bytes for shard in manifest.shards)
    print(
        f"{title}: {manifest.dataset} from {manifest.source}, {manifest.fps:g} frames per second, "
        f"{manifest.unit}, {manifest.axes}, {manifest.skeleton}"
    )
    for name, split in manifest.splits.items():
        hours = split.num_frames / manifest.fps / 3600
        shards = len(manifest.shards_of(name))
        print(
            f"  {name:12} {split.num_samples:6} clips {split.num_frames:9} frames {hours:7.2f} h "
            f"{len(manifest.label_counts(name)):5} labels {shards:4} shards"
        )
    print(f"  {num_bytes / 1e6:.1f} MB, fingerprint {manifest.fingerprint}")
    if manifest.skipped:
        print(
            f"  skipped {len(manifest.skipped)}: {describe_skipped(manifest.skipped)} (each in manifest.json)"
        )
    if manifest.num_ignored:
        print(f"  {manifest.num_ignored} files of other kinds were not looked at")
    for note in label_notes(manifest):
        print(f"  {note}")


def print_json(content: dict[str, Any]) -> None:
    """JSON whose labels stay readable."""
    print(json.dumps(content, indent=2, ensure_ascii=False))
