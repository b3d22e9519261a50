"""What docker-compose.yml starts, started here as processes: its commands, its environment files, its health checks, on real stores.

No Docker engine runs where this is tested, so names of hosts, paths and ports are replaced, and nothing else. The experiment file names
no stores; where they are comes from deploy/env.
"""

import contextlib
import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import httpx
import psycopg
import pytest

import composed
from live_service import live_experiment
from servers import milvus_server, postgres_server

ROOT = Path(__file__).resolve().parent.parent.parent
RAGTRIAL = [sys.executable, "-c", "from ragtrial.cli.main import main; main()"]
COMPOSE = composed.read(ROOT / "docker-compose.yml", RAGTRIAL_EXPERIMENT="live.yaml")
SQL_PASSWORD = "p@ss/of:the log"  # noqa: S105 - of a server that is made for the test
MILVUS_TOKEN = "root:Milvus"  # noqa: S105 - what the server of the tests begins with


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


@dataclass(kw_only=True)
class Machine:
    """In the place of a Docker engine.

    Attributes:
        folder: For secrets, state and logs.
        workspace: What containers see as /workspace.
        replaced: Addresses and paths of containers, and what stands for them here.
        ports: By port of a container.
        started: By name, in their order.
    """

    folder: Path
    workspace: Path
    replaced: dict[str, str]
    ports: dict[str, str] = field(default_factory=lambda: {port: str(free_port()) for port in ("8000", "8501", "8502")})
    started: dict[str, "subprocess.Popen[bytes]"] = field(default_factory=dict)

    def environment(self, service: str) -> dict[str, str]:
        """What the compose file gives, and of this machine what a Python process needs."""
        kept = {key: value for key, value in os.environ.items() if not key.startswith(("RAGTRIAL_", "OTEL_", "OPENAI_"))}
        own = {key: self._here(value) for key, value in COMPOSE.environment(service).items()}
        return {**kept, "OMP_NUM_THREADS": "1", "GRPC_VERBOSITY": "NONE", "HOME": str(self.folder), **own}

    def _here(self, text: str) -> str:
        for theirs, ours in self.replaced.items():
            text = text.replace(theirs, ours)
        return text

    def command(self, arguments: list[str], ports: Mapping[str, str]) -> list[str]:
        """An image's entry point with a service's arguments, or a health check."""
        program = {"ragtrial": RAGTRIAL, "python": [sys.executable]}.get(arguments[0])
        rest = arguments if program is None else arguments[1:]
        said = [self._here(part) for part in rest]
        for theirs, ours in ports.items():
            said = [re.sub(rf"(127\.0\.0\.1:|api:|^){theirs}\b", rf"\g<1>{ours}", part) for part in said]
        return [*(program or RAGTRIAL), *(part.replace("http://api:", "http://127.0.0.1:") for part in said)]

    def job(self, service: str) -> None:
        """Run a service that ends."""
        command = self.command(COMPOSE.services[service]["command"], self.ports)
        with (self.folder / f"{service}.log").open("wb") as log:
            done = subprocess.run(
                command, cwd=self.workspace, env=self.environment(service), stdout=log, stderr=log, timeout=120, check=False
            )
        assert done.returncode == 0, (self.folder / f"{service}.log").read_text()

    def start(self, service: str, *, name: str | None = None, ports: Mapping[str, str] | None = None, **changes: str) -> None:
        """Start a service that goes on."""
        command = self.command(COMPOSE.services[service]["command"], ports or self.ports)
        with (self.folder / f"{name or service}.log").open("wb") as log:
            self.started[name or service] = subprocess.Popen(
                command, cwd=self.workspace, env=self.environment(service) | changes, stdout=log, stderr=log, start_new_session=True
            )

    def until_healthy(self, service: str, *, name: str | None = None, ports: Mapping[str, str] | None = None) -> None:
        """Run the service's own health check until it passes."""
        test = COMPOSE.services[service]["healthcheck"]["test"]
        assert test[0] == "CMD"
        command, log = self.command(test[1:], ports or self.ports), self.folder / f"{name or service}.log"
        deadline = time.monotonic() + 120
        while subprocess.run(command, cwd=self.workspace, env=self.environment(service), capture_output=True, check=False).returncode:
            assert self.started[name or service].poll() is None, log.read_text()
            assert time.monotonic() < deadline, log.read_text()
            time.sleep(0.5)

    def stop(self) -> None:
        for process in self.started.values():
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()

    def logs(self) -> str:
        return "".join(path.read_text(errors="replace") for path in self.folder.glob("*.log"))


@contextlib.contextmanager
def machine(folder: Path) -> Iterator[Machine]:
    """Stores with passwords, an experiment that names none of them, and secrets as `make secrets` makes them."""
    with (
        milvus_server.running(folder / "milvus", authorization=True) as milvus,
        postgres_server.running() as postgres,
        postgres_server.fresh_database(postgres, "ragtrial") as sql,
    ):
        _with_password(postgres, sql)
        workspace = folder / "workspace"
        workspace.mkdir()
        metrics = {"primary": {"name": "nDCG@10", "min_effect": 0.01}, "guardrails": [{"name": "failed", "max_increase": 0.05}]}
        live_experiment(workspace, metrics=metrics)
        (workspace / "live.yaml").write_text((workspace / "live.yaml").read_text().replace("stores: {}\n", ""))
        subprocess.run([sys.executable, str(ROOT / "deploy" / "make_secrets.py"), str(folder / "secrets")], check=True, capture_output=True)
        for name, value in (("postgres-password", SQL_PASSWORD), ("milvus-token", MILVUS_TOKEN)):
            (folder / "secrets" / name).unlink()
            (folder / "secrets" / name).write_text(f"{value}\n")
        given = Machine(
            folder=folder,
            workspace=workspace,
            replaced={
                "/workspace": str(workspace),
                "/tmp/roll-up.alive": str(folder / "roll-up.alive"),  # noqa: S108 - of the container
                "/run/secrets": str(folder / "secrets"),
                "/state": str(folder / "state"),
                "http://milvus:19530": milvus,
                "ragtrial@postgres:5432/ragtrial": f"ragtrial@/ragtrial?{sql.partition('?')[2]}",
            },
        )
        try:
            yield given
        finally:
            given.stop()


def _with_password(server: str, sql: str) -> None:
    """A user of the database that nobody gets in as without the password."""
    plain = server.replace("postgresql+psycopg://", "postgresql://")
    with psycopg.connect(plain, autocommit=True) as connection:
        connection.execute(f"CREATE ROLE ragtrial LOGIN PASSWORD '{SQL_PASSWORD}'")
        connection.execute("ALTER DATABASE ragtrial OWNER TO ragtrial")
        rules = Path(connection.execute("SHOW hba_file").fetchone()[0])  # type: ignore[index]
        rules.write_text(f"local all ragtrial scram-sha-256\n{rules.read_text()}")
        connection.execute("SELECT pg_reload_conf()")


def until(holds: Callable[[], bool], *, within_s: float) -> None:
    deadline = time.monotonic() + within_s
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.1)


@pytest.mark.slow
def test_the_commands_of_the_compose_file_serve_an_experiment_from_two_processes(tmp_path: Path) -> None:
    for why in (milvus_server.why_not(), postgres_server.why_not()):
        if why:
            pytest.skip(why)
    with machine(tmp_path) as given:
        files = sorted(given.workspace.rglob("*"))
        jobs = ("migrate", "operator-key", "metrics-key", "train", "index")
        assert set(jobs) == COMPOSE.jobs
        for job in jobs:
            given.job(job)
        second = given.ports | {"8000": str(free_port())}
        given.start("api")
        given.start("api", name="api-2", ports=second, RAGTRIAL_STORES_VECTORS=str(tmp_path / "state-2"))
        given.start("dashboard")
        given.start("roll-up")
        given.until_healthy("api")
        given.until_healthy("api", name="api-2", ports=second)
        given.start("tester")
        _two_processes_are_one_service(given, f"http://127.0.0.1:{given.ports['8000']}", f"http://127.0.0.1:{second['8000']}")
        for service in ("dashboard", "tester", "roll-up"):
            given.until_healthy(service)
        _pages_open_with_the_key(given)
        for name in ("api-2", "dashboard", "tester", "roll-up"):
            given.started[name].terminate()
        for name in ("api-2", "dashboard", "tester", "roll-up"):
            assert given.started[name].wait(60) in (0, -signal.SIGTERM), (tmp_path / f"{name}.log").read_text()
        assert sorted(given.workspace.rglob("*")) == files, "the workspace is mounted read-only"
        said = given.logs()
        for path in (tmp_path / "secrets").iterdir():
            assert not path.read_text().strip() or path.read_text().strip() not in said, f"{path.name} is in a log"
        assert SQL_PASSWORD not in said
        assert "Traceback" not in said


def _two_processes_are_one_service(given: Machine, first: str, second: str) -> None:
    """Both answer, assign alike, and follow each other; one of them scores, and the other goes on where it is killed."""
    operator = {"Authorization": f"Bearer {(given.folder / 'secrets' / 'operator-key').read_text()}"}
    reader = {"Authorization": f"Bearer {(given.folder / 'secrets' / 'metrics-key').read_text()}"}
    query = next(iter((given.workspace / "data" / "queries.jsonl").read_text().splitlines())).partition('"text": "')[2].partition('"')[0]

    def asked(url: str, unit: str) -> dict[str, object]:
        answer = httpx.post(f"{url}/v1/ask", headers=operator, json={"query": query, "unit": unit}, timeout=30)
        assert answer.status_code == 200, answer.text
        found: dict[str, object] = answer.json()
        return found

    units = [f"user-{number}" for number in range(12)]
    arms = {unit: asked(first, unit)["arm"] for unit in units}
    assert {unit: asked(second, unit)["arm"] for unit in units} == arms
    assert set(arms.values()) == {"baseline", "custom"}
    counted = [_samples(url, reader) for url in (first, second)]
    assert [sum(value for name, value in one.items() if name.startswith("ragtrial_requests_total")) for one in counted] == [12, 12]
    assert httpx.get(f"{first}/metrics").status_code == 401
    exposure = httpx.get(f"{second}/v1/experiments/small", headers=operator, timeout=30).json()["exposure"]
    assert sum(map(sum, exposure["trials"])) == 24, "one log"

    def scores() -> list[float]:
        return [
            sum(value for name, value in _samples(url, reader).items() if name.startswith("ragtrial_scored_total"))
            for url in (first, second)
        ]

    until(lambda: sum(scores()) == 24, within_s=60)
    assert sorted(scores()) == [0, 24], "one of them scores"
    why = {"stopped": True, "reason": "a test"}
    stop = httpx.post(f"{second}/v1/experiments/small/traffic", headers=operator, json=why, timeout=30)
    assert stop.status_code == 200
    treated = next(unit for unit, arm in arms.items() if arm == "custom")
    until(lambda: asked(first, treated)["arm"] == "baseline", within_s=60)
    assert asked(second, treated)["arm"] == "baseline"
    if scores()[0] == 0:  # the leader is killed; for what follows the second one must be the one that is left
        given.started["api"], given.started["api-2"] = given.started["api-2"], given.started["api"]
        first, second = second, first
        given.ports["8000"] = first.rpartition(":")[2]
    before = scores()[1]
    os.killpg(given.started["api"].pid, signal.SIGKILL)
    asked(second, units[0])
    until(lambda: sum(v for n, v in _samples(second, reader).items() if n.startswith("ragtrial_scored_total")) > before, within_s=60)


def _samples(url: str, headers: Mapping[str, str]) -> dict[str, float]:
    answer = httpx.get(f"{url}/metrics", headers=headers, timeout=30)
    assert answer.status_code == 200
    lines = [line.rpartition(" ") for line in answer.text.splitlines() if line and not line.startswith("#")]
    return {name: float(value) for name, _, value in lines}


def _pages_open_with_the_key(given: Machine) -> None:
    url, key = f"http://127.0.0.1:{given.ports['8501']}", (given.folder / "secrets" / "operator-key").read_text()
    with httpx.Client(base_url=url, headers={"Origin": url}, timeout=30) as client:
        assert client.get("/", headers={"Accept": "text/html"}).headers["location"].startswith("/login")
        wrong = client.post("/login", data={"key": "rt_no_key", "next": "/"})
        right = client.post("/login", data={"key": key, "next": "/"})
    assert (wrong.status_code, right.status_code) == (401, 303)
