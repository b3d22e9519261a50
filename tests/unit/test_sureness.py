"""How sure a difference is: probabilities and intervals that hold together, from what an analysis came to."""

import dataclasses

import pytest
from scipy import stats

from ragtrial.analysis.sureness import chances, live_chances, live_together, together
from ragtrial.report.content import ReportContent
from unit.report import live_samples, samples


@pytest.fixture(scope="module")
def content() -> ReportContent:
    return samples.build()


def test_the_probability_is_what_the_intervals_ends_say(content):
    primary = content.primary
    effect = primary.effect
    found = chances(primary, min_effect=0.01)
    t = effect.estimate / effect.standard_error
    assert found.better == pytest.approx(stats.t.cdf(t, effect.df))
    assert found.worth_having == pytest.approx(stats.t.cdf((effect.estimate - 0.01) / effect.standard_error, effect.df))
    # 36 clusters of documents, one of which has no judgment that is relevant
    assert effect.df < 40
    at_the_end = chances(primary, min_effect=effect.low)
    assert at_the_end.worth_having == pytest.approx(0.975)


def test_where_lower_is_better_a_fall_is_the_gain(content):
    slower = next(c for c in content.analysis.comparisons if c.metric.name == "latency_ms")
    assert slower.effect.estimate > 0
    assert chances(slower, min_effect=0.1).better < 0.05


def test_without_an_effect_there_is_no_probability():
    assert chances(samples.build(same=True).primary, min_effect=0.01) is None


def test_planned_metrics_are_widened_together_and_others_not_at_all(content):
    family = [c for c in content.analysis.comparisons if c.role in ("primary", "secondary") and c.effect is not None]
    found = together(content.analysis.comparisons, content.experiment.analysis)
    assert set(found) == {c.metric.name for c in family}
    assert len(family) > 1
    for comparison in family:
        effect, ends = comparison.effect, found[comparison.metric.name]
        wider = stats.t.ppf(1 - 0.05 / len(family) / 2, effect.df) / stats.t.ppf(0.975, effect.df)
        assert (ends.high - ends.low) / (effect.high - effect.low) == pytest.approx(wider)


def test_a_plan_that_corrects_nothing_widens_nothing(content):
    plan = dataclasses.replace(content.experiment.analysis, correction="none")
    assert together(content.analysis.comparisons, plan) == {}


def test_a_live_experiment_has_no_probability_before_the_planned_size():
    running = live_samples.build(reached=False)
    assert running.primary.effect is not None
    assert live_chances(running.primary, min_effect=0.01) is None


def test_at_the_planned_size_the_probability_fits_the_p_value():
    reached = live_samples.build(effect=0.012)
    planned = reached.primary.effect.planned
    found = live_chances(reached.primary, min_effect=0.01)
    one_sided = planned.p_value / 2 if planned.estimate > 0 else 1 - planned.p_value / 2
    assert found.better == pytest.approx(1 - one_sided, abs=1e-4)
    assert 0 < found.worth_having < found.better


def test_live_intervals_are_widened_at_every_look_before_the_planned_size_and_by_t_after_it():
    for reached in (False, True):
        content = live_samples.build(reached=reached)
        progress = content.analysis.progress
        found = live_together(content.analysis.comparisons, progress.levels, content.experiment.analysis)
        assert set(found) == {"nDCG@10", "citation_clicked"}
        for comparison in content.analysis.comparisons[:2]:
            single, both = comparison.interval, found[comparison.metric.name]
            assert single.kind == ("planned" if reached else "running")
            assert both.low < single.low < single.high < both.high


def test_each_live_interval_is_widened_as_the_kind_that_counts():
    content = live_samples.build(effect=0.09, slow=0.06)
    progress, (primary, secondary) = content.analysis.progress, content.analysis.comparisons[:2]
    found = live_together(content.analysis.comparisons, progress.levels, content.experiment.analysis)
    assert (primary.interval.kind, secondary.interval.kind) == ("running", "planned")
    for comparison in (primary, secondary):
        single, both = comparison.interval, found[comparison.metric.name]
        assert both.low < single.low < single.high < both.high
        assert both.low + both.high == pytest.approx(single.low + single.high)


def test_one_sample_of_preferences_is_a_family_of_one():
    content = live_samples.interleaved()
    found = live_together(content.analysis.comparisons, content.analysis.progress.levels, content.experiment.analysis)
    running = content.primary.effect.running
    assert found["preference"] == pytest.approx((running.low, running.high))
