"""Writes procedural motion as KIT-ML: joints of the MMM model at 12.5 Hz, captions with their words, lists.

Each motion comes twice, as in the data set: as it is, and as the mirror image, whose name begins with M.
"""

import re
from collections.abc import Callable, Sequence
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float64

from langpose_dist.data.sides import mirror_label
from langpose_dist.datasets.humanml3d.clips import SPLITS
from langpose_dist.datasets.humanml3d.motion import LAYOUTS
from langpose_dist.host.atomic import write_text
from langpose_dist.skeleton import H36M17, KIT_ML
from langpose_dist.synthesis.actions import ACTIONS, Action
from langpose_dist.synthesis.body import pose_keypoints, shaped_rest_joints
from langpose_dist.synthesis.figure import JOINTS, pose_and_turn
from langpose_dist.synthesis.folder import new_folder, write_description
from langpose_dist.synthesis.performer import generator
from langpose_dist.synthesis.recordings import Recording, recordings

_LAYOUT = LAYOUTS["kit-ml"]
_MAX_ACTIONS = 2
_SUBJECTS = ("a person", "someone", "a human", "the person")
_PAIRS = ("{} and then {}", "{} and {}", "{} before the person {}")
_NO_VERBS = ("hands", "jumping jack")
"""Beginnings of phrases that look like verbs."""
_KINDS = {
    "DET": "a an the both",
    "PRON": "someone something",
    "ADP": "in to on with from at above before over",
    "ADV": "forward backward backwards up down still ahead around then fast seated crouched",
    "ADJ": "left right upper",
    "CCONJ": "and",
    "AUX": "is",
}
_KIND_OF = {word: kind for kind, words in _KINDS.items() for word in words.split()}
_LEMMAS = {"feet": "foot", "does": "do", "waving": "wave", "balancing": "balance"}


def write_kit_ml(
    out: Path,
    *,
    hours: float,
    seed: int,
    on_seconds: Callable[[float], Any] = lambda seconds: None,
) -> dict[str, Any]:
    """Write motions, captions, lists and ``synthesis.json``; the same seed gives the same bytes.

    Args:
        out: New or empty.
        hours: At least so much motion, mirror images not counted.
        seed: At least 0.
        on_seconds: Called with seconds of motion as they are written.

    Returns:
        Content of ``synthesis.json``: layout, seed, hours, and the numbers of motions, frames and captions
        without mirror images.

    Raises:
        DataError: If the folder holds something or cannot be written.
    """
    lists: dict[str, list[str]] = {name: [] for name in SPLITS.values()}
    num_frames = num_captions = 0
    with new_folder(out):
        for folder in ("new_joints", "texts"):
            (out / folder).mkdir(parents=True)
        for recording in recordings(hours, seed, _MAX_ACTIONS):
            joints = to_kit_ml(recording)
            captions = write_captions(recording)
            name = f"{recording.number:05d}"
            _write(out, name, joints, captions)
            mirrored = [mirror_label(caption) for caption in captions]
            assert None not in mirrored, "a phrase names a side in words that cannot be exchanged"
            _write(out, f"M{name}", joints[:, _MIRROR] * (-1, 1, 1), list(map(str, mirrored)))
            lists[recording.split] += [name, f"M{name}"]
            num_frames += len(joints)
            num_captions += len(captions)
            on_seconds(recording.duration)
        for file, names in lists.items():
            write_text(out / f"{file}.txt", "".join(f"{name}\n" for name in names))
        numbers = {"num_recordings": sum(map(len, lists.values())) // 2, "num_frames": num_frames}
        content = {"layout": "kit-ml", "seed": seed, "hours": hours, **numbers, "num_captions": num_captions}
        return write_description(out, content)


def _write(out: Path, name: str, joints: Float64[np.ndarray, "T 21 3"], captions: Sequence[str]) -> None:
    np.save(out / "new_joints" / f"{name}.npy", joints.astype(np.float32))
    lines = [f"{caption}#{' '.join(map('/'.join, tag_words(caption)))}#0.0#0.0\n" for caption in captions]
    write_text(out / "texts" / f"{name}.txt", "".join(lines))


def to_kit_ml(recording: Recording) -> Float64[np.ndarray, "T 21 3"]:
    """Joints of a recording in KIT-ML's order, unit and axes; the reader gives the common skeleton back."""
    poses, trans = recording.sequence.sample(_LAYOUT.fps)
    keypoints = pose_keypoints(recording.gender, recording.betas, poses, trans)
    bones, _ = pose_and_turn(poses, trans, shaped_rest_joints(recording.gender, recording.betas))
    places = {
        next(iter(sources)): keypoints[:, H36M17.index(joint)]
        for joint, sources in KIT_ML.items()
        if len(sources) == 1
    }
    # The other joints of the trunk, so that the map of ``skeleton`` leads back to the keypoints.
    nose, crown, spine = (keypoints[:, H36M17.index(joint)] for joint in ("neck", "head", "spine"))
    neck = (crown - nose) / (KIT_ML["head"]["BLN"] - KIT_ML["neck"]["BLN"])
    places["BT"] = places["BLN"] - neck
    places["BUN"] = nose - KIT_ML["neck"]["BLN"] * neck
    places["BP"] = (spine - KIT_ML["spine"]["BT"] * places["BT"]) / KIT_ML["spine"]["BP"]
    for side, letter in (("left", "L"), ("right", "R")):
        places[f"{letter}F"] = bones[:, JOINTS.index(f"{side}_foot")]
        places[f"{letter}Mrot"] = (places[f"{letter}A"] + places[f"{letter}F"]) / 2
    world = np.stack([places[name] for name in _LAYOUT.joints], axis=1)
    root = world[:, :1]
    scaled = root / _LAYOUT.root_unit + (world - root) / _LAYOUT.bone_unit
    return scaled[..., [0, 2, 1]]  # y up: exchanging two axes is the reflection of KIT-ML's files


_MIRROR = [
    _LAYOUT.joints.index({"L": "R", "R": "L"}[name[0]] + name[1:] if name[0] in "LR" else name)
    for name in _LAYOUT.joints
]


def write_captions(recording: Recording) -> list[str]:
    """Two to four different sentences about a recording's actions, in the order of the actions."""
    rng = generator(recording.seed, 4, recording.number)
    actions = [segment.action for segment in recording.sequence.segments if segment.action is not None]
    patterns = _PAIRS if len(actions) > 1 else ("{}",)
    verbs = product(*map(_verbs, actions))
    sentences = [
        f"{subject} {pattern.format(*words)}"
        for words in verbs
        for pattern in patterns
        for subject in _SUBJECTS
    ]
    chosen = rng.choice(len(sentences), size=int(rng.integers(2, 5)), replace=False)
    return [sentences[number] for number in chosen]


def _verbs(action: Action) -> list[str]:
    """Phrases of an action that begin with a verb of the third person."""
    found = []
    for phrase in action.phrases:
        text = re.sub(r"^(the )?person ", "", phrase)
        first = text.partition(" ")[0]
        if first.endswith("s") and not text.startswith(_NO_VERBS):
            found.append(text)
        elif first.endswith("ing") and not text.startswith(_NO_VERBS):
            found.append(f"is {text}")
    return found


def tag_words(caption: str) -> list[tuple[str, str]]:
    """Words of a synthetic caption, verbs and nouns as lemmas, each with its kind, as in KIT-ML's files."""
    return [_tag(word) for word in caption.split()]


def _tag(word: str) -> tuple[str, str]:
    if kind := _KIND_OF.get(word):
        return word, kind
    if word in _LEMMAS:
        return _LEMMAS[word], "NOUN" if word == "feet" else "VERB"
    if word.endswith("ing"):
        stem = word.removesuffix("ing")
        return (stem[:-1] if stem[-1] == stem[-2] else stem), "VERB"
    lemma = re.sub(r"(?<=ch)es$|(?<=sh)es$|s$", "", word)
    return lemma, "VERB" if word in _VERBS else "NOUN"


_VERBS = {verb.split()[0] for action in ACTIONS for verb in _verbs(action)}
