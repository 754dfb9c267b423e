"""Recognises body models and regressors of joints."""

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from langpose_dist.data.sample import DataError
from langpose_dist.datasets.diagnosis.finding import Finding, Tools, Tree
from langpose_dist.datasets.diagnosis.npz_headers import npy_shape, read_npz_headers
from langpose_dist.datasets.smplh import (
    BodyModel,
    check_joint_order,
    find_body_models,
    load_body_model,
    load_regressor,
)

SMPLH_DOWNLOAD = "download 'Extended SMPL+H model (used in AMASS project)' from https://mano.is.tue.mpg.de"
REGRESSOR_DOWNLOAD = (
    "get J_regressor_h36m_correct.npy (17 x 6890) from data/Human36M of "
    "https://github.com/hongsukchoi/Pose2Mesh_RELEASE"
)

_GENDER_FILE = re.compile(r"(male|female|neutral)/model[.](npz|pkl)")
_NAMES = (
    ("SMPL-X", re.compile(r"smplx_.*")),
    ("SMPL+H", re.compile(r"smplh_.*")),
    ("SMPL", re.compile(r"smpl_.*|basicmodel_.*_lbs_10_207_0.*")),
    ("MANO", re.compile(r"mano_(left|right)")),
    ("FLAME", re.compile(r"flame_.*")),
)
_VERTICES = {10475: "SMPL-X", 778: "MANO", 5023: "FLAME"}
_OTHER_ROWS = {
    9: "the nine extra joints of SPIN",
    14: "the 14 joints of LSP",
    24: "SMPL's own 24 joints",
}


def recognise_bodies(tree: Tree, tools: Tools) -> list[Finding]:
    """A finding for each folder of SMPL+H models, and one for each folder and kind of others."""
    kinds: dict[tuple[str, Path], list[Path]] = {}
    for path in tree.ending(".npz", ".pkl"):
        kind = _kind(path)
        if kind is not None:
            is_in_gender = _GENDER_FILE.fullmatch(f"{path.parent.name}/{path.name}".lower())
            folder = path.parents[1] if is_in_gender else path.parent
            kinds.setdefault((kind, folder), []).append(path)
    has_smplh = any(kind == "SMPL+H" for kind, _ in kinds)
    return [
        _smplh(folder, tools) if kind == "SMPL+H" else _other(kind, folder, paths, has_smplh)
        for (kind, folder), paths in sorted(kinds.items())
    ]


def recognise_regressors(tree: Tree, bodies: Sequence[Finding]) -> list[Finding]:
    """A finding for each npy file that is named as a regressor.

    Args:
        tree: What to look through.
        bodies: Findings of body models; with one of SMPL+H, left and right can be told apart.
    """
    paths = [path for path in tree.ending(".npy") if "regressor" in path.name.lower()]
    whole = [body for body in bodies if body.kind == "smplh" and body.facts["genders"]]
    model = None
    if paths and whole:
        model = load_body_model(find_body_models(whole[0].path)[whole[0].facts["genders"][0]])
    return [_regressor(path, model) for path in paths]


def _kind(path: Path) -> str | None:
    """Name of a body model by the file's name and, where that leaves it open, by its arrays."""
    stem = path.stem.lower()
    by_name = next((kind for kind, pattern in _NAMES if pattern.fullmatch(stem)), None)
    if by_name is not None or not _GENDER_FILE.fullmatch(f"{path.parent.name}/{path.name}".lower()):
        return by_name
    if path.suffix.lower() == ".pkl":
        return "SMPL+H"
    try:
        headers = read_npz_headers(path, shapes=("v_template", "weights"))
    except DataError:
        return "SMPL+H"  # whose check will say that it is damaged
    if "eigvec" in headers.names:
        return "DMPL"
    template, weights = headers.shapes.get("v_template", ()), headers.shapes.get("weights", ())
    if template[:1] and template[0] in _VERTICES:
        return _VERTICES[template[0]]
    return "SMPL" if weights == (6890, 24) else "SMPL+H"


def _smplh(folder: Path, tools: Tools) -> Finding:
    good: list[str] = []
    problems: list[str] = []
    try:
        models = find_body_models(folder)
    except DataError as error:
        models = {}
        problems.append(str(error))
    tools.say(f"checking the body models in {folder}")
    for gender, path in sorted(models.items()):
        try:
            load_body_model(path)
            good.append(gender)
        except DataError as error:
            problems.append(str(error))
    advice: tuple[str, ...] = ()
    if not {"male", "female"} <= set(good):
        needed = ", ".join(sorted({"male", "female"} - set(good)))
        problems.append(f"no usable model for {needed}, whom most recordings of AMASS show")
        advice = (f"{SMPLH_DOWNLOAD}; or give everyone one body with --gender",)
    facts = {"genders": good, "files": [models[gender].name for gender in good]}
    return Finding("smplh", "body models", "SMPL+H", folder, facts, tuple(problems), advice)


def _other(kind: str, folder: Path, paths: list[Path], has_smplh: bool) -> Finding:
    facts: dict[str, Any] = {"files": [path.relative_to(folder).as_posix() for path in paths]}
    if has_smplh:
        facts["use"] = "none: AMASS needs SMPL+H, which is here"
        return Finding("other-body", "body models", kind, folder, facts)
    what = "a model of soft tissue, which is not needed" if kind == "DMPL" else "another body"
    problem = f"{kind} is {what}; AMASS needs SMPL+H"
    return Finding("other-body", "body models", kind, folder, facts, (problem,), (SMPLH_DOWNLOAD,))


def _regressor(path: Path, model: BodyModel | None) -> Finding:
    facts: dict[str, Any] = {}
    try:
        shape = npy_shape(path)
        facts["shape"] = " x ".join(str(length) for length in shape)
        if shape[:1] != (17,) and shape[1:] == (6890,):
            known = _OTHER_ROWS.get(shape[0], f"{shape[0]} joints")
            raise DataError(f"it gives {known}, not the 17 of Human3.6M")
        regressor = load_regressor(path)
        if model is not None:
            check_joint_order(model, regressor)
    except DataError as error:
        advice = (REGRESSOR_DOWNLOAD,)
        return Finding("other-regressor", "regressor", "not usable", path, facts, (str(error),), advice)
    facts["sides"] = "checked on the body" if model is not None else "not checked, for there is no body"
    return Finding("regressor", "regressor", "Human3.6M", path, facts)
