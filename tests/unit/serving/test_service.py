"""What a request gets, and what is in the log for it."""

import asyncio
import logging
from dataclasses import replace

import pytest

from ragtrial.contracts import CollectionRef, IndexParameters
from ragtrial.domain.live_trial import LONGEST_QUERY, SignalEvent, Vote
from ragtrial.embedding.hashing import HashingEmbedder
from ragtrial.errors import (
    AnswerFailedError,
    ConflictError,
    InputError,
    OverloadedError,
    SetupError,
    StartingError,
    StoreError,
    UnknownTrialError,
)
from ragtrial.index.following import AliasFollower
from ragtrial.serving.answering import Patience
from ragtrial.serving.asking import fallback_id
from ragtrial.serving.committing import NOT_KEPT
from ragtrial.serving.handling import Unitless
from ragtrial.serving.health import MilvusHealth
from ragtrial.serving.parts import ServiceLimits
from ragtrial.serving.service import LiveService
from ragtrial.splitting import pseudonym
from unit.parts import Quoting
from unit.serving.house import CORPUS, ask, house, serving, unit_in


def test_an_answer_leaves_with_its_trial_in_the_log(tmp_path):
    made, unit = house(tmp_path), unit_in("custom")

    async def run():
        async with serving(made) as service:
            served = await ask(service, "Where is  number1", unit)
            return served, made.logged()

    served, (trial,) = asyncio.run(run())
    assert (served.arm, served.reason, served.logged, served.replayed) == ("custom", "split", True, False)
    assert served.answer == "quay number1 lies north"
    assert (served.sources[0].passage_id, served.sources[0].cited) == ("p001", True)
    assert len(served.sources) == 2  # what the generator read
    assert trial.trial_id == trial.request_id == served.trial_id
    assert trial.unit == pseudonym(unit)
    assert trial.query.gold_query_id == "q001"
    assert trial.trial.arm == "custom"
    assert trial.trial.timings is not None
    assert trial.waited_ms == served.waited_ms > 0


def test_a_unit_sees_one_arm_and_a_request_without_one_the_baseline(tmp_path):
    made = house(tmp_path)

    async def run():
        async with serving(made) as service:
            mine = {(await ask(service, f"where is number{i}", unit_in("custom"))).arm for i in range(4)}
            nobody = await ask(service, unit=None)
            return mine, nobody, service.counts.value("ragtrial_assigned_total", reason="no unit")

    mine, nobody, counted = asyncio.run(run())
    assert mine == {"custom"}
    assert (nobody.arm, nobody.reason) == ("baseline", "no unit")
    assert counted == 1


def test_a_tester_gets_the_arm_that_was_asked_for(tmp_path):
    made = house(tmp_path)

    async def run():
        async with serving(made) as service:
            served = await ask(service, unit=unit_in("baseline"), override="custom")
            with pytest.raises(InputError, match="nonsense"):
                await ask(service, override="nonsense")
            return served

    served = asyncio.run(run())
    assert (served.arm, served.reason) == ("custom", "override")


@pytest.mark.parametrize("text", ["", "  \n", "x" * (LONGEST_QUERY + 1)])
def test_what_is_no_query_is_refused(tmp_path, text):
    made = house(tmp_path)

    async def run():
        async with serving(made) as service:
            with pytest.raises(InputError):
                await ask(service, text)
            return service.counts.value("ragtrial_requests_total", arm="", outcome="invalid"), made.logged()

    assert asyncio.run(run()) == (1, ())


def test_the_same_key_gets_the_first_answer_again(tmp_path):
    made = house(tmp_path)

    async def run():
        async with serving(made) as service:
            first = await ask(service, idempotency_key="k")
            again = await ask(service, idempotency_key="k")
            with pytest.raises(InputError, match="another query"):
                await ask(service, "where is number2", idempotency_key="k")
            with pytest.raises(InputError, match="unit"):
                await ask(service, unit="bob", idempotency_key="k")
            elsewhere = await ask(service, idempotency_key="k", caller="another key")
            return first, again, elsewhere, made.logged()

    first, again, elsewhere, logged = asyncio.run(run())
    assert again.replayed
    assert (again.trial_id, again.answer, again.sources) == (first.trial_id, first.answer, first.sources)
    assert again.waited_ms == pytest.approx(first.waited_ms)
    assert elsewhere.trial_id != first.trial_id
    assert len(logged) == 2


def test_the_same_key_at_the_same_time_is_logged_once(tmp_path):
    made = house(tmp_path)

    async def run():
        async with serving(made) as service:
            served = await asyncio.gather(*(ask(service, idempotency_key="k") for _ in range(8)))
            return served, made.logged()

    served, logged = asyncio.run(run())
    assert len({each.trial_id for each in served}) == len(logged) == 1
    assert sum(not each.replayed for each in served) == 1


def test_where_the_custom_arm_fails_the_baseline_answers_and_the_failure_counts(tmp_path):
    made, unit = house(tmp_path), unit_in("custom")

    async def run():
        async with serving(made) as service:
            made.index.lost.add("custom")
            served = await ask(service, unit=unit, idempotency_key="k")
            again = await ask(service, unit=unit, idempotency_key="k")
            voted = await service.vote(Vote(trial_id=served.trial_id, key="v", thumb="up", passage_id="p001", at=1e9))
            return served, again, voted, made.logged(), service.counts.value("ragtrial_requests_total", arm="custom", outcome="fallback")

    served, again, voted, logged, counted = asyncio.run(run())
    assert (served.arm, served.reason, served.answer) == ("baseline", "fallback", "quay number1 lies north")
    assert (again.replayed, again.reason, again.answer, again.trial_id) == (True, "fallback", served.answer, served.trial_id)
    assert voted in ("recorded", "late")
    assert counted == 1
    trials = {trial.trial_id: trial for trial in logged}
    failed, stood_in = trials[served.trial_id], trials[fallback_id(served.trial_id)]
    assert (failed.served, failed.trial.arm, failed.assignment.reason) == (True, "custom", "split")
    assert failed.trial.failure is not None
    assert failed.trial.failure.stage == "search"
    assert (stood_in.served, stood_in.trial.arm, stood_in.request_id) == (False, "baseline", served.trial_id)
    assert stood_in.assignment.reason == "fallback"
    assert not stood_in.assignment.counted


def test_where_the_baseline_fails_there_is_no_answer_and_the_failure_is_logged(tmp_path):
    made = house(tmp_path)

    async def run():
        async with serving(made) as service:
            made.index.lost |= {"baseline", "custom"}
            with pytest.raises(AnswerFailedError) as mine:
                await ask(service, unit=unit_in("baseline"))
            with pytest.raises(AnswerFailedError) as custom:
                await ask(service, unit=unit_in("custom"), idempotency_key="k")
            with pytest.raises(AnswerFailedError) as again:
                await ask(service, unit=unit_in("custom"), idempotency_key="k")
            return mine.value, custom.value, again.value, {trial.trial_id for trial in made.logged() if trial.served}

    mine, custom, again, served = asyncio.run(run())
    assert served == {mine.trial_id, custom.trial_id}
    assert again.trial_id == custom.trial_id
    assert mine.failure == "search: StoreError"


def test_a_generator_that_fails_fails_its_trial_alone(tmp_path):
    text = "where is number1"
    made = house(tmp_path)

    class Broken(Quoting):
        def generate(self, query, passages):
            raise RuntimeError(query.text)

    made.generators["custom"] = Broken()

    async def run():
        service = LiveService(made.experiment, made.parts)
        with pytest.raises(SetupError, match="RuntimeError"):
            await service.start()
        await service.close()

    asyncio.run(run())
    made = house(tmp_path)

    async def go():
        async with serving(made) as service:
            made.generators["custom"].fails_on = frozenset({service.running.parts.digest(text)})
            return await ask(service, text, unit_in("custom")), made.logged()

    served, logged = asyncio.run(go())
    assert served.reason == "fallback"
    assert [trial.trial.failure.stage for trial in logged if trial.served] == ["generate"]


def test_votes_and_signals_are_recorded_once_and_refused_for_unknown_trials(tmp_path):
    made = house(tmp_path)

    async def run():
        async with serving(made) as service:
            served = await ask(service)
            at = made.logged()[0].at + 1
            vote = Vote(trial_id=served.trial_id, key="v", thumb="up", at=at)
            outcomes = [await service.vote(vote), await service.vote(vote)]
            outcomes.append(await service.signal(SignalEvent(trial_id=served.trial_id, key="s", signal="copied", at=at)))
            with pytest.raises(UnknownTrialError):
                await service.vote(Vote(trial_id="trial_0", key="v", thumb="up", at=at))
            return outcomes, service.counts.value("ragtrial_votes_total", kind="vote", outcome="unknown trial")

    assert asyncio.run(run()) == (["recorded", "repeated", "recorded"], 1)


def test_a_stop_holds_at_once_here_and_within_a_second_in_another_worker(tmp_path):
    one, other = house(tmp_path), house(tmp_path)

    async def run():
        async with serving(one) as first, serving(other) as second:
            before = (await ask(second, unit=unit_in("custom"))).arm
            state = await first.change_traffic(stopped=True, actor="ann", reason="enough")
            here = await ask(first, unit=unit_in("custom"))
            await asyncio.sleep(1.0)
            there = await ask(second, unit=unit_in("custom"))
            with pytest.raises(ConflictError):
                await second.change_traffic(share=0.5, actor="bob", reason="more", expected_version=1)
            after = await second.change_traffic(stopped=False, actor="bob", reason="again")
            return before, state, here, there, after, second.state()

    before, state, here, there, after, seen = asyncio.run(run())
    assert before == "custom"
    assert (state.version, state.stopped) == (2, True)
    assert [(each.arm, each.reason) for each in (here, there)] == [("baseline", "stopped")] * 2
    assert after == seen
    assert (after.version, after.stopped) == (3, False)


def test_a_share_of_the_answers_asks_for_a_rating(tmp_path):
    made = house(tmp_path, live={"solicit": 0.5})

    async def run():
        async with serving(made) as service:
            served = [await ask(service, unit=f"unit{i}") for i in range(40)]
            return served, {trial.trial_id: trial.solicited for trial in made.logged()}

    served, logged = asyncio.run(run())
    assert 8 <= sum(each.solicited for each in served) <= 32
    assert all(logged[each.trial_id] == each.solicited for each in served)


def test_what_is_not_counted_never_asks_for_a_rating(tmp_path):
    made = house(tmp_path, live={"solicit": 0.999})

    async def run():
        async with serving(made) as service:
            nobody = [await ask(service, unit=None) for _ in range(5)]
            tester = [await ask(service, unit="ann", override="custom") for _ in range(5)]
            return [*nobody, *tester], await ask(service, unit="ann")

    outside, inside = asyncio.run(run())
    assert not any(each.solicited for each in outside)
    assert inside.solicited


def test_requests_without_a_unit_are_warned_of_at_most_once_a_minute_with_their_number(caplog):
    unitless = Unitless()
    for now in (0.0, 1.0, 59.0, 60.0, 61.0):
        unitless.tell(now)
    assert [record.requests for record in caplog.records] == [1, 3]
    assert {record.levelname for record in caplog.records} == {"WARNING"}


def test_a_request_without_a_unit_is_warned_of(tmp_path, caplog):
    made = house(tmp_path)

    async def run():
        async with serving(made) as service:
            await ask(service, unit="ann")
            before = [record for record in caplog.records if "without a unit" in record.message]
            await ask(service, unit=None)
            return before

    assert asyncio.run(run()) == []
    assert [record.levelname for record in caplog.records if "without a unit" in record.message] == ["WARNING"]


def test_queries_are_kept_as_the_experiment_says(tmp_path):
    made = house(tmp_path, live={"query_text": "hash"})

    async def run():
        async with serving(made) as service:
            await ask(service)
            return made.logged()

    (trial,) = asyncio.run(run())
    assert trial.query.text is None
    assert trial.query.gold_query_id == "q001"
    assert trial.trial.query_id == trial.query.digest


def test_too_many_requests_at_a_time_are_refused(tmp_path):
    made = house(tmp_path, limits=ServiceLimits(in_flight=2))

    async def run():
        async with serving(made) as service:
            for model in made.models.values():
                model.gate.clear()
            two = [asyncio.create_task(ask(service)) for _ in range(2)]
            await asyncio.sleep(0.02)
            with pytest.raises(OverloadedError) as refused:
                await ask(service)
            for model in made.models.values():
                model.gate.set()
            await asyncio.gather(*two)
            return refused.value.retry_after_s, service.counts.value("ragtrial_requests_total", arm="", outcome="refused")

    retry, counted = asyncio.run(run())
    assert retry > 0
    assert counted == 1


def test_a_service_that_has_not_started_or_is_closed_refuses(tmp_path):
    made = house(tmp_path)

    async def run():
        service = LiveService(made.experiment, made.parts)
        assert not service.ready().ok
        with pytest.raises(StartingError):
            await ask(service)
        with pytest.raises(StartingError):
            service.state()
        await service.start()
        assert service.ready().ok
        await service.close()
        with pytest.raises(OverloadedError, match="the service is closed"):
            await ask(service)
        assert not service.ready().warm

    asyncio.run(run())


def test_readiness_says_whether_the_baseline_can_be_searched(tmp_path):
    made = house(tmp_path)

    async def run():
        async with serving(made) as service:
            made.index.lost.add("custom")
            await service.running.health.look()
            degraded = service.ready()
            made.index.lost.add("baseline")
            await service.running.health.look()
            return degraded, service.ready()

    degraded, gone = asyncio.run(run())
    assert degraded.ok
    assert "custom" in degraded.degraded
    assert not gone.ok
    assert "baseline" in gone.milvus


def test_a_baseline_that_the_store_has_not_loaded_makes_the_service_unready_until_it_is(tmp_path):
    made = house(tmp_path)
    described = made.index.describe

    async def run():
        async with serving(made) as service:
            made.index.describe = lambda name: replace(described(name), loaded=False)
            await service.running.health.look()
            released = service.ready()
            made.index.describe = lambda name: replace(described(name), complete=False)
            await service.running.health.look()
            incomplete = service.ready()
            made.index.describe = described
            await service.running.health.look()
            return released, incomplete, service.ready()

    released, incomplete, back = asyncio.run(run())
    assert (released.ok, released.milvus) == (False, "collection 'baseline' of arm 'baseline' was not loaded")
    assert (incomplete.ok, incomplete.milvus) == (False, "collection 'baseline' of arm 'baseline' is not complete")
    assert back.ok


def test_an_alias_that_is_moved_while_serving_is_told_once(tmp_path, caplog):
    made = house(tmp_path)

    async def run():
        async with serving(made) as service:
            made.index.point("rt_custom", "custom")
            arm = replace(service.running.parts.treatment.search, alias="rt_custom")
            health = MilvusHealth(service.running.batcher, service.running.parts.control.search, arm)
            await health.look()
            before = health.moved
            made.index.point("rt_custom", "baseline")  # as after indexing anew
            made.index.keep_searched("custom", 0.0)  # the alias left it long ago
            await health.look()
            await health.look()
            with pytest.raises(StoreError, match="collection 'custom' can't be dropped yet"):
                made.index.drop("custom")
            return before, health

    with caplog.at_level(logging.WARNING, logger="ragtrial.serving"):
        before, health = asyncio.run(run())
    assert (before, health.moved, health.error, health.degraded) == ((), ("custom",), None, None)
    (told,) = [record.getMessage() for record in caplog.records if "alias" in record.msg]
    assert told.startswith("alias 'rt_custom' of arm 'custom' points to collection 'baseline' now, but the service goes on with 'custom'")


def test_a_service_follows_its_alias_to_another_index_of_the_same_and_to_nothing_else(tmp_path, caplog):
    made = house(tmp_path)
    arm = made.arm("baseline").search
    index, model = made.index, arm.embedder.identity

    def collection(name, embedder, corpus=CORPUS.fingerprint):
        index.create(name, model=embedder.identity, corpus=corpus, parameters=IndexParameters(build={}, search={}))
        index.insert(name, CORPUS.passages, embedder.embed([passage.content for passage in CORPUS.passages], kind="passage"))
        index.finish(name)

    collection("rebuilt", arm.embedder)
    collection("stranger", HashingEmbedder(model="z", dimension=512))
    collection("grown", arm.embedder, corpus="other passages")
    index.point("rt_baseline", "baseline")
    begin = CollectionRef(name="baseline", model=model, corpus=CORPUS.fingerprint)

    def accepts(ref):
        return None if (ref.model, ref.corpus) == (model, CORPUS.fingerprint) else f"{ref.name} is another arm's"

    follower = AliasFollower(index, "rt_baseline", lambda _: arm.embedder, every_s=0, accepts=accepts, begin=begin)
    arm = replace(arm, follower=follower, alias="rt_baseline")
    vectors = arm.embedder.embed(["where is number1"], kind="query")
    best = arm.found(["where is number1"], vectors)
    seen = []
    with caplog.at_level(logging.INFO, logger="ragtrial.index"):
        for target in ("rebuilt", "stranger", "grown", "baseline"):
            index.point("rt_baseline", target)
            for _ in range(2):
                assert arm.found(["where is number1"], vectors) == best
            seen.append(arm.searched)
        index.point("rt_baseline", "rebuilt")
        index.lost.add("rebuilt")  # and a store that fails is no reason to look elsewhere
        with pytest.raises(StoreError, match="is gone"):
            arm.found(["where is number1"], vectors)
    assert seen == ["rebuilt", "rebuilt", "rebuilt", "baseline"]
    said = [record.getMessage() for record in caplog.records]
    assert [line.split(":")[0].split(",")[0] for line in said] == [
        "alias 'rt_baseline' was moved from 'baseline' to 'rebuilt'",
        "alias 'rt_baseline' can't be followed",
        "alias 'rt_baseline' can't be followed",
        "alias 'rt_baseline' was moved from 'rebuilt' to 'baseline'",
        "alias 'rt_baseline' was moved from 'baseline' to 'rebuilt'",
    ]


@pytest.mark.parametrize(("query_text", "kept"), [("full", "can't embed that"), ("hash", NOT_KEPT)])
def test_where_the_log_holds_no_queries_it_holds_no_messages_that_may_quote_them(tmp_path, query_text, kept):
    made = house(tmp_path, live={"query_text": query_text})

    async def run():
        async with serving(made) as service:
            made.models["custom"].fails_on.add("where is number1")
            await ask(service, unit=unit_in("custom"))
            return made.logged()

    assert [trial.trial.failure.message for trial in asyncio.run(run()) if trial.trial.failure is not None] == [kept]


def test_log_lines_name_the_trial_and_never_the_query(tmp_path, caplog):
    made = house(tmp_path)

    async def run():
        async with serving(made) as service:
            return await ask(service, "a very private question")

    with caplog.at_level(logging.INFO, logger="ragtrial.serving"):
        served = asyncio.run(run())
    assert [record.trial_id for record in caplog.records if record.message == "answered"] == [served.trial_id]
    assert "private" not in caplog.text


def test_work_beside_the_answers_begins_again_where_it_fails(tmp_path, monkeypatch):
    monkeypatch.setattr("ragtrial.serving.service._AGAIN_AFTER_S", 0.01)
    tries = []

    async def fragile(service):
        tries.append(service.experiment.name)
        if len(tries) < 3:
            raise ZeroDivisionError

    made = house(tmp_path, beside={"fragile": fragile})

    async def run():
        async with serving(made) as service:
            while len(tries) < 3:
                await asyncio.sleep(0.02)
            return service.counts.value("ragtrial_background_errors_total", task="fragile")

    assert asyncio.run(run()) == 2
    assert tries == ["house"] * 3


def test_where_the_models_hang_the_trial_fails_in_time_and_the_service_says_so(tmp_path):
    patience = Patience(retrieve_s=1.0)
    made = house(tmp_path, limits=ServiceLimits(patience=patience))

    async def run():
        async with serving(made) as service:
            for model in made.models.values():
                model.gate.clear()
            with pytest.raises(AnswerFailedError) as failed:
                await ask(service, unit=unit_in("custom"))
            service.running.health._every_s = 0.1
            ready = service.ready()
            for model in made.models.values():
                model.gate.set()
            await asyncio.sleep(0.1)
            return failed.value.failure, ready.milvus, (await ask(service)).logged, service.ready().milvus

    failure, stuck, logged, after = asyncio.run(run())
    assert failure == "search: timeout"
    assert "no answer" in stuck
    assert logged
    assert after is None
