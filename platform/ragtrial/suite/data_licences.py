"""The licence of training data: from the data card of `ragtrial prepare` into each pair, and from there into what is trained on them."""

import json
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path

from ragtrial.domain.corpus import Corpus
from ragtrial.domain.pair import Pair
from ragtrial.finetuning.leakage import part_of

NOT_STATED = "not stated"

_CARD = "card.json"
_KEY = "licence"


def licence_beside(corpus: Path) -> str | None:
    """The licence on the data card that stands beside a corpus file; None where there is no card, or none on it."""
    card = corpus.parent / _CARD
    try:
        found = json.loads(card.read_text("utf-8")) if card.is_file() else {}
    except (OSError, ValueError):
        return None
    licence = found.get(_KEY) if isinstance(found, dict) else None
    return licence if isinstance(licence, str) and licence.strip() else None


def licensed(pairs: Iterable[Pair], licence: str | None, *, of: Corpus) -> list[Pair]:
    """The pairs, those whose passage is of a corpus with its licence in their provenance; a pair that has one keeps it."""
    return [
        pair
        if licence is None or _KEY in pair.provenance or not _is_of(pair, of)
        else replace(pair, provenance={**pair.provenance, _KEY: licence})
        for pair in pairs
    ]


def _is_of(pair: Pair, corpus: Corpus) -> bool:
    own = corpus.by_id.get(pair.passage_id)
    return own is not None and part_of(pair, own)


def licences_of(pairs: Iterable[Pair]) -> dict[str, int]:
    """Pairs by their licence, most frequent first; those without one under `NOT_STATED`."""
    counts = Counter(str(pair.provenance.get(_KEY) or NOT_STATED) for pair in pairs)
    return dict(sorted(counts.items(), key=lambda each: (each[0] == NOT_STATED, -each[1], each[0])))


def in_words(licences: dict[str, int], inherited: Sequence[str] = ()) -> str | None:
    """All licences of a training's data, and how many pairs have none; None where no pair has one.

    Args:
        licences: As counted by `licences_of`.
        inherited: What was said of the data that the base was trained on.
    """
    stated = list(dict.fromkeys([*(name for name in licences if name != NOT_STATED), *inherited]))
    if not stated:
        return None
    without = licences.get(NOT_STATED, 0)
    return " and ".join(stated) + (f" ({without:,} of {sum(licences.values()):,} pairs {NOT_STATED})" if without else "")
