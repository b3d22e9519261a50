"""Scores that are computed beside the answers, and the reasons of those that aren't."""

import asyncio
import time
from dataclasses import dataclass, field

import pyarrow as pa
import pytest

from ragtrial.db.bulk_import import bulk_import
from ragtrial.domain.live import LiveMetrics, OnlineScoring
from ragtrial.domain.metric import metric_named
from ragtrial.domain.planned import PrimaryMetric
from ragtrial.domain.score import Opinion, Score
from ragtrial.errors import StoppedError
from ragtrial.scoring.grounding import GroundingScorer
from ragtrial.scoring.lexical import LexicalScorer
from ragtrial.scoring.retrieval import RetrievalScorer
from ragtrial.serving import scoring
from ragtrial.serving.asking import fallback_id, twin_id
from ragtrial.serving.scoring import BackgroundScoring, ScoringPlan
from unit.serving.house import CORPUS, GOLD, ask, house, serving, unit_in


@dataclass(kw_only=True)
class Judge:
    """A judge that likes every answer, for a price, and keeps what it was asked."""

    metrics: tuple = (metric_named("judge_groundedness"),)
    version: str = "judge/0"
    deterministic: bool = False
    cost_usd: float | None = 0.01
    unscored: str | None = None
    stops: bool = False
    asked: list = field(default_factory=list)

    def score(self, trials, gold):
        if self.stops:
            raise StoppedError("the endpoint is dead")
        texts = {query.query_id: query.text for query in gold.queries}
        self.asked.append([(trial.arm, texts[trial.query_id]) for trial in trials])
        value = 1.0 if self.unscored is None else None
        opinion = Opinion(repetition=0, key="k", value=value, unscored=self.unscored, cost_usd=self.cost_usd, n_calls=1)
        score = Score(metric="judge_groundedness", value=value, unscored=self.unscored, scorer=self.version, opinions=(opinion,))
        return tuple((score,) for _ in trials)


FREE = ("nDCG@3", "answer_f1", "citation_support")


def free_scorers():
    return (RetrievalScorer([metric_named("nDCG@3")]), LexicalScorer([metric_named("answer_f1")]), GroundingScorer(CORPUS.by_id))


def scoring_of(service, *, free=(), judged=(), clock=time.time):
    parts = service.running.parts
    plan = ScoringPlan(free=free, judged=judged, gold=GOLD, live=parts.experiment.live, salt="house")
    return BackgroundScoring(
        plan, reader=parts.reader, recorder=parts.recorder, counts=service.counts, tracing=service.running.tracing, clock=clock
    )


def scores(made, trial_id):
    return {score.metric: score.value if score.unscored is None else score.unscored for score in made.reader.scores_of(trial_id)}


def live(**more):
    metrics = LiveMetrics(primary=PrimaryMetric(name="nDCG@3"), secondary=("answer_f1",), exploratory=("citation_support",))
    return {"metrics": metrics, "scoring": OnlineScoring(judge_share=1.0, **more)}


def test_what_the_gold_set_knows_is_scored_and_the_rest_has_its_reason(tmp_path):
    made = house(tmp_path, live=live())

    async def run():
        async with serving(made) as service:
            known = await ask(service, "Where IS number1")
            unknown = await ask(service, "where is the pilot")
            work = scoring_of(service, free=free_scorers())
            done = [await work.score_free(), await work.score_free()]
            return known, unknown, done, scores(made, known.trial_id), scores(made, unknown.trial_id), service.counts

    _, _, done, known, unknown, counts = asyncio.run(run())
    assert done == [2, 0]
    assert known == {"nDCG@3": 1.0, "answer_f1": 1.0, "citation_support": 1.0}
    assert (unknown["nDCG@3"], unknown["answer_f1"]) == (scoring.NOT_GOLD, scoring.NOT_GOLD)
    assert unknown["citation_support"] == 1.0
    assert counts.value("ragtrial_scored_total", metric="nDCG@3") == 1
    assert counts.value("ragtrial_unscored_total", metric="nDCG@3", reason=scoring.NOT_GOLD) == 1


def test_failed_trials_and_stand_ins_are_not_scored(tmp_path):
    made = house(tmp_path, live=live())

    async def run():
        async with serving(made) as service:
            made.index.lost.add("custom")
            served = await ask(service, unit=unit_in("custom"))
            judge = Judge()
            work = scoring_of(service, free=free_scorers(), judged=(judge,))
            await work.score_free()
            await work.score_judged()
            return scores(made, served.trial_id), scores(made, fallback_id(served.trial_id)), judge.asked

    failed, stood_in, asked = asyncio.run(run())
    assert set(failed) == {*FREE, "judge_groundedness"}
    assert set(failed.values()) == {scoring.TRIAL_FAILED}
    assert set(stood_in.values()) == {scoring.STOOD_IN}
    assert asked == []


def test_both_twins_are_scored_and_judged_together(tmp_path):
    made = house(tmp_path, "shadow", live=live())

    async def run():
        async with serving(made) as service:
            served = await ask(service)
            while len(made.logged()) < 2:
                await asyncio.sleep(0.02)
            judge = Judge()
            work = scoring_of(service, free=free_scorers(), judged=(judge,))
            await work.score_free()
            done = await work.score_judged()
            return done, judge.asked, scores(made, served.trial_id), scores(made, twin_id(served.trial_id))

    done, asked, own, twin = asyncio.run(run())
    assert done == 2
    assert asked == [[("baseline", "where is number1"), ("custom", "where is number1")]]
    assert own["judge_groundedness"] == twin["judge_groundedness"] == 1.0
    assert twin["nDCG@3"] == 1.0


def test_a_request_whose_twin_may_still_come_waits_for_it_but_not_for_ever(tmp_path):
    made = house(tmp_path, "shadow", live=live())

    async def run():
        async with serving(made) as service:
            made.models["custom"].gate.clear()
            served = await ask(service)
            judge = Judge()
            early = await scoring_of(service, judged=(judge,)).score_judged()
            late = await scoring_of(service, judged=(judge,), clock=lambda: time.time() + 60).score_judged()
            made.models["custom"].gate.set()
            return early, late, judge.asked, served

    early, late, asked, _ = asyncio.run(run())
    assert (early, late) == (0, 1)
    assert asked == [[("baseline", "where is number1")]]


def test_the_judge_sees_a_share_and_both_arms_alike(tmp_path):
    metrics = {**live(), "scoring": OnlineScoring(judge_share=0.4)}
    made = house(tmp_path, live=metrics)

    async def run():
        async with serving(made) as service:
            served = [await ask(service, f"where is number{i % 8}", f"unit{i}") for i in range(40)]
            judge = Judge()
            work = scoring_of(service, judged=(judge,))
            while await work.score_judged():
                pass
            return [scores(made, each.trial_id)["judge_groundedness"] for each in served], judge.asked

    found, asked = asyncio.run(run())
    assert set(found) == {1.0, scoring.NOT_SAMPLED}
    assert 6 <= found.count(1.0) == len(asked) <= 27


def test_the_judge_stops_for_the_day_when_its_money_is_spent(tmp_path):
    made = house(tmp_path, live=live(max_cost_usd_per_day=0.05))

    async def run():
        async with serving(made) as service:
            served = [await ask(service, f"where is number{i % 8}", f"unit{i}") for i in range(20)]
            judge = Judge(cost_usd=0.01)
            work = scoring_of(service, judged=(judge,))
            while await work.score_judged():
                pass
            tomorrow = scoring_of(service, judged=(judge,), clock=lambda: time.time() + 86_400)
            over = tomorrow._over_budget()
            return [scores(made, each.trial_id)["judge_groundedness"] for each in served], over

    found, over_tomorrow = asyncio.run(run())
    assert found.count(1.0) == 8  # a batch that is under way is finished
    assert found.count(scoring.OVER_BUDGET) == 12
    assert not over_tomorrow


def test_a_judge_whose_cost_nobody_knows_is_stopped_by_a_budget_and_not_without_one(tmp_path):
    async def judged(folder, cap):
        made = house(folder, live=live(max_cost_usd_per_day=cap))
        async with serving(made) as service:
            served = [await ask(service, f"where is number{i % 8}", f"unit{i}") for i in range(20)]
            work = scoring_of(service, judged=(Judge(cost_usd=None),))
            while await work.score_judged():
                pass
            return [scores(made, each.trial_id)["judge_groundedness"] for each in served]

    (tmp_path / "capped").mkdir()
    (tmp_path / "free").mkdir()
    capped = asyncio.run(judged(tmp_path / "capped", 0.05))
    assert capped.count(1.0) == 8  # the batch that was under way
    assert capped.count(scoring.OVER_BUDGET) == 12
    assert asyncio.run(judged(tmp_path / "free", None)).count(1.0) == 20


def test_what_is_left_out_of_the_analysis_is_not_paid_for(tmp_path):
    made = house(tmp_path, live=live())

    async def run():
        async with serving(made) as service:
            served = await ask(service, unit=None)
            judge = Judge()
            await scoring_of(service, judged=(judge,)).score_judged()
            return scores(made, served.trial_id), judge.asked

    assert asyncio.run(run()) == ({"judge_groundedness": scoring.NOT_COUNTED}, [])


def test_without_the_querys_text_there_is_nothing_to_judge_but_what_the_gold_set_knows(tmp_path):
    made = house(tmp_path, live={**live(), "query_text": "hash"})

    async def run():
        async with serving(made) as service:
            unknown, known = await ask(service, "where is the pilot"), await ask(service, "where is number2")
            judge = Judge()
            await scoring_of(service, judged=(judge,)).score_judged()
            return scores(made, unknown.trial_id), scores(made, known.trial_id), judge.asked

    unknown, known, asked = asyncio.run(run())
    assert unknown == {"judge_groundedness": scoring.NO_TEXT}
    assert known == {"judge_groundedness": 1.0}
    assert [each[0][1] for each in asked] == ["where is number2"]


def test_a_dead_judge_leaves_its_trials_for_later_and_a_day_later_gives_up(tmp_path):
    made = house(tmp_path, live=live())

    async def run():
        async with serving(made) as service:
            served = await ask(service)
            judge = Judge(stops=True)
            with pytest.raises(StoppedError):
                await scoring_of(service, judged=(judge,)).score_judged()
            between = scores(made, served.trial_id)
            await scoring_of(service, judged=(judge,), clock=lambda: time.time() + 90_000).score_judged()
            return between, scores(made, served.trial_id)

    assert asyncio.run(run()) == ({}, {"judge_groundedness": scoring.THROTTLED})


def test_a_judgment_that_the_server_refused_as_one_too_many_is_throttled(tmp_path):
    made = house(tmp_path, live=live())

    async def run():
        async with serving(made) as service:
            served = await ask(service)
            await scoring_of(service, judged=(Judge(unscored="judge failed: rate_limit"),)).score_judged()
            other = await ask(service)
            await scoring_of(service, judged=(Judge(unscored="judge failed: malformed"),)).score_judged()
            return scores(made, served.trial_id), scores(made, other.trial_id)

    assert asyncio.run(run()) == ({"judge_groundedness": scoring.THROTTLED}, {"judge_groundedness": "judge failed: malformed"})


def test_the_work_goes_on_by_itself_and_takes_up_what_an_earlier_process_left(tmp_path):
    made = house(tmp_path, live=live())

    async def first():
        async with serving(made) as service:
            return [await ask(service, f"where is number{i}", f"unit{i}") for i in range(5)]

    served = asyncio.run(first())
    again = house(tmp_path, live=live())

    async def second():
        async with serving(again) as service:
            task = asyncio.create_task(scoring_of(service, free=free_scorers(), judged=(Judge(),)).run())
            for _ in range(1200):
                found = [scores(again, each.trial_id) for each in served]
                if all(set(each) == {*FREE, "judge_groundedness"} for each in found):
                    break
                await asyncio.sleep(0.05)
            task.cancel()
            return found

    found = asyncio.run(second())
    assert all(each["nDCG@3"] == 1.0 for each in found)
    assert all(each["judge_groundedness"] == 1.0 for each in found)


def test_a_judgment_that_is_paid_for_waits_for_an_import_of_scores_and_is_not_asked_for_again(tmp_path, postgres_url, monkeypatch):
    made, judge = house(tmp_path, live=live()), Judge()
    made.url = postgres_url
    monkeypatch.setattr(scoring, "_IDLE_S", 0.05)

    async def run():
        async with serving(made) as service:
            served = await ask(service)
            row = {"trial_id": served.trial_id, "metric": "nDCG@3", "value": 0.25, "unscored": None, "scorer": "s", "n_calls": 0, "at": 2e9}
            with bulk_import(postgres_url, made.recorder.live_id, late_days=7, actor="a") as importing:
                importing.about_trials("live_scores", [pa.Table.from_pylist([row])], place="scores")
                task = asyncio.create_task(scoring_of(service, judged=(judge,)).score_judged())
                assert not (await asyncio.wait({task}, timeout=1))[0]
                await ask(service)
            await asyncio.wait_for(task, 60)
            return scores(made, served.trial_id)

    assert asyncio.run(run()) == {"nDCG@3": 0.25, "judge_groundedness": 1.0}
    assert len(judge.asked) == 1
