"""Share of joints that a detector saw, action by action: the supplement's Table 2, from shards."""

from collections import defaultdict
from typing import Any

import numpy as np

from langpose_dist.data.manifest import Manifest
from langpose_dist.data.sample import DataError
from langpose_dist.data.shards import ShardReader
from langpose_dist.evaluation.recordings import stored_2d
from langpose_dist.evaluation.visibility import VISIBLE_ABOVE, without_confidences
from langpose_dist.skeleton import H36M17


def measure_visibility(path: str, split: str) -> dict[str, Any]:
    """Share of frames in which the confidence is above ``VISIBLE_ABOVE``; plain containers, fit for JSON.

    An action's share is the mean over all its frames and joints, the mean that of the actions, unweighted.

    Raises:
        UserError: If the data cannot be read, have no 2D joints, or these have no confidences.
    """
    manifest = Manifest.load(path)
    reader = ShardReader(manifest, path)
    num_visible = defaultdict(lambda: np.zeros(H36M17.num_joints))
    num_frames: dict[str, int] = defaultdict(int)
    low, high = np.ones(H36M17.num_joints), np.zeros(H36M17.num_joints)
    for shard_index, shard in manifest.shards_of(split):
        for sample_index, entry in enumerate(shard.samples):
            if not entry.has_keypoints:
                raise DataError(
                    f"{path}: clip {entry.key} of split {split!r} has no 2D joints of its own; visibility is "
                    "a detector's, so build data that have some"
                )
            keypoints = reader.read_keypoints(shard_index, sample_index, 0, entry.num_frames)
            confidences = keypoints[..., 2]
            action = entry.action or "no action"
            num_visible[action] += (confidences > VISIBLE_ABOVE).sum(axis=0)
            num_frames[action] += len(confidences)
            low = np.minimum(low, confidences.min(axis=0))
            high = np.maximum(high, confidences.max(axis=0))
    if (low == 1).all():
        raise without_confidences(split, stored_2d(manifest, reader, split))
    shares = {action: num_visible[action] / num_frames[action] for action in sorted(num_visible)}
    return {
        "dataset": manifest.dataset,
        "split": split,
        "fingerprint": manifest.fingerprint,
        "source_2d": stored_2d(manifest, reader, split),
        "threshold": VISIBLE_ABOVE,
        "actions": {
            action: {
                "share": float(share.mean()),
                "num_frames": num_frames[action],
                "joints": dict(zip(H36M17.joints, share.tolist(), strict=True)),
            }
            for action, share in shares.items()
        },
        "joint_means": dict(zip(H36M17.joints, np.mean([*shares.values()], axis=0).tolist(), strict=True)),
        "action_mean": float(np.mean([share.mean() for share in shares.values()])),
        "constant_joints": [
            name for name, is_same in zip(H36M17.joints, low == high, strict=True) if is_same
        ],
    }
