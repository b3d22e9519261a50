"""Hard negatives: passages that the base model ranks near a query and that don't answer it.

The filter is TopK-PercPos of Moreira et al. 2024 ("NV-Retriever: Improving text embedding models with effective hard-negative mining",
arXiv 2407.15831, section 3): a candidate that is nearly as similar to the query as the pair's own passage is taken for an answer that
nobody judged, and left out.

`sentence_transformers.util.mine_hard_negatives` has the same filter as `relative_margin`, and is not used: it embeds with a model of its
own instead of through `contracts.Embedder`, so that neither the cache of vectors nor an endpoint would serve; it knows positives by their
exact text alone, and not what else was judged relevant; of a query with several positives it takes the best one's similarity for all of
them; and what its margin left out it prints, and does not return.
"""

import random
from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from ragtrial.contracts import Embedder, Progress, Vectors, no_progress
from ragtrial.domain.corpus import Passage
from ragtrial.domain.pair import Pair
from ragtrial.domain.training import MiningSpec
from ragtrial.domain.trial import Hit
from ragtrial.finetuning.leakage import normalise
from ragtrial.index.exact import exact_search

_AT_ONCE = 512
"""Queries whose candidates are held at once."""


@dataclass(frozen=True, kw_only=True)
class Mined:
    """Pairs with their negatives.

    Attributes:
        pairs: As they were given, in order, each with what it had and what was found for it behind that, hardest first.
        n_without: Pairs that have no negative all the same.
        n_too_near: Candidates left out as false negatives, over all pairs; a passage may count once for each query.
    """

    pairs: tuple[Pair, ...]
    n_without: int
    n_too_near: int


def mine(
    pairs: Sequence[Pair],
    passages: Sequence[Passage],
    *,
    embedder: Embedder,
    spec: MiningSpec,
    seed: int,
    relevant: Mapping[str, Collection[str]] | None = None,
    progress: Progress = no_progress,
) -> Mined:
    """Give each pair up to `spec.per_pair` hard negatives, by exact search.

    Candidates of a pair are the passages at the ranks `range_min` to `range_max` among those that are not known to answer its query.
    Known to answer are the pair's own passage, those of all pairs with the same query, and what was judged relevant for it; passages
    count by their text, so that a copy of an answer is no negative. Of the candidates those go that are more similar to the query than
    `margin` times the similarity of the pair's own passage.

    Args:
        pairs: What negatives are wanted for; a pair that has as many already keeps them.
        passages: Where negatives come from.
        embedder: The baseline.
        spec: How many, from which ranks, and how near.
        seed: Of the draw where `spec.sampling` is random.
        relevant: By the text of a query the ids of passages that were judged relevant for it.
        progress: Told the texts embedded and the pairs searched.

    Raises:
        ModelError: A text can't be embedded.
    """
    if not spec.per_pair or not pairs:
        return Mined(pairs=tuple(pairs), n_without=sum(not pair.negatives for pair in pairs), n_too_near=0)
    texts: dict[str, str] = {}
    for passage in passages:
        texts.setdefault(normalise(passage.content), passage.content)
    answers = _answers(pairs, passages, relevant or {})
    queries, own = [pair.query for pair in pairs], [pair.passage for pair in pairs]
    advance = progress("embed passages and queries to mine in", len(texts) + len(own) + len(queries))
    matrix = embedder.embed(list(texts.values()), kind="passage", progress=advance)
    positives = embedder.embed(own, kind="passage", progress=advance)
    asked = embedder.embed(queries, kind="query", progress=advance)
    similar = np.einsum("ij,ij->i", asked, positives, dtype=np.float64)
    rng, advance = random.Random(seed), progress("mine hard negatives", len(pairs))  # noqa: S311 - a draw, no secret
    found, too_near = [], 0
    for start in range(0, len(pairs), _AT_ONCE):
        part = pairs[start : start + _AT_ONCE]
        for place, hits in enumerate(_nearest(part, asked[start : start + _AT_ONCE], matrix, list(texts), answers, spec), start):
            limit = similar[place] - abs(similar[place]) * (1 - spec.margin)
            fit = [texts[hit.passage_id] for hit in hits if hit.similarity <= limit]
            too_near += len(hits) - len(fit)
            found.append(_with_negatives(pairs[place], fit, spec, rng))
        advance(len(part))
    return Mined(pairs=tuple(found), n_without=sum(not pair.negatives for pair in found), n_too_near=too_near)


def _answers(pairs: Sequence[Pair], passages: Sequence[Passage], relevant: Mapping[str, Collection[str]]) -> dict[str, set[str]]:
    """By query the passages that are known to answer it, both normalised."""
    contents = {passage.passage_id: normalise(passage.content) for passage in passages}
    found: dict[str, set[str]] = defaultdict(set)
    for pair in pairs:
        found[normalise(pair.query)].add(normalise(pair.passage))
    for query, ids in relevant.items():
        found[normalise(query)] |= {contents[passage_id] for passage_id in ids if passage_id in contents}
    return found


def _nearest(
    pairs: Sequence[Pair],
    vectors: Vectors,
    matrix: Vectors,
    texts: Sequence[str],
    answers: Mapping[str, Collection[str]],
    spec: MiningSpec,
) -> list[tuple[Hit, ...]]:
    """The candidates of each pair, hardest first, by their normalised texts."""
    known = [answers[normalise(pair.query)] for pair in pairs]
    hits = exact_search(matrix, texts, vectors, spec.range_max + max(map(len, known)))
    return [
        tuple(hit for hit in row if hit.passage_id not in skipped)[spec.range_min : spec.range_max]
        for row, skipped in zip(hits, known, strict=True)
    ]


def _with_negatives(pair: Pair, candidates: Sequence[str], spec: MiningSpec, rng: random.Random) -> Pair:
    had = {normalise(text) for text in pair.negatives}
    new, lacking = [text for text in candidates if normalise(text) not in had], max(0, spec.per_pair - len(pair.negatives))
    if spec.sampling == "random" and lacking < len(new):
        new = [new[place] for place in sorted(rng.sample(range(len(new)), lacking))]
    return replace(pair, negatives=(*pair.negatives, *new[:lacking]))
