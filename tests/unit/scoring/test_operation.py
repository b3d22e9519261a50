import pytest

from ragtrial.domain.gold import GoldSet
from ragtrial.domain.metric import metric_named
from ragtrial.domain.trial import Answer, Failure, Ranking, Timings, Trial, Usage
from ragtrial.scoring.operation import OperationScorer

NO_GOLD = GoldSet(name="g", queries=(), judgments=())
NAMES = ("latency_ms", "embed_ms", "search_ms", "generate_ms", "cost_usd", "prompt_tokens", "completion_tokens")
RANKING = Ranking(query_id="q", hits=())
TIMINGS = Timings(embed_ms=5.0, search_ms=2.5, generate_ms=0.5)


def results(trial: Trial) -> dict[str, float | str | None]:
    (scores,) = OperationScorer([metric_named(name) for name in NAMES]).score([trial], NO_GOLD)
    return {score.metric: score.value if score.unscored is None else score.unscored for score in scores}


def answered(usage: Usage) -> Answer:
    return Answer(text="forty", generator="fake/1", usage=usage)


def test_what_was_measured_is_read_off_the_trial():
    usage = Usage(prompt_tokens=100, completion_tokens=7, cost_usd=0.001)
    values = results(Trial(arm="a", query_id="q", ranking=RANKING, answer=answered(usage), timings=TIMINGS))
    assert values == dict(zip(NAMES, (8.0, 5.0, 2.5, 0.5, 0.001, 100.0, 7.0), strict=True))


def test_a_cost_of_0_is_a_measurement_and_an_unknown_cost_is_not():
    free = results(Trial(arm="a", query_id="q", ranking=RANKING, answer=answered(Usage(cost_usd=0.0, prompt_tokens=0))))
    assert (free["cost_usd"], free["prompt_tokens"], free["completion_tokens"]) == (0.0, 0.0, "not reported by the generator")


def test_a_trial_that_ran_in_a_batch_has_no_latency():
    values = results(Trial(arm="a", query_id="q", ranking=RANKING, answer=answered(Usage())))
    assert {values[name] for name in NAMES if name.endswith("_ms")} == {"not timed alone"}


def test_without_generation_there_is_no_generation_time_although_the_clock_ran():
    values = results(Trial(arm="a", query_id="q", ranking=RANKING, timings=TIMINGS))
    assert (values["embed_ms"], values["latency_ms"], values["generate_ms"], values["cost_usd"]) == (5.0, 8.0, "no answer", "no answer")


@pytest.mark.parametrize("stage", ["embed", "search", "generate"])
def test_a_failed_trial_names_the_stage_that_failed(stage):
    trial = Trial(arm="a", query_id="q", failure=Failure(stage=stage, kind="StoreError", message="m"))
    assert set(results(trial).values()) == {f"failed: {stage}"}
