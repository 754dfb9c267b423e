"""Every overlay and job, rendered: schemas, and rules each of which a broken manifest breaks."""

import copy
import re
import shutil
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.k8s.manifests import (
    JOBS,
    K8S,
    OVERLAYS,
    Manifest,
    all_containers,
    kind_of,
    name_of,
    render,
    together,
)
from tests.k8s.rules import OUTSIDE_SECRETS, RULES
from tests.k8s.schema import find_problems

FOLDERS = [*(f"overlays/{name}" for name in OVERLAYS), *(f"jobs/{name}" for name in JOBS)]
REMOVED = object()


@pytest.mark.parametrize("folder", FOLDERS)
def test_what_is_rendered_fits_its_schema(folder: str) -> None:
    assert [problem for manifest in render(folder) for problem in find_problems(manifest)] == []


OPTIONS = [("pretrain", "no-gpu"), ("pretrain", "eight-gpus"), ("finetune", "no-gpu")]
OPTIONS += [("sweep", "no-gpu"), ("sweep", "eight-gpus")]
OPTIONS += [(job, "kueue-job") for job in ("pretrain", "finetune", "sweep")]


@pytest.mark.parametrize(("job", "option"), OPTIONS)
def test_a_job_with_an_option_keeps_schema_and_rules(job: str, option: str, tmp_path: Path) -> None:
    manifests = render_changed(
        tmp_path, job, (f"  # - ../../components/{option}", f"  - ../../components/{option}")
    )
    assert [problem for manifest in manifests for problem in find_problems(manifest)] == []
    others = [one for name in JOBS if name != job for one in render(f"jobs/{name}")]
    for number, rule in RULES.items():
        assert list(rule([*render("overlays/prod"), *others, *manifests])) == [], number
    assert manifests != list(render(f"jobs/{job}"))


@pytest.mark.parametrize("job", JOBS)
def test_the_next_job_has_a_name_of_its_own_and_its_policy_too(job: str, tmp_path: Path) -> None:
    manifests = render_changed(tmp_path, job, ('nameSuffix: ""', 'nameSuffix: "-2"'))
    for manifest in manifests:
        assert manifest["metadata"]["name"] == f"{job}-2"
        if manifest["kind"] == "NetworkPolicy":
            label = {"jobset.sigs.k8s.io/jobset-name": f"{job}-2"}
            spec = manifest["spec"]
            assert spec["podSelector"]["matchLabels"] == label
            assert spec["ingress"][0]["from"] == [{"podSelector": {"matchLabels": label}}]
            assert spec["egress"][0]["to"] == [{"podSelector": {"matchLabels": label}}]


def render_changed(folder: Path, job: str, change: tuple[str, str]) -> list[Manifest]:
    """A job whose kustomization.yaml a user has edited."""
    copied = shutil.copytree(K8S, folder / "k8s")
    file = copied / "jobs" / job / "kustomization.yaml"
    before = file.read_text(encoding="utf-8")
    assert change[0] in before
    file.write_text(before.replace(*change), encoding="utf-8")
    return list(render(copied / "jobs" / job))


@pytest.mark.parametrize("number", RULES)
def test_the_runtime_of_a_hostfile_keeps_the_rules(number: int) -> None:
    hostfile = list(yaml.safe_load_all((K8S / "components/mpi-hostfile/runtime.yaml").read_text()))
    assert [problem for manifest in hostfile for problem in find_problems(manifest)] == []
    assert list(RULES[number]([*together("single-gpu"), *hostfile])) == []


NODE = "spec.template.spec.replicatedJobs.0.template.spec.template.spec"
HEAD = "spec.rayClusterSpec.headGroupSpec"
WORKERS = "spec.rayClusterSpec.workerGroupSpecs.0"
POD = "spec.template.spec"
BROKEN: list[tuple[int, str, str, Any]] = [
    (1, "Job/evaluate", f"{POD}.restartPolicy", REMOVED),
    (1, "TrainingRuntime/langpose", f"{NODE}.restartPolicy", "OnFailure"),
    (2, "Deployment/mlflow", f"{POD}.restartPolicy", "Never"),
    (2, "Deployment/mlflow", "spec.strategy.rollingUpdate", {"maxSurge": 1}),
    (3, "Deployment/mlflow", f"{POD}.containers.0.resources.requests.memory", "4Gi"),
    (3, "TrainJob/pretrain", "spec.trainer.resourcesPerNode.requests", {"cpu": "4"}),
    (3, "TrainingRuntime/langpose", f"{NODE}.containers.0.resources.limits.ephemeral-storage", REMOVED),
    (4, "Deployment/mlflow", f"{POD}.containers.0.volumeMounts.0.name", "sate"),
    (4, "Job/data", f"{POD}.volumes.2", REMOVED),
    (5, "TrainJob/pretrain", "metadata.name", "2-pretrain"),
    (5, "RayJob/sweep", "metadata.name", "sweep-of-the-loss-weights-over-all-of-the-possible-values"),
    (5, "Job/data", "spec.template.metadata.labels", {"langpose.dev/part": "data and more"}),
    (6, "Job/evaluate", f"{POD}.containers.0.env.0.valueFrom", {"fieldRef": {"fieldPath": "metadata.name"}}),
    (
        6,
        "Job/data",
        f"{POD}.containers.0.env.0",
        {"name": "NODE", "valueFrom": {"fieldRef": {"fieldPath": "spec.node"}}},
    ),
    (7, "Deployment/mlflow", f"{POD}.containers.0.livenessProbe.httpGet.port", "web"),
    (7, "Deployment/mlflow", f"{POD}.containers.0.livenessProbe.tcpSocket", {"port": "http"}),
    (7, "Deployment/mlflow", f"{POD}.containers.0.startupProbe.successThreshold", 2),
    (8, "Job/evaluate", "spec.backoffLimit", -1),
    (8, "Job/evaluate", f"{POD}.containers.0.resources.limits.cpu", "-1"),
    (9, "Deployment/mlflow", "spec.selector.matchLabels", {"app.kubernetes.io/name": "tracking"}),
    (10, "NetworkPolicy/mlflow", "spec.ingress.0.from.0", {"ipBlock": {"cidr": "10.0.0.0/33"}}),
    (
        10,
        "NetworkPolicy/mlflow",
        "spec.ingress.0.from.0",
        {"ipBlock": {"cidr": "10.0.0.0/8", "except": ["11.0.0.0/16"]}},
    ),
    (12, "Service/mlflow", "spec.ports.0.targetPort", "web"),
    (12, "Service/mlflow", "spec.type", "LoadBalancer"),
    (12, "Service/mlflow", "spec.selector", {"app.kubernetes.io/name": "tracking"}),
    (13, "Job/data", f"{POD}.containers.0.securityContext.privileged", True),
    (14, "TrainingRuntime/langpose", f"{NODE}.volumes.4.emptyDir.medium", "memory"),
    (14, "TrainingRuntime/langpose", f"{NODE}.volumes.4.emptyDir.sizeLimit", "60Gi"),
    (15, "RayJob/sweep", "spec.submitterPodTemplate", REMOVED),
    (15, "Job/data", f"{POD}.initContainers.0.securityContext.capabilities", REMOVED),
    (15, "Job/data", f"{POD}.automountServiceAccountToken", REMOVED),
    (15, "Job/data", f"{POD}.volumes.1", {"name": "scratch", "hostPath": {"path": "/scratch"}}),
    (15, "Deployment/mlflow", f"{POD}.containers.0.securityContext.readOnlyRootFilesystem", False),
    (15, "Deployment/mlflow", f"{POD}.securityContext.runAsUser", 0),
    (16, "TrainJob/pretrain", "spec.runtimeRef.kind", REMOVED),
    (16, "TrainJob/pretrain", "spec.trainer.numProcPerNode", REMOVED),
    (16, "TrainJob/pretrain", "spec.trainer.numNodes", 0),
    (16, "TrainJob/pretrain", "spec.trainer.env", [{"name": "PET_NNODES", "value": "2"}]),
    (16, "TrainingRuntime/langpose", f"{NODE}.containers.0.name", "trainer"),
    (16, "TrainingRuntime/langpose", "spec.template.spec.failurePolicy.rules", REMOVED),
    (16, "TrainingRuntime/langpose", "spec.template.spec.ttlSecondsAfterFinished", 60),
    (17, "RayJob/sweep", "spec.rayClusterSpec.rayVersion", REMOVED),
    (17, "RayJob/sweep", "spec.rayClusterSpec.authOptions", REMOVED),
    (17, "RayJob/sweep", f"{HEAD}.rayStartParams.num-cpus", "4"),
    (17, "RayJob/sweep", f"{WORKERS}.maxReplicas", 8),
    (17, "RayJob/sweep", f"{WORKERS}.replicas", 9),
    (17, "RayJob/sweep", "spec.entrypoint", "python -m tuning.sweep"),
    (17, "RayJob/sweep", "spec.backoffLimit", REMOVED),
    (18, "TrainingRuntime/langpose", f"{NODE}.containers.0.envFrom.0.configMapRef.name", "network"),
    (18, "Job/evaluate", f"{POD}.volumes.0.persistentVolumeClaim.claimName", "data"),
    (18, "Job/evaluate", f"{POD}.containers.0.env.3.valueFrom.secretKeyRef.name", "mlflow"),
    (18, "Job/evaluate", f"{POD}.serviceAccountName", "evaluator"),
    (19, "NetworkPolicy/mlflow", "spec.podSelector.matchLabels", {"app.kubernetes.io/name": "tracking"}),
    (
        19,
        "NetworkPolicy/pretrain",
        "spec.podSelector.matchLabels",
        {"jobset.sigs.k8s.io/jobset-name": "pretrain-2"},
    ),
    (14, "TrainJob/finetune", "spec.trainer.resourcesPerNode.limits.memory", "6Gi"),
    (15, "Job/data", f"{POD}.containers.0.securityContext.runAsUser", 0),
    (15, "Job/data", f"{POD}.containers.0.securityContext.seccompProfile", {"type": "Unconfined"}),
    (17, "RayJob/sweep", f"{HEAD}.rayStartParams.object-store-memory", "8000000000"),
    (17, "RayJob/sweep", f"{HEAD}.template.spec.containers.0.resources.requests.cpu", "500m"),
    (18, "Deployment/mlflow", f"{POD}.containers.0.env.1.valueFrom.configMapKeyRef.key", "artefacts"),
    (18, "TrainJob/pretrain", "metadata.labels", {"kueue.x-k8s.io/queue-name": "langpose"}),
    (5, "TrainJob/pretrain", "metadata.labels", {"part": "_langpose_"}),
    (20, "TrainingRuntime/langpose", f"{NODE}.terminationGracePeriodSeconds", 60),
    (20, "RayJob/sweep", f"{HEAD}.template.spec.terminationGracePeriodSeconds", REMOVED),
]


@pytest.mark.parametrize(("number", "name", "place", "value"), BROKEN)
def test_a_broken_manifest_breaks_its_rule(number: int, name: str, place: str, value: Any) -> None:
    manifests = copy.deepcopy(together("single-gpu"))
    change(manifests, name, place, value)
    assert list(RULES[number](manifests))


def test_a_budget_that_says_two_things_breaks_its_rule() -> None:
    budget = {"kind": "PodDisruptionBudget", "metadata": {"name": "mlflow"}}
    for spec in ({}, {"minAvailable": 1, "maxUnavailable": 1}):
        assert list(RULES[11]([{**budget, "spec": spec}]))
    assert not list(RULES[11]([{**budget, "spec": {"minAvailable": 1}}]))


def test_every_rule_has_a_broken_manifest() -> None:
    assert sorted(RULES) == [*range(1, 21)]
    assert {number for number, *_ in BROKEN} | {11} == set(RULES)


@pytest.mark.parametrize(
    ("name", "place", "value"),
    [
        ("Deployment/mlflow", "spec.replica", 2),
        ("Deployment/mlflow", f"{POD}.containers.0.imagePullPolicy", "Sometimes"),
        ("Deployment/mlflow", f"{POD}.containers.0.ports.0.containerPort", "5000"),
        ("Deployment/mlflow", f"{POD}.volumes.1.name", "state"),
        ("TrainJob/pretrain", "spec.trainer.numProcPerNode", "8"),
        ("TrainJob/pretrain", "spec.trainer.commands", []),
        ("TrainJob/pretrain", "metadata.name", "Pretrain"),
        ("TrainingRuntime/langpose", "spec.mlPolicy.mpi", {"numProcPerNode": 1}),
        ("TrainingRuntime/langpose", f"{NODE}.containers.0.imagePullPolicies", "Always"),
        ("TrainingRuntime/langpose", f"{NODE}.volumes.4.name", "tmp"),
        ("TrainingRuntime/langpose", "spec.template.spec.failurePolicy.rules.0.action", "Restart"),
        ("RayJob/sweep", "spec.rayClusterSpec.authOptions.mode", "password"),
        ("RayJob/sweep", f"{WORKERS}.template.spec.containers.0.resource", {}),
        ("NetworkPolicy/mlflow", "metadata.namespace", REMOVED),
    ],
)
def test_the_schemas_see_a_mistake(name: str, place: str, value: Any) -> None:
    manifests = copy.deepcopy(together("dev"))
    change(manifests, name, place, value)
    assert [problem for manifest in manifests for problem in find_problems(manifest)]


def change(manifests: list[Manifest], name: str, place: str, value: Any) -> None:
    """Change or remove what stands at a place such as ``spec.containers.0.name``."""
    target: Any = next(one for one in manifests if name_of(one) == name)
    *way, last = re.split(r"\.(?![\w.-]*/)", place)
    for step in way:
        target = target[int(step)] if isinstance(target, list) else target[step]
    key: Any = int(last) if isinstance(target, list) else last
    if value is REMOVED:
        del target[key]
    else:
        target[key] = value


def test_no_secret_and_no_moving_image_is_in_git() -> None:
    for folder in FOLDERS:
        for manifest in render(folder):
            assert manifest["kind"] != "Secret"
        for place, _, container in all_containers(render(folder)):
            assert re.search(r":\d[\w.-]*$", container["image"]), f"{place}: {container['image']}"
            for variable in container.get("env", ()):
                if re.search("PASSWORD|SECRET|ACCESS_KEY|DATABASE$|STORE_URI", variable["name"]):
                    assert "secretKeyRef" in variable["valueFrom"], f"{place}: {variable['name']}"


def test_the_readme_makes_every_secret() -> None:
    text = (K8S / "README.md").read_text(encoding="utf-8")
    assert set(re.findall(r"create secret generic ([\w-]+)", text)) == OUTSIDE_SECRETS
    used = {
        (reference["name"], reference["key"])
        for overlay in OVERLAYS
        for _, _, container in all_containers(together(overlay))
        for variable in container.get("env", ())
        if (reference := variable.get("valueFrom", {}).get("secretKeyRef"))
    }
    for name, key in used:
        (command,) = re.findall(rf"create secret generic {name}((?: \\\n|[^\n])*)", text)
        assert re.search(rf"--from-(literal|file)={key}\b", command), f"{name}: {key}"


def test_kinds_of_the_cluster_have_no_namespace() -> None:
    for overlay in OVERLAYS:
        for manifest in render(f"overlays/{overlay}"):
            if kind_of(manifest).startswith("kueue") and manifest["kind"] != "LocalQueue":
                assert "namespace" not in manifest["metadata"]
