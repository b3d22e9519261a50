"""How far people and an LLM judge say the same of the same answers."""

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence

import numpy as np

from ragtrial.domain.calibration import Agreement, Estimate
from ragtrial.domain.label import LABEL_WORDS, Label, word_of
from ragtrial.domain.score import LoggedOpinion
from ragtrial.errors import NotEnoughDataError
from ragtrial.stats.agreement import Rated, confusion, kappa, raw_agreement

Said = Mapping[tuple[str, str, int], tuple[str, str]]
"""The judge's word for each trial (arm, query id, repetition), and the key of what it was asked: equal answers of both arms share it."""


def judged_words(metric: str, opinions: Sequence[LoggedOpinion]) -> Said:
    """What the judge said most often of each trial, the first where several words are as frequent.

    Args:
        metric: One of `LABEL_WORDS`.
        opinions: On it.
    """
    words: defaultdict[tuple[str, str, int], list[str]] = defaultdict(list)
    keys: dict[tuple[str, str, int], str] = {}
    for each in opinions:
        if each.opinion.value is not None:
            trial = (each.arm, each.query_id, each.trial_repetition)
            words[trial].append(word_of(metric, each.opinion.value, each.opinion.verdict))
            keys.setdefault(trial, each.opinion.key)
    return {trial: (Counter(said).most_common(1)[0][0], keys[trial]) for trial, said in words.items()}


def agreement_of(
    metric: str, labels: Sequence[Label], said: Said, chances: Mapping[tuple[str, str], float] | None, *, alpha: float
) -> Agreement | None:
    """People against judge on the labelled answers; None where there are none.

    An answer that both arms share counts once for each labeller.

    Args:
        metric: One of `LABEL_WORDS`.
        labels: All of one selection.
        said: From `judged_words`.
        chances: Chance of each labelled answer, by arm and query id; None where all were equal.
        alpha: 1 minus the coverage.
    """
    distinct = {(label.labeller, said[label.trial][1]): label for label in reversed(labels) if label.trial in said}
    compared = list(distinct.values())
    if not compared:
        return None
    words = tuple(LABEL_WORDS[metric])
    place = {word: position for position, word in enumerate(words)}
    rated = Rated(
        human=[place[label.word] for label in compared],
        judge=[place[said[label.trial][0]] for label in compared],
        clusters=np.array([label.query_id for label in compared]),
        probabilities=None if chances is None else [chances[label.arm, label.query_id] for label in compared],
    )
    levels = np.arange(len(words))
    share = raw_agreement(rated, levels=levels, alpha=alpha)
    kappas, why_not = _kappas(metric, rated, words, alpha)
    return Agreement(
        selection=compared[0].selection,
        n=len(compared),
        share=Estimate(estimate=share.estimate, low=share.low, high=share.high),
        kappa=kappas[0],
        weighted_kappa=kappas[1],
        why_not=why_not,
        words=words,
        confusion=tuple(tuple(int(n) for n in row) for row in confusion(rated, levels=levels)),
    )


def _kappas(metric: str, rated: Rated, words: Sequence[str], alpha: float) -> tuple[list[Estimate | None], str | None]:
    """Over the words, and over their values with linear weights."""
    worth = np.array([LABEL_WORDS[metric][word] for word in words])
    valued = rated._replace(human=worth[np.asarray(rated.human)], judge=worth[np.asarray(rated.judge)])
    found: list[Estimate | None] = []
    reasons: dict[str, None] = {}
    try:
        plain = kappa(rated, levels=np.arange(len(words)), alpha=alpha)
        found.append(Estimate(estimate=plain.estimate, low=plain.low, high=plain.high))
    except NotEnoughDataError as error:
        found.append(None)
        reasons[str(error)] = None
    try:
        linear = kappa(valued, levels=np.unique(worth), alpha=alpha, weighting="linear")
        found.append(Estimate(estimate=linear.estimate, low=linear.low, high=linear.high))
    except NotEnoughDataError as error:
        found.append(None)
        reasons[str(error)] = None
    return found, "; ".join(reasons) or None
