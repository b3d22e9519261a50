"""A live experiment from its file: real Milvus Lite, real SQLite, an LLM over a real socket; without HTTP on our side."""

import asyncio
import json
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from material import write_beir_folder, write_experiment
from ragtrial.db.live_reader import LiveReader
from ragtrial.domain.live_trial import Vote
from ragtrial.errors import AnswerFailedError, InputError, SetupError, StoreError
from ragtrial.formats.experiment import load_experiment
from ragtrial.serving.scoring import NOT_GOLD
from ragtrial.serving.service import LiveService, Question, Served
from ragtrial.settings import read_settings
from ragtrial.suite.serving import live_service
from scripted_llm import Reply, ScriptedLlm
from scripted_reader import reader_and_judge

METRICS = {"primary": {"name": "nDCG@10"}, "secondary": ["answer_f1"], "guardrails": [{"name": "failed", "max_increase": 0.05}]}


def experiment(folder: Path, *, live: dict[str, Any] | None = None, **more: Any) -> Path:
    data = folder / "data"
    if not data.exists():
        write_beir_folder(data, n_passages=60, n_queries=30)
    return write_experiment(folder / "e.yaml", data, live={"metrics": METRICS, **(live or {})}, **more)


def gold_texts(folder: Path) -> list[str]:
    return [json.loads(line)["text"] for line in (folder / "data" / "queries.jsonl").read_text().splitlines()]


@asynccontextmanager
async def running(path: Path, **more: Any) -> AsyncIterator[LiveService]:
    service = live_service(load_experiment(path), read_settings(), **more)
    try:
        await service.start()
        yield service
    finally:
        await service.close()


async def ask(service: LiveService, text: str, unit: str | None = "ann", **more: Any) -> Served:
    return await service.ask(Question(text=text, unit=unit, caller="tests", query_at=time.time(), **more))


async def until_scored(reader: LiveReader, trial_ids: list[str], n: int, *, within_s: float = 60.0) -> list[dict[str, Any]]:
    deadline = time.monotonic() + within_s
    while True:
        found = [
            {score.metric: score.value if score.unscored is None else score.unscored for score in reader.scores_of(t)} for t in trial_ids
        ]
        if all(len(each) == n for each in found) or time.monotonic() > deadline:
            return found
        await asyncio.sleep(0.1)


def test_users_are_served_logged_scored_and_found_again_after_a_restart(tmp_path: Path) -> None:
    path = experiment(tmp_path)
    texts = gold_texts(tmp_path)

    async def first() -> tuple[list[Served], Any, list[dict[str, Any]], dict[str, Any]]:
        async with running(path) as service:
            served = [await ask(service, text, f"user{number}", idempotency_key=f"k{number}") for number, text in enumerate(texts)]
            parts = service.running.parts
            await service.vote(Vote(trial_id=served[0].trial_id, key="v", thumb="up", at=time.time()))
            found = await until_scored(parts.reader, [each.trial_id for each in served], 2)
            votes = parts.reader.votes(parts.recorder.live_id)
            return served, votes, found, parts.reader.experiments()[0].facts

    served, votes, found, facts = asyncio.run(first())
    assert {each.arm for each in served} == {"baseline", "custom"}
    assert sum(count.up for count in votes) == 1
    assert all(isinstance(each["nDCG@10"], float) and isinstance(each["answer_f1"], float) for each in found)
    assert facts["parity"]["ok"] is True
    assert [arm["arm"] for arm in facts["arms"]] == ["baseline", "custom"]

    async def second() -> list[Served]:
        async with running(path) as service:
            return [await ask(service, texts[0], "user0", idempotency_key="k0"), await ask(service, texts[1], "user1")]

    replay, fresh = asyncio.run(second())
    assert (replay.replayed, replay.trial_id, replay.answer) == (True, served[0].trial_id, served[0].answer)
    assert fresh.arm == served[1].arm, "a unit keeps its arm over a restart"


def test_many_users_at_once_are_each_answered_with_their_own_passages(tmp_path: Path) -> None:
    path, texts = experiment(tmp_path), gold_texts(tmp_path)
    write = texts * 4

    async def run() -> tuple[list[Served], dict[str, Any], float]:
        async with running(path, background=False) as service:
            alone = {text: await ask(service, text, "ann") for text in texts}
            crowd = await asyncio.gather(*(ask(service, text, "ann") for text in write))
            return list(crowd), alone, service.counts.value("ragtrial_batch_size_count", lane="user")

    crowd, alone, passes = asyncio.run(run())
    assert [(each.answer, each.sources) for each in crowd] == [(alone[text].answer, alone[text].sources) for text in write]
    assert passes < len(texts) + len(write) / 3


def test_another_process_that_has_milvus_lite_is_named(tmp_path: Path) -> None:
    path = experiment(tmp_path)

    async def once() -> None:
        async with running(path, background=False):
            pass

    asyncio.run(once())
    holder = "import sys, time; from ragtrial.index.milvus import MilvusIndex; i = MilvusIndex(sys.argv[1]); print('open', flush=True); time.sleep(60)"
    command = [sys.executable, "-c", holder, str(tmp_path / ".ragtrial" / "milvus.db")]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as child:
        try:
            assert child.stdout is not None
            assert child.stdout.readline() == "open\n"
            with pytest.raises(StoreError, match=r"stores.milvus: .*open in another process"):
                asyncio.run(once())
        finally:
            child.kill()


def test_what_can_not_be_served_is_said_before_anything_is_loaded(tmp_path: Path) -> None:
    settings = read_settings()
    path = experiment(tmp_path)
    with pytest.raises(SetupError, match=r"2 workers can't share stores.milvus"):
        live_service(load_experiment(path), settings, workers=2)
    remote = experiment(tmp_path, stores={"milvus": "http://localhost:19530"})
    live_service(load_experiment(remote), settings, workers=2)
    plain = write_experiment(tmp_path / "plain.yaml", tmp_path / "data")
    with pytest.raises(InputError, match="live"):
        live_service(load_experiment(plain), settings)
    arms = [
        {"name": "baseline", "role": "control", "embedding": {"provider": "hashing", "model": "a"}},
        {"name": "custom", "role": "treatment", "embedding": {"provider": "hashing", "model": "b"}, "generation": {"min_score": 2.0}},
    ]
    mixed = experiment(tmp_path, arms=arms, live={"mode": "interleaved", "metrics": {"primary": {"name": "preference"}}})
    with pytest.raises(InputError, match="same generation"):
        live_service(load_experiment(mixed), settings)


@pytest.fixture
def server() -> Iterator[ScriptedLlm]:
    with ScriptedLlm(reader_and_judge) as scripted:
        yield scripted


def with_llm(folder: Path, server: ScriptedLlm, *, scoring: dict[str, Any] | None = None, model: str = "gpt-4o-mini", **live: Any) -> Path:
    llm = {"model": model, "base_url": server.url}
    return experiment(
        folder,
        generation={"provider": "openai-compatible", **llm},
        metrics={"primary": {"name": "nDCG@10"}, "judge": llm},
        llm={"timeout_s": 30, "attempts": 2, "patience_s": 2},
        live={
            "metrics": {"primary": {"name": "judge_correctness"}, "secondary": ["nDCG@10"]},
            "scoring": {"judge_share": 1.0, **(scoring or {})},
            **live,
        },
    )


def test_an_llm_answers_and_a_judge_scores_both_twins_of_a_request(tmp_path: Path, server: ScriptedLlm) -> None:
    path = with_llm(tmp_path, server, mode="shadow")
    texts = gold_texts(tmp_path)[:6]

    async def run() -> tuple[list[Served], list[dict[str, Any]], Any, float | None]:
        async with running(path) as service:
            served = await asyncio.gather(*(ask(service, text, f"user{n}") for n, text in enumerate([*texts, "what is a bollard"])))
            parts = service.running.parts
            for _ in range(600):
                if len(logged := parts.reader.recent(parts.recorder.live_id)) == 14:
                    break
                await asyncio.sleep(0.1)
            found = await until_scored(parts.reader, [trial.trial_id for trial in logged], 2)
            return list(served), found, logged, parts.reader.judge_spend(parts.recorder.live_id, since=0.0)

    served, found, logged, spent = asyncio.run(run())
    assert {each.arm for each in served} == {"baseline"}
    assert all(each.usage.prompt_tokens for each in served if not each.abstained)
    assert sorted({trial.trial.arm for trial in logged}) == ["baseline", "custom"]
    assert len(found) == 14
    assert all(isinstance(each["judge_correctness"], float) or each["judge_correctness"] == NOT_GOLD for each in found)
    assert sum(isinstance(each["nDCG@10"], float) for each in found) == 12
    assert spent is not None
    assert spent > 0
    assert not (tmp_path / ".ragtrial" / "calls").exists(), "what users say is kept in the log and nowhere else"


def test_a_dead_llm_fails_trials_and_the_service_recovers_by_itself(tmp_path: Path, server: ScriptedLlm) -> None:
    path = with_llm(tmp_path, server)
    texts = gold_texts(tmp_path)

    async def run() -> tuple[set[str], bool]:
        async with running(path, background=False) as service:
            assert (await ask(service, texts[0])).logged
            server.script = lambda _request, _number: Reply(status=503)
            failures = set()
            deadline = time.monotonic() + 60
            while "generate: StoppedError" not in failures and time.monotonic() < deadline:
                outcomes = await asyncio.gather(*(ask(service, text) for text in texts[:8]), return_exceptions=True)
                failures |= {outcome.failure for outcome in outcomes if isinstance(outcome, AnswerFailedError)}
            server.script = reader_and_judge
            deadline = time.monotonic() + 60
            while time.monotonic() < deadline:
                try:
                    return failures, (await ask(service, texts[1])).logged
                except AnswerFailedError:
                    await asyncio.sleep(0.5)
            return failures, False

    failures, recovered = asyncio.run(run())
    assert "generate: StoppedError" in failures
    assert recovered


def test_a_judge_without_a_price_can_not_keep_to_a_budget(tmp_path: Path, server: ScriptedLlm) -> None:
    async def run(path: Path) -> None:
        async with running(path):
            pass

    with pytest.raises(InputError, match="max_cost_usd_per_day"):
        asyncio.run(run(with_llm(tmp_path, server, model="my-own")))
    asyncio.run(run(with_llm(tmp_path, server, model="my-own", scoring={"max_cost_usd_per_day": None})))


def test_a_broken_guardrail_stops_the_treatment_by_itself(tmp_path: Path) -> None:
    path = experiment(tmp_path)
    texts = gold_texts(tmp_path)

    async def run() -> tuple[Any, Served]:
        async with running(path) as service:
            parts = service.running.parts
            lost = parts.treatment.search.collection
            index = parts.treatment.search.index
            plain = index.search

            def search(name: str, *args: Any, **more: Any) -> Any:
                if name == lost:
                    raise StoreError(f"collection {name!r} is gone")
                return plain(name, *args, **more)

            index.search = search  # type: ignore[method-assign]
            deadline, number = time.monotonic() + 60, 0
            while not service.state().stopped and time.monotonic() < deadline:
                await asyncio.gather(*(ask(service, texts[i % len(texts)], f"user{number + i}") for i in range(20)))
                number += 20
                await asyncio.sleep(0.2)
            return service.state(), await ask(service, texts[0], "user1")

    state, served = asyncio.run(run())
    assert (state.stopped, state.actor) == (True, "guardrail")
    assert "failed" in state.reason
    assert (served.arm, served.reason) == ("baseline", "stopped")


@pytest.mark.parametrize("missing", ["the extra", "the model"])
def test_a_service_that_should_redact_and_cannot_does_not_start(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, missing: str) -> None:
    path = experiment(tmp_path, live={"query_text": "redacted"})
    environment = {"RAGTRIAL_PII_MODEL": "no_such_model"} if missing == "the model" else {}
    if missing == "the extra":
        monkeypatch.setitem(sys.modules, "presidio_analyzer", None)
    else:
        pytest.importorskip("presidio_analyzer")
    service = live_service(load_experiment(path), read_settings(environment))

    async def run() -> None:
        try:
            await service.start()
        finally:
            await service.close()

    with pytest.raises(SetupError, match=r"ragtrial\[pii\]" if missing == "the extra" else "RAGTRIAL_PII_MODEL is 'no_such_model'"):
        asyncio.run(run())


def test_where_queries_are_not_kept_in_full_the_traces_hold_no_texts_either(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    async def captures(how: str) -> bool:
        path = experiment(tmp_path, live={"query_text": how})
        service = live_service(load_experiment(path), read_settings({"RAGTRIAL_CAPTURE_CONTENT": "1"}), background=False)
        try:
            await service.start()
            return service.running.parts.capture_content
        finally:
            await service.close()

    assert [asyncio.run(captures(how)) for how in ("full", "hash")] == [True, False]
    assert "texts stay out of the traces" in caplog.text
