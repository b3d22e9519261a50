"""Where a difference comes from, on rankings that can be worked out by hand."""

import dataclasses
import math
from collections.abc import Mapping, Sequence

import numpy as np
import pytest

from ragtrial.analysis.analysing import analyse
from ragtrial.analysis.anatomy import CHANGES, Anatomy, LiftCell, length_of, thinned
from ragtrial.analysis.dissecting import anatomy_of
from ragtrial.analysis.outcomes import outcomes_of
from ragtrial.analysis.ranked import retrieved_by, shares_in_common
from ragtrial.domain.data import DataSpec
from ragtrial.domain.evaluation import ArmFacts, Evaluation
from ragtrial.domain.experiment import AnalysisPlan, Arm, EmbeddingSpec, Experiment, MetricsPlan, RetrievalSpec
from ragtrial.domain.gold import GoldSet, Judgment, Query
from ragtrial.domain.metric import metric_named
from ragtrial.domain.outcome import QueryOutcome
from ragtrial.domain.parity import ParityCertificate
from ragtrial.domain.planned import PrimaryMetric
from ragtrial.domain.score import Score, ScoreTable
from ragtrial.domain.trial import Answer, Failure, Hit, Ranking, Trial
from ragtrial.domain.verdict import Analysis
from ragtrial.scoring.retrieval import RetrievalScorer
from ragtrial.scoring.table import table_of
from ragtrial.stats.paired import paired_t
from unit.logged import sample

MODEL = EmbeddingSpec(provider="hashing", model="a")
RETRIEVAL = ("nDCG@3", "R@1", "R@2", "R@3")


class Small:
    """An evaluation of a few queries: rankings and answer scores by arm are given, the rest follows.

    A ranking is a string of one-letter passages; None is a search that failed. Passages in capitals in `relevant` are relevant.
    """

    def __init__(
        self,
        baseline: Sequence[str | None],
        custom: Sequence[str | None],
        *,
        relevant: Sequence[str] | None = None,
        answers: Mapping[str, Sequence[float | None]] | None = None,
        clusters: Sequence[str] | None = None,
        texts: Sequence[str] | None = None,
        tags: Sequence[Mapping[str, str]] | None = None,
        primary: str = "nDCG@3",
        repetitions: int = 1,
    ) -> None:
        n = len(baseline) // repetitions
        self.experiment = Experiment(
            name="small",
            data=DataSpec(path="data"),
            arms=(Arm(name="baseline", role="control", embedding=MODEL), Arm(name="custom", role="treatment", embedding=MODEL)),
            retrieval=RetrievalSpec(top_k=3),
            repetitions=repetitions,
            metrics=MetricsPlan(primary=PrimaryMetric(name=primary)),
            analysis=AnalysisPlan(resamples=1000),
        )
        self.gold = GoldSet(
            name="small",
            queries=tuple(
                Query(
                    query_id=f"q{i}",
                    text=texts[i] if texts else f"where is {i}",
                    answers=("a long enough answer of many words",),
                    tags=tags[i] if tags else {},
                    cluster=clusters[i] if clusters else None,
                )
                for i in range(n)
            ),
            judgments=tuple(
                Judgment(query_id=f"q{i}", target_id=passage, grade=1) for i in range(n) for passage in (relevant[i] if relevant else "a")
            ),
        )
        rankings = {"baseline": baseline, "custom": custom}
        self.trials = tuple(
            trial_of(arm, f"q{i}", rankings[arm][i * repetitions + repetition], repetition)
            for i in range(n)
            for arm in ("baseline", "custom")
            for repetition in range(repetitions)
        )
        self.tables = {name: self._scores(name) for name in RETRIEVAL}
        if answers is not None:
            self.tables["answer_f1"] = self._answers(answers)

    def _scores(self, name: str) -> ScoreTable:
        scored = RetrievalScorer([metric_named(name)]).score(self.trials, self.gold)
        return table_of(metric_named(name), self.gold, [(t.query_id, t.arm, row[0]) for t, row in zip(self.trials, scored, strict=True)])

    def _answers(self, answers: Mapping[str, Sequence[float | None]]) -> ScoreTable:
        rows = [
            (f"q{i}", arm, Score(metric="answer_f1", scorer="s", value=value, unscored="failed: search" if value is None else None))
            for arm, values in answers.items()
            for i, value in enumerate(values)
        ]
        return table_of(metric_named("answer_f1"), self.gold, rows)

    def evaluation(self) -> Evaluation:
        arms = (ArmFacts(arm="baseline", role="control"), ArmFacts(arm="custom", role="treatment"))
        return Evaluation(
            evaluation_id="e",
            experiment="small",
            plan_digest=self.experiment.plan_digest(),
            config_digest="c",
            corpus_fingerprint="f",
            gold_fingerprint="g",
            n_queries=len(self.gold.queries),
            arms=arms,
            parity=ParityCertificate(ok=True, digest="d"),
            started_at="2026-11-01T11:00:00+00:00",
        )

    def analysis(self) -> Analysis:
        return analyse(evaluation=self.evaluation(), experiment=self.experiment, gold=self.gold, tables=self.tables, failures={})

    def anatomy(self) -> Anatomy:
        return anatomy_of(
            evaluation=self.evaluation(),
            experiment=self.experiment,
            analysis=self.analysis(),
            gold=self.gold,
            tables=self.tables,
            trials=self.trials,
        )

    def outcomes(self) -> list[QueryOutcome]:
        return list(
            outcomes_of(experiment=self.experiment, analysis=self.analysis(), gold=self.gold, tables=self.tables, trials=self.trials)
        )

    def cells(self) -> dict[str, LiftCell]:
        return {cell.retrieval: cell for cell in self.anatomy().lift}


def trial_of(arm: str, query_id: str, passages: str | None, repetition: int = 0) -> Trial:
    if passages is None:
        failure = Failure(stage="search", kind="StoreError", message="no")
        return Trial(arm=arm, query_id=query_id, repetition=repetition, failure=failure)
    hits = tuple(Hit(passage_id=passage, similarity=-float(rank)) for rank, passage in enumerate(passages))
    ranking = Ranking(query_id=query_id, hits=hits)
    return Trial(arm=arm, query_id=query_id, repetition=repetition, ranking=ranking, answer=Answer(text="yes", generator="g/1"))


# Recall by depth


def test_recall_at_each_depth_is_the_mean_over_queries() -> None:
    # relevant: a | a, b; baseline finds a at rank 2 | a at 1, b never; custom finds a at rank 1 | b at 1, a at 3
    made = Small(["xay", "axy"], ["axy", "bxa"], relevant=["a", "ab"])
    points = {(point.arm, point.k): point.mean for point in made.anatomy().recall_curves}
    assert points == {
        ("baseline", 1): (0 + 0.5) / 2,
        ("baseline", 2): (1 + 0.5) / 2,
        ("baseline", 3): (1 + 0.5) / 2,
        ("custom", 1): (1 + 0.5) / 2,
        ("custom", 2): (1 + 0.5) / 2,
        ("custom", 3): (1 + 1) / 2,
    }


@pytest.mark.parametrize("repetitions", [1, 2])
def test_the_curve_goes_through_the_metrics_of_the_report_and_the_intervals_are_theirs(repetitions: int) -> None:
    made = sample(90, repetitions=repetitions)
    content = made.content()
    arms = {"baseline", "custom", "bm25"}
    assert {point.arm for point in content.anatomy.recall_curves} == arms  # shuffled-context retrieves nothing of its own
    assert [point.k for point in content.anatomy.recall_curves if point.arm == "custom"] == list(range(1, 11))
    assert any(trial.failure is not None for trial in made.trials)
    for point in content.anatomy.recall_curves:
        if point.k not in (1, 5, 10):
            continue
        values = made.tables[f"R@{point.k}"].per_query(point.arm)
        values = values[~np.isnan(values)]
        assert point.mean == pytest.approx(values.mean())
        assert point.n == values.size < 90  # queries without anything relevant are left out
        clusters = np.array(made.tables["R@1"].clusters)[~np.isnan(made.tables["R@1"].per_query(point.arm))]
        t = paired_t(values, alpha=0.05, clusters=clusters)
        assert (point.low, point.high) == pytest.approx((max(0.0, t.low), min(1.0, t.high)))


def test_a_search_that_failed_found_nothing_and_the_report_says_the_same() -> None:
    made = Small(["axy", "axy", "axy"], ["axy", None, "axy"])
    curve = {(point.arm, point.k): point for point in made.anatomy().recall_curves}
    assert curve["custom", 3].mean == pytest.approx(2 / 3)
    assert curve["custom", 3].n == 3
    assert made.analysis().comparisons[0].custom.mean == pytest.approx(2 / 3)


def test_the_same_recall_in_all_queries_has_no_interval() -> None:
    point = Small(["axy", "axy"], ["xay", "axy"]).anatomy().recall_curves[0]
    assert (point.arm, point.mean, point.low, point.high) == ("baseline", 1.0, None, None)


def test_where_nothing_is_relevant_there_is_no_curve() -> None:
    made = sample(60)
    gold = GoldSet(name="g", queries=made.gold.queries, judgments=())
    analysis = made.content().analysis
    found = anatomy_of(
        evaluation=made.evaluation, experiment=made.experiment, analysis=analysis, gold=gold, tables=made.tables, trials=made.trials
    )
    assert found.recall_curves == ()
    assert found.overlaps


# What the arms have in common


def test_the_share_in_common_grows_with_what_both_have_seen() -> None:
    assert shares_in_common(("a", "b", "c"), ("b", "x", "a"), 3) == [0.0, 1 / 2, 2 / 3]
    assert shares_in_common(("a", "b"), ("a", "b"), 2) == [1.0, 1.0]
    assert shares_in_common(("a",), ("b",), 1) == [0.0]


def test_a_corpus_smaller_than_k_does_not_look_like_disagreement() -> None:
    assert shares_in_common(("a", "b"), ("b", "a"), 4) == [0.0, 1.0, 1.0, 1.0]
    assert shares_in_common(("a", "b"), ("a",), 3) == [1.0, 1 / 2, 1 / 2]
    assert shares_in_common((), ("a",), 2) == [0.0, 0.0]


def test_two_rankings_of_nothing_have_no_share_in_common() -> None:
    assert shares_in_common((), (), 3) == []


def test_overlap_is_the_mean_over_queries_with_a_ranking_in_both_arms() -> None:
    made = Small(["abc", "abc", "abc", ""], ["abc", "cxy", None, ""])
    points = made.anatomy().overlaps
    assert [(point.k, point.mean, point.n) for point in points] == [(1, 1 / 2, 2), (2, 1 / 2, 2), (3, pytest.approx((1 + 1 / 3) / 2), 2)]


def test_an_arm_that_never_answered_has_nothing_in_common_with_the_other_and_no_number_says_so() -> None:
    found = Small(["axy", "axy"], [None, None]).anatomy()
    assert found.overlaps == ()
    assert found.n_without_ranking == 2
    assert [cell.n for cell in found.lift] == [0, 0, 0, 0]


def test_of_repetitions_the_first_with_a_ranking_counts() -> None:
    made = Small([None, "abc"], ["abc", "xyz"], repetitions=2)
    retrieved = retrieved_by(("baseline", "custom"), made.trials, ["q0"])
    assert retrieved["baseline"].by_query == ((None, ("a", "b", "c")),)
    assert retrieved["baseline"].first(0) == retrieved["custom"].first(0) == ("a", "b", "c")
    assert [point.mean for point in made.anatomy().overlaps] == [1.0, 1.0, 1.0]
    assert not retrieved["baseline"].complete(0)


# What the answers did where retrieval changed


def test_each_query_is_in_one_cell_by_what_became_of_its_retrieval() -> None:
    #        better  worse  same   other  failed
    baseline = ["xya", "axy", "axy", "axy", "axy"]
    custom = ["axy", "xya", "axy", "awz", None]
    answers = {"baseline": [0.2, 0.9, 0.5, 0.5, 0.5], "custom": [0.7, 0.4, 0.5, 0.6, None]}
    made = Small(baseline, custom, answers=answers)
    found = made.anatomy()
    cells = made.cells()
    assert (found.retrieval_metric, found.answer_metric) == ("nDCG@3", "answer_f1")
    assert tuple(cells) == CHANGES
    assert [cell.n for cell in cells.values()] == [1, 1, 1, 1]
    assert [cell.mean for cell in cells.values()] == pytest.approx([0.5, -0.5, 0.0, 0.1])
    assert [(cell.better, cell.equal, cell.worse) for cell in cells.values()] == [(1, 0, 0), (0, 0, 1), (0, 1, 0), (1, 0, 0)]
    assert (found.n_without_ranking, found.n_without_score) == (1, 0)


def test_the_same_passages_in_another_order_are_not_the_same() -> None:
    made = Small(["axy", "axy"], ["ayx", "axy"], answers={"baseline": [0.5, 0.5], "custom": [0.5, 0.5]})
    assert {name: cell.n for name, cell in made.cells().items()} == {"better": 0, "worse": 0, "same passages": 1, "other passages": 1}


def test_a_repetition_with_other_passages_makes_the_query_one_with_other_passages() -> None:
    made = Small(["axy", "axy"], ["axy", "awz"], repetitions=2)
    assert made.cells()["other passages"].n == 1


def test_other_passages_of_a_query_with_nothing_relevant_are_in_no_cell_and_counted() -> None:
    made = Small(["axy", "wxy", "wxy"], ["axy", "xwy", "wxy"], relevant=["a", "", ""])
    found = made.anatomy()
    assert (found.n_without_score, found.n_without_ranking) == (1, 0)
    assert made.cells()["same passages"].n == 2  # the same list needs no score to be the same


def test_every_query_is_in_a_cell_or_counted() -> None:
    made = sample(120)
    found = made.content().anatomy
    assert sum(cell.n for cell in found.lift) + found.n_without_ranking + found.n_without_score == 120
    assert found.n_without_ranking == 2  # custom failed on queries 40 and 90


def test_the_interval_of_a_cell_is_the_t_interval_of_its_gains_clustered_as_planned() -> None:
    made = sample(150)
    content = made.content()
    cell = next(cell for cell in content.anatomy.lift if cell.retrieval == "better")
    rank = made.tables["nDCG@10"]
    better = rank.per_query("custom") - rank.per_query("baseline") > 1e-9
    better &= np.array([all(t.failure is None for t in made.trials if t.query_id == query_id) for query_id in rank.query_ids])
    answers = made.tables["answer_f1"]
    gain = (answers.per_query("custom") - answers.per_query("baseline"))[better]
    t = paired_t(gain, alpha=0.05, clusters=np.array(rank.clusters)[better])
    assert (cell.n_scored, cell.mean, cell.low, cell.high) == pytest.approx((better.sum(), t.estimate, t.low, t.high))
    assert cell.reason is None


def test_a_few_queries_have_a_mean_and_the_reason_why_there_is_no_interval() -> None:
    answers = {"baseline": [0.1, 0.2], "custom": [0.5, 0.5]}
    cell = Small(["xya", "xya"], ["axy", "axy"], answers=answers).cells()["better"]
    assert (cell.n_scored, cell.mean, cell.low, cell.high) == (2, pytest.approx(0.35), None, None)
    assert cell.reason == "fewer than 10 queries"


def test_answers_that_all_gained_the_same_have_no_interval_and_the_reason() -> None:
    n = 12
    cell = Small(["xya"] * n, ["axy"] * n, answers={"baseline": [0.25] * n, "custom": [0.5] * n}).cells()["better"]
    assert (cell.n_scored, cell.mean, cell.low, cell.high) == (n, 0.25, None, None)
    assert "without variance there is no interval" in str(cell.reason)


def test_without_answers_every_cell_counts_its_queries_and_says_why_there_is_no_number() -> None:
    found = Small(["xya", "axy"], ["axy", "axy"]).anatomy()
    assert found.answer_metric is None
    assert [(cell.n, cell.n_scored, cell.mean) for cell in found.lift] == [(1, 0, None), (0, 0, None), (1, 0, None), (0, 0, None)]
    assert {cell.reason for cell in found.lift} == {"no answers were scored against references"}


def test_answers_of_which_none_is_scored_in_both_arms_have_no_mean() -> None:
    cell = Small(["xya", "xya"], ["axy", "axy"], answers={"baseline": [None, 0.5], "custom": [0.5, None]}).cells()["better"]
    assert (cell.n, cell.n_scored, cell.mean) == (2, 0, None)
    assert cell.reason == "no query of these has a value of answer_f1 in both arms"


def test_a_primary_metric_of_answers_leaves_the_cells_to_a_metric_of_retrieval() -> None:
    answers = {"baseline": [0.1, 0.2], "custom": [0.5, 0.5]}
    made = Small(["xya", "xya"], ["axy", "axy"], answers=answers, primary="answer_f1")
    assert made.anatomy().retrieval_metric == "nDCG@3"
    assert made.cells()["better"].n == 2
    made.tables = {"answer_f1": made.tables["answer_f1"]}
    alone = made.anatomy()
    assert (alone.retrieval_metric, alone.lift) == (None, ())


# Gains and lengths


def test_gains_are_sorted_thinned_and_keep_their_ends() -> None:
    n = 1_000
    answers = {"baseline": [0.5] * n, "custom": [i / n for i in range(n)]}
    found = Small(["axy"] * n, ["axy"] * n, answers=answers, primary="answer_f1").anatomy()
    assert len(found.gains) == 400
    assert found.n_gains == n
    assert (found.gains[0].place, found.gains[0].query_id, found.gains[0].gain) == (0, "q999", pytest.approx(0.499))
    assert (found.gains[-1].place, found.gains[-1].query_id, found.gains[-1].gain) == (n - 1, "q0", -0.5)
    places = [point.place for point in found.gains]
    assert set(np.diff(places)) <= {2, 3}
    assert [point.gain for point in found.gains] == sorted((point.gain for point in found.gains), reverse=True)


def test_a_metric_that_is_better_when_it_is_lower_gains_by_falling() -> None:
    made = sample(60)
    primary = dataclasses.replace(made.experiment.metrics, primary=PrimaryMetric(name="latency_ms"), guardrails=())
    made.experiment = dataclasses.replace(made.experiment, metrics=primary)
    content = made.content()
    table = made.tables["latency_ms"]
    first = content.anatomy.gains[0]
    place = table.query_ids.index(first.query_id)
    assert first.gain == table.per_query("baseline")[place] - table.per_query("custom")[place] > 0


def test_thinning_leaves_short_lists_alone() -> None:
    assert thinned([3, 1, 2], 5) == [3, 1, 2]
    assert thinned(range(100), 3) == [0, 50, 99]
    assert thinned([], 3) == []


@pytest.mark.parametrize(("words", "length"), [(1, "short"), (5, "short"), (6, "medium"), (12, "medium"), (13, "long"), (400, "long")])
def test_a_querys_length_is_told_by_its_words(words: int, length: str) -> None:
    assert length_of("word " * words) == length


def test_lengths_are_slices_from_short_to_long_with_their_own_correction() -> None:
    n = 36
    texts = [("word " * (3, 8, 20)[i % 3]).strip() for i in range(n)]
    baseline, custom = ["xay" if i % 2 else "axy" for i in range(n)], ["axy"] * n
    slices = Small(baseline, custom, texts=texts).anatomy().lengths
    assert [(part.tag, part.value, part.n_scored) for part in slices] == [("length", name, 12) for name in ("short", "medium", "long")]
    assert all(part.effect is not None and part.p_adjusted is not None for part in slices)
    assert all(part.p_adjusted >= part.effect.p_value for part in slices if part.effect and part.p_adjusted)


def test_a_gold_set_that_tells_the_length_itself_is_left_alone() -> None:
    made = Small(["axy", "xay"], ["axy", "axy"], tags=[{"length": "epic"}, {}])
    assert made.anatomy().lengths == ()
    assert [part.tag for part in made.analysis().slices] == ["length"]


# Each query's outcome


def test_an_outcome_says_how_both_arms_did() -> None:
    made = Small(
        ["xay", "axy"],
        ["abw", None],
        relevant=["ab", "a"],
        answers={"baseline": [0.25, 0.5], "custom": [0.75, None]},
        texts=["where is the crane", "who"],
        tags=[{"topic": "quay"}, {}],
    )
    first, second = made.outcomes()
    ideal = 1 + 1 / math.log2(3)
    assert first == QueryOutcome(
        position=0,
        query_id="q0",
        text="where is the crane",
        tags={"topic": "quay"},
        words=4,
        baseline=pytest.approx(1 / math.log2(3) / ideal),  # type: ignore[arg-type]  # compares like the number
        custom=pytest.approx(1.0),  # type: ignore[arg-type]
        gain=pytest.approx(1 - 1 / math.log2(3) / ideal),  # type: ignore[arg-type]
        baseline_answer=0.25,
        custom_answer=0.75,
        answer_gain=0.5,
        relevant=2,
        baseline_found=1,
        custom_found=2,
        overlap=pytest.approx(1 / 3),  # type: ignore[arg-type]
        unjudged=3,  # x, y and w
        failed=0,
    )
    assert (second.baseline, second.custom, second.gain) == (1.0, 0.0, -1.0)  # what is dropped scores 0, as in the report
    assert (second.custom_answer, second.answer_gain, second.overlap) == (None, None, None)
    assert (second.custom_found, second.failed, second.unjudged) == (0, 1, 2)


def test_what_was_not_measured_is_none_and_never_0() -> None:
    made = Small(["xyz", ""], ["zyx", ""], relevant=["", "a"])
    first, second = made.outcomes()
    assert (first.baseline, first.custom, first.gain, first.relevant) == (None, None, None, 0)
    assert (first.baseline_answer, first.custom_answer, first.answer_gain) == (None, None, None)
    assert second.overlap is None  # both searched and found nothing
    assert (second.relevant, second.baseline_found, second.failed) == (1, 0, 0)


def test_scores_are_means_and_failures_sums_over_repetitions() -> None:
    made = Small(["axy", None], ["axy", "axy"], repetitions=2)
    (outcome,) = made.outcomes()
    assert (outcome.baseline, outcome.custom, outcome.gain) == (0.5, 1.0, 0.5)
    assert (outcome.failed, outcome.baseline_found, outcome.overlap) == (1, 1, 1.0)


def test_the_gains_of_outcomes_are_the_wins_ties_and_losses_of_the_verdict() -> None:
    made = sample(150)
    content = made.content()
    found = list(outcomes_of(experiment=made.experiment, analysis=content.analysis, gold=made.gold, tables=made.tables, trials=made.trials))
    gains = [outcome.gain for outcome in found if outcome.gain is not None]
    primary = content.primary
    assert [outcome.position for outcome in found] == list(range(150))
    assert (sum(gain > 1e-9 for gain in gains), sum(gain < -1e-9 for gain in gains)) == (primary.wins, primary.losses)
    assert len(gains) == primary.n_scored
    assert sum(outcome.failed for outcome in found) == 2
