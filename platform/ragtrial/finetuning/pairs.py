"""Training pairs from judgments."""

from collections.abc import Sequence

from ragtrial.domain.corpus import Corpus
from ragtrial.domain.fingerprint import digest_lines
from ragtrial.domain.gold import GoldSet
from ragtrial.domain.pair import Pair


def training_pairs(corpus: Corpus, gold: GoldSet) -> tuple[Pair, ...]:
    """A pair for every relevant judgment, in the order of the queries; a query with several relevant passages gives several.

    Args:
        corpus: The passages.
        gold: Judged on passages of this corpus (`chunking.resolve`); a query with nothing relevant gives no pair.
    """
    grades = gold.qrels()
    return tuple(
        Pair(
            query=query.text,
            passage=corpus.by_id[passage_id].content,
            passage_id=passage_id,
            document_id=corpus.by_id[passage_id].document_id,
            source=query.cluster,
        )
        for query in gold.queries
        for passage_id, grade in grades[query.query_id].items()
        if grade > 0
    )


def pairs_digest(pairs: Sequence[Pair]) -> str:
    """Content hash of the pairs in their order."""
    return digest_lines(
        part for pair in pairs for part in (pair.query, pair.passage, *pair.negatives, *(() if pair.score is None else (repr(pair.score),)))
    )
