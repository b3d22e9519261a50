"""A cheap probe of learnability: a linear adapter over the baseline's frozen vectors, cross-validated on the training pairs."""

import time
from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from ragtrial.contracts import Embedder, Progress, Vectors
from ragtrial.domain.assessment import Probe
from ragtrial.domain.estimate import Estimate
from ragtrial.domain.metric import metric_named
from ragtrial.domain.pair import Pair
from ragtrial.domain.training import TrainingSpec
from ragtrial.errors import MissingExtraError, NotEnoughDataError
from ragtrial.index.exact import exact_search
from ragtrial.scoring.retrieval import rank_arrays, retrieval_values
from ragtrial.stats.paired import paired_t

FOLDS = 5
FEWEST = 50
_METRIC = "nDCG@10"


def probe_adapter(
    pairs: Sequence[Pair], spec: TrainingSpec | None, embedder: Embedder, *, alpha: float, seed: int, progress: Progress
) -> Probe:
    """Train on three fifths of the training queries, stop by a fourth, test on the fifth; each fifth is tested once.

    Queries of one source stay in one fifth. Every query is searched among all passages of the training pairs, which is easier than the
    whole corpus: what counts is the difference. A gain says that something can be learnt from these pairs; none says little, as a full
    training changes more than a matrix can.

    Args:
        pairs: Without those that touch the gold set.
        spec: The experiment's training section.
        embedder: The baseline.
        alpha: 1 minus the coverage.
        seed: Of the fifths.
        progress: Told of fifths done.

    Raises:
        MissingExtraError: torch is not installed.
    """
    n = len({pair.query for pair in pairs})
    if spec is None or n < FEWEST:
        return Probe(reason=f"there are {n} training queries, and it needs at least {FEWEST}")
    try:
        from ragtrial.finetuning.linear_adapter import fit_matrix, lesson, texts_of
        from ragtrial.finetuning.watching import Scores
    except ImportError as error:
        raise MissingExtraError(package=error.name or "torch", extra="train", purpose="--probe") from error
    begin = time.perf_counter()
    queries, passages = texts_of(pairs)
    asked, told = embedder.embed(queries, kind="query"), embedder.embed(passages, kind="passage")
    whole, place = lesson(pairs, asked, told), {text: row for row, text in enumerate(passages)}
    sources = [pair.source or pair.query for pair in pairs]
    fold_of, once = _folds(sources, seed=seed), _first_of_each(queries)

    def values(rows: list[int], matrix: NDArray[np.float32]) -> NDArray[np.float64]:
        return _values(asked[rows], told, [whole.answers[row] for row in rows], matrix)

    gains: list[float] = []
    kept: list[str] = []
    advance = progress("probe: linear adapter", FOLDS)
    for fold in range(FOLDS):
        test, dev = ([row for row in once if fold_of[row] == (fold + step) % FOLDS] for step in (0, 1))
        train = [row for row in range(len(pairs)) if fold_of[row] not in (fold, (fold + 1) % FOLDS)]
        if not test or not dev or not train:
            return Probe(reason=f"the training queries come from {len(set(sources))} sources, too few for {FOLDS} parts")
        own = [pairs[row] for row in train]
        # only their own passages: those of the other parts would be negatives that are never right
        given = lesson(own, asked[train], told[[place[text] for text in texts_of(own)[1]]])

        def score(matrix: NDArray[np.float32], dev: list[int] = dev) -> "Scores":
            return Scores(dev=values(dev, matrix), train=np.empty(0))

        matrix, _, _, _ = fit_matrix(given, spec=spec, score=score, seen=lambda _watch: None, advance=lambda _done: None)
        gains += (values(test, matrix) - values(test, np.eye(asked.shape[1], dtype=np.float32))).tolist()
        kept += [sources[row] for row in test]
        advance(1)
    return Probe(folds=FOLDS, difference=_difference(np.array(gains), kept, alpha=alpha), seconds=time.perf_counter() - begin)


def _difference(gains: NDArray[np.float64], sources: Sequence[str], *, alpha: float) -> Estimate:
    clusters = np.array(sources) if len(set(sources)) < len(sources) else None
    try:
        found = paired_t(gains, alpha=alpha, clusters=clusters)
    except NotEnoughDataError as error:
        return Estimate(name=_METRIC, n=gains.size, value=float(gains.mean()), reason=str(error))
    return Estimate(name=_METRIC, n=found.n, value=found.estimate, low=found.low, high=found.high, n_clusters=found.n_clusters)


def _folds(sources: Sequence[str], *, seed: int) -> list[int]:
    """The part of each pair: sources are dealt out at random, one after the other."""
    names = sorted(set(sources))
    order = np.random.default_rng(seed).permutation(len(names))
    part = {names[place]: number % FOLDS for number, place in enumerate(order.tolist())}
    return [part[source] for source in sources]


def _first_of_each(queries: Sequence[str]) -> list[int]:
    seen: Mapping[str, int] = {query: row for row, query in reversed(list(enumerate(queries)))}
    return sorted(seen.values())


def _values(queries: Vectors, passages: Vectors, answers: Sequence[frozenset[int]], matrix: NDArray[np.float32]) -> NDArray[np.float64]:
    turned = queries @ matrix.T
    turned /= np.linalg.norm(turned, axis=1, keepdims=True)
    hits = exact_search(passages, [str(row) for row in range(len(passages))], turned, 10)
    qrels = [{str(row): 1 for row in rows} for rows in answers]
    ranks = rank_arrays([[hit.passage_id for hit in row] for row in hits], qrels, depth=10)
    return retrieval_values(metric_named(_METRIC), ranks)
