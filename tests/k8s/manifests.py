"""The manifests of ``k8s/`` as kustomize renders them, and the pod templates within them."""

import re
import subprocess
import sys
from collections.abc import Iterator, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import yaml

K8S = Path(__file__).parents[2] / "k8s"
OVERLAYS = sorted(path.name for path in (K8S / "overlays").iterdir())
JOBS = sorted(path.name for path in (K8S / "jobs").iterdir())
KUBECTL = Path(sys.executable).with_name("kubectl")
Manifest = dict[str, Any]


@cache
def render(folder: str | Path) -> tuple[Manifest, ...]:
    """Manifests of a folder of ``k8s/``, such as ``overlays/dev``, or of another one."""
    done = subprocess.run(
        [KUBECTL, "kustomize", K8S / folder], capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stderr
    return tuple(yaml.safe_load_all(done.stdout))


def together(overlay: str) -> list[Manifest]:
    """An overlay with all jobs, as they stand in the cluster beside each other."""
    return [*render(f"overlays/{overlay}"), *(one for job in JOBS for one in render(f"jobs/{job}"))]


def kind_of(manifest: Manifest) -> str:
    """Such as ``apps/v1/Deployment``."""
    return f"{manifest['apiVersion']}/{manifest['kind']}"


def name_of(manifest: Manifest) -> str:
    """Such as ``Deployment/mlflow``."""
    return f"{manifest['kind']}/{manifest['metadata']['name']}"


def templates(manifest: Manifest) -> Iterator[tuple[str, Manifest]]:
    """Every pod template of a manifest, with its place."""
    spec, name = manifest.get("spec", {}), name_of(manifest)
    match manifest["kind"]:
        case "Deployment" | "StatefulSet" | "Job":
            yield name, spec["template"]
        case "TrainingRuntime":
            for job in spec["template"]["spec"]["replicatedJobs"]:
                yield f"{name} {job['name']}", job["template"]["spec"]["template"]
        case "RayJob":
            cluster = spec["rayClusterSpec"]
            yield f"{name} submitter", spec.get("submitterPodTemplate", {"spec": {"containers": []}})
            yield f"{name} head", cluster["headGroupSpec"]["template"]
            for group in cluster.get("workerGroupSpecs", ()):
                yield f"{name} {group['groupName']}", group["template"]


def containers(template: Manifest) -> list[Manifest]:
    """Containers of a pod, those that initialise it first."""
    spec = template["spec"]
    return [*spec.get("initContainers", ()), *spec["containers"]]


def all_containers(manifests: Sequence[Manifest]) -> Iterator[tuple[str, Manifest, Manifest]]:
    """Place, pod template and container of all."""
    for manifest in manifests:
        for place, template in templates(manifest):
            for container in containers(template):
                yield f"{place} {container['name']}", template, container


def quantity(text: str | int | float) -> float:
    """Number that a quantity such as ``500m`` or ``2Gi`` stands for."""
    found = re.fullmatch(r"(-?[\d.]+)(m|k|M|G|T|Ki|Mi|Gi|Ti)?", str(text))
    assert found, text
    units = {"m": 1e-3, "k": 1e3, "M": 1e6, "G": 1e9, "T": 1e12}
    units |= {"Ki": 2.0**10, "Mi": 2.0**20, "Gi": 2.0**30, "Ti": 2.0**40}
    return float(found[1]) * units.get(found[2], 1.0)
