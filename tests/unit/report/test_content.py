"""What is gathered for the reports, against counts taken straight from the trials."""

import dataclasses

import numpy as np
import pytest

from ragtrial.domain.trial import Answer, Usage
from ragtrial.report.content import ReportContent, build_content
from unit.report import samples


def test_the_largest_wins_and_losses_come_in_order_and_hold_no_ties(content: ReportContent) -> None:
    assert len(content.wins) == 10
    assert [example.gain for example in content.wins] == sorted((example.gain for example in content.wins), reverse=True)
    assert [example.gain for example in content.losses] == sorted(example.gain for example in content.losses)
    assert all(example.gain > 0 for example in content.wins)
    assert all(example.gain < 0 for example in content.losses)


def test_gains_and_losses_agree_with_the_analysis(content: ReportContent) -> None:
    gains = np.array([row.gain for row in content.differences])
    assert int((gains > 1e-9).sum()) == content.primary.wins
    assert int((gains < -1e-9).sum()) == content.primary.losses
    assert content.primary.effect is not None
    assert float(gains.mean()) == pytest.approx(content.primary.effect.estimate)


def test_an_example_marks_judged_and_shared_passages(content: ReportContent) -> None:
    example = next(example for example in content.wins if example.query.query_id == "q004")
    first = example.custom.passages[0]
    assert (first.rank, first.passage_id, first.grade, first.shared) == (1, "p008", 2, False)
    assert first.text is not None
    assert first.text.startswith(samples.ARABIC_PASSAGE)
    assert (example.custom.n_found, example.baseline.n_found, example.n_relevant) == (1, 0, 1)
    assert all(passage.shared for passage in example.custom.passages[1:])


def test_a_query_that_an_arm_dropped_shows_why(content: ReportContent) -> None:
    example = next(example for example in content.losses if example.query.query_id == "q040")
    assert example.custom.failure is not None
    assert example.custom.failure.kind == "StoreError"
    assert example.custom.passages == ()


def test_a_passage_whose_text_was_not_kept_is_shown_by_its_id() -> None:
    made = samples.Sample(n=120, same=False, parity=True, repetitions=1, guardrail=0.25, lift=0.45)
    full = made.content()
    content = build_content(
        evaluation=made.evaluation,
        experiment=made.experiment,
        analysis=full.analysis,
        gold=made.gold,
        tables=made.tables,
        trials=made.trials,
        passages={},
    )
    assert content.wins[0].custom.passages[0].text is None
    assert content.wins[0].custom.passages[0].passage_id == full.wins[0].custom.passages[0].passage_id


def test_failures_and_exclusions_are_counted_by_reason(content: ReportContent) -> None:
    assert content.failures == {"baseline": {}, "custom": {"search: StoreError": 2}, "bm25": {}, "shuffled-context": {}}
    counted = {(e.metric, e.arm, e.reason): e.n for e in content.exclusions}
    assert counted["nDCG@10", "custom", "nothing relevant"] == 4
    assert counted["latency_ms", "baseline", "not timed alone"] == 50
    assert counted["citation_support", "custom", "abstained"] == 6
    assert ("R@5", "shuffled-context", "nothing relevant") not in counted


def test_latency_quantiles_are_those_of_the_queries_asked_alone(content: ReportContent) -> None:
    totals = [trial.timings.latency_ms for trial in content.trials if trial.arm == "custom" and trial.timings is not None]
    found = content.latency_of("custom", "total").quantiles
    assert found is not None
    assert found.n == 98
    assert found[:3] == pytest.approx(np.percentile(totals, [50, 95, 99]))


def test_cost_is_unknown_where_any_answer_did_not_report_it() -> None:
    made = samples.Sample(n=110, same=False, parity=True, repetitions=1, guardrail=0.25, lift=0.45)
    priced = Answer(text="yes", generator="model/1", usage=Usage(prompt_tokens=10, completion_tokens=2, cost_usd=0.5))
    made.trials = tuple(dataclasses.replace(t, answer=priced) if t.arm == "baseline" and t.answer else t for t in made.trials)
    first = next(i for i, t in enumerate(made.trials) if t.arm == "custom" and t.answer)
    made.trials = (*made.trials[:first], dataclasses.replace(made.trials[first], answer=priced), *made.trials[first + 1 :])
    usage = {row.arm: row for row in made.content().usage}
    assert (usage["baseline"].prompt_tokens, usage["baseline"].cost_usd) == (1100, 55.0)
    assert (usage["custom"].prompt_tokens, usage["custom"].cost_usd) == (None, None)


def test_without_timings_latency_has_a_reason_and_no_number() -> None:
    made = samples.Sample(n=110, same=False, parity=True, repetitions=1, guardrail=0.25, lift=0.45)
    made.trials = tuple(dataclasses.replace(t, timings=None) for t in made.trials)
    row = made.content().latency_of("baseline", "total")
    assert row.quantiles is None
    assert row.reason


def test_an_arm_is_labelled_with_its_role_where_its_name_hides_it(content: ReportContent) -> None:
    assert content.label("custom") == "custom"
    renamed = dataclasses.replace(content.experiment.control, name="minilm")
    experiment = dataclasses.replace(content.experiment, arms=(renamed, content.experiment.treatment))
    assert dataclasses.replace(content, experiment=experiment).label("minilm") == "minilm (baseline)"
