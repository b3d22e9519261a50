"""What the arms cost: what is said where it is known, and where it isn't."""

import dataclasses
import re
from xml.etree import ElementTree as ET

import pytest

from ragtrial.domain.evaluation import ArmFacts, IndexFacts
from ragtrial.domain.generation import GenerationSpec
from ragtrial.domain.model import ModelIdentity
from ragtrial.domain.reranking import RerankSpec
from ragtrial.report import charts, cost_charts, cost_words, live_verdict_words, words
from ragtrial.report.content import ReportContent
from ragtrial.report.drawing import DARK, LIGHT, Look
from ragtrial.report.live_summary import LiveSummary, LiveUsage
from ragtrial.report.summary import ArmUsage, StageLatency
from ragtrial.report.svg import svg_of
from ragtrial.stats.quantiles import latency_quantiles
from unit.report import live_samples

INDEX = IndexFacts(collection="c", alias="a", index_type="HNSW", metric="COSINE", n_passages=1_000, bytes=1_536_000)
FACTS = ArmFacts(arm="custom", role="treatment", model=ModelIdentity(name="m", revision="1", dimension=384), index=INDEX)


def stored(size: int, *, n_passages: int = 1_000, dimension: int = 384) -> ArmFacts:
    index = dataclasses.replace(INDEX, bytes=size, n_passages=n_passages)
    return dataclasses.replace(FACTS, model=ModelIdentity(name="m", revision="1", dimension=dimension), index=index)


def timed(arm: str, *ms: float) -> StageLatency:
    return StageLatency(arm=arm, stage="total", quantiles=latency_quantiles(ms), sample_ms=tuple(sorted(ms)))


def usage(arm: str, cost: float | None) -> ArmUsage:
    return ArmUsage(arm=arm, n_trials=200, n_failed=0, n_answers=200, n_abstained=0, prompt_tokens=1, completion_tokens=1, cost_usd=cost)


def priced(content: ReportContent, baseline: float | None, custom: float | None) -> ReportContent:
    return dataclasses.replace(content, generators=("gpt/1",), usage=(usage("baseline", baseline), usage("custom", custom)))


def test_a_gain_that_costs_more_has_a_price_with_the_gains_interval(content: ReportContent) -> None:
    effect = content.primary.effect
    assert effect is not None
    # 0.10 and 0.16 USD for 200 answers: 0.50 and 0.80 for a thousand, 0.30 more
    said = cost_words.gain_for_a_dollar(priced(content, 0.10, 0.16))
    assert f"{effect.estimate / 0.3:+.4g} [{effect.low / 0.3:+.4g}, {effect.high / 0.3:+.4g}]" in said
    assert "1,000 answers with custom cost 0.80 USD, 0.30 USD more than with baseline" in cost_words.money_finding(
        priced(content, 0.10, 0.16)
    )


def reranking(content: ReportContent, fee: float | None) -> ReportContent:
    """Custom asks an endpoint that charges this for 1,000 queries."""
    rerank = RerankSpec(provider="tei", model="m", base_url="http://there", usd_per_1000_queries=fee)
    retrieval = dataclasses.replace(content.experiment.retrieval, rerank=rerank)
    arms = tuple(dataclasses.replace(arm, retrieval=retrieval) if arm.role == "treatment" else arm for arm in content.experiment.arms)
    return dataclasses.replace(content, experiment=dataclasses.replace(content.experiment, arms=arms))


def test_a_rerankers_fee_is_a_part_of_the_price_of_the_gain(content: ReportContent) -> None:
    effect = content.primary.effect
    assert effect is not None
    # 0.50 and 0.80 for a thousand answers as above, and 2 for reranking: 2.30 more
    found = reranking(priced(content, 0.10, 0.16), 2.0)
    assert f"{effect.estimate / 2.3:+.4g} [" in cost_words.gain_for_a_dollar(found)
    assert "; reranking 1,000 queries with custom costs 2.00 USD, as declared" in cost_words.money_finding(found)


def test_a_fee_that_nobody_declared_is_unknown_and_never_0(content: ReportContent) -> None:
    found = reranking(priced(content, 0.10, 0.16), None)
    assert "rerank.usd_per_1000_queries" in cost_words.gain_for_a_dollar(found)
    assert "reranking 1,000 queries with custom costs an unknown fee" in cost_words.money_finding(found)


@pytest.mark.parametrize(("baseline", "custom"), [(0.2, 0.2), (0.2, 0.1)])
def test_a_gain_that_costs_no_more_has_no_price(content: ReportContent, baseline: float, custom: float) -> None:
    assert "has no price" in cost_words.gain_for_a_dollar(priced(content, baseline, custom))


def test_an_unknown_cost_is_said_and_never_0(content: ReportContent) -> None:
    found = priced(content, 0.1, None)
    assert cost_words.money_finding(found) == "What the answers cost was not reported"
    assert "was not reported" in cost_words.gain_for_a_dollar(found)
    assert [row["USD for 1,000 answers"] for row in cost_words.usage_rows(found.usage)] == [0.5, None]


def test_live_money_counts_those_of_unknown_cost() -> None:
    content = live_samples.build()
    summary = LiveSummary(experiment=content.experiment, analysis=content.analysis, made_at=content.made_at)
    experiment = dataclasses.replace(content.experiment, generation=GenerationSpec(provider="own:Generator"))
    rest = {"n_failed": 0, "n_abstained": 0, "n_counted": 0, "prompt_tokens": None, "completion_tokens": None}
    known = LiveUsage(arm="baseline", n_trials=10, n_answers=10, n_priced=4, cost_usd=2.0, **rest)
    unknown = LiveUsage(arm="custom", n_trials=5, n_answers=5, n_priced=0, cost_usd=None, **rest)
    asked = dataclasses.replace(summary, experiment=experiment, spent=(known, unknown))
    said = cost_words.live_money_finding(asked)
    assert said == "4 answers have cost 2.00 USD so far; of 11 more the cost is not known"
    assert cost_words.live_money_finding(dataclasses.replace(asked, spent=(unknown,))) == "What the answers cost was not reported"
    assert [row["USD for 1,000 answers"] for row in cost_words.live_usage_rows((known, unknown))] == [500.0, None]


def test_speed_is_a_finding_only_beyond_chance(content: ReportContent) -> None:
    found = next(each for each in content.analysis.comparisons if each.metric.name == "latency_ms")
    assert found.effect is not None

    def said(low: float, high: float, p: float) -> str:
        effect = dataclasses.replace(found.effect, estimate=(low + high) / 2, low=low, high=high, p_value=p)
        mine = dataclasses.replace(found, effect=effect, p_adjusted=None)
        rest = tuple(mine if each is found else each for each in content.analysis.comparisons)
        return cost_words.speed(dataclasses.replace(content, analysis=dataclasses.replace(content.analysis, comparisons=rest)))

    assert said(-1.0, 1.0, 0.9) == "Neither arm is shown to be faster"
    n = found.n_scored
    assert said(2.0, 4.0, 0.001) == f"Custom is slower: +3 ms [+2, +4] a query on average (n = {n})"
    assert said(-4.0, -2.0, 0.001) == f"Custom is faster: -3 ms [-4, -2] a query on average (n = {n})"


def test_extractive_answers_have_no_fee_live_either() -> None:
    content = live_samples.build()
    spec = GenerationSpec(provider="extractive")
    experiment = dataclasses.replace(content.experiment, generation=spec)
    summary = LiveSummary(experiment=experiment, analysis=content.analysis, made_at=content.made_at)
    assert cost_words.live_money_finding(summary) == cost_words.NO_FEE
    assert live_verdict_words.money(summary) == "no fee, as answers are extractive"


def test_where_most_of_the_time_is_spent_between_the_stages_none_is_called_the_slowest() -> None:
    rows = [dataclasses.replace(timed("custom", ms), stage=stage) for stage, ms in (("embed", 70.0), ("search", 10.0), ("total", 300.0))]
    said = cost_words.slowest_stage(rows, "custom")
    assert (
        said == "Of 300 ms at the median, custom's stages take about 80.0 ms: most is waiting for a turn, and what lies between the stages"
    )
    rows[-1] = timed("custom", 90.0)
    assert cost_words.slowest_stage(rows, "custom") == "Embedding the query takes 88% of what custom's stages take at their medians"


def test_live_speed_is_a_finding_only_beyond_chance_by_the_interval_that_counts() -> None:
    content = live_samples.build()
    summary = LiveSummary(experiment=content.experiment, analysis=content.analysis, made_at=content.made_at)
    assert re.fullmatch(r"Custom is slower: \+1[\d.]+ ms \[.*\] a query on average \(n = [\d,]+ units\)", cost_words.live_speed(summary))
    found = next(each for each in content.analysis.comparisons if each.metric.name == "latency_ms")
    wide = tuple(dataclasses.replace(each, low=-each.high) for each in found.effect.intervals)
    open_ = dataclasses.replace(found, effect=dataclasses.replace(found.effect, running=wide[-1], planned=None))
    rest = tuple(open_ if each is found else each for each in content.analysis.comparisons)
    unsure = dataclasses.replace(summary, analysis=dataclasses.replace(content.analysis, comparisons=rest))
    assert cost_words.live_speed(unsure) == "Neither arm is shown to be faster"
    rest = tuple(each for each in rest if each is not open_)
    nothing = dataclasses.replace(summary, analysis=dataclasses.replace(content.analysis, comparisons=rest))
    assert cost_words.live_speed(nothing) == "It is not shown which arm is faster"


def test_an_arms_name_is_written_as_it_was_given(content: ReportContent) -> None:
    assert words.capital("bge-M3 (custom)") == "Bge-M3 (custom)"
    assert words.with_role("custom", "custom") == "custom"
    assert words.with_role("bge-M3", "custom") == "bge-M3 (custom)"


def test_both_charts_of_the_waits_say_the_n_of_each_arm() -> None:
    rows, arms = (timed("baseline", 10.0, 20.0, 30.0), timed("custom", 12.0, 18.0)), {"baseline": "baseline", "custom": "custom"}
    for spec in (
        cost_charts.waits(rows, **arms, asked="live trials", look=LIGHT),
        charts.latency(rows, **arms, asked="live trials", look=LIGHT),
    ):
        assert "n = 3 live trials of baseline, 2 of custom" in spec["description"]
        assert "n = 3 live trials of baseline, 2 of custom" in " ".join(ET.fromstring(svg_of(spec, prefix="x")).itertext())  # noqa: S314
    assert cost_words.timed(rows[:1] * 2, ("baseline", "baseline"), "queries") == "n = 3 queries in each arm"
    assert cost_words.answered_by(rows, ("baseline", "custom"), "live trials").startswith("95% of live trials are answered within 29.0 ms")


def test_an_arm_without_timings_says_why() -> None:
    nothing = StageLatency(arm="custom", stage="total", quantiles=None, reason="there are no latencies: no query was timed alone")
    said = cost_words.latency_lead((timed("baseline", 10.0, 20.0), nothing), ("baseline", "custom"))
    assert "baseline: half are answered within 15.0 ms" in said
    assert "custom: there are no latencies: no query was timed alone" in said
    drawn = cost_charts.waits((timed("baseline", 10.0, 20.0), nothing), baseline="baseline", custom="custom", asked="queries", look=LIGHT)
    assert "n = 2 queries of baseline, 0 of custom" in drawn["description"]


def test_smaller_vectors_are_fractions_of_the_index() -> None:
    sizes = {each.form: each.bytes for each in cost_words.other_forms(FACTS)}
    assert sizes["as it is (float32)"] == 1_536_000
    assert sizes["int8"] == 384_000
    assert sizes["binary"] == 48_000  # one bit for 32
    assert "As int8 the vectors would take 384 kB instead of 1.54 MB" in cost_words.forms_finding(FACTS)
    drawn = cost_charts.index_sizes(cost_words.other_forms(FACTS), look=LIGHT)
    assert "size of the vectors (MB)" in str(drawn), "the axis has the unit of the largest label"
    small = cost_charts.index_sizes(cost_words.other_forms(stored(900, n_passages=1, dimension=225)), look=LIGHT)
    assert "size of the vectors (bytes)" in str(small)


@pytest.mark.parametrize(("form", "size"), [("int8", 384_000), ("binary", 48_000)])
def test_vectors_that_are_stored_smaller_are_not_called_float32(form: str, size: int) -> None:
    sizes = {each.form: each.bytes for each in cost_words.other_forms(stored(size))}
    assert sizes[f"as it is ({form})"] == size
    assert sizes["float32"] == 1_536_000
    assert form not in sizes
    assert "As float32 the vectors would take 1.54 MB instead of" in cost_words.forms_finding(stored(size))


def test_an_arm_without_vectors_has_no_forms() -> None:
    assert cost_words.other_forms(stored(0, dimension=0)) == ()
    assert cost_words.other_forms(dataclasses.replace(FACTS, index=None)) == ()


@pytest.mark.parametrize("look", [LIGHT, DARK, dataclasses.replace(LIGHT, width=340)])
def test_charts_have_a_text_alternative_and_units(look: Look) -> None:
    rows = (timed("baseline", 10.0, 20.0, 500.0), timed("custom", 12.0, 18.0, 30.0))
    waits = cost_charts.waits(rows, baseline="baseline", custom="custom", asked="queries asked alone", look=look)
    sizes = cost_charts.index_sizes(cost_words.other_forms(FACTS), look=look)
    for spec, unit in ((waits, "milliseconds"), (sizes, "MB")):
        drawn = ET.fromstring(svg_of(spec, prefix="x"))  # noqa: S314 - our own SVG
        assert drawn.get("aria-label") == spec["description"]
        assert unit in " ".join(drawn.itertext())
    assert "custom half within 18.0 ms" in waits["description"]
