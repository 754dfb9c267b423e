"""Who may talk to whom, worked out from all policies together and written down as a table."""

from collections.abc import Iterator, Mapping, Sequence

import pytest

from tests.k8s.manifests import OVERLAYS, Manifest, name_of, templates, together
from tests.k8s.rules import _network_rules

ALL = "all ports"
PLATFORM = {
    ("pretrain", "mlflow", 5000),
    ("finetune", "mlflow", 5000),
    ("sweep head", "mlflow", 5000),
    ("sweep gpu", "mlflow", 5000),
    ("evaluate", "mlflow", 5000),
    ("pretrain", "pretrain", ALL),
    ("finetune", "finetune", ALL),
    ("sweep head", "sweep head", ALL),
    ("sweep head", "sweep gpu", ALL),
    ("sweep gpu", "sweep head", ALL),
    ("sweep gpu", "sweep gpu", ALL),
    ("sweep submitter", "sweep head", 8265),
    ("sweep submitter", "sweep gpu", 8265),
}
STORES = {
    ("mlflow", "postgres", 5432),
    ("migrate", "postgres", 5432),
    ("mlflow", "seaweedfs", 8333),
    ("make-bucket", "seaweedfs", 8333),
}
TABLES = {"dev": PLATFORM | STORES, "single-gpu": PLATFORM | STORES, "prod": PLATFORM}
OUTSIDE = {
    "dev": set(),
    "single-gpu": set(),
    "prod": {("mlflow", "10.0.0.0/8", 5432), ("migrate", "10.0.0.0/8", 5432), ("mlflow", "0.0.0.0/0", 443)},
}


def pods(manifests: Sequence[Manifest]) -> Iterator[tuple[str, Mapping[str, str]]]:
    """Name and labels of the pods, those of a TrainJob with the labels that JobSet adds."""
    for manifest in manifests:
        for place, template in templates(manifest):
            labels = template.get("metadata", {}).get("labels", {})
            if manifest["kind"] == "TrainingRuntime":
                for job in (one["metadata"]["name"] for one in manifests if one["kind"] == "TrainJob"):
                    yield job, {**labels, "jobset.sigs.k8s.io/jobset-name": job}
            else:
                yield place.partition("/")[2], labels


def selects(selector: Mapping[str, Mapping[str, str]], labels: Mapping[str, str]) -> bool:
    return selector.get("matchLabels", {}).items() <= labels.items()


def allowed(manifests: Sequence[Manifest], direction: str) -> Iterator[tuple[str, Manifest, int | str]]:
    """Pod, peer and port of every rule of a direction."""
    for policy in (one for one in manifests if one["kind"] == "NetworkPolicy"):
        for side, ports, peers in _network_rules(policy):
            for name, labels in pods(manifests):
                if side == direction and selects(policy["spec"]["podSelector"], labels):
                    yield from ((name, peer, port) for peer in peers for port in ports or [ALL])


def reachable(manifests: Sequence[Manifest]) -> set[tuple[str, str, int | str]]:
    """Sender, receiver and port, where the sender's and the receiver's policies both allow it."""
    found = {}
    for direction in ("egress", "ingress"):
        found[direction] = {
            (name, other, port)
            for name, peer, port in allowed(manifests, direction)
            for other, labels in pods(manifests)
            if "podSelector" in peer
            and "namespaceSelector" not in peer
            and selects(peer["podSelector"], labels)
        }
    return {
        (sender, receiver, port)
        for sender, receiver, port in found["egress"]
        if {(receiver, sender, port), (receiver, sender, ALL)} & found["ingress"]
    }


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_who_talks_to_whom(overlay: str) -> None:
    assert reachable(together(overlay)) == TABLES[overlay]


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_what_leaves_the_cluster(overlay: str) -> None:
    outside = {
        (name, peer["ipBlock"]["cidr"], port)
        for name, peer, port in allowed(together(overlay), "egress")
        if "ipBlock" in peer
    }
    assert outside == OUTSIDE[overlay]


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_nothing_is_allowed_that_no_policy_names(overlay: str) -> None:
    (policy,) = [one for one in together(overlay) if name_of(one) == "NetworkPolicy/deny-all"]
    assert policy["spec"] == {"podSelector": {}, "policyTypes": ["Ingress", "Egress"]}


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_kuberay_alone_comes_in_from_another_namespace(overlay: str) -> None:
    found = {
        (name, peer["podSelector"]["matchLabels"]["app.kubernetes.io/component"], port)
        for name, peer, port in allowed(together(overlay), "ingress")
        if "namespaceSelector" in peer
    }
    assert found == {("sweep head", "kuberay-operator", 8265), ("sweep gpu", "kuberay-operator", 8265)}


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_every_pod_may_ask_for_names_and_nothing_else_of_other_namespaces(overlay: str) -> None:
    other = {
        (peer["namespaceSelector"]["matchLabels"]["kubernetes.io/metadata.name"], port)
        for _, peer, port in allowed(together(overlay), "egress")
        if "namespaceSelector" in peer
    }
    assert other == {("kube-system", 53)}
