"""Judge beside people, on labels whose outcome can be worked out by hand or by the statistics called directly."""

import dataclasses
from collections.abc import Sequence

import numpy as np
import pytest

from ragtrial.analysis.analysing import analyse
from ragtrial.analysis.calibrating import calibrations_of, what_changed
from ragtrial.analysis.setting import Setting
from ragtrial.domain.calibration import Calibration
from ragtrial.domain.corpus import Passage
from ragtrial.domain.gold import GoldSet, Query
from ragtrial.domain.label import LABEL_WORDS, Label, word_of
from ragtrial.domain.score import LoggedOpinion, Opinion
from ragtrial.domain.trial import Answer, Hit, Ranking, Trial
from ragtrial.domain.verdict import Check
from ragtrial.stats.prediction_powered import Labels, corrected_difference, corrected_mean
from ragtrial.suite.calibrating import Judged, items_of
from unit.test_analysis import evaluation, table
from unit.test_judging_analysis import experiment

METRIC, SCORER, N = "judge_correctness", "judge/1 gpt-4o-mini 0123abcd", 120
VALUES = {word: value for word, value in LABEL_WORDS[METRIC].items() if word != "abstained"}
NAMES = {value: word for word, value in VALUES.items()}
PLAN = experiment(METRIC)


def world(favour: float, seed: int = 3) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
    """People's and the judge's values of every query by arm; the judge lifts custom's wrong answers by a grade with chance `favour`."""
    rng = np.random.default_rng(seed)
    people = {arm: rng.choice([0.0, 0.5, 1.0], N) for arm in ("baseline", "custom")}
    judge = {arm: np.where(rng.random(N) < 0.15, 0.5, values) for arm, values in people.items()}
    judge["custom"] = np.where((people["custom"] < 1) & (rng.random(N) < favour), people["custom"] + 0.5, judge["custom"])
    return people, judge


def setting_of(judge: dict[str, np.ndarray]) -> Setting:
    tables = {METRIC: table(METRIC, judge)}
    return Setting(evaluation=evaluation(PLAN, N), experiment=PLAN, plan=PLAN.analysis, tables=tables, failures={})


def opinions_of(judge: dict[str, np.ndarray]) -> list[LoggedOpinion]:
    return [
        LoggedOpinion(
            arm=arm,
            query_id=f"q{row}",
            trial_repetition=0,
            metric=METRIC,
            opinion=Opinion(repetition=0, key=f"{arm}-{row}", value=float(value), verdict=NAMES[float(value)], n_calls=1),
        )
        for arm, values in judge.items()
        for row, value in enumerate(values)
    ]


def label(arm: str, row: int, value: float, **more: object) -> Label:
    fields: dict[str, object] = {
        "evaluation_id": "e-1",
        "arm": arm,
        "query_id": f"q{row}",
        "metric": METRIC,
        "word": NAMES[value],
        "value": value,
        "scorer": SCORER,
        "selection": "random",
        "labeller": "ann",
    }
    return Label(**{**fields, **more})  # type: ignore[arg-type]  # put together above


def labels_of(people: dict[str, np.ndarray], rows: Sequence[int], arms: Sequence[str] = ("baseline", "custom")) -> list[Label]:
    return [label(arm, row, float(people[arm][row])) for arm in arms for row in rows]


def calibrated(judge: dict[str, np.ndarray], labels: Sequence[Label]) -> Calibration:
    (found,) = calibrations_of(setting_of(judge), labels, opinions_of(judge), {METRIC: SCORER})
    return found


def check_of(judge: dict[str, np.ndarray], labels: Sequence[Label]) -> Check:
    gold = GoldSet(name="g", queries=tuple(Query(query_id=f"q{i}", text="?") for i in range(N)), judgments=())
    analysis = analyse(
        evaluation=evaluation(PLAN, N),
        experiment=PLAN,
        gold=gold,
        tables={METRIC: table(METRIC, judge)},
        failures={},
        opinions=opinions_of(judge),
        scorers={METRIC: SCORER},
        labels=labels,
    )
    (found,) = [check for check in analysis.checks if check.name == f"calibration[{METRIC}]"]
    return found


def test_labels_in_pairs_correct_the_difference_by_pairs() -> None:
    people, judge = world(0.6)
    rows = list(range(0, N, 2))
    found = calibrated(judge, labels_of(people, rows))
    oracle = corrected_mean(judge["custom"] - judge["baseline"], Labels(rows, (people["custom"] - people["baseline"])[rows]), alpha=0.05)
    assert found.method == "paired"
    assert (found.n_labels, found.n_answers, found.n_queries, found.n_pairs, found.n_labellers) == (120, 120, 60, 60, 1)
    assert found.corrected.difference is not None
    assert (found.corrected.difference.estimate, found.corrected.difference.low) == pytest.approx((oracle.estimate, oracle.low))
    assert found.bias.difference is not None
    assert found.bias.difference.estimate == pytest.approx(
        np.mean((judge["custom"] - people["custom"] - judge["baseline"] + people["baseline"])[rows])
    )
    (agreement,) = found.agreements
    matrix = np.array(agreement.confusion)
    assert agreement.words == ("correct", "partly", "wrong", "abstained")
    assert np.trace(matrix) / matrix.sum() == pytest.approx(agreement.share.estimate)
    assert matrix.sum() == 120


def test_labels_of_other_queries_in_each_arm_correct_the_arms_by_themselves() -> None:
    people, judge = world(0.6)
    left, right = list(range(0, N, 3)), list(range(1, N, 3))
    labels = [*labels_of(people, left, ["baseline"]), *labels_of(people, right, ["custom"])]
    found = calibrated(judge, labels)
    own = (Labels(left, people["baseline"][left]), Labels(right, people["custom"][right]))
    oracle = corrected_difference(judge["baseline"], judge["custom"], *own, alpha=0.05)
    assert (found.method, found.n_pairs) == ("independent", 0)
    assert found.corrected.difference is not None
    assert found.corrected.difference.high == pytest.approx(oracle.difference.high)


def test_two_people_are_averaged_for_the_correction_and_count_apart_in_the_agreement() -> None:
    people, judge = world(0.6)
    rows = list(range(50))
    labels = labels_of(people, rows)
    second = [dataclasses.replace(each, labeller="bob", word="wrong", value=0.0) for each in labels if each.arm == "custom"]
    found = calibrated(judge, [*labels, *second])
    human = people["custom"] / 2 - people["baseline"]
    oracle = corrected_mean(judge["custom"] - judge["baseline"], Labels(rows, human[rows]), alpha=0.05)
    assert found.corrected.difference is not None
    assert found.corrected.difference.estimate == pytest.approx(oracle.estimate)
    assert (found.n_labels, found.n_answers, found.n_labellers, found.agreements[0].n) == (150, 100, 2, 150)


def test_labels_drawn_with_unequal_chances_are_weighed() -> None:
    people, judge = world(0.6)
    rows = list(range(60))
    plain, weighed = labels_of(people, rows), [dataclasses.replace(each, probability=0.5) for each in labels_of(people, rows)]
    one, other = calibrated(judge, plain).corrected.difference, calibrated(judge, weighed).corrected.difference
    assert one is not None
    assert other is not None
    assert one != other, "strata of the judge's differences that hold fewer labels count for more"
    assert other.low < float(np.mean(people["custom"] - people["baseline"])) < other.high


def test_too_few_labels_give_a_reason_and_no_number() -> None:
    people, judge = world(0.6)
    found = calibrated(judge, labels_of(people, range(8)))
    assert (found.corrected.control, found.corrected.treatment, found.corrected.difference, found.bias.difference) == (None,) * 4
    assert "at least 20 human labels" in (found.corrected.why_not or "")
    assert "at least 20 human labels" in (found.bias.why_not or "")
    assert found.naive.difference is not None


def test_labels_that_came_by_themselves_show_in_the_agreement_alone() -> None:
    people, judge = world(0.6)
    found = calibrated(judge, [dataclasses.replace(each, selection="volunteered") for each in labels_of(people, range(60))])
    assert (found.n_labels, found.n_volunteered, found.corrected.difference, found.bias.difference) == (0, 120, None, None)
    assert [(each.selection, each.n) for each in found.agreements] == [("volunteered", 120)]


def test_labels_for_another_judge_or_another_evaluation_are_shown_and_not_used() -> None:
    people, judge = world(0.6)
    old = [dataclasses.replace(each, scorer="judge/1 gpt-4o-mini 99990000") for each in labels_of(people, range(30))]
    elsewhere = [dataclasses.replace(each, evaluation_id="e-0") for each in labels_of(people, range(40))]
    found = calibrated(judge, [*old, *elsewhere])
    assert (found.n_labels, found.corrected.difference, found.agreements) == (0, None, ())
    assert found.stale == (
        "60 labels of this evaluation are stale: the judge's prompt, rubric, server or sampling changed (99990000 to 0123abcd)",
        "80 labels of evaluation e-0 are of the answers of that evaluation",
    )
    check = check_of(judge, old)
    assert check.state == "unknown"
    assert "no label counts: 60 labels of this evaluation are stale" in check.detail


@pytest.mark.parametrize(
    ("before", "now", "said"),
    [
        ("judge/1 a 1111", "judge/1 a 2222", "the judge's prompt, rubric, server or sampling changed (1111 to 2222)"),
        ("judge/1 a 1111", "judge/1 b c 2222", "the judge's model was 'a' and is 'b c'"),
        ("judge/1 a 1111", "judge/2 a 1111", "the judge was 'judge/1 a 1111' and is 'judge/2 a 1111'"),
        ("odd", "judge/1 a 1111", "the judge was 'odd' and is 'judge/1 a 1111'"),
    ],
)
def test_what_changed_in_a_judge_is_said(before: str, now: str, said: str) -> None:
    assert what_changed(before, now) == said


def test_the_health_check_says_whether_the_judge_can_be_trusted() -> None:
    people, judge = world(0.6)
    biased = check_of(judge, labels_of(people, range(80)))
    assert biased.state == "warn"
    assert biased.detail.startswith("the judge favours custom by +0.")
    fair_people, fair = world(0.0)
    assert check_of(fair, labels_of(fair_people, range(80))).state == "pass"
    few = check_of(fair, labels_of(fair_people, range(10)))
    assert (few.state, "too few to correct the judge" in few.detail) == ("unknown", True)
    nobody = check_of(fair, [])
    assert (nobody.state, "ragtrial calibrate" in nobody.detail) == ("unknown", True)


def test_an_answer_that_both_arms_gave_is_one_item_and_one_label_in_the_agreement() -> None:
    judge = {arm: np.array([1.0, 0.5]) for arm in ("baseline", "custom")}
    plan = dataclasses.replace(PLAN)
    texts = {("baseline", 0): "the same", ("custom", 0): "the same", ("baseline", 1): "one", ("custom", 1): "another"}
    trials = tuple(
        Trial(
            arm=arm,
            query_id=f"q{row}",
            ranking=Ranking(query_id=f"q{row}", hits=(Hit(passage_id="p1", similarity=1.0),)),
            answer=Answer(text=text, generator="x/1"),
        )
        for (arm, row), text in texts.items()
    )
    opinions = [
        dataclasses.replace(each, opinion=dataclasses.replace(each.opinion, key="both")) if each.query_id == "q0" else each
        for each in opinions_of(judge)
    ]
    judged = Judged(
        setting=Setting(
            evaluation=evaluation(plan, 2), experiment=plan, plan=plan.analysis, tables={METRIC: table(METRIC, judge)}, failures={}
        ),
        queries={f"q{row}": Query(query_id=f"q{row}", text="?", answers=("r",)) for row in range(2)},
        trials=trials,
        passages={"p1": Passage(passage_id="p1", document_id="d", title="T", text="text", start=0, end=4)},
        opinions=tuple(opinions),
        scorers={METRIC: SCORER},
        labels=(label("baseline", 0, 1.0), label("custom", 0, 1.0), label("custom", 1, 0.0)),
    )
    items = items_of(judged, METRIC)
    assert sorted(sorted(trials) for _, trials in items.values()) == [
        [("baseline", "q0", 0), ("custom", "q0", 0)],
        [("baseline", "q1", 0)],
        [("custom", "q1", 0)],
    ]
    shown = [item for item, _ in items.values()]
    assert not [word for item in shown for word in ("baseline", "custom", "partly") if word in repr(item)], "blind to arm and verdict"
    (found,) = judged.calibrations()
    assert found.agreements[0].n == 2


@pytest.mark.parametrize(
    ("metric", "value", "verdict", "word"),
    [
        ("judge_correctness", 0.0, "abstained", "abstained"),
        ("judge_correctness", 0.5, None, "partly"),
        ("judge_groundedness", 1.0, None, "grounded"),
        ("judge_groundedness", 0.9, None, "partly"),
        ("faithfulness", 0.0, "no such word", "ungrounded"),
    ],
)
def test_an_opinion_has_the_word_that_people_would_use(metric: str, value: float, verdict: str | None, word: str) -> None:
    assert word_of(metric, value, verdict) == word
