"""Train, dev and test without leaks: what belongs together stays together."""

import hashlib
from collections.abc import Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

from ragtrial.domain.pair import Split
from ragtrial.domain.preparation import CorpusSplitSpec
from ragtrial.preparation.duplicates import Signatures


@dataclass(frozen=True, slots=True, kw_only=True)
class Near:
    """Two documents that are near each other.

    Attributes:
        a: Number of the one.
        b: Number of the other.
        similarity: Theirs.
    """

    a: int
    b: int
    similarity: float


def near_pairs(signatures: Signatures, numbers: Sequence[int], near: float) -> tuple[tuple[Near, ...], float]:
    """Every pair of these documents that is near, and the probability with which a pair just near enough was missed."""
    index = signatures.index(near)
    pairs = []
    for number in numbers:
        pairs += [Near(a=other, b=number, similarity=similarity) for other, similarity in index.found(number)]
        index.add(number)
    return tuple(pairs), index.miss_probability


class Groups:
    """Documents joined into groups, by union and find.

    Args:
        numbers: All of them.
    """

    def __init__(self, numbers: Iterable[int]) -> None:
        self._above = {number: number for number in numbers}

    def of(self, number: int) -> int:
        """The group's smallest number."""
        while self._above[number] != number:
            self._above[number] = self._above[self._above[number]]
            number = self._above[number]
        return number

    def are_joined(self, a: int, b: int) -> bool:
        """Whether both are in one group."""
        return self.of(a) == self.of(b)

    def join(self, a: int, b: int) -> None:
        """Put both into one group."""
        low, high = sorted((self.of(a), self.of(b)))
        self._above[high] = low

    def join_by(self, keys: Mapping[int, Hashable | None]) -> None:
        """Put all that share a key into one group; None is no key."""
        first: dict[Hashable, int] = {}
        for number, key in keys.items():
            if key is not None:
                self.join(first.setdefault(key, number), number)

    def members(self) -> dict[int, list[int]]:
        """The numbers of each group, by its smallest."""
        found: dict[int, list[int]] = {}
        for number in self._above:
            found.setdefault(self.of(number), []).append(number)
        return found


def near_links(signatures: Signatures, numbers: Sequence[int], near: float) -> tuple[tuple[Near, ...], float]:
    """So many near pairs that all documents that are near each other hang together, in a chain at least; and as in `near_pairs`.

    Ten thousand documents from one template make fifty million pairs, and ten thousand links.
    """
    index, groups, links = signatures.index(near), Groups(numbers), []
    for number in numbers:
        for other, similarity in index.found(number, skip=partial(groups.are_joined, number)):
            links.append(Near(a=other, b=number, similarity=similarity))
            groups.join(other, number)
        index.add(number)
    return tuple(links), index.miss_probability


def split_by_document(
    groups: Mapping[int, Sequence[int]], ids: Sequence[str], spec: CorpusSplitSpec, *, test: frozenset[int]
) -> dict[int, Split]:
    """The split of each document: groups in an order drawn by the seed fill the test split, then dev, and the rest trains.

    A group that is larger than what a split still lacks is passed over, so that no split is larger than planned.

    Args:
        groups: What stays together, by a number of each.
        ids: Of all documents; the draw depends on them and not on the order of files.
        spec: Shares and seed.
        test: Groups that must be in the test split; they count towards it.
    """
    n = sum(len(members) for members in groups.values())
    lacking: dict[Split, int] = {"test": round(n * spec.test) - sum(len(groups[group]) for group in test), "dev": round(n * spec.dev)}
    chosen: dict[int, Split] = dict.fromkeys(test, "test")
    for group in sorted(groups, key=lambda group: _drawn(min(ids[number] for number in groups[group]), spec.seed)):
        if group not in chosen:
            size = len(groups[group])
            chosen[group] = next((split for split, room in lacking.items() if size <= room), "train")
            if chosen[group] != "train":
                lacking[chosen[group]] -= size
    return {number: chosen[group] for group, members in groups.items() for number in members}


def split_by_time(
    groups: Mapping[int, Sequence[int]], dates: Sequence[str | None], spec: CorpusSplitSpec, *, test: frozenset[int]
) -> dict[int, Split]:
    """The split of each document: the newest groups test, those before are for dev, the oldest train.

    A group's date is that of its newest document, so that nothing in train is newer than the first day of dev, and groups of one day
    are never parted. A group without a date trains.

    Args:
        groups: What stays together, by a number of each.
        dates: Of all documents, as `YYYY-MM-DD`.
        spec: Shares.
        test: Groups that must be in the test split, whatever their date.
    """
    newest = {group: max((dates[number] or "" for number in members), default="") for group, members in groups.items()}
    days: dict[str, int] = {}
    for group, day in newest.items():
        if day and group not in test:
            days[day] = days.get(day, 0) + len(groups[group])
    n = sum(days.values())
    by_day: dict[str, Split] = {}
    taken = 0
    for day in sorted(days, reverse=True):
        middle = (taken + days[day] / 2) / n
        by_day[day] = "test" if middle < spec.test else "dev" if middle < spec.test + spec.dev else "train"
        taken += days[day]
    chosen: dict[int, Split] = {group: "test" if group in test else by_day.get(day, "train") for group, day in newest.items()}
    return {number: chosen[group] for group, members in groups.items() for number in members}


def _drawn(document_id: str, seed: int) -> str:
    return hashlib.sha256(f"{seed}\0{document_id}".encode()).hexdigest()
