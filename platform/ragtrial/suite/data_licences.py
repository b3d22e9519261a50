"""The licence of training data: from the data card of `ragtrial prepare` into each pair, and from there into what is trained on them."""

import json
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from ragtrial.domain.pair import Pair
from ragtrial.errors import InputError

NOT_STATED = "not stated"
LICENCE = "licence"
"""Its key on a data card, and in the provenance of a pair."""

_CARD = "card.json"
_NEGATIVES = "negatives_licences"


def licence_beside(corpus: Path) -> str | None:
    """The licence on the data card that stands beside a corpus file; None where there is no card, or none on it.

    Raises:
        InputError: There is a card, and what it says can't be read.
    """
    card = corpus.parent / _CARD
    if not card.is_file():
        return None
    try:
        found = json.loads(card.read_text("utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise _broken(card, f"can't be read ({error})") from error
    if not isinstance(found, dict):
        raise _broken(card, "is no JSON object")
    licence = found.get(LICENCE)
    if licence is not None and not isinstance(licence, str):
        raise _broken(card, f"has {licence!r} as its licence, which is no text")
    return (licence or "").strip() or None


def _broken(card: Path, what: str) -> InputError:
    return InputError(
        f"{card}: the data card {what}, so nobody knows the licence of the corpus beside it: prepare the corpus again (ragtrial prepare), "
        "or mend the card; remove it if no licence is to be noted"
    )


def with_mined_licence(before: Sequence[Pair], mined: Sequence[Pair], licence: str | None) -> tuple[Pair, ...]:
    """The mined pairs, each that got negatives with the licence of the corpus that these are of, beside its own.

    Args:
        before: The pairs before mining.
        mined: After it, in the same order.
        licence: Of the corpus that was mined in; None: not stated, which is noted as such.
    """
    return tuple(
        pair
        if pair.negatives == old.negatives
        else replace(pair, provenance={**pair.provenance, _NEGATIVES: list(dict.fromkeys([*_of_negatives(pair), licence or NOT_STATED]))})
        for old, pair in zip(before, mined, strict=True)
    )


def _of_negatives(pair: Pair) -> list[str]:
    found = pair.provenance.get(_NEGATIVES) or []
    return list(map(str, found)) if isinstance(found, list) else [str(found)]


def licences_of(pairs: Iterable[Pair]) -> dict[str, int]:
    """Pairs by their licence, most frequent first; those without one under `NOT_STATED`."""
    return merged(Counter(str(pair.provenance.get(LICENCE) or NOT_STATED) for pair in pairs))


def licences_of_negatives(pairs: Iterable[Pair]) -> dict[str, int]:
    """Pairs with mined negatives by the licence of these, as `licences_of`; negatives that were not mined go with their pair."""
    return merged(Counter(name for pair in pairs if pair.negatives for name in _of_negatives(pair)))


def inherited_licences(lineage: Mapping[str, Any]) -> dict[str, int]:
    """What a registered base was trained on, over all its generations: texts by licence; a base without a record of it has none stated."""
    found = [lineage.get(key) for key in ("data_licences", "negatives_licences", "inherited_licences")]
    counted = [each for each in found if isinstance(each, Mapping)]
    pairs = lineage.get("pairs")
    return merged(*counted) if counted else {NOT_STATED: pairs.get("used", 0) if isinstance(pairs, Mapping) else 0}


def merged(*counts: Mapping[str, int]) -> dict[str, int]:
    """Counts put together, most frequent first and `NOT_STATED` last; names that differ in case alone are one, as it was written first."""
    names: dict[str, str] = {}
    total: Counter[str] = Counter()
    for each in counts:
        for name, n in each.items():
            total[names.setdefault(name.casefold(), name)] += n
    return dict(sorted(total.items(), key=lambda each: (each[0] == NOT_STATED, -each[1], each[0])))


def in_words(
    licences: Mapping[str, int], negatives: Mapping[str, int] | None = None, inherited: Mapping[str, int] | None = None
) -> str | None:
    """All licences of a training's data, each once, and what of it has none; None where none is known.

    Args:
        licences: As counted by `licences_of`.
        negatives: As counted by `licences_of_negatives`.
        inherited: Of the data that the base was trained on.
    """
    negatives, inherited = negatives or {}, inherited or {}
    stated = [name for name in merged(licences, negatives, inherited) if name != NOT_STATED]
    if not stated:
        return None
    lacking = [
        *([f"{licences[NOT_STATED]:,} of {sum(licences.values()):,} pairs"] if NOT_STATED in licences else []),
        *([f"mined negatives of {negatives[NOT_STATED]:,} pairs"] if NOT_STATED in negatives else []),
        *(["some of what the base was trained on"] if NOT_STATED in inherited else []),
    ]
    return " and ".join(stated) + (f" ({', '.join(lacking)} {NOT_STATED})" if lacking else "")
