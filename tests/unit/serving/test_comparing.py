"""Two answers beside each other: both arms', in an order that is drawn, logged together before they leave."""

import asyncio
import logging
import threading
import time
from concurrent.futures import Future

import pytest

from ragtrial.db.reader import Reader
from ragtrial.domain.live_preference import Preference
from ragtrial.domain.live_trial import Vote
from ragtrial.errors import (
    AnswerFailedError,
    InputError,
    OverloadedError,
    StartingError,
    StoreError,
    TreatmentStoppedError,
    UnknownComparisonError,
    UnknownTrialError,
)
from ragtrial.serving.asking import fallback_id, twin_id
from ragtrial.serving.parts import ServiceLimits
from ragtrial.serving.service import LiveService
from ragtrial.splitting import pseudonym
from unit.parts import Quoting
from unit.serving.house import ask, asking, house, serving, unit_in

LOST = StoreError("the database is lost")


def preference(comparison_id, choice="left", *, key="k", caller="tests"):
    return Preference(comparison_id=comparison_id, caller=caller, key=key, choice=choice, at=time.time())


@pytest.mark.parametrize("mode", ["split", "shadow", "interleaved"])
def test_both_arms_answer_and_everything_is_in_the_log_before_the_answers_leave(tmp_path, mode):
    made = house(tmp_path, mode)

    async def run():
        async with serving(made) as service:
            found = await service.compare(asking())
            return found, made.logged(), made.reader.comparison(found.comparison_id)

    found, logged, stored = asyncio.run(run())
    assert {trial.trial.arm for trial in logged} == {"baseline", "custom"}
    assert {trial.trial_id for trial in logged} == {trial.trial_id for trial in stored.trials}
    for trial, side in zip(stored.trials, (found.left, found.right), strict=True):
        assert (trial.assignment.reason, trial.served, trial.solicited, trial.unit) == ("override", True, False, pseudonym("ann"))
        assert (trial.assignment.propensity, trial.assignment.counted) == (None, False)
        assert trial.trial.answer.text == side.text
        assert set(trial.trial.answer.cited) == {source.passage_id for source in side.sources if source.cited}
        assert side.sources
    assert (found.query, found.preference, found.replayed) == ("where is number1", None, False)


def test_which_arm_stands_left_is_drawn(tmp_path):
    made = house(tmp_path)

    async def run():
        async with serving(made) as service:
            found = [await service.compare(asking(unit=None)) for _ in range(30)]
            return [made.reader.comparison(each.comparison_id) for each in found]

    comparisons = asyncio.run(run())
    left = [comparison.left.trial.arm for comparison in comparisons]
    assert set(left) == {"baseline", "custom"}, "one order only: once in 500 million"
    assert {comparison.unit for comparison in comparisons} == {None}
    with Reader(made.url) as reader:
        assert reader.counts()["live_comparisons"] == 30


def test_both_arms_are_made_at_the_same_time(tmp_path):
    both = threading.Barrier(2)

    class Meeting(Quoting):
        def generate(self, query, passages):
            if query.text != "warm-up":
                both.wait(30)  # breaks where the other one is not on its way
            return super().generate(query, passages)

    made = house(tmp_path, generators={"baseline": Meeting(), "custom": Meeting()})

    async def run():
        async with serving(made) as service:
            return await service.compare(asking())

    assert asyncio.run(run()).left.text is not None


def test_the_same_key_gets_the_first_comparison_again_in_the_same_order_and_only_for_the_same_query(tmp_path):
    made = house(tmp_path)

    async def run():
        async with serving(made) as service:
            first = await service.compare(asking(idempotency_key="k"))
            again = await service.compare(asking(idempotency_key="k"))
            others = await service.compare(asking(idempotency_key="k", caller="another"))
            for changed in ({"text": "something else"}, {"unit": "bob"}):
                with pytest.raises(InputError, match="another query or unit"):
                    await service.compare(asking(**{"idempotency_key": "k", **changed}))
            return first, again, others, len(made.logged())

    first, again, others, n = asyncio.run(run())
    assert (again.comparison_id, again.left, again.right, again.replayed) == (first.comparison_id, first.left, first.right, True)
    assert others.comparison_id != first.comparison_id
    assert n == 4


def test_the_same_key_at_the_same_time_is_logged_once(tmp_path):
    made = house(tmp_path)

    async def run():
        async with serving(made) as service:
            found = await asyncio.gather(*(service.compare(asking(idempotency_key="k")) for _ in range(6)))
            return found, len(made.logged())

    found, n = asyncio.run(run())
    assert len({each.comparison_id for each in found}) == 1
    assert sum(each.replayed for each in found) == 5
    assert n == 2


@pytest.mark.parametrize("broken", ["baseline", "custom"])
def test_where_an_arm_fails_both_trials_are_logged_and_it_is_not_said_which(tmp_path, broken):
    made = house(tmp_path)

    async def run():
        async with serving(made) as service:
            made.models[broken].fails_on.add("where is number1")
            with pytest.raises(AnswerFailedError) as error:
                await service.compare(asking(idempotency_key="k"))
            made.models[broken].fails_on.clear()
            return error.value, made.logged(), await service.compare(asking(idempotency_key="k"))

    error, logged, later = asyncio.run(run())
    assert {trial.trial.arm: trial.trial.failure is None for trial in logged} == {
        broken: False,
        "custom" if broken == "baseline" else "baseline": True,
    }
    assert error.failure == "one of the two: embed: ModelError"
    assert error.trial_id in {trial.trial_id for trial in logged if trial.trial.failure is not None}
    assert later.left.text
    assert not later.replayed, "what failed is tried again"


def test_a_stopped_experiment_shows_nobody_the_custom_arm(tmp_path):
    made = house(tmp_path)

    async def run():
        async with serving(made) as service:
            shown = await service.compare(asking(idempotency_key="k"))
            await service.change_traffic(stopped=True, actor="me", reason="wrong language")
            with pytest.raises(TreatmentStoppedError):
                await service.compare(asking())
            again = await service.compare(asking(idempotency_key="k"))
            return shown, again, len(made.logged())

    shown, again, n = asyncio.run(run())
    assert again.comparison_id == shown.comparison_id, "what was shown before is still there"
    assert n == 2


def test_preferences_are_recorded_once_and_refused_to_others(tmp_path):
    made = house(tmp_path)

    async def run():
        async with serving(made) as service:
            name = (await service.compare(asking())).comparison_id
            outcomes = [
                await service.prefer(preference(name, choice, key=key)) for choice, key in (("left", "a"), ("left", "a"), ("both", "b"))
            ]
            holds = await service.comparison(name, caller="tests")
            await service.prefer(preference(name, "withdrawn", key="c"))
            withdrawn = await service.comparison(name, caller="tests")
            with pytest.raises(UnknownComparisonError):
                await service.prefer(preference(name, caller="another"))
            for caller, named in (("another", name), ("tests", "comparison_nobody")):
                with pytest.raises(UnknownComparisonError):
                    await service.comparison(named, caller=caller)
            counted = service.counts.value("ragtrial_votes_total", kind="preference", outcome="unknown comparison")
            return outcomes, holds, withdrawn, counted, made.reader.preferences_of(name)

    outcomes, holds, withdrawn, counted, history = asyncio.run(run())
    assert outcomes == ["recorded", "repeated", "recorded"]
    assert (holds.preference.choice, withdrawn.preference, counted) == ("both", None, 1)
    assert [each.choice for each in history] == ["left", "both", "withdrawn"]


class Unwilling:
    """A recorder whose database can go away."""

    def __init__(self, recorder):
        self._recorder, self.lost = recorder, False

    def __getattr__(self, name):
        return getattr(self._recorder, name)

    def _or_fail(self, write, what):
        if not self.lost:
            return write(what)
        future = Future()
        future.set_exception(LOST)
        return future

    def compare(self, comparison):
        return self._or_fail(self._recorder.compare, comparison)

    def prefer(self, preference):
        return self._or_fail(self._recorder.prefer, preference)


@pytest.mark.parametrize("availability", ["refuse", "unlogged"])
def test_without_the_log_nothing_is_shown_and_no_preference_is_taken(tmp_path, availability):
    made = house(tmp_path, live={"availability": availability}, recording=Unwilling)

    async def run():
        async with serving(made) as service:
            name = (await service.compare(asking())).comparison_id
            made.recorder.lost = True
            for _ in range(3):
                with pytest.raises(OverloadedError):
                    await service.compare(asking())
            with pytest.raises(OverloadedError, match="not recorded"):
                await service.prefer(preference(name))
            made.recorder.lost = False
            await asyncio.sleep(1.1)
            return await service.compare(asking()), await service.prefer(preference(name)), len(made.logged())

    found, outcome, n = asyncio.run(run())
    assert (found.replayed, outcome, n) == (False, "recorded", 4)


def test_too_many_at_a_time_are_refused_and_blank_queries_too(tmp_path):
    made = house(tmp_path, limits=ServiceLimits(in_flight=1))

    async def run():
        async with serving(made) as service:
            made.models["custom"].gate.clear()
            first = asyncio.create_task(service.compare(asking()))
            await asyncio.sleep(0.1)
            with pytest.raises(OverloadedError):
                await service.compare(asking())
            made.models["custom"].gate.set()
            await first
            with pytest.raises(InputError, match="blank"):
                await service.compare(asking("  "))
            return service.counts.value("ragtrial_requests_total", arm="", outcome="refused")

    assert asyncio.run(run()) == 1
    with pytest.raises(StartingError):
        asyncio.run(LiveService(made.experiment, made.parts).compare(asking()))


def test_log_lines_name_the_comparison_and_neither_the_query_nor_an_order(tmp_path, caplog):
    made = house(tmp_path)

    async def run():
        async with serving(made) as service:
            return await service.compare(asking("a very private question"))

    with caplog.at_level(logging.INFO, logger="ragtrial.serving"):
        found = asyncio.run(run())
    (line,) = [record for record in caplog.records if record.message == "compared"]
    assert line.comparison_id == found.comparison_id
    assert "private" not in caplog.text


def test_an_answer_is_found_again_by_its_caller_with_the_votes_that_hold(tmp_path):
    made = house(tmp_path)

    async def run():
        async with serving(made) as service:
            served = await ask(service)
            source = served.sources[0].passage_id
            votes = [("a", "up", None), ("b", "down", None), ("c", "up", source), ("d", "down", source), ("e", "withdrawn", source)]
            before = await service.recall(served.trial_id, caller="tests")
            for key, thumb, target in votes:
                vote = Vote(trial_id=served.trial_id, key=key, thumb=thumb, passage_id=target, comment=key, at=time.time())
                await service.vote(vote)
            return served, before, await service.recall(served.trial_id, caller="tests")

    served, before, after = asyncio.run(run())
    assert (before.query, before.shown.text, before.shown.sources, before.votes) == ("where is number1", served.answer, served.sources, {})
    assert {target: (vote.thumb, vote.comment) for target, vote in after.votes.items()} == {None: ("down", "b")}


def test_answers_of_others_silent_twins_and_stand_ins_are_not_there_in_the_same_words(tmp_path):
    made = house(tmp_path, "shadow")

    async def run():
        async with serving(made) as service:
            served = await ask(service)
            for _ in range(1200):
                if len(made.logged()) == 2:
                    break
                await asyncio.sleep(0.05)
            words = set()
            asked = [
                (served.trial_id, "another"),
                *((name(served.trial_id), "tests") for name in (twin_id, fallback_id)),
                ("no such", "tests"),
            ]
            for trial_id, caller in asked:
                with pytest.raises(UnknownTrialError) as error:
                    await service.recall(trial_id, caller=caller)
                words.add(str(error.value).replace(trial_id, "..."))
            return words

    assert len(asyncio.run(run())) == 1


def test_where_the_baseline_stood_in_its_answer_is_found_again_and_where_nothing_came_the_failure(tmp_path):
    made = house(tmp_path)

    async def run():
        async with serving(made) as service:
            made.models["custom"].fails_on.add("where is number1")
            served = await ask(service, unit=unit_in("custom"))
            made.models["baseline"].fails_on.add("where is number2")
            with pytest.raises(AnswerFailedError) as failed:
                await ask(service, "where is number2", unit=None)
            with pytest.raises(AnswerFailedError) as again:
                await service.recall(failed.value.trial_id, caller="tests")
            return served, await service.recall(served.trial_id, caller="tests"), failed.value, again.value

    served, again, failed, failed_again = asyncio.run(run())
    assert (served.arm, served.reason) == ("baseline", "fallback")
    assert (again.shown.text, again.shown.sources) == (served.answer, served.sources)
    assert (failed_again.trial_id, failed_again.failure) == (failed.trial_id, failed.failure)


def test_texts_that_were_erased_are_not_shown_again_and_the_rest_is(tmp_path):
    made = house(tmp_path)

    async def run():
        async with serving(made) as service:
            served, found = await ask(service), await service.compare(asking())
            await asyncio.to_thread(made.recorder.forget_texts, before=time.time() + 1)
            return await service.recall(served.trial_id, caller="tests"), await service.comparison(found.comparison_id, caller="tests")

    answer, both = asyncio.run(run())
    assert (answer.query, answer.shown.text, answer.shown.abstained) == (None, None, False)
    assert answer.shown.sources
    assert (both.query, both.left.text, both.right.text) == (None, None, None)
