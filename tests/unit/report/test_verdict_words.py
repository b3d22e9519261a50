"""The verdict in plain words: what is large, how sure, at what cost; and what is not known is never a number."""

import dataclasses
import re

import pytest

from ragtrial.analysis.sureness import chances
from ragtrial.domain.generation import GenerationSpec
from ragtrial.domain.verdict import Check
from ragtrial.report import live_verdict_words as live
from ragtrial.report import verdict_words as said
from ragtrial.report.content import ReportContent
from ragtrial.report.live_summary import LiveSummary, LiveUsage
from ragtrial.report.summary import ArmUsage, StageLatency
from ragtrial.stats.quantiles import Quantiles
from unit.report import live_samples, samples


def decided(content: ReportContent, decision: str) -> ReportContent:
    verdict = dataclasses.replace(content.analysis.verdict, decision=decision)  # type: ignore[arg-type]
    return dataclasses.replace(content, analysis=dataclasses.replace(content.analysis, verdict=verdict))


def with_usage(content: ReportContent, baseline: float | None, custom: float | None) -> ReportContent:
    usage = tuple(
        ArmUsage(arm=arm, n_trials=150, n_failed=0, n_answers=100, n_abstained=0, prompt_tokens=None, completion_tokens=None, cost_usd=cost)
        for arm, cost in (("baseline", baseline), ("custom", custom))
    )
    return dataclasses.replace(content, usage=usage, generators=("openai/gpt",))


@pytest.mark.parametrize(
    ("decision", "begins"),
    [
        ("adopt custom", "Custom finds better passages, and nothing that is guarded got worse than is tolerated: switch to it."),
        ("keep baseline", "Stay with the baseline: "),
        ("undecided", "Not settled yet: "),
        ("too few", "Too few queries to say anything."),
        ("refused", "Don't decide by these numbers: "),
    ],
)
def test_each_decision_has_plain_words(content: ReportContent, decision: str, begins: str) -> None:
    assert said.plain(decided(content, decision)).startswith(begins)


def test_a_gain_that_plain_bm25_has_too_is_not_praised(content: ReportContent) -> None:
    warned = Check(name="free_method", state="warn", detail="BM25 is better")
    analysis = dataclasses.replace(content.analysis, checks=(warned,))
    plain = said.plain(decided(dataclasses.replace(content, analysis=analysis), "adopt custom"))
    assert plain == "Custom finds better passages than the baseline, but it is not shown to beat plain BM25, which needs no model."
    assert "switch" not in plain


def test_the_gain_stands_with_both_means_and_what_is_worth_having(content: ReportContent) -> None:
    card = said.gain(content)
    assert card.big == "+0.1452"
    assert card.lines == ("nDCG@10, 0.4732 → 0.6184 (+30.7% relative).", "Worth having: from +0.0100.")


def test_sureness_is_a_probability_with_its_prior_and_its_interval(content: ReportContent) -> None:
    card = said.sure(content)
    assert card.big == "> 99.9%"
    assert "probability that custom is better (flat prior); by 0.0100 or more: > 99.9%." in card.lines
    assert card.lines[1] == "95% interval [+0.0935, +0.1969], p < 0.001, n = 146 of 150 (97%)."


def test_a_small_gain_is_as_probable_as_its_t_says() -> None:
    small = samples.build(lift=0.2)
    found = chances(small.primary, min_effect=0.01)
    assert found is not None
    assert said.sure(small).big == said.probability(found.better)


@pytest.mark.parametrize(
    ("chance", "shown"),
    [(1.0, "> 99.9%"), (0.9995, "> 99.9%"), (0.999, "99.9%"), (0.974, "97.4%"), (0.5, "50%"), (0.02, "2.0%"), (0.0, "< 0.1%")],
)
def test_a_probability_is_never_certain(chance: float, shown: str) -> None:
    assert said.probability(chance) == shown


def test_where_a_health_check_fails_no_probability_is_shown() -> None:
    card = said.sure(samples.build(parity=False))
    assert card.big == "Not to be read"
    assert "%" not in card.lines[0]


def test_without_an_effect_cards_say_why_and_show_no_number() -> None:
    same = samples.build(same=True)
    assert said.gain(same).big == "Not known"
    assert "same difference" in said.gain(same).lines[0]
    assert said.sure(same) == said.Card(ask="How sure is it?", big="No interval", lines=("n = 146 of 150 (97%).",))
    assert dict(said.statistics(same))["No effect"].startswith("every one of")


def test_cost_is_latency_money_and_index(content: ReportContent) -> None:
    card = said.cost(content)
    assert card.big == "No extra wait shown", "its interval, below, has 0 in it"
    assert said.gain_for_time(content) == "+0.1452 nDCG@10; waiting is not shown to differ"
    assert re.search(r"p50 [\d.]+ ms → [\d.]+ ms, p95 [\d.]+ ms → [\d.]+ ms \(n = 98 asked alone\)", card.lines[0])
    assert re.fullmatch(
        r"Per 1,000 queries: \+0\.188 s of waiting \[-0\.0115, \+0\.387\]; no fee, as answers are extractive\.", card.lines[1]
    )
    assert card.lines[2] == "Both indexes take 461 kB."


def test_money_is_per_thousand_queries_and_unknown_where_it_was_not_reported(content: ReportContent) -> None:
    assert said.money(with_usage(content, 0.05, 0.08)) == "+0.30 USD (0.50 → 0.80)"
    assert said.gain_for_money(with_usage(content, 0.05, 0.08)) == "+0.1452 nDCG@10 for +0.30 USD per 1,000 queries"
    for unknown in (with_usage(content, None, 0.08), with_usage(content, 0.05, None)):
        assert said.money(unknown) == "money not known: no cost was reported"
        assert "0.00" not in said.gain_for_money(unknown)
    assert said.money(dataclasses.replace(content, generators=())) == "answers were not made"


def test_latency_that_was_not_measured_is_not_a_number(content: ReportContent) -> None:
    untimed = dataclasses.replace(
        content,
        latency=tuple(dataclasses.replace(row, quantiles=None, reason="nothing was timed") for row in content.latency),
        analysis=dataclasses.replace(
            content.analysis, comparisons=tuple(c for c in content.analysis.comparisons if c.metric.name != "latency_ms")
        ),
    )
    card = said.cost(untimed)
    assert card.big == "Not known"
    assert card.lines[0] == "Latency was not measured: nothing was timed."
    assert "added waiting not known" in card.lines[1]
    assert said.gain_for_time(untimed) == "Latency was not measured"


def test_how_it_was_measured_names_models_queries_and_judgments(content: ReportContent) -> None:
    first, second = said.measured(content)
    assert first.startswith("150 queries of portwright/test through both arms: baseline embeds with all-MiniLM-L6-v2, custom embeds with ")
    assert first.endswith("nothing else differs.")
    assert "planned before the first query" in second
    assert "nothing else differs" not in said.measured(samples.build(parity=False))[0]


def test_statistics_hold_everything_that_is_known(content: ReportContent) -> None:
    rows = dict(said.statistics(content))
    assert rows["Difference"] == "+0.1452 [+0.0935, +0.1969]"
    assert rows["Method"].startswith("paired t, cluster-robust")
    assert rows["p, sign flips"] == "< 0.001: this metric decides alone, so nothing is adjusted"
    assert "Bootstrap interval" in rows


# Live


def summary(**changes: object) -> LiveSummary:
    content = live_samples.build(**changes)  # type: ignore[arg-type]
    quantiles = {
        arm: Quantiles(p50=p50, p95=2 * p50, p99=3 * p50, n=n) for arm, p50, n in (("baseline", 180.0, 3000), ("custom", 190.0, 2900))
    }
    return LiveSummary(
        experiment=content.experiment,
        analysis=content.analysis,
        made_at=content.made_at,
        models=content.models,
        environment=content.environment,
        latency=tuple(StageLatency(arm=arm, stage="total", quantiles=found) for arm, found in quantiles.items()),
    )


def usage(arm: str, cost: float | None) -> LiveUsage:
    known = 0 if cost is None else 500
    return LiveUsage(
        arm=arm,
        n_trials=1000,
        n_failed=0,
        n_answers=1000,
        n_abstained=0,
        n_priced=known,
        cost_usd=cost,
        n_counted=0,
        prompt_tokens=None,
        completion_tokens=None,
    )


def test_a_running_experiment_shows_no_probability_but_an_interval_that_may_be_looked_at() -> None:
    card = live.sure(summary(reached=False))
    assert card.big == "Shown"
    assert "It holds however often one looks." in card.lines[0]
    assert card.lines[1] == "A probability is given once, at the planned 1,800 units: looked at again and again it would mislead."
    open_ = live.sure(summary(effect=0.0, reached=False))
    assert open_.big == "Not sure yet"
    assert live.sure(summary(effect=-0.2, reached=False)).big == "Shown to be worse"
    assert "no size was planned" in live.sure(summary(units_planned=None, reached=False)).lines[1]


def test_at_the_planned_size_there_is_a_probability() -> None:
    card = live.sure(summary())
    assert card.big.endswith("%")
    assert "probability that custom is better (flat prior)" in card.lines[0]
    assert card.lines[1].startswith("96% planned-size interval [")


def test_where_only_the_always_valid_interval_shows_it_there_is_no_probability_of_the_planned_size() -> None:
    card = live.sure(summary(effect=0.09, slow=0.06))
    assert card.big == "Shown"
    assert card.lines[0].startswith("99% always-valid interval [+0.0")
    assert re.fullmatch(r"At the planned 1,800 units it was not shown yet \(p = 0\.[\d]+\)\.", card.lines[1])
    assert live.gain(summary(effect=0.09, slow=0.06)).lines[0].endswith("2,000 units so far.")


def test_a_live_refusal_shows_no_probability() -> None:
    assert live.sure(summary(lost=300)).big == "Not to be read"


def test_too_few_units_have_no_gain_and_no_interval() -> None:
    few = summary(n=60, units_planned=4_000, reached=False)
    assert live.gain(few).big == "Not known"
    assert live.sure(few).big == "No interval"
    assert dict(live.statistics(few))["No effect"].startswith("60 and 60 units")


def test_live_gain_says_of_how_many_units() -> None:
    card = live.gain(summary())
    assert "first 1,800 units" in card.lines[0]
    assert "→" in card.lines[0]


def test_live_cost_is_the_wait_that_is_shown_and_money_where_it_is_known() -> None:
    content = summary()
    experiment = dataclasses.replace(content.experiment, generation=GenerationSpec(provider="own:Generator"))
    content = dataclasses.replace(content, experiment=experiment)
    card = live.cost(content)
    assert card.big == "+12.0 ms a query"
    assert "p50 180 ms → 190 ms, p95 360 ms → 380 ms (n = 2,900 in the smaller arm)" in card.lines[0]
    assert "money not known" in card.lines[1]
    priced = dataclasses.replace(content, usage=(usage("baseline", 1.0), usage("custom", 1.5)))
    assert live.money(priced) == "+1.00 USD (2.00 → 3.00)"
    assert live.money(dataclasses.replace(content, usage=(usage("baseline", None), usage("custom", 1.5)))) == said.UNKNOWN_MONEY


def test_one_arm_without_an_answer_has_no_latency() -> None:
    content = summary()
    card = live.cost(dataclasses.replace(content, latency=content.latency[:1]))
    assert card.big == "Not known"
    assert "an arm has no answer that was timed" in card.lines[0]


def test_how_far_and_how_it_is_measured() -> None:
    content = summary(reached=False, n=500)
    card = live.far(content)
    assert card.big == "1,000 units"
    assert "of 1,800 planned units (56%)" in card.lines[0]
    first, second = live.measured(content)
    assert first.startswith("Mode split: each unit")
    assert "baseline embeds with hashing-a@1" in first
    assert second.startswith("nDCG@10 decides; errors by unit")
