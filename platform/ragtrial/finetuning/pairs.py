"""Training pairs from judgments."""

from collections.abc import Sequence
from dataclasses import dataclass

from ragtrial.domain.corpus import Corpus
from ragtrial.domain.fingerprint import digest_lines
from ragtrial.domain.gold import GoldSet


@dataclass(frozen=True, slots=True, kw_only=True)
class Pair:
    """A query and a passage that answers it.

    Attributes:
        query: Its text.
        passage: Its content: title and text.
        passage_id: Where it comes from.
    """

    query: str
    passage: str
    passage_id: str


def training_pairs(corpus: Corpus, gold: GoldSet) -> tuple[Pair, ...]:
    """A pair for every relevant judgment, in the order of the queries; judgments are on passages of the corpus."""
    grades = gold.qrels()
    return tuple(
        Pair(query=query.text, passage=corpus.by_id[passage_id].content, passage_id=passage_id)
        for query in gold.queries
        for passage_id, grade in grades[query.query_id].items()
        if grade > 0
    )


def pairs_digest(pairs: Sequence[Pair]) -> str:
    """Content hash of the pairs in their order."""
    return digest_lines(part for pair in pairs for part in (pair.query, pair.passage))
