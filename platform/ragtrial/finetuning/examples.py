"""Pairs as a loss takes them: columns of texts, with scores where it learns from scores."""

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import median_high

from ragtrial.domain.pair import Pair
from ragtrial.domain.training import NEEDS_NEGATIVES, TrainingSpec
from ragtrial.errors import InputError
from ragtrial.finetuning.leakage import normalise

ANSWERS = 0.5
"""Score from which a passage counts as an answer, for losses that know answers and nothing between."""

FEW = 0.1
"""Share of pairs with negatives below which columns of negatives would mostly hold fillings."""

_RANKING = ("multiple-negatives", "cached-multiple-negatives")


@dataclass(frozen=True, kw_only=True)
class Examples:
    """Rows of a training set.

    Attributes:
        columns: `query`, `passage`, `negative_1` and so on: texts, all of one length.
        scores: One for each row where the loss learns from scores, or None.
        counts: What became of the pairs and their negatives, for the record; only what happened.
    """

    columns: Mapping[str, list[str]]
    scores: tuple[float, ...] | None
    counts: Mapping[str, int]

    def __len__(self) -> int:
        return len(self.columns["query"])


def check_spec(spec: TrainingSpec, pairs: Sequence[Pair], *, dimension: int | None = None, is_final: bool = False) -> None:
    """Refuse what can't be trained, before anything is loaded.

    Args:
        spec: The settings.
        pairs: With their negatives.
        dimension: Of the base; None before it is loaded.
        is_final: Whether these are the pairs that are trained on; before they are read, only the settings are looked at.

    Raises:
        InputError: A loss without the negatives that it needs, a combination that there is none of, or a truncation above the base's
            own dimension.
    """
    if dimension is not None and spec.matryoshka and spec.matryoshka[0] > dimension:
        raise InputError(f"training.matryoshka: {spec.matryoshka[0]} is more than the {dimension} dimensions of the base {spec.base!r}")
    if spec.distillation is not None and spec.loss == "cached-multiple-negatives":
        raise InputError("training.distillation needs the whole batch at once: take loss multiple-negatives instead of its cached form")
    may_have = bool(spec.mining.per_pair or spec.pairs) and not is_final
    if spec.loss in NEEDS_NEGATIVES and not may_have and not any(map(_has_contrast, pairs)):
        raise InputError(
            f"training.loss {spec.loss!r} learns from passages that don't answer, and no pair has any: set training.mining.per_pair to 1 or "
            "more, give files of pairs with negatives or scores, or take loss multiple-negatives"
        )


def examples(pairs: Sequence[Pair], spec: TrainingSpec) -> Examples:
    """The rows that the loss of the settings learns from.

    multiple-negatives and its cached form: (query, passage, negative_1 to n), n the median number of those pairs that have negatives. Of
    more the first n are taken, which are the hardest; what is lacking is filled with random passages of other queries, which is what the
    other pairs of a batch are too. Where fewer than a tenth of the pairs have negatives, these are left out: the columns would be fillings.

    triplet: a row for each negative of a pair. cosent, cosine: a row for the passage, with its score or 1, and one for each negative,
    with 0. A pair with a score below `ANSWERS` is no row for a ranking or triplet loss.

    Raises:
        InputError: Nothing is left to learn from.
    """
    if spec.loss in ("cosent", "cosine"):
        return _scored(pairs)
    answering = [pair for pair in pairs if pair.score is None or pair.score >= ANSWERS]
    counts = {"pairs whose score is too low": len(pairs) - len(answering)}
    rows = _ranking(answering, spec, counts) if spec.loss in _RANKING else _triplets(answering, counts)
    if not rows:
        raise InputError(f"no example is left for training.loss {spec.loss!r}: {_said(counts)}")
    names = ["query", "passage", *(f"negative_{number}" for number in range(1, len(rows[0]) - 1))]
    columns = {name: list(texts) for name, texts in zip(names, zip(*rows, strict=True), strict=True)}
    return Examples(columns=columns, scores=None, counts={name: n for name, n in counts.items() if n})


def _has_contrast(pair: Pair) -> bool:
    return bool(pair.negatives) or (pair.score is not None and pair.score < 1)


def _said(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{n:,} {name}" for name, n in counts.items() if n) or "there are no pairs"


def _ranking(pairs: Sequence[Pair], spec: TrainingSpec, counts: dict[str, int]) -> list[tuple[str, ...]]:
    having = [len(pair.negatives) for pair in pairs if pair.negatives]
    if len(having) < FEW * len(pairs) or not having:
        counts["negatives left out, as few pairs have any"] = sum(having)
        return [(pair.query, pair.passage) for pair in pairs]
    n, rng = median_high(having), random.Random(spec.seed)  # noqa: S311 - a filling, no secret
    answers: dict[str, set[str]] = {}
    for pair in pairs:
        answers.setdefault(normalise(pair.query), set()).add(pair.passage)
    pool = sorted({pair.passage for pair in pairs})
    rows = []
    for pair in pairs:
        taken, own = list(pair.negatives[:n]), answers[normalise(pair.query)]
        counts["negatives cut"] = counts.get("negatives cut", 0) + len(pair.negatives) - len(taken)
        counts["negatives filled with random passages"] = counts.get("negatives filled with random passages", 0) + n - len(taken)
        rows.append((pair.query, pair.passage, *taken, *_others(pool, own | set(taken), n - len(taken), rng)))
    return rows


def _others(pool: Sequence[str], known: set[str], n: int, rng: random.Random) -> list[str]:
    """So many random passages that are none of the known ones."""
    if not n:
        return []
    drawn = [text for text in rng.sample(pool, min(len(pool), n + len(known))) if text not in known][:n]
    if len(drawn) < n:
        raise InputError(f"{len(pool)} passages are too few to fill {n} negatives: lower training.mining.per_pair, or give more pairs")
    return drawn


def _triplets(pairs: Sequence[Pair], counts: dict[str, int]) -> list[tuple[str, ...]]:
    counts["pairs without a negative"] = sum(not pair.negatives for pair in pairs)
    return [(pair.query, pair.passage, negative) for pair in pairs for negative in pair.negatives]


def _scored(pairs: Sequence[Pair]) -> Examples:
    rows = [
        (pair.query, text, score)
        for pair in pairs
        for text, score in ((pair.passage, 1.0 if pair.score is None else pair.score), *((negative, 0.0) for negative in pair.negatives))
    ]
    columns = {"query": [row[0] for row in rows], "passage": [row[1] for row in rows]}
    return Examples(columns=columns, scores=tuple(row[2] for row in rows), counts={})
