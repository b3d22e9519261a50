"""Documents that say nearly the same: found by MinHash, decided by the true similarity.

Runs of five words and their Jaccard similarity after Broder 1997, "On the resemblance and containment of documents"; candidates by
locality-sensitive hashing over MinHash signatures (Leskovec, Rajaraman and Ullman, "Mining of Massive Datasets", chapter 3), by datasketch.
"""

import hashlib
import re
import unicodedata
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from ragtrial.errors import MissingExtraError

SHINGLE_WORDS = 5

_PERMUTATIONS = 256
_MISSED = 0.001
"""Largest probability with which a pair that is just near enough is no candidate."""

_WORD = re.compile(r"\w+")

Shingles = frozenset[int]


def shingles(text: str) -> Shingles:
    """Hashes of all runs of five words, case and Unicode form folded; a shorter text is one run. Empty where there is no word."""
    words = _WORD.findall(unicodedata.normalize("NFKC", text).casefold())
    runs = (" ".join(words[at : at + SHINGLE_WORDS]) for at in range(max(1, len(words) - SHINGLE_WORDS + 1)))
    return frozenset(int.from_bytes(hashlib.blake2b(run.encode(), digest_size=8).digest(), "big") for run in runs if run)


def jaccard(a: Shingles, b: Shingles) -> float:
    """Shared runs by all runs; 0 where either has none."""
    if not a or not b:
        return 0.0
    shared = len(a & b)
    return shared / (len(a) + len(b) - shared)


@dataclass(frozen=True, slots=True, kw_only=True)
class Bands:
    """How signatures are cut for locality-sensitive hashing.

    Attributes:
        bands: Pieces of a signature; two documents are candidates where one piece is equal.
        rows: Hashes in a piece.
    """

    bands: int
    rows: int

    def missed(self, similarity: float) -> float:
        """The probability that two documents of this similarity are no candidates: (1 - s^rows)^bands."""
        return float((1 - similarity**self.rows) ** self.bands)


def bands_for(near: float) -> Bands:
    """The fewest candidates with which a pair at the threshold is missed with a probability of 0.1 % at most."""
    choices = [Bands(bands=_PERMUTATIONS // rows, rows=rows) for rows in range(_PERMUTATIONS, 0, -1)]
    return next((each for each in choices if each.missed(near) <= _MISSED), choices[-1])


class Signatures:
    """MinHash signatures of documents, in memory only.

    Args:
        documents: The runs of words of each.
        advance: Called with the number of documents done since its last call.

    Raises:
        MissingExtraError: datasketch is not installed.
    """

    def __init__(self, documents: Sequence[Shingles], advance: Callable[[int], None] = lambda _: None) -> None:
        try:
            from datasketch import MinHash
        except ImportError as error:
            raise MissingExtraError(package="datasketch", extra="prepare", purpose="finding near-duplicates") from error
        self.documents = documents
        self._hashes: list[Any] = []
        empty = MinHash(num_perm=_PERMUTATIONS, seed=1, hashfunc=_low)
        for each in documents:
            signature = empty.copy()
            if each:
                signature.update_batch(sorted(each))
            self._hashes.append(signature)
            advance(1)

    def index(self, near: float) -> "NearIndex":
        """An empty index that finds documents of at least this similarity."""
        return NearIndex(self.documents, self._hashes, near)


def _low(run: int) -> int:
    """The runs are hashes already; MinHash takes 32 bits of them."""
    return run & 0xFFFFFFFF


class NearIndex:
    """Documents by their numbers, found by similarity."""

    def __init__(self, documents: Sequence[Shingles], hashes: Sequence[Any], near: float) -> None:
        from datasketch import MinHashLSH

        chosen = bands_for(near)
        self.near, self.miss_probability = near, chosen.missed(near)
        self._documents, self._hashes = documents, hashes
        self._lsh = MinHashLSH(num_perm=_PERMUTATIONS, params=(chosen.bands, chosen.rows))

    def add(self, number: int) -> None:
        """Put a document in; one without a word is near nothing."""
        if self._documents[number]:
            self._lsh.insert(number, self._hashes[number], check_duplication=False)

    def found(self, number: int, skip: Callable[[int], bool] = lambda _: False) -> Iterator[tuple[int, float]]:
        """Documents of the index that are near this one, with their true similarity, by number; `skip` says which need no look."""
        if self._documents[number]:
            for other in sorted(self._lsh.query(self._hashes[number])):
                if skip(other):
                    continue
                similarity = jaccard(self._documents[number], self._documents[other])
                if other != number and similarity >= self.near:
                    yield other, similarity


@dataclass(frozen=True, slots=True, kw_only=True)
class Duplicate:
    """A document that another one makes superfluous.

    Attributes:
        number: Its own.
        of: That of the document that is kept.
        similarity: Theirs; 1 where all runs of words are the same.
    """

    number: int
    of: int
    similarity: float


def find_duplicates(signatures: Signatures, order: Sequence[int], near: float) -> tuple[Duplicate, ...]:
    """Documents that are near one that is kept; every one that is dropped is near the very document that it is said to duplicate.

    Args:
        signatures: Of all documents.
        order: Their numbers; the earlier is kept.
        near: Similarity from which two documents are one.
    """
    index, first = signatures.index(near), dict[Shingles, int]()
    dropped = []
    for number in order:
        runs = signatures.documents[number]
        if runs in first:
            dropped.append(Duplicate(number=number, of=first[runs], similarity=1.0))
            continue
        best = max(index.found(number), key=lambda each: (each[1], -each[0]), default=None)
        if best is not None:
            dropped.append(Duplicate(number=number, of=best[0], similarity=best[1]))
            continue
        if runs:
            first[runs] = number
        index.add(number)
    return tuple(dropped)
