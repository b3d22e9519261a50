"""`make up`: writes down in `.env` what is served, so that every later command of Docker Compose acts on the same, then starts it.

What make is given (`EXPERIMENT`, `WORKSPACE`, `OBSERVABILITY`, ports, ...) is taken; what isn't stays as it was; an empty one goes back to
the default. Make names what it was given as arguments, and has the values in the environment; what only that has, such as the WORKSPACE of a
build server, was meant for another program. Lines of `.env` under other names are left alone.
"""

import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
DEMO = "experiments/live-demo.yaml"
PORTS = {"API_PORT": "8000", "DASHBOARD_PORT": "8501", "TESTER_PORT": "8502", "GRAFANA_PORT": "3000", "PROMETHEUS_PORT": "9090"}
SERVICES = ("api", "dashboard", "tester", "roll-up")
WATCHED = "observability"
WATCHING = ("prometheus", "otel-collector", "grafana")
COLLECTOR = "http://otel-collector:4318"
ENDPOINT = "OTEL_EXPORTER_OTLP_ENDPOINT"
OURS = ("COMPOSE_FILE", "COMPOSE_PATH_SEPARATOR", "COMPOSE_PROFILES", "RAGTRIAL_EXPERIMENT", "RAGTRIAL_WORKSPACE", ENDPOINT, *PORTS)
TAKEN = ("EXPERIMENT", "WORKSPACE", "OBSERVABILITY", ENDPOINT, *PORTS)
HEAD = "# `make up` writes the lines below; `make up EXPERIMENT= OBSERVABILITY=` goes back to the demo, and `docker compose` reads them."


def remembered(path: Path) -> tuple[dict[str, str], list[str]]:
    """What a former `make up` wrote, and the lines that are somebody else's."""
    if not path.exists():
        return {}, []
    found: dict[str, str] = {}
    others: list[str] = []
    for line in path.read_text(encoding="utf-8").splitlines():
        name, equals, value = line.partition("=")
        if equals and name.strip() in OURS:
            found[name.strip()] = value.strip().strip("'\"")
        elif line != HEAD:
            others.append(line)
    return found, others


def from_make(names: list[str]) -> dict[str, str]:
    """The values of what make was given; says of the rest of the environment what it does not take."""
    left = sorted(name for name in TAKEN if os.environ.get(name) and name not in names)
    if left:
        sys.stderr.write(
            f"not taken from the environment: {', '.join(left)}. What is meant for ragtrial stands behind it: make up {left[0]}=...\n"
        )
    return {name: os.environ.get(name, "") for name in names}


def decided(given: Mapping[str, str], before: Mapping[str, str]) -> dict[str, str]:
    """What Compose is told: by what is given now, and by what was before.

    Raises:
        SystemExit: An experiment is not there or not in its workspace, or a port is none.
    """
    ports = {name: given.get(name, before.get(name, "")) for name in PORTS}
    for name, value in ports.items():
        if value and not (value.isdigit() and 0 < int(value) < 65536):
            raise SystemExit(f"{name}={value!r}: give a port, 1 to 65535")
    files = ["docker-compose.yml"]
    found = served(given, before)
    if found:
        files.append("deploy/own-experiment.yml")
    if (ROOT / "docker-compose.override.yml").exists():  # Compose reads it only where nobody names files
        files.append("docker-compose.override.yml")
    profiles = [name for name in before.get("COMPOSE_PROFILES", "").split(",") if name]
    others = [name for name in profiles if name != WATCHED]
    watched = given.get("OBSERVABILITY", WATCHED if WATCHED in profiles else "") not in ("", "0")
    elsewhere = "" if before.get(ENDPOINT) == COLLECTOR else before.get(ENDPOINT, "")
    found |= {
        "COMPOSE_FILE": ":".join(files),
        "COMPOSE_PATH_SEPARATOR": ":",
        "COMPOSE_PROFILES": ",".join([*others, *([WATCHED] if watched else [])]),
        ENDPOINT: given.get(ENDPOINT, elsewhere) or (COLLECTOR if watched else ""),
    }
    return {name: value for name, value in (found | ports).items() if value}


def served(given: Mapping[str, str], before: Mapping[str, str]) -> dict[str, str]:
    """The experiment and its workspace; empty: the demo."""
    if "EXPERIMENT" in given:
        experiment = Path(given["EXPERIMENT"]).absolute() if given["EXPERIMENT"] else None
        folder = ""
    else:
        folder = before.get("RAGTRIAL_WORKSPACE", "")
        experiment = Path(folder, before.get("RAGTRIAL_EXPERIMENT", "")) if folder else None
    wanted = given.get("WORKSPACE", "") or folder
    if experiment is None:
        if given.get("WORKSPACE"):
            raise SystemExit("WORKSPACE is the folder of an experiment of your own: give EXPERIMENT=..., too")
        return {}
    if not experiment.is_file():
        raise SystemExit(f"there is no experiment file {experiment}: give EXPERIMENT=..., or EXPERIMENT= for the demo")
    workspace = Path(wanted).absolute() if wanted else experiment.parent
    experiment, workspace = (Path(os.path.normpath(path)) for path in (experiment, workspace))
    if not experiment.is_relative_to(workspace):
        raise SystemExit(f"{experiment} is not in WORKSPACE={workspace}: name the folder that holds the file and its data")
    return {"RAGTRIAL_EXPERIMENT": experiment.relative_to(workspace).as_posix(), "RAGTRIAL_WORKSPACE": str(workspace)}


def write(path: Path, told: Mapping[str, str], others: list[str]) -> None:
    """Write all or nothing; Compose takes what stands in single quotes as it is."""
    for name, value in told.items():
        if not value.isprintable() or "'" in value:
            raise SystemExit(f"{name}={value!r}: a quote or a line break can't stand in .env; give the file or folder another name")
    lines = [*others, HEAD, *(f"{name}='{value}'" for name, value in told.items())]
    path = path.resolve()  # where it is a link, what it leads to is written
    half = path.with_name(f".env.{os.getpid()}")
    half.touch(mode=path.stat().st_mode & 0o777 if path.exists() else 0o600)
    half.write_text("\n".join(lines) + "\n", encoding="utf-8")
    half.replace(path)


def compose(*arguments: str) -> None:
    """Run `docker compose`; its exit code is ours where it fails."""
    environment = {name: value for name, value in os.environ.items() if name not in OURS}  # .env has them
    try:
        done = subprocess.run(["docker", "compose", *arguments], cwd=ROOT, check=False, env=environment)  # noqa: S603, S607 - our own words
    except FileNotFoundError:
        raise SystemExit("there is no `docker` on the PATH: install Docker with Compose 2.24 or newer") from None
    if done.returncode:
        raise SystemExit(done.returncode)


def main() -> None:
    """Decide, write down, start, and say where everything is."""
    path = ROOT / ".env"
    before, others = remembered(path)
    told = decided(from_make(sys.argv[1:]), before)
    write(path, told, others)
    watched = WATCHED in told.get("COMPOSE_PROFILES", "").split(",")
    if WATCHED in before.get("COMPOSE_PROFILES", "").split(",") and not watched:
        compose("--profile", WATCHED, "rm", "--stop", "--force", *WATCHING)
    compose("up", "--detach", "--build", "--wait", *SERVICES, *(WATCHING if watched else ()))
    at = {name: f"http://127.0.0.1:{told.get(name, port)}" for name, port in PORTS.items()}
    experiment = told.get("RAGTRIAL_EXPERIMENT", DEMO)
    make_key = f"docker compose exec api ragtrial keys create {experiment} NAME --role tester"
    lines = [
        f"experiment   {experiment}" + (f" in {told['RAGTRIAL_WORKSPACE']}" if "RAGTRIAL_WORKSPACE" in told else " (the demo)"),
        f"service      {at['API_PORT']}   (key: deploy/secrets/operator-key)",
        f"dashboard    {at['DASHBOARD_PORT']}   (sign in with the same key)",
        f"tester page  {at['TESTER_PORT']}   (make a key: {make_key})",
    ]
    if watched:
        lines.append(f"grafana      {at['GRAFANA_PORT']}   (admin, password: deploy/secrets/grafana-password)")
    sys.stdout.write("\n".join(lines) + "\n")


if __name__ == "__main__":
    try:
        main()
    except SystemExit as error:
        if isinstance(error.code, str):
            sys.stderr.write(f"{error.code}\n")
            sys.exit(2)
        raise
