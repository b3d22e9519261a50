"""`ragtrial serve` as a process of its own: started, asked, traced, stopped."""

import contextlib
import http.server
import json
import os
import signal
import socket
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import httpx
import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from commands import ragtrial_command
from live_service import PEPPER, live_experiment, make_key
from over_http import until_ready
from ragtrial.db.live_recorder import LiveRecorder
from ragtrial.formats.experiment import load_experiment, sql_url
from ragtrial.suite.serving import changed_plan
from servers import milvus_server, postgres_server
from unit.db.live_samples import live_trial

PARENT = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
SECRETS = ("where is my hidden anchor", "unit-of-a-person", "a private comment", "smuggled")


@pytest.fixture(scope="module")
def experiment(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return live_experiment(tmp_path_factory.mktemp("process"))


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@dataclass(kw_only=True)
class Process:
    """A `ragtrial serve` of its own."""

    popen: subprocess.Popen
    url: str
    log: Path

    def lines(self) -> list[dict]:
        return [json.loads(line) for line in self.log.read_text().splitlines()]


@contextlib.contextmanager
def serve(path: Path, log: Path, *options: str, environment: Mapping[str, str] | None = None) -> Iterator[Process]:
    port = free_port()
    command = [sys.executable, "-c", "from ragtrial.cli.main import main; main()", "serve", str(path), "--port", str(port), *options]
    given = {**os.environ, "RAGTRIAL_KEY_PEPPER": PEPPER, "OMP_NUM_THREADS": "1", **(environment or {})}
    with log.open("w") as out:
        popen = subprocess.Popen(command, stderr=out, stdout=subprocess.DEVNULL, env=given, start_new_session=True)
    try:
        yield Process(popen=popen, url=f"http://127.0.0.1:{port}", log=log)
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(popen.pid, signal.SIGKILL)  # with its workers
        popen.wait()


def until(holds: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 60
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def stop(process: Process, with_signal: int = signal.SIGTERM) -> int:
    process.popen.send_signal(with_signal)
    return process.popen.wait(timeout=60)


@pytest.mark.parametrize("with_signal", [signal.SIGTERM, signal.SIGINT])
def test_the_service_is_started_asked_and_stopped_and_loses_nothing(experiment: Path, tmp_path: Path, with_signal: int) -> None:
    key = make_key(experiment, "tester")
    acknowledged: list[str] = []
    with serve(experiment, tmp_path / "log") as process:
        until_ready(process.url)
        stopping = threading.Event()

        def keep_asking(unit: str) -> None:
            with httpx.Client(base_url=process.url, headers={"Authorization": f"Bearer {key}"}, timeout=30) as client:
                while not stopping.is_set():
                    with contextlib.suppress(httpx.TransportError):
                        response = client.post("/v1/ask", json={"query": "where is the anchor", "unit": unit})
                        if response.status_code == 200:
                            acknowledged.append(response.json()["trial_id"])

        threads = [threading.Thread(target=keep_asking, args=(f"u{n}",)) for n in range(6)]
        for thread in threads:
            thread.start()
        time.sleep(1.5)
        until(lambda: len(acknowledged) > 20)
        code = stop(process, with_signal)
        stopping.set()
        for thread in threads:
            thread.join()
    assert code == 0
    assert len(acknowledged) > 20
    with sqlite3.connect(experiment.parent / ".ragtrial" / "ragtrial.db") as database:
        logged = {row[0] for row in database.execute("select trial_id from live_trials")}
    assert set(acknowledged) <= logged
    lines = process.lines()
    messages = [line["message"] for line in lines]
    assert messages[0] == "listening"
    assert "ready" in messages
    assert any(message.startswith("closed") for message in messages)
    assert not [line for line in lines if line["level"] in ("error", "critical")]
    assert "where is the anchor" not in process.log.read_text()
    assert key not in process.log.read_text()


def test_a_port_that_is_taken_is_said_in_one_sentence(experiment: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        done = ragtrial_command("serve", experiment, "--no-auth", "--port", port)
    assert done.code == 2
    assert f"can't listen on 127.0.0.1 port {port}" in done.err


def test_a_changed_plan_under_a_name_that_has_users_is_warned_of(tmp_path: Path) -> None:
    path = live_experiment(tmp_path)
    with LiveRecorder(sql_url(load_experiment(path)), load_experiment(path).experiment) as recorder:
        for trial_id, unit in (("t1", "ann"), ("t2", "bob"), ("t3", "ann"), ("t4", None)):
            recorder.log(live_trial(trial_id, unit)).result(10)
    assert changed_plan(load_experiment(path)) is None
    path.write_text(path.read_text().replace("solicit: 0.5", "solicit: 0.4"))
    log = tmp_path / "log"
    with serve(path, log, "--no-auth") as process:
        until_ready(process.url)
        assert stop(process) == 0
    human, *lines = log.read_text().splitlines()
    assert human.startswith("warning: experiment 'small' has 2 units under another plan")
    assert "a changed plan is a new experiment that starts from zero" in human
    found = [json.loads(line) for line in lines if '"warning"' in line]
    assert [line["message"] for line in found if "another plan" in line["message"]] == [human.removeprefix("warning: ")]
    with LiveRecorder(sql_url(load_experiment(path)), load_experiment(path).experiment) as recorder:
        recorder.log(live_trial("t5", "ann")).result(10)
    assert changed_plan(load_experiment(path)) is None, "it has trials by now"


@pytest.mark.slow
def test_workers_behind_one_port_share_the_split_the_log_and_the_stop_switch(tmp_path: Path) -> None:
    for why in (milvus_server.why_not(), postgres_server.why_not()):
        if why:
            pytest.skip(why)
    with (
        milvus_server.running(tmp_path / "milvus") as milvus,
        postgres_server.running() as postgres,
        postgres_server.fresh_database(postgres, "workers") as sql,
    ):
        path = live_experiment(tmp_path, stores={"milvus": milvus, "sql": sql})
        key = make_key(path, "operator")
        headers = {"Authorization": f"Bearer {key}"}
        with serve(path, tmp_path / "log", "--workers", "2", environment={"GRPC_VERBOSITY": "NONE"}) as process:
            until_ready(process.url, within_s=180)
            until(lambda: process.log.read_text().count('"message": "ready"') == 2)

            def arms_of(unit: str) -> set[str]:
                """By several connections, each of which some worker takes."""
                asked = {"query": "anchor", "unit": unit}
                answers = [httpx.post(f"{process.url}/v1/ask", headers=headers, json=asked, timeout=30) for _ in range(6)]
                return {answer.json()["arm"] for answer in answers}

            arms = {unit: arms_of(unit) for unit in ("a", "b", "c", "d", "e", "f")}
            assert all(len(seen) == 1 for seen in arms.values())
            assert {arm for seen in arms.values() for arm in seen} == {"baseline", "custom"}
            treated = next(unit for unit, seen in arms.items() if seen == {"custom"})
            stopped = httpx.post(f"{process.url}/v1/experiments/small/traffic", headers=headers, json={"stopped": True, "reason": "test"})
            assert stopped.status_code == 200
            time.sleep(1)
            assert arms_of(treated) == {"baseline"}, "a second later every worker knows"
            found = httpx.get(f"{process.url}/v1/experiments/small", headers=headers).json()
            assert found["traffic"]["version"] == 2
            assert sum(map(sum, found["exposure"]["trials"])) == 36
            assert stop(process) == 0
        assert process.log.read_text().count('"message": "ready"') == 2


@dataclass
class Collector:
    """An OTLP/HTTP collector that keeps what it is sent."""

    bodies: list[bytes] = field(default_factory=list)
    paths: set[str] = field(default_factory=set)

    def spans(self) -> list:
        found = []
        for body in self.bodies:
            for resource in ExportTraceServiceRequest.FromString(body).resource_spans:
                for scope in resource.scope_spans:
                    found += scope.spans
        return found


@contextlib.contextmanager
def collecting() -> Iterator[tuple[Collector, str]]:
    collector = Collector()

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            if self.headers.get("Content-Encoding") == "gzip":
                import gzip

                body = gzip.decompress(body)
            collector.bodies.append(body)
            collector.paths.add(self.path)
            self.send_response(200)
            self.send_header("Content-Type", "application/x-protobuf")
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield collector, f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def attributes(span: object) -> dict[str, str]:
    return {one.key: one.value.string_value or str(one.value) for one in span.attributes}  # type: ignore[attr-defined]


def test_spans_arrive_at_a_collector_join_the_callers_trace_and_hold_no_content(experiment: Path, tmp_path: Path) -> None:
    key = make_key(experiment, "operator")
    headers = {"Authorization": f"Bearer {key}", "traceparent": PARENT}
    with (
        collecting() as (collector, address),
        serve(experiment, tmp_path / "log", environment={"OTEL_EXPORTER_OTLP_ENDPOINT": address}) as process,
    ):
        until_ready(process.url)
        with httpx.Client(base_url=process.url, headers=headers, timeout=30) as client:
            answer = client.post("/v1/ask?q=smuggled", json={"query": SECRETS[0], "unit": SECRETS[1]}).json()
            client.post("/v1/feedback", json={"trial_id": answer["trial_id"], "thumb": "up", "comment": SECRETS[2]})
            client.post("/v1/chat/completions", json={"model": "ragtrial", "messages": [{"role": "user", "content": SECRETS[0]}]})
            client.post("/v1/ask", json={"query": SECRETS[0], "unit": 7})
            analysis = client.get("/v1/experiments/small/analysis")
            assert analysis.status_code in (200, 409), analysis.text
        assert stop(process) == 0
        spans = collector.spans()
    assert collector.paths == {"/v1/traces"}
    names = {span.name for span in spans}
    assert {"POST /v1/ask", "POST /v1/feedback", "POST /v1/chat/completions", "ask", "embed", "retrieve", "generate"} <= names
    assert not [name for name in names if "healthz" in name or "readyz" in name]
    mine = [span for span in spans if span.trace_id.hex() == PARENT.split("-")[1]]
    server = next(span for span in mine if span.name == "POST /v1/ask")
    assert server.parent_span_id.hex() == PARENT.split("-")[2]
    asking = next(span for span in mine if span.name == "ask" and span.parent_span_id == server.span_id)
    assert attributes(asking)["ragtrial.trial_id"] == answer["trial_id"]
    assert attributes(asking)["ragtrial.arm"] == answer["arm"]
    everything = b"".join(collector.bodies)
    for secret in (*SECRETS, answer["answer"], key, answer["sources"][0]["text"]):
        if secret:
            assert secret.encode() not in everything, secret


def test_an_endpoint_that_is_no_address_is_refused(experiment: Path) -> None:
    done = ragtrial_command("serve", experiment, "--no-auth", "--otlp", "localhost:4317")
    assert done.code == 2
    assert "http://localhost:4318" in done.err


def test_a_service_that_can_not_start_ends_with_a_message(experiment: Path, tmp_path: Path) -> None:
    other = experiment.with_name("elsewhere.yaml")
    other.write_text(experiment.read_text().replace(str(experiment.parent / "data"), str(tmp_path / "nowhere")))
    with serve(other, tmp_path / "log", "--no-auth") as process:
        assert process.popen.wait(timeout=60) == 2
    assert "nowhere" in process.log.read_text()
