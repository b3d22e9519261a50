"""What an LLM judge's own opinions tell about it, and what its calls came to."""

from collections import defaultdict
from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from ragtrial.analysis.comparing import clusters_of
from ragtrial.analysis.setting import Setting
from ragtrial.domain.score import LoggedOpinion, Opinion
from ragtrial.domain.trial import Trial
from ragtrial.domain.verdict import CallCount, JudgeQuality
from ragtrial.errors import NotEnoughDataError
from ragtrial.scoring.preference import position_bias
from ragtrial.stats.agreement import self_agreement
from ragtrial.stats.judge_noise import compare_doublings, split_noise

PREFERENCE = "judge_preference"


def judges_of(setting: Setting, opinions: Sequence[LoggedOpinion], scorers: Mapping[str, str]) -> tuple[JudgeQuality, ...]:
    """One row for each judged metric, in the order in which the opinions name them.

    Args:
        setting: The evaluation at hand.
        opinions: Of all its trials.
        scorers: Version of what scored each metric.
    """
    by_metric: defaultdict[str, list[LoggedOpinion]] = defaultdict(list)
    for logged in opinions:
        by_metric[logged.metric].append(logged)
    return tuple(_quality(setting, metric, own, scorers.get(metric, "")) for metric, own in by_metric.items())


def _quality(setting: Setting, metric: str, logged: Sequence[LoggedOpinion], scorer: str) -> JudgeQuality:
    asked = _asked(logged)
    fields: dict[str, object] = {}
    n_unscored = sum(opinion.value is None for opinion in asked)
    if setting.tables[metric].metric.kind == "retrieval":
        why_not = "each passage is graded once"
        return JudgeQuality(metric=metric, scorer=scorer, n_opinions=len(asked), n_unscored=n_unscored, why_not=why_not)
    try:
        again = self_agreement(*_items(logged), alpha=setting.plan.alpha)
        share = again.flipped
        fields |= {"n_repeated": again.n, "flipped": share.estimate, "flipped_low": share.low, "flipped_high": share.high}
        fields["disagreement"] = again.disagreement
    except NotEnoughDataError as error:
        fields["why_not"] = str(error)
    try:
        fields |= _noise(setting, metric, logged)
    except NotEnoughDataError as error:
        fields.setdefault("why_not", str(error))
    if metric == PREFERENCE:
        fields |= _bias([each.opinion for each in logged])
    return JudgeQuality(
        metric=metric,
        scorer=scorer,
        n_opinions=len(asked),
        n_unscored=n_unscored,
        **fields,  # type: ignore[arg-type]  # the fields of the row, put together above
    )


def _asked(logged: Sequence[LoggedOpinion]) -> list[Opinion]:
    """The distinct questions that went to the LLM."""
    return list({each.opinion.key: each.opinion for each in logged if each.opinion.n_calls}.values())


def _items(logged: Sequence[LoggedOpinion]) -> tuple[NDArray[np.str_], NDArray[np.float64]]:
    """Which answer each opinion is of, and its value; a question that both arms share counts once."""
    seen: set[str] = set()
    items, values = [], []
    for each in logged:
        if each.opinion.value is None or each.opinion.key in seen or not each.opinion.n_calls:
            continue
        seen.add(each.opinion.key)
        items.append(f"{each.arm}\0{each.query_id}\0{each.trial_repetition}")
        values.append(each.opinion.value)
    if not items:
        raise NotEnoughDataError("the judge was asked nothing that it answered")
    return np.array(items, dtype=np.str_), np.array(values, dtype=np.float64)


def _noise(setting: Setting, metric: str, logged: Sequence[LoggedOpinion]) -> dict[str, object]:
    """The variance of the mean difference, split between queries and judge."""
    scores = setting.paired(metric)
    variances, counts = judgment_variances(setting, metric, logged)
    split = split_noise(scores.differences, variances, np.maximum(counts, 1.0), clusters=clusters_of(setting, scores))
    plan = compare_doublings(split, alpha=setting.plan.alpha, power=setting.plan.power)
    return {
        "noise_share": min(1.0, split.judge / split.total),
        "half_width": plan.now.half_width,
        "half_width_judgments": plan.twice_the_judgments.half_width,
        "half_width_queries": plan.twice_the_queries.half_width,
    }


def judgment_variances(setting: Setting, metric: str, logged: Sequence[LoggedOpinion]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Variance of one judgment's difference on each query scored in both arms, and how often it was judged, each of shape (n,).

    What both arms share was asked once and can't differ, so it adds no noise. Nor does that answers differ between repetitions of a trial:
    variances are of opinions on one answer, and a query of which no answer was judged again counts as judged once. A preference is one
    opinion of both arms: its difference is twice its distance from a tie, so its variance is four times the opinion's.

    Args:
        setting: The evaluation at hand.
        metric: What was judged.
        logged: Opinions on it.
    """
    values: defaultdict[tuple[str, str], dict[str, tuple[int, float]]] = defaultdict(dict)
    for each in logged:
        if each.opinion.value is not None:  # an answer given again was judged once: its opinions have the same keys
            values[each.arm, each.query_id].setdefault(each.opinion.key, (each.trial_repetition, each.opinion.value))
    control, treatment = setting.experiment.control.name, setting.experiment.treatment.name
    variances, counts = [], []
    for query_id in setting.paired(metric).query_ids:
        left, right = values[control, query_id], values[treatment, query_id]
        if metric == PREFERENCE:
            variances.append(4 * _variance(list(right.values())))
            counts.append(_times(right))
        else:
            variances.append(
                _variance([v for k, v in left.items() if k not in right]) + _variance([v for k, v in right.items() if k not in left])
            )
            counts.append(min(_times(left), _times(right)))
    return np.array(variances, dtype=np.float64), np.array(counts, dtype=np.float64)


def _times(values: Mapping[str, tuple[int, float]]) -> int:
    """Opinions of one arm on one query; 1 where each is on another answer, which tells nothing of the judge's wavering."""
    n_answers = len({repetition for repetition, _ in values.values()})
    return len(values) if len(values) > n_answers else 1


def _variance(values: Sequence[tuple[int, float]]) -> float:
    """Of opinions on one answer, each with the trial's repetition; pooled over the answers, 0 where each has one opinion."""
    answers: defaultdict[int, list[float]] = defaultdict(list)
    for repetition, value in values:
        answers[repetition].append(value)
    squares = sum(float(np.var(each)) * len(each) for each in answers.values())
    free = len(values) - len(answers)
    return squares / free if free else 0.0


def _bias(opinions: Sequence[Opinion]) -> dict[str, object]:
    try:
        bias = position_bias(opinions)
    except NotEnoughDataError:
        return {}
    return {"n_pairs": bias.n_pairs, "n_inconsistent": bias.n_inconsistent, "first_share": bias.share_first}


def count_calls(setting: Setting, trials: Sequence[Trial], opinions: Sequence[LoggedOpinion]) -> tuple[CallCount, ...]:
    """LLM calls of the two arms by purpose, beside what each arm alone would have taken; empty where there were none."""
    arms = (setting.experiment.control.name, setting.experiment.treatment.name)
    counts = []
    answers = [trial for trial in trials if trial.arm in arms and trial.answer is not None and trial.answer.generate_ms is not None]
    if answers:
        made = [trial for trial in answers if not (trial.answer_shared and trial.arm == arms[1])]
        costs, alone = ([trial.answer.usage.cost_usd for trial in part if trial.answer is not None] for part in (made, answers))
        counts.append(_count("answer", len(made), len(answers), costs, alone))
    by_metric: defaultdict[str, list[LoggedOpinion]] = defaultdict(list)
    for logged in opinions:
        if logged.arm in arms and logged.opinion.n_calls:
            by_metric[logged.metric].append(logged)
    for metric, own in by_metric.items():
        distinct = _asked(own)
        # one opinion of a pair belongs to both arms: that is no saving
        by_arm = [_asked([each for each in own if each.arm == arm]) for arm in arms]
        every = distinct if metric == PREFERENCE else [*by_arm[0], *by_arm[1]]
        n_made, n_alone = (sum(opinion.n_calls for opinion in part) for part in (distinct, every))
        counts.append(_count(metric, n_made, n_alone, [opinion.cost_usd for opinion in distinct], [opinion.cost_usd for opinion in every]))
    return tuple(counts)


def _count(purpose: str, made: int, alone: int, costs: Sequence[float | None], costs_alone: Sequence[float | None]) -> CallCount:
    return CallCount(
        purpose=purpose,
        made=made,
        alone=alone,
        cost_usd=_sum(costs),
        cost_alone_usd=_sum(costs_alone),
        unpriced=sum(cost is None for cost in costs),
    )


def _sum(costs: Sequence[float | None]) -> float | None:
    """The sum of what is known; None where nothing is."""
    known = [cost for cost in costs if cost is not None]
    return sum(known) if known else None
