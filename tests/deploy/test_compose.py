"""docker-compose.yml, its environment files, its images: what can be held without a Docker engine."""

import json
import re
import shutil
import subprocess
from pathlib import Path

import jsonschema
import pytest
import yaml

import composed
from ragtrial.formats.experiment import load_experiment
from ragtrial.settings import read_settings

ROOT = Path(__file__).resolve().parent.parent.parent
COMPOSE = composed.read(ROOT / "docker-compose.yml")
SERVICES = COMPOSE.services
DOCKERFILE = ROOT / "deploy" / "docker" / "Dockerfile"
OURS = {"ragtrial-api:local", "ragtrial-jobs:local", "ragtrial-dashboard:local"}
SECRET_WORDS = re.compile(r"pass(word)?|secret|token|pepper|api_key|access_?key", re.IGNORECASE)


@pytest.mark.parametrize("name", ["docker-compose.yml", "deploy/own-experiment.yml"])
def test_the_file_keeps_to_the_compose_specification(name: str) -> None:
    schema = json.loads((Path(__file__).parent / "compose-spec.schema.json").read_text())
    jsonschema.validate(composed.read(ROOT / name, RAGTRIAL_WORKSPACE="/srv").document, schema)


def test_an_experiment_of_ones_own_is_mounted_into_every_service_that_reads_it() -> None:
    over = composed.read(ROOT / "deploy" / "own-experiment.yml", RAGTRIAL_WORKSPACE="/srv").services
    reading = {
        name for name, service in SERVICES.items() if any("experiments/live-demo.yaml" in part for part in service.get("command", []))
    }
    assert set(over) == reading
    assert all(service["volumes"] == ["state:/state", "/srv:/workspace:ro"] for service in over.values())


@pytest.mark.parametrize("name", SERVICES)
def test_an_image_has_a_version_or_is_built_here(name: str) -> None:
    image = SERVICES[name]["image"]
    if image in OURS:
        assert SERVICES[name]["build"]["target"] == image.removeprefix("ragtrial-").removesuffix(":local")
    else:
        tag = image.partition(":")[2]
        assert re.search(r"\d+\.\d+|RELEASE\.\d{4}", tag), f"{image} has no version of its own"


@pytest.mark.parametrize("name", SERVICES)
def test_a_port_is_bound_on_loopback_alone(name: str) -> None:
    for port in SERVICES[name].get("ports", []):
        assert isinstance(port, str)
        assert port.startswith("127.0.0.1:"), port
    assert "network_mode" not in SERVICES[name]


@pytest.mark.parametrize("name", SERVICES)
def test_a_service_is_limited_and_has_no_rights_that_it_does_not_need(name: str) -> None:
    service = SERVICES[name]
    assert set(service["deploy"]["resources"]["limits"]) == {"cpus", "memory", "pids"}
    assert service["cap_drop"] == ["ALL"]
    assert "no-new-privileges:true" in service["security_opt"]
    assert not service.get("privileged")
    assert service.get("read_only") or name == "milvus", "writes beside its binary, as its comment says"
    assert (name == "postgres") == ("cap_add" in service)


@pytest.mark.parametrize("name", SERVICES)
def test_what_goes_on_has_a_health_check_and_what_ends_is_waited_for(name: str) -> None:
    service = SERVICES[name]
    if name in COMPOSE.jobs:
        assert service["restart"] == "on-failure:3"
        assert "healthcheck" not in service
    else:
        assert service["healthcheck"]["test"][0] == "CMD", "no shell is needed"
        assert service["restart"] == "unless-stopped"


def test_everything_that_is_waited_for_is_there_and_can_be_waited_for() -> None:
    for name, service in SERVICES.items():
        for other, how in service.get("depends_on", {}).items():
            assert how["condition"] in ("service_healthy", "service_completed_successfully"), name
            assert how["condition"] != "service_healthy" or "healthcheck" in SERVICES[other]


@pytest.mark.parametrize("name", SERVICES)
def test_no_secret_stands_in_an_environment(name: str) -> None:
    for variable, value in COMPOSE.environment(name).items():
        if SECRET_WORDS.search(variable):
            assert variable.upper().endswith("_FILE"), f"{variable} of {name} holds a secret"
            assert value.startswith("/run/secrets/")
        assert not re.search(r"://[^/@]*:[^/@]+@", value), f"{variable} of {name} holds a password"


def test_a_service_is_given_the_secrets_that_it_reads_and_each_secret_has_a_file_that_is_made(tmp_path: Path) -> None:
    for name in SERVICES:
        named = {Path(value).name for value in COMPOSE.environment(name).values() if value.startswith("/run/secrets/")}
        named |= {Path(part).name for part in SERVICES[name].get("command", []) if str(part).startswith("/run/secrets/")}
        lacking = named - COMPOSE.secrets(name)
        # a job of keys asks no Milvus and no LLM; the pages ask neither
        assert lacking <= {"milvus-token", "openai-api-key"}, name
        assert not lacking or name in ("operator-key", "metrics-key", "dashboard", "roll-up")
    made = subprocess.run(
        [shutil.which("python3") or "python", str(ROOT / "deploy" / "make_secrets.py"), str(tmp_path)],
        capture_output=True,
        text=True,
        check=True,
    )
    files = {path.name: path.read_text() for path in tmp_path.iterdir()}
    assert {Path(one["file"]).name for one in COMPOSE.document["secrets"].values()} == set(files)
    assert made.stdout.count("made") == len(files)
    assert tmp_path.stat().st_mode & 0o777 == 0o700
    settings = yaml.safe_load(files["milvus-user.yaml"])
    assert settings["minio"]["secretAccessKey"] == files["minio-password"]
    assert f"root:{settings['common']['security']['defaultRootPassword']}" == files["milvus-token"]
    again = subprocess.run(
        [shutil.which("python3") or "python", str(ROOT / "deploy" / "make_secrets.py"), str(tmp_path)],
        capture_output=True,
        text=True,
        check=True,
    )
    assert again.stdout == ""
    assert {path.name: path.read_text() for path in tmp_path.iterdir()} == files


def test_what_reads_an_experiment_file_is_confined_and_the_demo_stays_within() -> None:
    for name, service in SERVICES.items():
        confined = "RAGTRIAL_CONFINE_TO" in COMPOSE.environment(name)
        assert confined == any("live-demo.yaml" in str(part) for part in service.get("command", [])), name
    assert COMPOSE.environment("api")["RAGTRIAL_CONFINE_TO"] == "/workspace:/state"
    environment = {name: value for name, value in COMPOSE.environment("api").items() if not name.endswith("_FILE")}
    settings = read_settings({**environment, "RAGTRIAL_CONFINE_TO": str(ROOT)})  # the demo as the images have it: beside its seeds
    assert load_experiment(ROOT / "experiments" / "live-demo.yaml", settings).experiment.live is not None
    assert "RAGTRIAL_CONFINE_TO=/workspace:/state" in DOCKERFILE.read_text()


def test_git_and_the_image_build_leave_secrets_alone() -> None:
    ignored = (ROOT / "deploy" / "secrets" / ".gitignore").read_text().split()
    assert ignored == ["*", "!.gitignore", "!README.md"]
    assert (ROOT / ".dockerignore").read_text().splitlines()[1] == "*"


def test_the_tester_page_and_the_stores_are_told_nothing_of_each_other() -> None:
    assert COMPOSE.environment("tester") == {}
    assert COMPOSE.secrets("tester") == frozenset()
    assert SERVICES["tester"]["networks"] == ["front"]
    assert COMPOSE.document["networks"]["stores"] == {"internal": True}
    assert all(SERVICES[name]["networks"] == ["stores"] for name in ("postgres", "etcd", "minio", "milvus"))


def _stages() -> dict[str, list[str]]:
    """The Dockerfile's instructions by stage, continuation lines joined."""
    stages: dict[str, list[str]] = {"": []}
    current = ""
    for line in DOCKERFILE.read_text().replace("\\\n", " ").splitlines():
        if found := re.match(r"FROM (\S+) AS (\S+)", line):
            current = found[2]
            stages[current] = [line]
        elif line and not line.startswith("#"):
            stages[current].append(line)
    return stages


def test_the_images_copy_what_is_there_and_what_the_ignore_file_lets_through() -> None:
    allowed = [line[1:] for line in (ROOT / ".dockerignore").read_text().splitlines() if line.startswith("!")]
    stages = _stages()
    for lines in stages.values():
        for line in lines:
            if line.startswith("COPY --from="):
                assert line.split()[1].removeprefix("--from=") in stages
            elif line.startswith("COPY"):
                for source in line.split()[1:-1]:
                    assert (ROOT / source).exists(), f"{source} is not there"
                    assert any(source == one or source.startswith(f"{one}/") for one in allowed), f"{source} is left out by .dockerignore"


def test_the_wheel_of_the_images_has_all_that_it_is_built_from() -> None:
    import tomllib

    included = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["hatch"]["build"]["targets"]["wheel"]["force-include"]
    copied = {source for line in _stages()["wheel"] if line.startswith("COPY") for source in line.split()[1:-1]}
    assert all(any(path == one or path.startswith(f"{one}/") for one in copied) for path in included)
    extras = set(tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"])
    named = {extra for text in re.findall(r"\.whl\)\[([\w,]+)\]", DOCKERFILE.read_text()) for extra in text.split(",")}
    assert named <= extras


@pytest.mark.parametrize("target", ["api", "jobs", "dashboard"])
def test_an_image_ends_as_a_user_that_is_not_root(target: str) -> None:
    stages = _stages()
    assert stages[target][0].split()[1] == "base"
    users = [line for line in (*stages["base"], *stages[target]) if line.startswith("USER")]
    assert users == ["USER 10001:10001"]
    assert 'ENTRYPOINT ["ragtrial"]' in stages["base"]
    assert re.search(r"PYTHON=3\.\d+\.\d+-slim", "".join(stages[""]))
