"""Pairs from one kind of source, with what was left out of it and why."""

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace

from ragtrial.domain.pair import Pair
from ragtrial.finetuning.leakage import normalise

TWICE = "the same query and passage stand before it"
IN_DEV = "its query or passage is in the dev split"
CONTRADICTED = "negatives that answer the same query in another pair"


@dataclass(frozen=True, kw_only=True)
class Gathered:
    """What one source gave.

    Attributes:
        pairs: In the order of the source.
        left_out: How many candidates became no pair, by reason; empty where all did.
        facts: What else is to be known of it, as numbers or texts (users who voted, calls made).
    """

    pairs: tuple[Pair, ...]
    left_out: Mapping[str, int] = field(default_factory=dict)
    facts: Mapping[str, object] = field(default_factory=dict)


def tidied(pairs: Sequence[Pair]) -> Gathered:
    """The pairs of all sources together, each once, train and dev apart, and no passage both right and wrong for a query.

    Of equal ones the first stays, with the negatives of the others. Texts count as equal where they read the same. `left_out` counts
    pairs, and negatives under a reason of their own.
    """
    left_out: Counter[str] = Counter()
    whole = [(normalise(pair.query), normalise(pair.passage)) for pair in pairs]
    dev = {text for key, pair in zip(whole, pairs, strict=True) if pair.split == "dev" for text in key}
    first: dict[tuple[str, str], Pair] = {}
    for key, pair in zip(whole, pairs, strict=True):
        if pair.split == "train" and not dev.isdisjoint(key):
            left_out[IN_DEV] += 1
        elif key in first:
            left_out[TWICE] += 1
            first[key] = replace(first[key], negatives=tuple(dict.fromkeys((*first[key].negatives, *pair.negatives))))
        else:
            first[key] = pair
    answers: dict[str, set[str]] = {}
    for query, passage in first:
        answers.setdefault(query, set()).add(passage)
    kept = [_without(pair, answers[query]) for (query, _passage), pair in first.items()]
    dropped = sum(len(pair.negatives) for pair in first.values()) - sum(len(pair.negatives) for pair in kept)
    if dropped:
        left_out[CONTRADICTED] = dropped
    return Gathered(pairs=tuple(kept), left_out=dict(left_out))


def _without(pair: Pair, answers: Collection[str]) -> Pair:
    return replace(pair, negatives=tuple(text for text in pair.negatives if normalise(text) not in answers)) if pair.negatives else pair
