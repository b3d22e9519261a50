"""PostgreSQL, Milvus and the endpoints of models behind a connection that is slow, is cut, or answers with a web page."""

import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit
from uuid import uuid4

import pytest
import yaml
from milvus_lite.server_manager import server_manager_instance

from commands import Done, ragtrial_command
from ragtrial.db.board_reader import BoardReader
from ragtrial.db.live_board_reader import LiveBoardReader
from ragtrial.db.reader import Reader
from ragtrial.db.recorder import Recorder
from ragtrial.errors import StoreError
from scripted_llm import Reply, ScriptedLlm, sensible
from servers import embedding_server, postgres_server
from servers.between import Between, Mode, standing_between


def changed(folder: Path, **sections: Any) -> Path:
    path = folder / "experiment.yaml"
    path.write_text(yaml.safe_dump({**yaml.safe_load(path.read_text()), **sections}, sort_keys=False))
    return path


def evaluated(path: Path, *more: str) -> Done:
    return ragtrial_command("evaluate", path, "--output", path.parent / "new", "--quiet", *more)


def same_runs(folder: Path) -> bool:
    return all(
        (folder / "new" / run).read_bytes() == (folder / "out" / run).read_bytes() for run in ("baseline.run", "custom.run", "bm25.run")
    )


@pytest.fixture
def database(postgres: str) -> Iterator[tuple[Between, str]]:
    """A PostgreSQL database behind a proxy, and its URL through that."""
    with postgres_server.fresh_database(postgres, f"test_{uuid4().hex}") as url:
        parts = urlsplit(url.replace("postgresql+psycopg", "postgresql"))
        (socket,) = Path(parse_qs(parts.query)["host"][0]).glob(".s.PGSQL.*[0-9]")
        with standing_between(str(socket), delay_s=0.003) as between:
            yield between, f"postgresql+psycopg://postgres@127.0.0.1:{between.port}{parts.path}?sslmode=disable"


def cut_at(monkeypatch: pytest.MonkeyPatch, method: str, between: Between) -> None:
    """Cut the connection the moment that an evaluation comes to this call of its recorder."""
    call = getattr(Recorder, method)

    def cutting(*arguments: Any, **options: Any) -> Any:
        between.mode = "cut"
        return call(*arguments, **options)

    monkeypatch.setattr(Recorder, method, cutting)


def test_an_evaluation_whose_postgresql_is_cut_off_and_then_slow_is_gone_on_with_to_the_same_result(
    folder: Path, database: tuple[Between, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    between, url = database
    path = changed(folder, stores={"sql": url})
    with monkeypatch.context() as patched:
        cut_at(patched, "append", between)
        cut = evaluated(path)
    assert cut.code == 2, cut
    assert "is out of reach" in cut.err
    assert "check that the server runs and that host, port and database of the URL (stores.sql) are right" in cut.err
    assert not (folder / "new" / "report.json").exists()
    between.mode = "slow"
    resumed = evaluated(path, "--resume")
    assert (resumed.code, same_runs(folder)) == (1, True), resumed


@pytest.mark.parametrize("mode", ["cut", "rubbish"])
def test_whoever_reads_from_a_postgresql_that_answers_nothing_sensible_says_so(
    mode: Mode, folder: Path, database: tuple[Between, str]
) -> None:
    between, url = database
    path = changed(folder, stores={"sql": url})
    between.mode = mode
    for command in ("report", "analyse"):
        done = ragtrial_command(command, path)
        assert done.code == 2, done
        assert "is out of reach" in done.err
        assert "check that the server runs" in done.err
        assert "Traceback" not in done.err
    for reader in (Reader, BoardReader, LiveBoardReader):
        with pytest.raises(StoreError, match="is out of reach"):
            reader(url)


@pytest.fixture
def milvus(folder: Path) -> Iterator[Between]:
    """A Milvus Lite that serves gRPC behind a proxy; the experiment takes it for a server."""
    store = folder / ".ragtrial" / "milvus.db"
    address = server_manager_instance.start_and_get_uri(str(store))
    assert address is not None
    try:
        with standing_between(int(address.rpartition(":")[2]), delay_s=0.003) as between:
            changed(folder, stores={"milvus": f"http://127.0.0.1:{between.port}"})
            yield between
    finally:
        server_manager_instance.release_server(str(store))


def test_a_milvus_that_is_cut_off_costs_the_verdict_and_a_slow_one_nothing(
    folder: Path, milvus: Between, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = folder / "experiment.yaml"
    with monkeypatch.context() as patched:
        cut_at(patched, "open_evaluation", milvus)
        cut = evaluated(path)
    assert cut.code == 1, cut
    assert "No verdict" in cut.out
    assert "search: StoreError" in cut.out, "what was not asked is counted as failed, with its reason, and never as a miss"
    milvus.mode = "slow"
    wait_until_indexed(path)
    again = evaluated(path, "--retry-failed")
    assert (again.code, same_runs(folder)) == (1, True), again
    assert "No verdict" not in again.out


def wait_until_indexed(path: Path) -> None:
    """gRPC takes a second or two before it tries an address again."""
    deadline = time.monotonic() + 60
    while ragtrial_command("index", path, "--quiet").code != 0:
        assert time.monotonic() < deadline
        time.sleep(0.2)


@pytest.mark.parametrize("mode", ["cut", "rubbish"])
def test_a_milvus_that_can_not_be_spoken_to_is_named_with_what_to_do(mode: Mode, folder: Path, milvus: Between) -> None:
    path = folder / "experiment.yaml"
    milvus.mode = mode
    done = ragtrial_command("index", path, "--quiet")
    assert done.code == 2, done
    assert "can't be reached or refuses the connection" in done.err
    assert "start the server, check address and token, or give a file path for Milvus Lite" in done.err


WRONG = {
    "a web page": Reply(raw="<html><body>proxy</body></html>"),
    "half of its JSON": Reply(raw='{"id": "chatcmpl-1", "choices": [{"index": 0, "mess'),
    "another schema": Reply(raw='{"result": "yes"}'),
    "nothing": Reply(raw=""),
}


def test_answers_of_an_llm_that_are_none_are_counted_as_failures_and_asked_again_when_told_to(folder: Path) -> None:
    wrong = list(WRONG.values())

    def script(asked: dict[str, Any], number: int) -> Reply:
        return wrong[number % len(wrong)] if number < 2 * len(wrong) else sensible(asked)

    with ScriptedLlm(script) as server:
        path = changed(
            folder,
            generation={"provider": "openai-compatible", "model": "scripted", "base_url": server.url},
            llm={"timeout_s": 30, "attempts": 1, "patience_s": 5, "concurrency": 1},
        )
        done = evaluated(path)
        assert done.code in (0, 1), done
        with Reader(f"sqlite:///{folder / '.ragtrial' / 'ragtrial.db'}") as reader:
            newest = reader.evaluations()[-1].evaluation_id
            failures = [trial.failure for trial in reader.trials(newest) if trial.failure is not None]
        assert {(failure.stage, failure.kind) for failure in failures} == {("generate", "server")}
        assert len(failures) > len(wrong)
        again = evaluated(path, "--retry-failed")
        assert again.code in (0, 1), again
        with Reader(f"sqlite:///{folder / '.ragtrial' / 'ragtrial.db'}") as reader:
            newest = reader.evaluations()[-1].evaluation_id
            assert not [trial for trial in reader.trials(newest) if trial.failure is not None]


def spoiled(change: Callable[[list[float]], list[float]]) -> embedding_server.Script:
    """The right answer with another first vector."""

    def script(request: embedding_server.Body, right: embedding_server.Body) -> embedding_server.Reply:
        first, *others = right["data"]
        return embedding_server.Reply(body={**right, "data": [{**first, "embedding": change(first["embedding"])}, *others]})

    return script


@pytest.mark.parametrize(
    ("script", "said"),
    [
        (spoiled(lambda vector: [float("nan"), *vector[1:]]), "returned a vector of length nan"),
        (spoiled(lambda vector: vector[:-3]), "answered with something else than vectors of one length"),
        (lambda *_: embedding_server.Reply(body={}, raw=b"<html><body>proxy</body></html>"), "check base_url, and what stands between"),
        (lambda *_: embedding_server.Reply(body={}, raw=b'{"object": "list", "da'), "check base_url, and what stands between"),
    ],
    ids=["NaN", "dimension", "web page", "half of its JSON"],
)
def test_vectors_of_an_endpoint_that_are_none_end_the_indexing_and_the_alias_stays(
    script: embedding_server.Script, said: str, folder: Path
) -> None:
    with embedding_server.running() as server:
        endpoint = {"provider": "openai-compatible", "model": "scripted", "base_url": server.base_url}
        arms = yaml.safe_load((folder / "experiment.yaml").read_text())["arms"]
        path = changed(folder, arms=[arms[0], {**arms[1], "embedding": endpoint}])
        server.script = [lambda *_: None, script]  # the first request asks for the dimension
        done = ragtrial_command("index", path, "--quiet")
        assert done.code == 2, done
        assert said in done.err
        assert "Traceback" not in done.err
        server.script = []
        assert ragtrial_command("index", path, "--quiet").code == 0
