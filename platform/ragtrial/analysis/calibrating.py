"""What people said of judged answers, put beside what the judge said: agreement, bias, and corrected estimates."""

import dataclasses
from collections import Counter, defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from ragtrial.analysis.agreeing import agreement_of, judged_words
from ragtrial.analysis.comparing import clusters_of
from ragtrial.analysis.judging import judgment_variances
from ragtrial.analysis.setting import Setting
from ragtrial.domain.calibration import ArmEstimates, Calibration, Estimate, PlannedWidth
from ragtrial.domain.label import LABEL_WORDS, Label
from ragtrial.domain.score import LoggedOpinion, PairedScores
from ragtrial.errors import NotEnoughDataError
from ragtrial.stats.agreement import Rated, arm_bias
from ragtrial.stats.labelling import planned_half_width, realised_chances
from ragtrial.stats.paired import paired_t
from ragtrial.stats.prediction_powered import Corrected, Labels, corrected_difference, corrected_mean

_MOSTLY_PAIRS = 0.8
"""From this share of the labelled answers that stand in pairs, the pairs alone are used: their differences vary less than two arms do."""

_WELL_BELOW = 0.8
"""Up to this share of all that is unlabelled, a plan says something else than the plan with all of it."""

_Interval = Callable[[], tuple[float, float, float]]


@dataclass(frozen=True, kw_only=True)
class Beside:
    """A judge's scores of the queries scored in both arms, and people's of some of them.

    Attributes:
        scores: The judge's.
        clusters: Of the queries, as the analysis uses them; None where they are independent.
        uncertainty: How much the judge wavers on each query's difference, shape (n,); None where it never did, or was asked once.
        control: People's mean by position among the queries.
        treatment: Likewise.
        chosen_by_chances: Whether queries were drawn with unequal chances, so that labels are weighed.
    """

    scores: PairedScores
    clusters: NDArray[np.str_] | None
    uncertainty: NDArray[np.float64] | None
    control: Mapping[int, float]
    treatment: Mapping[int, float]
    chosen_by_chances: bool

    @property
    def labelled(self) -> tuple[int, ...]:
        """Positions of the queries with a label in any arm."""
        return tuple(sorted({*self.control, *self.treatment}))

    @property
    def pairs(self) -> tuple[int, ...]:
        """Positions of the queries of which both arms' answers are labelled."""
        return tuple(sorted(self.control.keys() & self.treatment.keys()))

    @cached_property
    def is_paired(self) -> bool:
        """Whether the labels mostly come in pairs."""
        return 2 * len(self.pairs) >= _MOSTLY_PAIRS * max(1, len(self.control) + len(self.treatment))

    def chances(self, rows: Sequence[int]) -> NDArray[np.float64] | None:
        """Chance of each of these rows to be labelled; None where all were equal.

        Raises:
            NotEnoughDataError: A part of the queries has no label that stands for it.
        """
        if not self.chosen_by_chances:
            return None
        return realised_chances(self.scores.differences, rows, uncertainty=self.uncertainty)

    def labels(self, values: Mapping[int, float], rows: Sequence[int] | None = None) -> Labels:
        """People's values of these rows (default: all they have) as the statistics take them."""
        rows = sorted(values) if rows is None else rows
        return Labels(
            rows=np.array(rows, dtype=np.intp),
            values=np.array([values[row] for row in rows], dtype=np.float64),
            probabilities=self.chances(rows) if rows else None,
        )

    def rated(self, values: Mapping[int, float], judged: NDArray[np.float64]) -> Rated:
        """People's and the judge's values of the labelled rows; answers to one query, or of one source, are one cluster."""
        labels, rows = self.labels(values), sorted(values)
        names = np.array(self.scores.query_ids) if self.clusters is None else self.clusters
        return Rated(human=labels.values, judge=judged[rows], clusters=names[rows], probabilities=labels.probabilities)


def beside(setting: Setting, metric: str, labels: Sequence[Label], opinions: Sequence[LoggedOpinion]) -> Beside:
    """The judge's scores of one metric with the labels that count (see `usable`).

    Args:
        setting: The evaluation at hand.
        metric: What was judged.
        labels: Usable ones.
        opinions: Of the judge on this metric.
    """
    scores = setting.paired(metric)
    wavering = np.sqrt(judgment_variances(setting, metric, opinions)[0])
    unlabelled = Beside(
        scores=scores,
        clusters=clusters_of(setting, scores),
        uncertainty=wavering if bool(wavering.any()) else None,
        control={},
        treatment={},
        chosen_by_chances=False,
    )
    return with_labels(unlabelled, labels, control=setting.experiment.control.name, treatment=setting.experiment.treatment.name)


def with_labels(both: Beside, labels: Sequence[Label], *, control: str, treatment: str) -> Beside:
    """The same judge's scores with these labels in place of those that it has.

    Args:
        both: The judge's scores.
        labels: Usable ones.
        control: The control arm's name.
        treatment: The treatment arm's name.
    """
    place = {query_id: row for row, query_id in enumerate(both.scores.query_ids)}
    left, right = (_means([label for label in labels if label.arm == arm], place) for arm in (control, treatment))
    return dataclasses.replace(
        both, control=left, treatment=right, chosen_by_chances=any(label.probability is not None for label in labels)
    )


def usable(setting: Setting, labels: Sequence[Label], scorer: str) -> list[Label]:
    """The labels that may correct: drawn at random, of this evaluation, and given beside this judge."""
    mine = setting.evaluation.evaluation_id
    return [label for label in labels if label.evaluation_id == mine and label.scorer == scorer and label.selection == "random"]


def _means(labels: Sequence[Label], place: Mapping[str, int]) -> dict[int, float]:
    """The mean of each query's answers, by position; of one answer the mean over labellers."""
    answers: defaultdict[int, defaultdict[int, list[float]]] = defaultdict(lambda: defaultdict(list))
    for label in labels:
        if label.query_id in place:
            answers[place[label.query_id]][label.repetition].append(label.value)
    return {row: float(np.mean([np.mean(values) for values in found.values()])) for row, found in answers.items()}


def corrected_fit(both: Beside, *, alpha: float) -> Corrected:
    """The corrected difference, by pairs or by arms.

    Raises:
        NotEnoughDataError: The labels don't suffice.
    """
    if both.is_paired:
        pairs = both.pairs
        differences = {row: both.treatment[row] - both.control[row] for row in pairs}
        return corrected_mean(both.scores.differences, both.labels(differences, pairs), alpha=alpha, clusters=both.clusters)
    left, right = both.labels(both.control), both.labels(both.treatment)
    return corrected_difference(both.scores.control, both.scores.treatment, left, right, alpha=alpha, clusters=both.clusters).difference


def planned_widths(both: Beside, *, alpha: float) -> tuple[PlannedWidth, ...]:
    """What twice, four and eight times the labels would bring, and all of them; empty where that can't be told."""
    try:
        fit = corrected_fit(both, alpha=alpha)
    except NotEnoughDataError:
        return ()
    answers = 2 if both.is_paired else 1
    found: list[PlannedWidth] = []
    doublings = [n for n in (fit.n_labelled, 3 * fit.n_labelled, 7 * fit.n_labelled) if n <= _WELL_BELOW * fit.n_unlabelled]
    for more in (*doublings, fit.n_unlabelled) if fit.n_unlabelled else ():
        try:
            width = planned_half_width(fit, more=more, alpha=alpha)
        except NotEnoughDataError:
            break
        found.append(PlannedWidth(more_answers=answers * more, half_width=width))
    return tuple(found)


def calibrations_of(
    setting: Setting, labels: Sequence[Label], opinions: Sequence[LoggedOpinion], scorers: Mapping[str, str]
) -> tuple[Calibration, ...]:
    """The comparison with people, one for each judged metric of the evaluation that people can be asked about.

    Args:
        setting: The evaluation at hand.
        labels: Of all evaluations of the experiment, the last one of each labeller.
        opinions: Of LLM judges on this evaluation's trials.
        scorers: Version of what scored each metric.
    """
    return tuple(
        _calibration(
            setting,
            name,
            [label for label in labels if label.metric == name],
            [each for each in opinions if each.metric == name],
            scorers.get(name, ""),
        )
        for name in setting.tables
        if name in LABEL_WORDS
    )


def _calibration(setting: Setting, metric: str, labels: Sequence[Label], opinions: Sequence[LoggedOpinion], scorer: str) -> Calibration:
    mine, arms = setting.evaluation.evaluation_id, {arm.name for arm in setting.experiment.arms}
    current = [label for label in labels if label.evaluation_id == mine and label.scorer == scorer and label.arm in arms]
    random = usable(setting, current, scorer)
    by_themselves = [label for label in current if label.selection == "volunteered"]
    both = beside(setting, metric, random, opinions)
    scored = set(both.scores.query_ids)
    counted = [label for label in random if label.query_id in scored]
    said = judged_words(metric, opinions)
    alpha = setting.plan.alpha
    groups = [(counted, both), (by_themselves, None)]
    return Calibration(
        metric=metric,
        scorer=scorer,
        n_labels=len(counted),
        n_answers=len({label.trial for label in counted}),
        n_queries=len(both.labelled),
        n_pairs=len(both.pairs),
        n_labellers=len({label.labeller for label in counted}),
        n_volunteered=len(by_themselves),
        n_unused=len(random) - len(counted),
        stale=_stale(labels, mine, scorer),
        agreements=tuple(
            found for group, drawn in groups if (found := agreement_of(metric, group, said, _chance_of(drawn, setting), alpha=alpha))
        ),
        bias=_bias(both, alpha),
        naive=_naive(both, alpha),
        corrected=_corrected(both, alpha),
        method=None if not counted else "paired" if both.is_paired else "independent",
        planned=planned_widths(both, alpha=alpha),
    )


def _chance_of(both: Beside | None, setting: Setting) -> dict[tuple[str, str], float] | None:
    """Chance of each labelled answer by arm and query; None where all were equal, or where labels came by themselves."""
    if both is None or not both.chosen_by_chances:
        return None
    chances: dict[tuple[str, str], float] = {}
    arms = ((setting.experiment.control.name, both.control), (setting.experiment.treatment.name, both.treatment))
    for arm, values in arms:
        try:
            found = both.chances(sorted(values)) if values else None
        except NotEnoughDataError:
            return None  # the estimates say why they can't be told; that people agree with the judge here is still worth seeing
        for row, chance in zip(sorted(values), () if found is None else found, strict=True):
            chances[arm, both.scores.query_ids[row]] = float(chance)
    return chances


def _stale(labels: Sequence[Label], mine: str, scorer: str) -> tuple[str, ...]:
    """What is there and does not count, and why."""
    groups = Counter((label.evaluation_id, label.scorer) for label in labels if (label.evaluation_id, label.scorer) != (mine, scorer))
    said = []
    for (evaluation_id, judge), n in groups.items():
        where = "of this evaluation" if evaluation_id == mine else f"of evaluation {evaluation_id}"
        why = f"are stale: {what_changed(judge, scorer)}" if judge != scorer else "are of the answers of that evaluation"
        said.append(f"{n:,} labels {where} {why}")
    return tuple(said)


def what_changed(before: str, now: str) -> str:
    """How two versions of a judge (`judge/1 MODEL DIGEST`) differ, in words."""
    old, new = before.split(), now.split()
    if len(old) < 3 or len(new) < 3 or old[0] != new[0]:
        return f"the judge was {before!r} and is {now!r}"
    if old[1:-1] != new[1:-1]:
        return f"the judge's model was {' '.join(old[1:-1])!r} and is {' '.join(new[1:-1])!r}"
    return f"the judge's prompt, rubric, server or sampling changed ({old[-1]} to {new[-1]})"


def _bias(both: Beside, alpha: float) -> ArmEstimates:
    try:
        found = arm_bias(both.rated(both.control, both.scores.control), both.rated(both.treatment, both.scores.treatment), alpha=alpha)
    except NotEnoughDataError as error:
        return ArmEstimates(why_not=str(error))
    parts = [Estimate(estimate=part.estimate, low=part.low, high=part.high) for part in (found.control, found.treatment, found.difference)]
    return ArmEstimates(control=parts[0], treatment=parts[1], difference=parts[2])


def _naive(both: Beside, alpha: float) -> ArmEstimates:
    columns = {"control": both.scores.control, "treatment": both.scores.treatment, "difference": both.scores.differences}
    return _estimates({name: _t(values, both.clusters, alpha) for name, values in columns.items()})


def _t(values: NDArray[np.float64], clusters: NDArray[np.str_] | None, alpha: float) -> _Interval:
    def found() -> tuple[float, float, float]:
        t = paired_t(values, alpha=alpha, clusters=clusters)
        return t.estimate, t.low, t.high

    return found


def _corrected(both: Beside, alpha: float) -> ArmEstimates:
    def of(arm: Mapping[int, float], judged: NDArray[np.float64]) -> _Interval:
        def found() -> tuple[float, float, float]:
            fit = corrected_mean(judged, both.labels(arm), alpha=alpha, clusters=both.clusters)
            return fit.estimate, fit.low, fit.high

        return found

    def difference() -> tuple[float, float, float]:
        fit = corrected_fit(both, alpha=alpha)
        return fit.estimate, fit.low, fit.high

    if not both.labelled:
        return ArmEstimates(why_not="nobody labelled an answer that was drawn at random")
    arms = {"control": of(both.control, both.scores.control), "treatment": of(both.treatment, both.scores.treatment)}
    return _estimates({**arms, "difference": difference})


def _estimates(parts: Mapping[str, _Interval]) -> ArmEstimates:
    found: dict[str, Estimate] = {}
    reasons: dict[str, None] = {}
    for name, interval in parts.items():
        try:
            estimate, low, high = interval()
            found[name] = Estimate(estimate=estimate, low=low, high=high)
        except NotEnoughDataError as error:
            reasons[str(error)] = None
    return ArmEstimates(
        control=found.get("control"),
        treatment=found.get("treatment"),
        difference=found.get("difference"),
        why_not="; ".join(reasons) or None,
    )
