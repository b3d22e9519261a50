"""Foreign hits as passages of the corpus: by id, or by text."""

import itertools
import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from ragtrial.domain.corpus import Corpus
from ragtrial.domain.trial import Hit
from ragtrial.foreign.reading import ForeignHit


@dataclass(frozen=True, slots=True, kw_only=True)
class Mapped:
    """What of one query's hits is in the corpus.

    Attributes:
        hits: At most top_k, best first, each passage once.
        n_returned: Hits that came back.
        n_looked_at: Hits among the first top_k, repeated passages not counted.
        n_unmapped: Those of them that are no passage of the corpus.
        n_repeated: Hits on a passage that stood before, which are left out.
        scored: Whether similarities are the pipeline's own scores; else they follow from the ranks.
        stranger: An id or the beginning of a text that is not in the corpus, for messages; None where all are.
    """

    hits: tuple[Hit, ...]
    n_returned: int
    n_looked_at: int
    n_unmapped: int
    n_repeated: int
    scored: bool
    stranger: str | None

    @property
    def unmapped_share(self) -> float:
        """Of the first top_k, how many are no passage of the corpus; 0 where nothing was returned."""
        return self.n_unmapped / self.n_looked_at if self.n_looked_at else 0.0


class Acquaintance:
    """Knows the passages of a corpus by id or by text.

    By id a passage's own comes first, then a document's that is one passage; where a document has several, its id and the text name one.

    Args:
        corpus: The gold set's.
        match_by: As the experiment says.
    """

    def __init__(self, corpus: Corpus, match_by: Literal["id", "text"]) -> None:
        self._by_text: dict[str, str] = {}
        self._by_document: dict[str, list[str]] = {}
        self._passages, self._match_by = corpus.by_id, match_by
        for passage in corpus.passages:
            self._by_document.setdefault(passage.document_id, []).append(passage.passage_id)
            if match_by == "text":
                for text in (passage.text, passage.content):
                    self._by_text.setdefault(_flat(text), passage.passage_id)
        texts = Counter(_flat(passage.text) for passage in corpus.passages) if match_by == "text" else Counter()
        self.n_ambiguous = sum(n for n in texts.values() if n > 1)
        """Passages that share their text with another one: a hit counts for the first of them."""

    def passage_of(self, hit: ForeignHit) -> str | None:
        """The id of the passage that a hit is, or None."""
        if self._match_by == "text":
            return None if hit.text is None else self._by_text.get(_flat(hit.text))
        for name in hit.ids:
            if name in self._passages:
                return name
            parts = self._by_document.get(name, [])
            if len(parts) == 1:
                return parts[0]
            same = [part for part in parts if hit.text is not None and _flat(self._passages[part].text) == _flat(hit.text)]
            if same:
                return same[0]
        return None

    def mapped(self, found: Sequence[ForeignHit], *, top_k: int) -> Mapped:
        """The first `top_k` hits as passages.

        A repeated passage is left out before the cut, the first one stays. A hit that is no passage takes its place among the top_k and is then
        left out: what stands below it must not come in for it. Similarities are the hits' scores where each has one and they don't
        increase (a distance does), else 1 / rank.
        """
        seen: set[str] = set()
        kept: list[tuple[int, str, float | None]] = []
        unmapped = repeated = looked_at = 0
        stranger: str | None = None
        for rank, hit in enumerate(found, start=1):
            passage_id = self.passage_of(hit)
            if passage_id is not None and passage_id in seen:
                repeated += 1
                continue
            if looked_at == top_k:
                continue
            looked_at += 1
            if passage_id is None:
                unmapped += 1
                stranger = stranger or _name_of(hit)
            else:
                seen.add(passage_id)
                kept.append((rank, passage_id, hit.score))
        scores = [score for _, _, score in kept if score is not None and math.isfinite(score)]
        scored = len(scores) == len(kept) and all(left >= right for left, right in itertools.pairwise(scores))
        hits = tuple(
            Hit(passage_id=passage_id, similarity=score if scored and score is not None else 1 / rank) for rank, passage_id, score in kept
        )
        return Mapped(
            hits=hits,
            n_returned=len(found),
            n_looked_at=looked_at,
            n_unmapped=unmapped,
            n_repeated=repeated,
            scored=scored and bool(kept),
            stranger=stranger,
        )


def _flat(text: str) -> str:
    return " ".join(text.split())


def _name_of(hit: ForeignHit) -> str:
    return hit.ids[0] if hit.ids else f"a hit without id, {(hit.text or '')[:40]!r}"
