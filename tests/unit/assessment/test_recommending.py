"""The rules, in their order: each can decide, and each says its number."""

import pytest

from ragtrial.assessment.elsewhere import elsewhere
from ragtrial.assessment.recommending import FEWEST_PAIRS, Findings, recommend
from unit.assessment.rows import estimate, failures, findings, option, volume

SATURATED_TOP = {
    "nDCG@10": estimate(0.8445),
    "R@1": estimate(0.3106, name="R@1"),
    "R@10": estimate(0.83, name="R@10"),
    "RR@10": estimate(0.977, name="RR@10"),
}
ALMOST_PERFECT = {
    "nDCG@10": estimate(0.985, half=0.01),
    "R@1": estimate(0.98, name="R@1"),
    "R@10": estimate(0.99, name="R@10"),
    "RR@10": estimate(0.98, name="RR@10"),
}


@pytest.mark.parametrize(
    ("given", "outcome", "rule", "number"),
    [
        (findings(), "train", "failures", "30% of 300"),
        (findings(failures=failures(60, n_failed=20)), "collect more first", "gold queries", "judge 40 more"),
        (findings(failures=failures(unjudged=100)), "collect more first", "judgments", "100 of 400 gold queries (25%)"),
        (findings(baseline=SATURATED_TOP, ceilings={"R@1": 0.32}), "don't", "saturation", "97% of the 0.3200"),
        (findings(baseline=ALMOST_PERFECT), "don't", "saturation", "leaves 0.0150"),
        (findings(failures=failures(n_failed=40, nowhere=30)), "collect more first", "data gaps", "30 of 40 failed"),
        (findings(mde=0.6), "collect more first", "power", "0.6000"),
        (findings(options=(option("BM25", 0.2), option("hybrid", 0.1))), "try hybrid first", "free methods", "BM25 gains +0.2000"),
        (findings(volume=volume(150)), "collect more first", "training pairs", "250 more"),
        (findings(volume=volume(None)), "collect more first", "training pairs", "no training section"),
    ],
)
def test_each_rule_can_decide_and_says_its_number(given: Findings, outcome: str, rule: str, number: str) -> None:
    found = recommend(given, elsewhere())
    deciding = [reason for reason in found.reasons if reason.decides]
    assert (found.outcome, len(deciding), deciding[0].rule) == (outcome, 1, rule)
    assert number in deciding[0].text
    assert deciding[0].text in found.sentence
    assert deciding[0] is next(reason for reason in found.reasons if reason.applies)


def test_a_gain_that_chance_could_have_made_is_no_reason_to_try_hybrid_first() -> None:
    found = recommend(findings(options=(option("hybrid", 0.03, half=0.04),)), elsewhere())
    assert found.outcome == "train"


def test_a_gain_that_is_sure_but_too_small_to_be_worth_it_is_none_either() -> None:
    assert recommend(findings(options=(option("hybrid", 0.008, half=0.002),)), elsewhere()).outcome == "train"


def test_without_training_there_is_no_expectation_and_with_it_it_is_called_no_promise() -> None:
    assert recommend(findings(volume=volume(10)), elsewhere()).expected is None
    expected = recommend(findings(), elsewhere()).expected
    assert expected is not None
    assert "not a promise" in expected
    assert "COVID-QA, 0.47" in expected


def test_all_rules_that_apply_are_shown_beside_the_one_that_decides() -> None:
    found = recommend(findings(options=(option("hybrid", 0.1),), volume=volume(FEWEST_PAIRS - 1)), elsewhere())
    assert [reason.rule for reason in found.reasons if reason.outcome != "train"] == ["free methods", "training pairs"]
    assert found.outcome == "try hybrid first"


def test_every_rule_is_shown_in_its_order_with_whether_it_applies_and_the_level_from_which_it_would() -> None:
    rules = ["gold queries", "judgments", "saturation", "data gaps", "power", "free methods", "training pairs"]
    found = recommend(findings(options=(option("hybrid", 0.1),)), elsewhere())
    asked = [reason for reason in found.reasons if reason.applies is not None]
    assert [reason.rule for reason in asked] == rules
    assert [reason.rule for reason in asked if reason.applies] == ["free methods"]
    texts = {reason.rule: reason.text for reason in asked}
    levels = {"gold queries": "the plan asks for 100", "judgments": "up to 10% may", "saturation": "95% would be saturated"}
    levels |= {
        "data gaps": "50% would be too many",
        "power": "show a difference of about",
        "training pairs": f"{FEWEST_PAIRS} queries were",
    }
    assert {rule for rule, level in levels.items() if level not in texts[rule]} == set()
    trained = [reason for reason in recommend(findings(), elsewhere()).reasons if reason.applies is not None]
    assert [(reason.rule, reason.applies, reason.decides) for reason in trained] == [
        *((rule, False, False) for rule in rules),
        ("failures", True, True),
    ]


@pytest.mark.parametrize("own", ["covidqa", "COVID-QA", "covidqa-minilm-vs-finetuned"])
def test_a_set_is_no_forecast_of_itself(own: str) -> None:
    assert [row.data.split(",")[0] for row in elsewhere("corpus", own)][:2] == ["MedQuAD", "PubMedQA"]
    expected = recommend(findings(), elsewhere(own)).expected
    assert expected is not None
    assert "COVID" not in expected
    assert len(elsewhere("handbook")) == len(elsewhere())


def test_the_table_of_what_it_took_elsewhere_names_its_sources() -> None:
    table = elsewhere()
    assert {row.n_queries for row in table} == {775, 3800, 425, None}
    assert all(row.source for row in table)
    assert [round(row.gain_value / row.baseline, 3) for row in table if row.gain_value and row.baseline] == [0.158, 0.39, 0.011]
