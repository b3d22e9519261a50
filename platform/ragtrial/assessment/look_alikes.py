"""Terms that the model puts near each other although the corpus uses them in different places."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ragtrial.assessment.measuring import CUT, Judged
from ragtrial.assessment.retrieving import Ids
from ragtrial.contracts import Embedder
from ragtrial.domain.corpus import Corpus
from ragtrial.domain.failure import LookAlike
from ragtrial.domain.gold import Query
from ragtrial.errors import MissingExtraError, NotEnoughDataError

MOST_TERMS = 400
_MOST_SHOWN = 12
_LEAST_PASSAGES, _MOST_PASSAGES = 3, 0.1
_NEAR = 0.5
_NEAR_QUANTILE = 0.99
_MOST_SHARED = 0.1
_MOST_CONTEXT = 0.5
_BOUND = 0.3
_BURSTY = 1.15
_ENDINGS = frozenset(("", *["s", "es", "ed", "d", "ing", "al", "ally", "ly", "ic", "er", "ers", "ion", "ions", "e", "y", "ies", "ied"]))


@dataclass(frozen=True, kw_only=True)
class Terms:
    """Terms that queries ask about and the corpus uses.

    Attributes:
        names: Words and pairs of neighbouring words.
        holds: Whether each passage holds each term, sparse, shape (n_passages, n_terms).
        context: Words around each term in the corpus, unit rows.
    """

    names: tuple[str, ...]
    holds: Any
    context: NDArray[np.float64]


def look_alikes(
    corpus: Corpus, queries: Sequence[Query], known: Judged, failed: NDArray[np.bool_], dense: Sequence[Ids], embedder: Embedder
) -> tuple[LookAlike, ...]:
    """Pairs of terms among the nearest 1 % in the model, rarely in one passage, and used among other words.

    Nearness alone is no fault: what counts is `n_confused`, failed queries with one term that got passages with the other.

    Args:
        corpus: The passages.
        queries: The judged queries.
        known: Their judgments.
        failed: Which of them fail.
        dense: The baseline's rankings of the whole gold set.
        embedder: Gives the terms their vectors.

    Raises:
        NotEnoughDataError: There are too few terms.
        MissingExtraError: scikit-learn is not installed.
    """
    terms = terms_of(corpus, queries)
    if len(terms.names) < 2:
        raise NotEnoughDataError(
            f"{len(terms.names)} of the queries' words stand in {_LEAST_PASSAGES} passages and tell what they are about: pairs need 2"
        )
    vectors = np.asarray(embedder.embed(terms.names, kind="passage"), dtype=np.float64)
    near, around = vectors @ vectors.T, terms.context @ terms.context.T
    both = np.asarray((terms.holds.T @ terms.holds).todense(), dtype=np.float64)
    sizes = np.diag(both)
    shared = both / np.maximum(sizes[:, None] + sizes[None, :] - both, 1)
    rows, columns = np.triu_indices(len(terms.names), k=1)
    floor = max(_NEAR, float(np.quantile(near[rows, columns], _NEAR_QUANTILE)))
    likely = (near[rows, columns] >= floor) & (shared[rows, columns] <= _MOST_SHARED) & (around[rows, columns] <= _MOST_CONTEXT)
    found = []
    asked = _asked(terms, queries, failed)
    tops = known.of(dense)
    place = {passage.passage_id: row for row, passage in enumerate(corpus.passages)}
    held = terms.holds.tocsc()
    for i, j in zip(rows[likely].tolist(), columns[likely].tolist(), strict=True):
        if not same_word(terms.names[i], terms.names[j]):
            found.append(
                LookAlike(
                    left=terms.names[i],
                    right=terms.names[j],
                    similarity=float(near[i, j]),
                    context=float(around[i, j]),
                    shared=float(shared[i, j]),
                    n_confused=_confused(i, j, asked, tops, place, held),
                )
            )
    return tuple(sorted(found, key=lambda each: (-each.n_confused, each.context - each.similarity, each.left))[:_MOST_SHOWN])


def terms_of(corpus: Corpus, queries: Sequence[Query]) -> Terms:
    """Words and word pairs of the queries that 3 passages to a tenth of them hold, and that say what a passage is about.

    A word says that where a passage that has it tends to have it again: occurrences over passages of 1.15 and more (burstiness, Church and
    Gale 1995, "Poisson mixtures"), by which `hold` is told from `gives`. A pair counts where it makes up 30 % of its rarer word.
    """
    try:
        from sklearn.feature_extraction.text import CountVectorizer, TfidfTransformer
        from sklearn.preprocessing import normalize
    except ImportError as error:
        raise MissingExtraError(package="scikit-learn", extra="local", purpose="look-alike terms") from error
    nothing = Terms(names=(), holds=None, context=np.empty((0, 0)))
    shape = {"lowercase": True, "stop_words": "english", "token_pattern": r"(?u)\b[^\W\d_]{3,}\b"}
    asked = CountVectorizer(ngram_range=(1, 2), binary=True, **shape)
    try:
        wanted = asked.fit_transform([query.text for query in queries])
        counts = CountVectorizer(**shape)
        words = counts.fit_transform([passage.content for passage in corpus.passages])
    except ValueError:  # scikit-learn's way to say that no word is left
        return nothing
    occurs = CountVectorizer(ngram_range=(1, 2), vocabulary=asked.vocabulary_, **shape).transform(
        [passage.content for passage in corpus.passages]
    )
    holds = occurs.sign()
    names = asked.get_feature_names_out()
    n_passages = np.asarray(holds.sum(axis=0)).ravel()
    again = np.asarray(occurs.sum(axis=0)).ravel() / np.maximum(n_passages, 1)
    most = max(_LEAST_PASSAGES, _MOST_PASSAGES * len(corpus.passages))
    n_of = dict(zip(names, n_passages, strict=True))
    kept = [
        place
        for place, name in enumerate(names)
        if _LEAST_PASSAGES <= n_passages[place] <= most
        and again[place] >= _BURSTY
        and (" " not in name or n_passages[place] >= _BOUND * min(n_of.get(word, np.inf) for word in name.split()))
    ]
    n_asked = np.asarray(wanted.sum(axis=0)).ravel()
    kept = sorted(sorted(kept, key=lambda place: (-n_asked[place], names[place]))[:MOST_TERMS])
    if not kept:
        return nothing
    holds = holds[:, kept].astype(np.float64)
    weights = TfidfTransformer(sublinear_tf=True).fit_transform(words)
    context = normalize(holds.T @ weights)
    return Terms(names=tuple(str(names[place]) for place in kept), holds=holds, context=_dense(context))


def _dense(context: Any) -> NDArray[np.float64]:
    found: NDArray[np.float64] = np.asarray(context.todense(), dtype=np.float64)
    return found


def same_word(left: str, right: str) -> bool:
    """Whether two terms share a word, or differ in an ending only: `hold` and `holds`, but not `hypothermia` and `hyperthermia`."""
    if set(left.split()) & set(right.split()):
        return True
    return any(_inflected(a, b) for a in left.split() for b in right.split())


def _inflected(left: str, right: str) -> bool:
    """Whether both are one beginning of three letters or more with an ending of English; a stemmer would also join what differs more."""
    most = min(len(left), len(right))
    return any(left[:n] == right[:n] and left[n:] in _ENDINGS and right[n:] in _ENDINGS for n in range(3, most + 1))


def _asked(terms: Terms, queries: Sequence[Query], failed: NDArray[np.bool_]) -> list[tuple[int, frozenset[int]]]:
    """The failed queries with the terms that each has."""
    found = []
    for place in np.flatnonzero(failed).tolist():
        text = f" {' '.join(''.join(c if c.isalpha() else ' ' for c in queries[place].text.lower()).split())} "
        found.append((place, frozenset(number for number, name in enumerate(terms.names) if f" {name} " in text)))
    return found


def _confused(
    left: int, right: int, asked: Sequence[tuple[int, frozenset[int]]], tops: Sequence[Ids], place: dict[str, int], held: Any
) -> int:
    with_left, with_right = (set(held[:, term].indices.tolist()) for term in (left, right))
    n = 0
    for query, has in asked:
        if (left in has) == (right in has):
            continue
        own, other = (with_left, with_right) if left in has else (with_right, with_left)
        rows = {place[passage_id] for passage_id in tops[query][:CUT]}
        n += len(rows & (other - own)) > len(rows & own)
    return n
