"""deploy/kubernetes: by the schemas of Kubernetes, and by what the service needs of a cluster."""

import re
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml

import composed

ROOT = Path(__file__).resolve().parent.parent.parent
FOLDER = ROOT / "deploy" / "kubernetes"
COMPOSE = composed.read(ROOT / "docker-compose.yml")
VERSIONS = ("1.32", kubernetes_validate.latest_version())


def manifests(folder: Path) -> list[tuple[str, dict[str, Any]]]:
    """Each object of a folder with the name of its file."""
    files = [path for path in sorted(folder.glob("*.yaml")) if path.name not in ("kustomization.yaml", "api-scale.yaml")]
    return [(path.name, one) for path in files for one in yaml.safe_load_all(path.read_text()) if one]


BASE = manifests(FOLDER / "base")
EVERYTHING = [*BASE, *manifests(FOLDER / "overlays" / "example")]
WORKLOADS = {one["metadata"]["name"]: one for _, one in BASE if one["kind"] in ("Deployment", "Job")}
KINDS = {(one["kind"], one["metadata"]["name"]) for _, one in BASE}


def pod(workload: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = workload["spec"]["template"]["spec"]
    return found


def containers(workload: dict[str, Any]) -> list[dict[str, Any]]:
    return [*pod(workload).get("initContainers", []), *pod(workload)["containers"]]


@pytest.mark.parametrize("version", VERSIONS)
def test_every_manifest_keeps_to_the_schema_of_kubernetes(version: str) -> None:
    for name, one in EVERYTHING:
        try:
            kubernetes_validate.validate(one, version, strict=True)
        except kubernetes_validate.ValidationError as error:
            pytest.fail(f"{name}, {one['kind']}: {error.message}")


def test_what_a_kustomization_names_is_there_and_nothing_lies_beside_it_unnamed() -> None:
    for path in FOLDER.rglob("kustomization.yaml"):
        given = yaml.safe_load(path.read_text())
        named = {*given["resources"], *(patch["path"] for patch in given.get("patches", []))}
        named |= {file for generator in given.get("configMapGenerator", []) for file in generator.get("envs", [])}
        for name in named:
            assert (path.parent / name).exists(), f"{path}: {name}"
            assert (path.parent / name).is_file() or (path.parent / name / "kustomization.yaml").is_file()
        assert {file.name for file in path.parent.iterdir()} == {name for name in named if "/" not in name} | {"kustomization.yaml"}


@pytest.mark.parametrize("name", WORKLOADS)
def test_a_workload_keeps_to_the_restricted_profile_and_has_limits(name: str) -> None:
    spec = pod(WORKLOADS[name])
    assert spec["automountServiceAccountToken"] is False
    assert spec["securityContext"]["runAsNonRoot"] is True
    assert spec["securityContext"]["runAsUser"] == 10001, "the image's own user"
    assert spec["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    assert ("ServiceAccount", spec["serviceAccountName"]) in KINDS
    for container in containers(WORKLOADS[name]):
        held = container["securityContext"]
        assert held == {"allowPrivilegeEscalation": False, "readOnlyRootFilesystem": True, "capabilities": {"drop": ["ALL"]}}
        assert {"cpu", "memory"} == set(container["resources"]["limits"]) == set(container["resources"]["requests"])


@pytest.mark.parametrize("name", WORKLOADS)
def test_what_a_workload_refers_to_is_there(name: str) -> None:
    spec = pod(WORKLOADS[name])
    volumes = {volume["name"]: volume for volume in spec["volumes"]}
    for container in containers(WORKLOADS[name]):
        assert {mount["name"] for mount in container["volumeMounts"]} <= set(volumes)
        assert {mount["mountPath"] for mount in container["volumeMounts"]} >= {"/tmp"}, "its file system is read-only"  # noqa: S108 - of the container
    for volume in volumes.values():
        if "persistentVolumeClaim" in volume:
            assert ("PersistentVolumeClaim", volume["persistentVolumeClaim"]["claimName"]) in KINDS
        for item in volume.get("secret", {}).get("items", []):
            assert item["key"] in COMPOSE.document["secrets"], "the Secret is made of the files of `make secrets`"


def test_the_settings_are_those_of_the_compose_file_and_each_of_their_files_is_mounted_where_it_is_read() -> None:
    lines = (FOLDER / "base" / "settings.env").read_text().splitlines()
    given = dict(line.split("=", 1) for line in lines if line and not line.startswith("#"))
    assert set(given) - {"EXPERIMENT"} == set(COMPOSE.environment("dashboard"))
    generator = yaml.safe_load((FOLDER / "base" / "kustomization.yaml").read_text())["configMapGenerator"]
    assert generator == [{"name": "ragtrial", "envs": ["settings.env"]}]
    for name, workload in WORKLOADS.items():
        for container in containers(workload):
            reads = container.get("envFrom") == [{"configMapRef": {"name": "ragtrial"}}]
            assert reads == (name != "ragtrial-tester")
            mounted = {mount["mountPath"] for mount in container["volumeMounts"]}
            assert not reads or "/run/secrets/ragtrial" in mounted


@pytest.mark.parametrize("name", ["ragtrial-api", "ragtrial-index"])
def test_what_asks_a_language_model_is_given_its_key_as_a_file(name: str) -> None:
    (secret,) = (volume["secret"] for volume in pod(WORKLOADS[name])["volumes"] if volume["name"] == "secrets")
    assert {"key": "openai-api-key", "path": "openai-api-key"} in secret["items"]
    for container in containers(WORKLOADS[name]):
        assert container["env"] == [{"name": "OPENAI_API_KEY_FILE", "value": "/run/secrets/ragtrial/openai-api-key"}]


def test_the_secret_that_the_documentation_makes_has_every_key_that_is_mounted() -> None:
    (made,) = re.findall(r"create secret generic ragtrial \$\(for f in ([^;]*);", (ROOT / "docs" / "operating.md").read_text())
    items = [item for one in WORKLOADS.values() for volume in pod(one)["volumes"] for item in volume.get("secret", {}).get("items", [])]
    assert set(made.split()) == {item["key"] for item in items}


def test_the_roll_up_is_alive_while_it_gets_on_whether_or_not_the_database_is_there() -> None:
    (container,) = containers(WORKLOADS["ragtrial-roll-up"])
    beat = container["args"][container["args"].index("--heartbeat") + 1]
    command = container["livenessProbe"]["exec"]["command"]
    assert command[0] == "python"
    assert beat in command[2]
    assert command == COMPOSE.services["roll-up"]["healthcheck"]["test"][1:]


def test_a_container_is_given_the_command_of_its_compose_service() -> None:
    def told(arguments: list[str]) -> list[str]:
        mapped = {"$(EXPERIMENT)": "experiments/live-demo.yaml", "http://ragtrial-api:8000": "http://api:8000"}
        return [
            mapped.get(part, part).replace("/run/secrets/ragtrial/", "/run/secrets/").replace("cluster ", "compose ") for part in arguments
        ]

    seen = set()
    for workload in WORKLOADS.values():
        for container in containers(workload):
            service = COMPOSE.services[container["name"]]
            assert [part for part in told(container["args"]) if part != "--quiet"] == service["command"]
            assert service["image"].partition(":")[0] == container["image"]
            seen.add(container["name"])
    ours = {name for name, service in COMPOSE.services.items() if "build" in service}
    assert seen == ours


def test_the_api_is_drained_before_it_is_stopped_and_asked_where_it_says_that_it_is_ready() -> None:
    spec = pod(WORKLOADS["ragtrial-api"])
    (api,) = spec["containers"]
    waits = api["lifecycle"]["preStop"]["sleep"]["seconds"]
    from ragtrial.cli.serving import _GRACE_S

    assert spec["terminationGracePeriodSeconds"] >= waits + _GRACE_S + 10, "the rest is for what is queued"
    assert api["readinessProbe"]["httpGet"]["path"] == api["startupProbe"]["httpGet"]["path"] == "/readyz"
    assert api["livenessProbe"]["httpGet"]["path"] == "/healthz", "a store that is away is no reason to start it anew"
    assert "replicas" not in WORKLOADS["ragtrial-api"]["spec"]
    scaler = next(one for _, one in BASE if one["kind"] == "HorizontalPodAutoscaler")
    assert scaler["spec"]["scaleTargetRef"]["name"] == "ragtrial-api"
    assert scaler["spec"]["minReplicas"] >= 2
    assert ("PodDisruptionBudget", "ragtrial-api") in KINDS


def test_an_exec_probe_uses_no_reference_that_kubernetes_leaves_as_it_is() -> None:
    for workload in WORKLOADS.values():
        for container in containers(workload):
            for probe in ("livenessProbe", "readinessProbe", "startupProbe"):
                command = container.get(probe, {}).get("exec", {}).get("command", [])
                assert not any("$(" in part for part in command), "references are filled in in args alone"


def test_services_policies_and_ingress_choose_pods_and_ports_that_are_there() -> None:
    components = {one["spec"]["template"]["metadata"]["labels"]["app.kubernetes.io/component"] for one in WORKLOADS.values()}
    services = {one["metadata"]["name"]: one for _, one in BASE if one["kind"] == "Service"}
    for service in services.values():
        component = service["spec"]["selector"]["app.kubernetes.io/component"]
        ports = [port for one in WORKLOADS.values() for each in containers(one) if each["name"] == component for port in each["ports"]]
        assert [port["name"] for port in ports] == [port["targetPort"] for port in service["spec"]["ports"]]
    for _, one in BASE:
        if one["kind"] == "NetworkPolicy":
            chosen = one["spec"]["podSelector"]
            named = {*chosen.get("matchLabels", {}).values(), *(v for each in chosen.get("matchExpressions", []) for v in each["values"])}
            assert named <= components
    ingress = next(one for _, one in EVERYTHING if one["kind"] == "Ingress")
    paths = [path for rule in ingress["spec"]["rules"] for path in rule["http"]["paths"]]
    assert {path["backend"]["service"]["name"] for path in paths} <= set(services)
    assert [path["path"] for path in paths] == ["/v1"], "/metrics is for the cluster alone"
