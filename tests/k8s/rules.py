"""Rules that no schema knows: a real cluster enforces them, or fails in silence, or they are our own.

Each takes all manifests that stand beside each other in a cluster, and yields the problems it finds.
"""

import ipaddress
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from tests.k8s.manifests import Manifest, all_containers, containers, name_of, quantity, templates

Rule = Callable[[Sequence[Manifest]], Iterator[str]]
RULES: dict[int, Rule] = {}
OUTSIDE_SECRETS = frozenset(
    {"mlflow-admin", "mlflow-client", "mlflow-database", "object-store", "postgres", "seaweedfs-s3"}
)
"""Made by hand, as the README says."""
EXTENDED = ("nvidia.com/gpu",)
_QUEUE_LABELS = {
    "kueue.x-k8s.io/queue-name": "LocalQueue",
    "kueue.x-k8s.io/priority-class": "WorkloadPriorityClass",
}
_FIELD_PATHS = ("metadata.name", "metadata.namespace", "metadata.uid", "spec.nodeName", "status.podIP")
_SAVE_S, _SHUTDOWN_S = 30, 60
"""Usual save of a run that was asked to stop, and torchrun's own wait for its ranks."""
_LABEL = r"([A-Za-z0-9]([\w.-]{0,61}[A-Za-z0-9])?)?"


def rule(number: int) -> Callable[[Rule], Rule]:
    """Put a rule into the table."""

    def add(function: Rule) -> Rule:
        RULES[number] = function
        return function

    return add


@rule(1)
def jobs_do_not_restart_for_ever(manifests: Sequence[Manifest]) -> Iterator[str]:
    """Pods of a Job: Never or OnFailure; with a podFailurePolicy Never."""
    for place, spec in _job_specs(manifests):
        policy = spec["template"]["spec"].get("restartPolicy", "Always")
        allowed = ("Never",) if "podFailurePolicy" in spec else ("Never", "OnFailure")
        if policy not in allowed:
            yield f"{place}: restartPolicy {policy} is none of {allowed}"


@rule(2)
def deployments_always_restart(manifests: Sequence[Manifest]) -> Iterator[str]:
    """Always; and no rollingUpdate beside Recreate."""
    for manifest in _of(manifests, "Deployment", "StatefulSet"):
        if manifest["spec"]["template"]["spec"].get("restartPolicy", "Always") != "Always":
            yield f"{name_of(manifest)}: restartPolicy must be Always"
        strategy = manifest["spec"].get("strategy", {})
        if strategy.get("type") == "Recreate" and "rollingUpdate" in strategy:
            yield f"{name_of(manifest)}: rollingUpdate beside Recreate"


@rule(3)
def requests_fit_limits(manifests: Sequence[Manifest]) -> Iterator[str]:
    """Both everywhere, ephemeral storage too; a request within its limit, of devices equal to it."""
    for place, resources in _resources(manifests):
        requests, limits = resources.get("requests", {}), resources.get("limits", {})
        for name in ("cpu", "memory", "ephemeral-storage"):
            if name not in requests or name not in limits:
                yield f"{place}: no request or no limit of {name}"
        for name in requests.keys() & limits.keys():
            if quantity(requests[name]) > quantity(limits[name]):
                yield f"{place}: requests more {name} than its limit"
        for name in EXTENDED:
            if requests.get(name) != limits.get(name):
                yield f"{place}: {name} must be requested and limited alike"


@rule(4)
def mounts_have_their_volumes(manifests: Sequence[Manifest]) -> Iterator[str]:
    """Each mount has its volume, and each volume is mounted."""
    for manifest in manifests:
        claims = {
            claim["metadata"]["name"] for claim in manifest.get("spec", {}).get("volumeClaimTemplates", ())
        }
        for place, template in templates(manifest):
            volumes = {volume["name"] for volume in template["spec"].get("volumes", ())} | claims
            mounts = {mount["name"] for one in containers(template) for mount in one.get("volumeMounts", ())}
            for name in volumes ^ mounts:
                yield f"{place}: {name} is {'not mounted' if name in volumes else 'no volume'}"


@rule(5)
def names_are_allowed(manifests: Sequence[Manifest]) -> Iterator[str]:
    """DNS labels, short enough for what the operators append; values of labels too."""
    longest = {"RayJob": 47, "TrainJob": 63}
    for manifest in manifests:
        name, kind = manifest["metadata"]["name"], manifest["kind"]
        start = "[a-z]" if kind in ("TrainJob", "Service") else "[a-z0-9]"
        if not re.fullmatch(rf"{start}([-a-z0-9]*[a-z0-9])?", name) or len(name) > longest.get(kind, 63):
            yield f"{kind}/{name}: not a name of at most {longest.get(kind, 63)} characters"
        metadata = [manifest["metadata"], *(found.get("metadata", {}) for _, found in templates(manifest))]
        for key, value in (item for one in metadata for item in one.get("labels", {}).items()):
            if not isinstance(value, str) or not re.fullmatch(_LABEL, value):
                yield f"{kind}/{name}: label {key}={value!r}"


@rule(6)
def variables_have_one_source(manifests: Sequence[Manifest]) -> Iterator[str]:
    """A value or a place that it comes from, and a field that a pod has."""
    for place, _, container in all_containers(manifests):
        for variable in container.get("env", ()):
            if ("value" in variable) == ("valueFrom" in variable):
                yield f"{place}: {variable['name']} needs either value or valueFrom"
            source = variable.get("valueFrom", {})
            if len(source) > 1:
                yield f"{place}: {variable['name']} has {len(source)} sources"
            path = source.get("fieldRef", {}).get("fieldPath", _FIELD_PATHS[0])
            if path not in _FIELD_PATHS and not path.startswith(
                ("metadata.labels[", "metadata.annotations[")
            ):
                yield f"{place}: {variable['name']}: no field {path}"


@rule(7)
def probes_can_succeed(manifests: Sequence[Manifest]) -> Iterator[str]:
    """One handler, on a port that the container has."""
    for place, _, container in all_containers(manifests):
        ports = {port.get("name") for port in container.get("ports", ())}
        ports |= {port["containerPort"] for port in container.get("ports", ())}
        for name in ("startupProbe", "readinessProbe", "livenessProbe"):
            if (probe := container.get(name)) is None:
                continue
            handlers = [probe[kind] for kind in ("exec", "grpc", "httpGet", "tcpSocket") if kind in probe]
            if len(handlers) != 1:
                yield f"{place}: {name} has {len(handlers)} handlers"
            elif "port" in handlers[0] and handlers[0]["port"] not in ports:
                yield f"{place}: {name} asks port {handlers[0]['port']}, which the container has not"
            if name != "readinessProbe" and probe.get("successThreshold", 1) != 1:
                yield f"{place}: {name}: successThreshold must be 1"


@rule(8)
def nothing_is_negative(manifests: Sequence[Manifest]) -> Iterator[str]:
    """No count, no time and no quantity."""
    for manifest in manifests:
        for place, value in _leaves(manifest.get("spec", {})):
            is_quantity = isinstance(value, str) and re.fullmatch(r"-\d[\w.]*", value)
            if (isinstance(value, int | float) and value < 0) or (is_quantity and "resources" in place):
                yield f"{name_of(manifest)}: {'.'.join(place)} is {value}"


@rule(9)
def selectors_select_their_own_pods(manifests: Sequence[Manifest]) -> Iterator[str]:
    """The labels of the template hold those of the selector."""
    for manifest in _of(manifests, "Deployment", "StatefulSet"):
        wanted = manifest["spec"]["selector"]["matchLabels"]
        if not wanted.items() <= manifest["spec"]["template"]["metadata"]["labels"].items():
            yield f"{name_of(manifest)}: its selector does not select its pods"


@rule(10)
def address_ranges_are_real(manifests: Sequence[Manifest]) -> Iterator[str]:
    """Networks that parse, with exceptions inside them."""
    for manifest in _of(manifests, "NetworkPolicy"):
        for peer in (peer for _, _, rows in _network_rules(manifest) for peer in rows):
            if (block := peer.get("ipBlock")) is None:
                continue
            try:
                whole = ipaddress.ip_network(block["cidr"])
                outside = [part for part in block.get("except", ()) if not _lies_in(part, whole)]
            except ValueError as error:
                yield f"{name_of(manifest)}: {error}"
            else:
                yield from (f"{name_of(manifest)}: {part} is not in {whole}" for part in outside)


@rule(11)
def disruption_budgets_say_one_thing(manifests: Sequence[Manifest]) -> Iterator[str]:
    """Exactly one of minAvailable and maxUnavailable."""
    for manifest in _of(manifests, "PodDisruptionBudget"):
        if ("minAvailable" in manifest["spec"]) == ("maxUnavailable" in manifest["spec"]):
            yield f"{name_of(manifest)}: give one of minAvailable and maxUnavailable"


@rule(12)
def services_lead_somewhere(manifests: Sequence[Manifest]) -> Iterator[str]:
    """To a port of the pods that they select, inside the cluster alone."""
    for service in _of(manifests, "Service"):
        if service["spec"].get("type", "ClusterIP") != "ClusterIP":
            yield f"{name_of(service)}: open to the outside"
        ports = service["spec"]["ports"]
        if len({port.get("name") for port in ports}) < len(ports):
            yield f"{name_of(service)}: two ports of one name"
        pods = [template for _, template in _selected(manifests, service["spec"]["selector"])]
        if not pods:
            yield f"{name_of(service)}: selects no pod"
        names = {found for pod in pods for one in containers(pod) for found in _ports(one)}
        for port in ports:
            if pods and port.get("targetPort", port["port"]) not in names:
                yield f"{name_of(service)}: its pods have no port {port.get('targetPort', port['port'])}"


@rule(13)
def privileged_needs_escalation(manifests: Sequence[Manifest]) -> Iterator[str]:
    """The two contradict each other."""
    for place, _, container in all_containers(manifests):
        security = container.get("securityContext", {})
        if security.get("privileged") and security.get("allowPrivilegeEscalation") is False:
            yield f"{place}: privileged, without escalation"


@rule(14)
def empty_folders_are_bounded(manifests: Sequence[Manifest]) -> Iterator[str]:
    """On disk or in memory, with a limit; memory counts in the pod's."""
    for manifest in manifests:
        for place, template in templates(manifest):
            limits = [sum(_limit(one, "memory") for one in template["spec"]["containers"])]
            if manifest["kind"] == "TrainingRuntime":  # whose jobs have limits of their own
                jobs = _of(manifests, "TrainJob")
                limits += [
                    quantity(job["spec"]["trainer"]["resourcesPerNode"]["limits"]["memory"]) for job in jobs
                ]
            memory = min(limits)
            for volume in template["spec"].get("volumes", ()):
                if (folder := volume.get("emptyDir")) is None:
                    continue
                if folder.get("medium", "") not in ("", "Memory"):
                    yield f"{place}: {volume['name']}: medium {folder['medium']}"
                if "sizeLimit" not in folder:
                    yield f"{place}: {volume['name']} has no limit"
                elif folder.get("medium") == "Memory" and quantity(folder["sizeLimit"]) > memory / 2:
                    yield f"{place}: {volume['name']} may take more than half of the memory limit"


@rule(15)
def pods_are_restricted(manifests: Sequence[Manifest]) -> Iterator[str]:
    """Pod Security's level restricted; a read-only root, and no token of the cluster."""
    for manifest in manifests:
        for place, template in templates(manifest):
            spec = template["spec"]
            pod = spec.get("securityContext", {})
            if spec.get("automountServiceAccountToken") is not False:
                yield f"{place}: gets a token of the cluster"
            if any(spec.get(name) for name in ("hostNetwork", "hostPID", "hostIPC")):
                yield f"{place}: shares the node's namespaces"
            if "sysctls" in pod:
                yield f"{place}: sets the kernel's parameters"
            kinds = {key for volume in spec.get("volumes", ()) for key in volume if key != "name"}
            if kinds - {"configMap", "emptyDir", "persistentVolumeClaim", "projected", "secret"}:
                yield f"{place}: volumes of kind {sorted(kinds)}"
            if not spec["containers"]:
                yield f"{place}: the operator's own pod, which the namespace refuses"
            for container in containers(template):
                security = container.get("securityContext", {})
                both = {**pod, **security}
                if not both.get("runAsUser") or both.get("runAsNonRoot") is not True:
                    yield f"{place} {container['name']}: may run as root"
                if both.get("seccompProfile", {}).get("type") not in ("RuntimeDefault", "Localhost"):
                    yield f"{place} {container['name']}: no seccomp profile"
                if security.get("procMount", "Default") != "Default" or "seLinuxOptions" in both:
                    yield f"{place} {container['name']}: asks for more than restricted allows"
                if security.get("allowPrivilegeEscalation") is not False or security.get("privileged"):
                    yield f"{place} {container['name']}: may gain privileges"
                if security.get("capabilities") != {"drop": ["ALL"]}:
                    yield f"{place} {container['name']}: keeps capabilities"
                if security.get("readOnlyRootFilesystem") is not True:
                    yield f"{place} {container['name']}: may write to its root"
                if any("hostPort" in port for port in container.get("ports", ())):
                    yield f"{place} {container['name']}: takes a port of the node"


@rule(16)
def trainer_takes_the_job(manifests: Sequence[Manifest]) -> Iterator[str]:
    """Rules of Trainer's webhook, and mistakes that it accepts but that fail later."""
    runtimes = {one["metadata"]["name"]: one for one in _of(manifests, "TrainingRuntime")}
    for job in _of(manifests, "TrainJob"):
        trainer, reference = job["spec"].get("trainer", {}), job["spec"]["runtimeRef"]
        if reference.get("kind") != "TrainingRuntime" or reference["name"] not in runtimes:
            yield f"{name_of(job)}: no runtime {reference}"
        if not isinstance(trainer.get("numProcPerNode"), int) or trainer["numProcPerNode"] < 1:
            yield f"{name_of(job)}: numProcPerNode must be a number of 1 or more"
        if trainer.get("numNodes", 1) < 1:
            yield f"{name_of(job)}: numNodes must be 1 or more"
        gpus = int(trainer.get("resourcesPerNode", {}).get("limits", {}).get("nvidia.com/gpu", 0))
        if gpus and gpus != trainer.get("numProcPerNode"):
            yield f"{name_of(job)}: {gpus} GPUs for {trainer.get('numProcPerNode')} ranks of a node"
        if any(variable["name"].startswith("PET_") for variable in trainer.get("env", ())):
            yield f"{name_of(job)}: PET_ variables are Trainer's own"
        if "activeDeadlineSeconds" in job["spec"]:
            yield f"{name_of(job)}: activeDeadlineSeconds does not survive a restart"
    for runtime in runtimes.values():
        spec = runtime["spec"]["template"]["spec"]
        steps = [
            job["template"]["metadata"]["labels"].get("trainer.kubeflow.org/trainjob-ancestor-step")
            for job in spec["replicatedJobs"]
            if "metadata" in job["template"]
        ]
        if steps != ["trainer"]:
            yield f"{name_of(runtime)}: one job must be the trainer, found {steps}"
        for job in spec["replicatedJobs"]:
            pods = job["template"]["spec"]["template"]["spec"]["containers"]
            if job.get("replicas", 1) != 1 or "node" not in [one["name"] for one in pods]:
                yield f"{name_of(runtime)} {job['name']}: one replica with a container node"
        if "ttlSecondsAfterFinished" in spec:
            yield f"{name_of(runtime)}: a JobSet's own time to live deletes it under its TrainJob"
        if "torch" in runtime["spec"]["mlPolicy"]:
            yield from _restarts_of(runtime)


@rule(17)
def kuberay_takes_the_job(manifests: Sequence[Manifest]) -> Iterator[str]:
    """Rules of KubeRay, of restricted pods and of a sweep that must resume."""
    for job in _of(manifests, "RayJob"):
        spec, name = job["spec"], name_of(job)
        cluster = spec["rayClusterSpec"]
        head, workers = cluster["headGroupSpec"], cluster.get("workerGroupSpecs", ())
        if not re.fullmatch(r"\d+\.\d+\.\d+", cluster.get("rayVersion", "")):
            yield f"{name}: rayVersion must be given"
        if cluster.get("authOptions", {}).get("mode") != "token":
            yield f"{name}: Ray without a token runs what anyone sends"
        if "enableK8sTokenAuth" in cluster.get("authOptions", {}):
            yield f"{name}: the cluster's own tokens need an account, which no pod has"
        for group in (head, *workers):
            for container in group["template"]["spec"]["containers"]:
                resources = container.get("resources", {})
                if resources.get("requests") != resources.get("limits"):
                    yield f"{name} {container['name']}: Ray counts limits, so requests must equal them"
                if any("REDIS" in variable["name"] for variable in container.get("env", ())):
                    yield f"{name} {container['name']}: no Redis is there"
                store = quantity(group.get("rayStartParams", {}).get("object-store-memory", "1T"))
                shm = [
                    quantity(volume["emptyDir"]["sizeLimit"])
                    for volume in group["template"]["spec"]["volumes"]
                    if volume.get("emptyDir", {}).get("medium") == "Memory"
                ]
                if store > sum(shm):
                    yield f"{name} {container['name']}: the object store is larger than /dev/shm"
        if head["rayStartParams"].get("num-cpus") != "0":
            yield f'{name}: trials on the head, num-cpus must be "0"'
        if any(_limit(one, gpu) for one in head["template"]["spec"]["containers"] for gpu in EXTENDED):
            yield f"{name}: a GPU that no trial may use"
        for group in workers:
            if not group["minReplicas"] <= group.get("replicas", 0) <= group["maxReplicas"]:
                yield f"{name} {group['groupName']}: replicas outside of its limits"
            if not cluster.get("enableInTreeAutoscaling") and group["minReplicas"] != group["maxReplicas"]:
                yield f"{name} {group['groupName']}: a range of replicas needs the autoscaler"
        for group in (head, *workers):
            if "labels" in group.get("rayStartParams", {}):
                yield f"{name}: labels are no parameter of ray start here"
            if "resources" in group and "num-cpus" in group.get("rayStartParams", {}):
                yield f"{name}: num-cpus beside resources"
        if not spec.get("shutdownAfterJobFinishes") and "ttlSecondsAfterFinished" in spec:
            yield f"{name}: a time to live without shutdownAfterJobFinishes"
        if spec.get("backoffLimit", 0) < 1 or spec.get("submitterConfig", {}).get("backoffLimit") is None:
            yield f"{name}: no second attempt"
        if "--resume-if-started" not in spec["entrypoint"]:
            yield f"{name}: a second attempt would be refused"
        for field in ("networkPolicy", "tlsOptions", "historyServerOptions"):
            if field in cluster:
                yield f"{name}: {field} is not ready"


@rule(18)
def what_is_named_exists(manifests: Sequence[Manifest]) -> Iterator[str]:
    """ConfigMaps with their keys, claims, accounts, queues, priorities; Secrets in the README's list."""
    there = {(one["kind"], one["metadata"]["name"]) for one in manifests}
    there |= {("Secret", name) for name in OUTSIDE_SECRETS} | {("ServiceAccount", "default")}
    for manifest in manifests:
        for place, template in templates(manifest):
            for kind, name in _references(template["spec"]):
                if (kind, name) not in there:
                    yield f"{place}: there is no {kind} {name}"
            yield from _missing_keys(manifests, place, template)
        labels = manifest["metadata"].get("labels", {})
        for label, kind in _QUEUE_LABELS.items():
            if label in labels and (kind, labels[label]) not in there:
                yield f"{name_of(manifest)}: there is no {kind} {labels[label]}"
    for queue in _of(manifests, "LocalQueue"):
        if ("ClusterQueue", queue["spec"]["clusterQueue"]) not in there:
            yield f"{name_of(queue)}: there is no ClusterQueue {queue['spec']['clusterQueue']}"


@rule(19)
def policies_select_pods(manifests: Sequence[Manifest]) -> Iterator[str]:
    """Those of the policy, and those of whom it lets in and out, where they are this namespace's."""
    for policy in _of(manifests, "NetworkPolicy"):
        selectors = [policy["spec"]["podSelector"]]
        for _, _, peers in _network_rules(policy):
            selectors += [
                peer["podSelector"]
                for peer in peers
                if "namespaceSelector" not in peer and "podSelector" in peer
            ]
        for selector in selectors:
            wanted = selector.get("matchLabels", {})
            if wanted and not list(_selected(manifests, wanted)):
                yield f"{name_of(policy)}: no pod has {wanted}"


@rule(20)
def pods_have_time_to_save(manifests: Sequence[Manifest]) -> Iterator[str]:
    """From stop to end: save, torchrun's own wait, the pod's grace period."""
    assert _SAVE_S < _SHUTDOWN_S
    for manifest in manifests:
        for place, template in templates(manifest):
            part = template.get("metadata", {}).get("labels", {}).get("langpose.dev/part")
            needed = {"training": _SHUTDOWN_S + _SAVE_S, "sweep": _SHUTDOWN_S}.get(part, 0)
            if template["spec"].get("terminationGracePeriodSeconds", 30) <= needed:
                yield f"{place}: its grace period must be longer than {needed} s"


def _missing_keys(manifests: Sequence[Manifest], place: str, template: Manifest) -> Iterator[str]:
    """Keys that a container asks for and its ConfigMap does not have."""
    maps = {one["metadata"]["name"]: one.get("data", {}) for one in _of(manifests, "ConfigMap")}
    for container in containers(template):
        for variable in container.get("env", ()):
            source = variable.get("valueFrom", {}).get("configMapKeyRef")
            if source and source["key"] not in maps.get(source["name"], {}):
                yield f"{place}: ConfigMap {source['name']} has no {source['key']}"


def _restarts_of(runtime: Manifest) -> Iterator[str]:
    """An interruption restarts without counting, a crash counts."""
    spec = runtime["spec"]["template"]["spec"]
    rules = [
        (one["action"], one["onJobFailureReasons"]) for one in spec.get("failurePolicy", {}).get("rules", ())
    ]
    if rules != [("RestartJobSetAndIgnoreMaxRestarts", ["PodFailurePolicy"])]:
        yield f"{name_of(runtime)}: an interruption must restart the job without counting, found {rules}"
    for job in spec["replicatedJobs"]:
        policy = job["template"]["spec"].get("podFailurePolicy", {}).get("rules", ())
        conditions = [one["type"] for row in policy for one in row.get("onPodConditions", ())]
        codes = [row["onExitCodes"]["values"] for row in policy if "onExitCodes" in row]
        if conditions != ["DisruptionTarget"] or codes != [[75]]:
            yield f"{name_of(runtime)}: evictions and exit status 75 must fail the job by policy"


def _of(manifests: Sequence[Manifest], *kinds: str) -> list[Manifest]:
    return [one for one in manifests if one["kind"] in kinds]


def _job_specs(manifests: Sequence[Manifest]) -> Iterator[tuple[str, Manifest]]:
    for manifest in manifests:
        if manifest["kind"] == "Job":
            yield name_of(manifest), manifest["spec"]
        elif manifest["kind"] == "TrainingRuntime":
            for job in manifest["spec"]["template"]["spec"]["replicatedJobs"]:
                yield f"{name_of(manifest)} {job['name']}", job["template"]["spec"]


def _resources(manifests: Sequence[Manifest]) -> Iterator[tuple[str, Manifest]]:
    for place, _, container in all_containers(manifests):
        yield place, container.get("resources", {})
    for job in _of(manifests, "TrainJob"):
        yield name_of(job), job["spec"]["trainer"].get("resourcesPerNode", {})


def _limit(container: Manifest, name: str) -> float:
    return quantity(container.get("resources", {}).get("limits", {}).get(name, 0))


def _leaves(value: Any, place: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Any]]:
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    if not isinstance(value, dict | list):
        yield place, value
    for key, item in items:
        yield from _leaves(item, (*place, str(key)))


def _lies_in(part: str, whole: Any) -> bool:
    return ipaddress.ip_network(part).subnet_of(whole)  # pyright: ignore[reportArgumentType]


def _network_rules(policy: Manifest) -> Iterator[tuple[str, list[Any], list[Manifest]]]:
    """Direction, ports and peers of every rule of a policy."""
    for direction, side in (("ingress", "from"), ("egress", "to")):
        for row in policy["spec"].get(direction, ()):
            yield direction, [port["port"] for port in row.get("ports", ())], row.get(side, [])


def _selected(manifests: Sequence[Manifest], labels: Mapping[str, str]) -> Iterator[tuple[str, Manifest]]:
    """Pods with these labels; JobSet's own label stands on those of the TrainJob that it names."""
    wanted = dict(labels)
    job = wanted.pop("jobset.sigs.k8s.io/jobset-name", None)
    for manifest in manifests:
        for place, template in templates(manifest):
            found = template.get("metadata", {}).get("labels", {})
            is_job = job is None or (
                manifest["kind"] == "TrainingRuntime"
                and job in [one["metadata"]["name"] for one in _of(manifests, "TrainJob")]
            )
            if is_job and wanted.items() <= found.items():
                yield place, template


def _ports(container: Manifest) -> Iterator[str | int]:
    for port in container.get("ports", ()):
        yield port["containerPort"]
        if "name" in port:
            yield port["name"]


def _references(spec: Manifest) -> Iterator[tuple[str, str]]:
    for container in containers({"spec": spec}):
        for source in container.get("envFrom", ()):
            for key, kind in (("configMapRef", "ConfigMap"), ("secretRef", "Secret")):
                if key in source:
                    yield kind, source[key]["name"]
        for variable in container.get("env", ()):
            for key, kind in (("configMapKeyRef", "ConfigMap"), ("secretKeyRef", "Secret")):
                if key in variable.get("valueFrom", {}):
                    yield kind, variable["valueFrom"][key]["name"]
    for volume in spec.get("volumes", ()):
        if "configMap" in volume:
            yield "ConfigMap", volume["configMap"]["name"]
        if "secret" in volume:
            yield "Secret", volume["secret"]["secretName"]
        if "persistentVolumeClaim" in volume:
            yield "PersistentVolumeClaim", volume["persistentVolumeClaim"]["claimName"]
    if "serviceAccountName" in spec:
        yield "ServiceAccount", spec["serviceAccountName"]
    if "priorityClassName" in spec:
        yield "PriorityClass", spec["priorityClassName"]
