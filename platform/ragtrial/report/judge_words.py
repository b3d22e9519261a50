"""What is known of LLM judges, in words: the same on a page and wherever else it is said."""

from collections.abc import Sequence
from dataclasses import dataclass

from ragtrial.domain.calibration import Agreement, Calibration
from ragtrial.domain.label import LABEL_WORDS, Label
from ragtrial.domain.verdict import JudgeQuality
from ragtrial.report import people, words
from ragtrial.report.summary import Summary

Card = tuple[str, str, str]
"""What is asked, the answer in large type, and a line below it."""

_UNKNOWN = "Not known yet"


@dataclass(frozen=True, slots=True, kw_only=True)
class Unscored:
    """Answers without a value on a judged metric, for one reason.

    Attributes:
        metric: The metric.
        arm: Whose answers.
        reason: Why.
        n: How many.
        of: Trials of the arm.
    """

    metric: str
    arm: str
    reason: str
    n: int
    of: int


def metrics_of(content: Summary) -> tuple[str, ...]:
    """Every judged metric, those that people labelled first, then those that they can be asked about."""
    labelled, judged = [c.metric for c in content.analysis.calibrations], [j.metric for j in content.analysis.judges]
    return tuple(dict.fromkeys([*labelled, *(name for name in judged if name in LABEL_WORDS), *judged]))


def beside_people(content: Summary, metric: str) -> Calibration | None:
    """A metric's judge beside people, without labels where nobody gave any; None where people can't be asked about it."""
    known = {found.metric: found for found in content.analysis.calibrations}
    if metric in known or metric not in LABEL_WORDS:
        return known.get(metric)
    scorer = next((judge.scorer for judge in content.analysis.judges if judge.metric == metric), "")
    return Calibration(metric=metric, scorer=scorer)


def drawn(found: Calibration | None) -> Agreement | None:
    """Agreement on labels that were drawn at random; None where there is none."""
    return None if found is None else next((each for each in found.agreements if each.selection == "random"), None)


def headline(found: Calibration | None, judge: JudgeQuality | None, *, treatment: str) -> str:
    """What the page found of one metric's judge, in one sentence without its full stop.

    Args:
        found: It beside people; None where people can't be asked about the metric.
        judge: It beside itself; None where that is not known.
        treatment: The treatment arm's name.
    """
    agreed = drawn(found)
    if found is None:
        return _by_itself(judge)
    if agreed is None:
        return f"Nobody has compared the judge with people{_but_wavers(judge)}"
    share = f"The judge agrees with people on {agreed.share.estimate:.0%} of answers"
    return f"{share}; {_favour(found, treatment)}"


def _favour(found: Calibration, treatment: str) -> str:
    bias = found.bias.difference
    if bias is None:
        return "whether it favours an arm can't be told yet"
    interval = f"[{bias.low:+.3f}, {bias.high:+.3f}]"
    if not bias.excludes_zero:
        return f"whether it favours {treatment} is open: {bias.estimate:+.3f} {interval}"
    if bias.estimate > 0:
        return f"it flatters {treatment} by {bias.estimate:.3f} {interval}"
    return f"it is harder on {treatment} by {-bias.estimate:.3f} [{-bias.high:+.3f}, {-bias.low:+.3f}]"


def _by_itself(judge: JudgeQuality | None) -> str:
    if judge is not None and judge.n_pairs:
        return f"{judge.n_inconsistent:,} of {judge.n_pairs:,} pairs were decided by the order of the answers, not by the answers"
    return f"The judge stands by itself: people can't be asked about this metric{_but_wavers(judge)}"


def _but_wavers(judge: JudgeQuality | None) -> str:
    if judge is None or judge.flipped is None:
        return ""
    return f"; asked again, it changes its mind on {judge.flipped:.0%} of answers"


def cards(found: Calibration, *, control: str, treatment: str, level: str) -> tuple[Card, Card, Card]:
    """Whether it agrees with people, whether it favours an arm, and what people's labels change."""
    return (_agrees(found, level), _favours(found, control, treatment, level), _changes(found, level))


def _agrees(found: Calibration, level: str) -> Card:
    ask, agreed = "Does it agree with people?", drawn(found)
    if agreed is None:
        return ask, _UNKNOWN, "Nobody labelled an answer that was drawn at random."
    interval = f"{level} interval {agreed.share.low:.0%} to {agreed.share.high:.0%}"
    who = f"{words.count(agreed.n, 'label')} of {words.count(found.n_labellers, 'person', 'people')}"
    kappa = f"no kappa: {agreed.why_not}"
    if agreed.kappa is not None:
        kappa = f"Cohen's kappa {agreed.kappa.estimate:.2f} [{agreed.kappa.low:.2f}, {agreed.kappa.high:.2f}]"
    return ask, f"{agreed.share.estimate:.0%} of answers", f"{interval}, {who}. {_sentence(kappa)}"


def _favours(found: Calibration, control: str, treatment: str, level: str) -> Card:
    ask, bias = "Does it favour an arm?", found.bias.difference
    if bias is None:
        return ask, _UNKNOWN, _sentence(found.bias.why_not or "it takes labels of both arms")
    shown = "beyond chance" if bias.excludes_zero else "not shown beyond chance"
    said = f"{level} interval {bias.low:+.4f} to {bias.high:+.4f}: judge minus people, {treatment} minus {control}; {shown}."
    return ask, f"{bias.estimate:+.4f}", said


def _changes(found: Calibration, level: str) -> Card:
    ask, corrected = "What do people's labels change?", found.corrected.difference
    if corrected is None:
        return ask, _UNKNOWN, f"The difference can't be corrected: {found.corrected.why_not or 'there are no labels'}."
    judged = "" if found.naive.difference is None else f", {people.signed(found.naive.difference)} as judged"
    said = f"The difference corrected by people, {level} interval {corrected.low:+.4f} to {corrected.high:+.4f}{judged}."
    return ask, f"{corrected.estimate:+.4f}", said


def _sentence(words_of_it: str) -> str:
    return f"{words_of_it[:1].upper()}{words_of_it[1:]}."


def correction(found: Calibration) -> str:
    """What the labels do to the difference, in one sentence without its full stop."""
    naive, corrected = found.naive.difference, found.corrected.difference
    if naive is None or corrected is None:
        return f"The difference can't be corrected: {found.corrected.why_not or 'the judge has none'}"
    if naive.excludes_zero and not corrected.excludes_zero:
        return "What the judge shows does not hold on people's scale"
    if corrected.excludes_zero and not naive.excludes_zero:
        return "On people's scale there is a difference that the judge does not show"
    moved = corrected.estimate - naive.estimate
    return f"People's labels move the difference by {moved:+.4f}, and it stays {'beyond chance' if corrected.excludes_zero else 'open'}"


def lenience(found: Calibration, *, control: str, treatment: str) -> str:
    """Which arm the judge is kinder to, in one sentence without its full stop."""
    bias = found.bias.difference
    if bias is None:
        return f"Whether it favours an arm can't be told: {found.bias.why_not or 'there are no labels'}"
    if not bias.excludes_zero:
        return f"No favour is shown; it could be as much as {max(abs(bias.low), abs(bias.high)):.3f}"
    return f"The judge is kinder to {treatment if bias.estimate > 0 else control} by {abs(bias.estimate):.3f} than people are"


def confused(found: Agreement) -> str:
    """What people and judge say otherwise most often, in one sentence without its full stop."""
    apart = [
        (n, person, judge)
        for person, row in zip(found.words, found.confusion, strict=True)
        for judge, n in zip(found.words, row, strict=True)
        if n and person != judge
    ]
    if not apart:
        return f"People and judge said the same of all {found.n:,}"
    n, person, judge = max(apart, key=lambda each: each[0])
    return f"Most often apart: people say {person}, the judge {judge} ({n:,} of {found.n:,})"


def wavering(judge: JudgeQuality | None) -> str:
    """How much of the uncertainty is the judge's own, in one sentence without its full stop."""
    if judge is None or judge.noise_share is None:
        return "How much of the uncertainty is the judge's wavering can't be told"
    return f"{judge.noise_share:.0%} of the uncertainty of {judge.metric} is the judge's wavering"


def changed_mind(judges: Sequence[JudgeQuality]) -> str:
    """On how many answers judges changed their mind, in one sentence without its full stop; at least one was asked again."""
    said = [f"{each.flipped:.0%} of {each.n_repeated:,} on {each.metric}" for each in judges if each.flipped is not None]
    return f"Asked again about the same answers, it changed its mind on {', '.join(said)}"


def worth(judge: JudgeQuality) -> str:
    """Whether more judgments or more queries help more, in one sentence without its full stop; the widths are known."""
    now, judged, asked = judge.half_width, judge.half_width_judgments, judge.half_width_queries
    if not now or judged is None or asked is None:
        return f"What would narrow the interval can't be told: {judge.why_not}"
    return f"Twice the queries narrow the interval by {1 - asked / now:.0%}, twice the judgments by {1 - judged / now:.0%}"


def more_labels(found: Calibration) -> str:
    """What more labels bring, in one sentence without its full stop; there is a plan."""
    corrected = found.corrected.difference
    now = None if corrected is None else corrected.half_width
    first, last = found.planned[0], found.planned[-1]
    said = f"{first.more_answers:,} more answers labelled make the corrected interval ±{first.half_width:.4f}"
    said += "" if now is None else f" instead of ±{now:.4f}"
    return said if first is last else f"{said}; all {last.more_answers:,} would make it ±{last.half_width:.4f}"


def plan_rows(found: Calibration) -> list[tuple[str, float]]:
    """Half of the corrected interval's width, now and with more labels, for a chart."""
    corrected = found.corrected.difference
    now = [] if corrected is None else [("now", corrected.half_width)]
    last = len(found.planned) - 1
    return now + [
        (f"{'all ' if i == last else ''}{each.more_answers:,} more labelled", each.half_width) for i, each in enumerate(found.planned)
    ]


def doublings(judge: JudgeQuality) -> list[tuple[str, float]]:
    """Half of the interval's width now and with twice of either, for a chart; empty where that can't be told."""
    parts = (
        ("now", judge.half_width),
        ("twice the judgments", judge.half_width_judgments),
        ("twice the queries", judge.half_width_queries),
    )
    return [(name, width) for name, width in parts if width is not None]


def unscored(content: Summary, metric: str) -> tuple[Unscored, ...]:
    """What the judge gave no value to on a metric, by reason and arm, both arms beside each other."""
    trials = {usage.arm: usage.n_trials for usage in content.usage}
    arms = (content.control, content.treatment)
    found = [
        Unscored(metric=each.metric, arm=each.arm, reason=each.reason, n=each.n, of=trials.get(each.arm, 0))
        for each in content.exclusions
        if each.metric == metric and each.arm in arms
    ]
    return tuple(sorted(found, key=lambda each: (each.reason, arms.index(each.arm))))


def unscored_title(found: Sequence[Unscored], metric: str, *, control: str, treatment: str) -> str:
    """How many answers have no judged value, by arm, in one sentence without its full stop."""
    if not found:
        return f"Every answer has a value of {metric}"
    said = []
    for arm in (control, treatment):
        mine = [each for each in found if each.arm == arm]
        said.append(f"{words.share(sum(each.n for each in mine), mine[0].of)} of {arm}" if mine else f"none of {arm}")
    return f"No value of {metric} for {' and '.join(said)}"


def came_since(found: Calibration, labels: Sequence[Label], evaluation_id: str) -> int:
    """Labels of this judge, drawn at random, that the calibration doesn't know yet.

    Args:
        found: As concluded.
        labels: Of all evaluations of the experiment, the last one of each labeller.
        evaluation_id: The evaluation.
    """
    counted = [
        label
        for label in labels
        if (label.evaluation_id, label.metric, label.scorer, label.selection) == (evaluation_id, found.metric, found.scorer, "random")
    ]
    return max(0, len(counted) - found.n_labels - found.n_unused)
