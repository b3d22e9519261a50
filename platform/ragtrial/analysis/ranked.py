"""What the lines of an evaluation retrieved, query by query."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from ragtrial.domain.trial import Trial

Ids = tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class Retrieved:
    """The passages that one line retrieved.

    Attributes:
        arm: The line's name.
        by_query: For each query of the gold set, in order, what each repetition retrieved, best first; None where its search failed. A query
            without a trial has no repetitions.
    """

    arm: str
    by_query: tuple[tuple[Ids | None, ...], ...]

    def first(self, query: int) -> Ids | None:
        """Of the first repetition that has a ranking; None where none has."""
        return next((ids for ids in self.by_query[query] if ids is not None), None)

    def complete(self, query: int) -> bool:
        """Whether every repetition has a ranking, and there is one."""
        return bool(self.by_query[query]) and None not in self.by_query[query]


def retrieved_by(arms: Sequence[str], trials: Sequence[Trial], query_ids: Sequence[str]) -> Mapping[str, Retrieved]:
    """What each of these lines retrieved; trials come in the order of their repetitions."""
    place = {query_id: number for number, query_id in enumerate(query_ids)}
    found: dict[str, list[list[Ids | None]]] = {arm: [[] for _ in query_ids] for arm in arms}
    for trial in trials:
        if trial.arm in found:
            found[trial.arm][place[trial.query_id]].append(None if trial.ranking is None else trial.ranking.passage_ids)
    return {arm: Retrieved(arm=arm, by_query=tuple(map(tuple, rows))) for arm, rows in found.items()}


def shares_in_common(left: Ids, right: Ids, depth: int) -> list[float]:
    """Share of the first k passages that both hold, for k = 1 to `depth`; empty where neither holds any.

    A ranking that ends before k is compared as far as the longer one goes, so that a small corpus does not look like disagreement.
    """
    longest = max(len(left), len(right))
    if not longest:
        return []
    shares, common = [], 0
    seen_left: set[str] = set()
    seen_right: set[str] = set()
    for k in range(depth):
        if k < len(left):
            seen_left.add(left[k])
            common += left[k] in seen_right
        if k < len(right):
            seen_right.add(right[k])
            common += right[k] in seen_left
        shares.append(common / min(k + 1, longest))
    return shares
