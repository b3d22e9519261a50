"""The queries that the baseline fails, and what they share: groups, slices, and traits against the queries that succeed."""

import math
from collections import Counter
from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from ragtrial.assessment.measuring import CUT, Judged, first_ranks
from ragtrial.assessment.retrieving import Found
from ragtrial.assessment.words import NO_TOKENIZER, RARE, Vocabulary, words_of
from ragtrial.contracts import Vectors
from ragtrial.domain.estimate import Estimate
from ragtrial.domain.failure import FailedQuery, FailureGroup, SliceFailure, SplitTerm, Trait
from ragtrial.domain.gold import GoldSet, Query
from ragtrial.errors import MissingExtraError, NotEnoughDataError
from ragtrial.stats.binary import wilson
from ragtrial.stats.contrast import group_contrast

Bools = NDArray[np.bool_]

OVERLAP = "share of its words that the best relevant passage holds"
FEWEST_FOR_GROUPS = 16
_MOST_GROUPS = 6
_LEAST_IN_GROUP = 8
_MOST_TERMS = 6
_LEAST_IN_SLICE = 10
_MOST_VALUES = 20
_TELLING = 1.64


def failed_queries(gold: GoldSet, found: Found, known: Judged) -> tuple[tuple[FailedQuery, ...], Bools]:
    """The judged queries without a relevant passage in the first ten, and for each judged query whether it is one of them."""
    base, bm25 = first_ranks(found.base, known), first_ranks(found.bm25, known)
    failed = np.array([rank is None or rank > CUT for rank in base], dtype=bool)
    queries = [gold.queries[place] for place in known.places]
    rows = tuple(
        FailedQuery(query_id=query.query_id, text=query.text, rank=rank, bm25_rank=other)
        for query, rank, other, bad in zip(queries, base, bm25, failed, strict=True)
        if bad
    )
    return rows, failed


def share(name: str, part: int, whole: int, *, alpha: float) -> Estimate:
    """A share with Wilson's interval."""
    if not whole:
        return Estimate(name=name, n=0, reason="there are no scored queries")
    found = wilson(part, whole, alpha=alpha)
    return Estimate(name=name, n=whole, value=found.estimate, low=found.low, high=found.high)


def groups(
    queries: Sequence[Query], vectors: Vectors, failed: Bools, *, alpha: float, seed: int
) -> tuple[tuple[FailureGroup, ...], list[int | None], str | None]:
    """Failed queries that lie near each other: k-means, the number of groups chosen by silhouette (Rousseeuw 1987).

    Args:
        queries: The judged queries.
        vectors: One row each.
        failed: Which of them fail.
        alpha: 1 minus the coverage.
        seed: Of the first centres.

    Returns:
        The groups, largest first; the group of each failed query; and why there are none, where so.
    """
    n = int(failed.sum())
    if n < FEWEST_FOR_GROUPS:
        return (), [None] * n, f"{n} queries fail: groups need at least {FEWEST_FOR_GROUPS}"
    rows = np.asarray(vectors[failed], dtype=np.float64)
    labels, centres = _clustered(rows, seed=seed)
    order = [int(each) for each in np.argsort(-np.bincount(labels), kind="stable")]
    number = {label: place for place, label in enumerate(order)}
    nearest = np.argmax(vectors @ (centres / np.linalg.norm(centres, axis=1, keepdims=True)).T.astype(np.float32), axis=1)
    texts = [words_of(query.text) for query in queries]
    places = np.flatnonzero(failed)
    made = []
    for label in order:
        own = places[labels == label]
        near = nearest == label
        inside = set(own.tolist())
        middle = own[int(np.argmax(rows[labels == label] @ centres[label]))]
        made.append(
            FailureGroup(
                number=number[label],
                terms=marking_terms([texts[i] for i in own], [words for i, words in enumerate(texts) if i not in inside]),
                n_failed=len(own),
                n_near=int(near.sum()),
                failing=share("failing", int((near & failed).sum()), int(near.sum()), alpha=alpha),
                example=queries[middle].text,
            )
        )
    return tuple(made), [number[int(label)] for label in labels], None


def _clustered(rows: NDArray[np.float64], *, seed: int) -> tuple[NDArray[np.intp], NDArray[np.float64]]:
    try:
        from sklearn.cluster import KMeans
        from sklearn.metrics import silhouette_score
        from threadpoolctl import threadpool_limits
    except ImportError as error:
        raise MissingExtraError(package="scikit-learn", extra="local", purpose="groups of failed queries") from error
    best: tuple[float, NDArray[np.intp], NDArray[np.float64]] | None = None
    with threadpool_limits(1):
        for k in range(2, min(_MOST_GROUPS, len(rows) // _LEAST_IN_GROUP) + 1):
            model = KMeans(n_clusters=k, n_init=10, random_state=seed).fit(rows)
            labels = np.asarray(model.labels_, dtype=np.intp)
            if len(np.unique(labels)) < 2:
                continue
            value = float(silhouette_score(rows, labels, metric="cosine"))
            if best is None or value > best[0]:
                best = (value, labels, np.asarray(model.cluster_centers_, dtype=np.float64))
    if best is None:  # all the same text
        return np.zeros(len(rows), dtype=np.intp), rows.mean(axis=0, keepdims=True)
    return best[1], best[2]


def marking_terms(own: Sequence[Sequence[str]], other: Sequence[Sequence[str]]) -> tuple[str, ...]:
    """Words that stand in these texts more than in the others, most telling first.

    Log-odds with an informative Dirichlet prior, the words' frequencies in both together (Monroe, Colaresi and Quinn 2008, "Fightin'
    Words", Political Analysis 16:372, equations 16 and 22); written here, as no library that is kept has it. A word has to stand in two texts.
    """
    left, right = (Counter(word for text in texts for word in text) for texts in (own, other))
    prior = left + right
    total = prior.total()
    held = Counter(word for text in own for word in set(text))
    scored = []
    for word, count in left.items():
        if held[word] < 2:
            continue
        alpha = prior[word] / total * 100
        a, b = count + alpha, right[word] + alpha
        rest_a, rest_b = left.total() + 100 - a, right.total() + 100 - b
        z = (math.log(a / rest_a) - math.log(b / rest_b)) / math.sqrt(1 / a + 1 / b)
        if z > _TELLING:
            scored.append((z, word))
    return tuple(word for _, word in sorted(scored, key=lambda each: (-each[0], each[1]))[:_MOST_TERMS])


def slices(queries: Sequence[Query], failed: Bools, *, alpha: float) -> tuple[SliceFailure, ...]:
    """How often queries with one value of a tag fail; tags with 2 to 20 values, values with at least 10 queries; most failing first."""
    held: dict[tuple[str, str], list[bool]] = {}
    for query, bad in zip(queries, failed, strict=True):
        for tag, value in query.tags.items():
            held.setdefault((tag, value), []).append(bool(bad))
    n_values = Counter(tag for tag, _ in held)
    found = [
        SliceFailure(tag=tag, value=value, failing=share("failing", sum(marks), len(marks), alpha=alpha))
        for (tag, value), marks in held.items()
        if len(marks) >= _LEAST_IN_SLICE and 2 <= n_values[tag] <= _MOST_VALUES
    ]
    return tuple(sorted(found, key=lambda each: (-(each.failing.value or 0.0), each.tag, each.value)))


def traits(queries: Sequence[Query], known: Judged, failed: Bools, words: Vocabulary, *, alpha: float) -> tuple[Trait, ...]:
    """Properties of queries where the baseline fails against where it succeeds; one error rate for all of them (Bonferroni)."""
    measures = _measures(words)
    made = []
    for name, measure in measures.items():
        values = [measure(query, _relevant(known, place)) for place, query in enumerate(queries)]
        kept = np.array([value is not None for value in values], dtype=bool)
        numbers = np.array([value for value in values if value is not None], dtype=np.float64)
        bad = failed[kept]
        clusters = None if known.clusters is None else known.clusters[kept]
        try:
            c = group_contrast(numbers, bad, alpha=alpha / len(measures), clusters=clusters)
            difference = Estimate(name=name, n=numbers.size, value=c.estimate, low=c.low, high=c.high, n_clusters=c.n_clusters)
        except NotEnoughDataError as error:
            difference = Estimate(name=name, n=numbers.size, reason=str(error))
        made.append(Trait(name=name, failed=_mean(numbers[bad]), succeeded=_mean(numbers[~bad]), difference=difference))
    return tuple(made)


def _mean(values: NDArray[np.float64]) -> float | None:
    return float(values.mean()) if values.size else None


def _relevant(known: Judged, place: int) -> list[str]:
    return [passage_id for passage_id, grade in known.qrels[place].items() if grade > 0]


def _measures(words: Vocabulary) -> dict[str, Callable[[Query, list[str]], float | None]]:
    """What is compared; None for a query without a word that could be looked at."""

    def told(query: Query) -> tuple[str, ...]:
        return words.by_query[query.query_id]

    def of_words(mark: Callable[[str], float]) -> Callable[[Query, list[str]], float | None]:
        return lambda query, _relevant: float(np.mean([mark(word) for word in told(query)])) if told(query) else None

    def overlap(query: Query, relevant: list[str]) -> float | None:
        asked = set(told(query))
        return max((len(asked & words.by_passage[each]) / len(asked) for each in relevant), default=None) if asked else None

    made: dict[str, Callable[[Query, list[str]], float | None]] = {
        "words of the query": lambda query, _relevant: float(len(told(query))),
        OVERLAP: overlap,
        f"share of its words that at most {RARE} passages hold": of_words(lambda word: float(words.passages_with[word] <= RARE)),
        "share of its words that no passage holds": of_words(lambda word: float(words.passages_with[word] == 0)),
    }
    pieces = words.pieces
    if pieces is not None:
        made["tokens that the model makes of one of its words"] = of_words(lambda word: float(pieces[word]))
        made["share of its words that the model has no token for"] = of_words(lambda word: float(pieces[word] > 1))
    return made


def no_traits(words: Vocabulary) -> str | None:
    """Why the traits of tokens are missing, where they are."""
    return NO_TOKENIZER if words.pieces is None else None


def split_terms(queries: Sequence[Query], failed: Bools, words: Vocabulary, *, most: int = 15) -> tuple[SplitTerm, ...]:
    """Words of the queries that the model cuts into pieces; those in most failed queries first, then the most cut."""
    if words.pieces is None:
        return ()
    asked: Counter[str] = Counter()
    lost: Counter[str] = Counter()
    for query, bad in zip(queries, failed, strict=True):
        for word in set(words.by_query[query.query_id]):
            asked[word] += 1
            lost[word] += bool(bad)
    found = [
        SplitTerm(term=word, pieces=words.pieces[word], n_queries=n, n_failed=lost[word], n_passages=words.passages_with[word])
        for word, n in asked.items()
        if words.pieces[word] > 1
    ]
    return tuple(sorted(found, key=lambda each: (-each.n_failed, -each.pieces, each.term))[:most])
