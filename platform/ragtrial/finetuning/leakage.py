"""Gold never leaks: what a model was trained on must not be what it is tested on (law 4)."""

import hashlib
import re
import unicodedata
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from ragtrial.domain.gold import GoldSet
from ragtrial.finetuning.pairs import Pair
from ragtrial.finetuning.registry import RegisteredModel

NEAR = 0.9
"""Token-multiset Jaccard similarity from which two queries with the same numbers are near-duplicates.

High on purpose: questions made from one template ("What are the symptoms of X?") share most of their words and are not the same.
"""

_WORD = re.compile(r"\w+")


@dataclass(frozen=True, slots=True, kw_only=True)
class Leaks:
    """Training pairs that touch the gold set.

    Attributes:
        reasons: The reason for each refused pair, by its position.
    """

    reasons: dict[int, str]

    def counts(self) -> dict[str, int]:
        """Refused pairs by reason."""
        return dict(Counter(self.reasons.values()))


def normalise(text: str) -> str:
    """Words only, case and Unicode form folded: what is left is the same for texts that read the same."""
    return " ".join(_WORD.findall(unicodedata.normalize("NFKC", text).casefold()))


def text_digest(text: str) -> str:
    """SHA-256 of the normalised text."""
    return hashlib.sha256(normalise(text).encode()).hexdigest()


def find_leaks(pairs: Sequence[Pair], *, gold_queries: Iterable[str], gold_passages: Iterable[tuple[str, str]]) -> Leaks:
    """The pairs whose query is a gold query or nearly one, or whose passage is judged relevant there.

    Args:
        pairs: Training pairs.
        gold_queries: Texts of the gold queries.
        gold_passages: Id and content of every passage judged relevant in the gold set. An id counts only together with the text: two
            corpora may number their passages alike.
    """
    queries = [normalise(query) for query in gold_queries]
    exact = set(queries)
    near = _NearIndex(queries)
    passages = {normalise(content) for _, content in gold_passages}
    reasons: dict[int, str] = {}
    for position, pair in enumerate(pairs):
        query = normalise(pair.query)
        if query in exact:
            reasons[position] = "its query is a gold query"
        elif normalise(pair.passage) in passages:
            reasons[position] = "its passage is relevant in the gold set"
        elif near.has(query):
            reasons[position] = "its query is nearly a gold query"
    return Leaks(reasons=reasons)


class _NearIndex:
    """Finds near-duplicates through their rarest words.

    Two multisets of a and b words with Jaccard similarity of at least t share at least t * a words, so one of the
    `a - ceil(t * a) + 1` rarest words of either is in the other (prefix filtering, Chaudhuri, Ganti and Kaushik 2006). A library for
    set joins would have to be taught multisets and numbers; rapidfuzz compares characters, which confuses "type 1" and "type 2".
    """

    def __init__(self, texts: Sequence[str]) -> None:
        self._bags = [Counter(text.split()) for text in texts]
        self._frequency = Counter(word for bag in self._bags for word in bag)
        self._by_word: dict[str, list[int]] = {}
        for number, bag in enumerate(self._bags):
            for word in self._prefix(bag):
                self._by_word.setdefault(word, []).append(number)

    def has(self, text: str) -> bool:
        """Whether a text of the index is nearly this one."""
        bag = Counter(text.split())
        candidates = {number for word in self._prefix(bag) for number in self._by_word.get(word, ())}
        return any(_similar(bag, self._bags[number]) for number in candidates)

    def _prefix(self, bag: Counter[str]) -> list[str]:
        words = sorted(bag, key=lambda word: (self._frequency[word], word))
        allowed = int(bag.total() * (1 - NEAR) / NEAR) + 1
        return words[:allowed]


def _similar(a: Counter[str], b: Counter[str]) -> bool:
    if {w for w in a if any(c.isdigit() for c in w)} != {w for w in b if any(c.isdigit() for c in w)}:
        return False
    union = (a | b).total()
    return union > 0 and (a & b).total() / union >= NEAR


def check_lineage(model: RegisteredModel, gold: GoldSet, relevant_passages: Sequence[str]) -> tuple[str, str]:
    """Whether a registered model was trained on gold queries or relevant passages: `pass`, `fail` or `unknown`, and a sentence."""
    trained = model.training_texts()
    if not trained:
        return "unknown", f"{model.name}@{model.version} has no record of its training texts"
    queries = [query for query in gold.queries if text_digest(query.text) in trained]
    passages = [text for text in relevant_passages if text_digest(text) in trained]
    found = (
        f"{len(queries)} of {len(gold.queries)} gold queries and {len(passages)} of {len(relevant_passages)} relevant passages "
        f"are among the training texts of {model.name}@{model.version}"
    )
    if queries or passages:
        example = repr(queries[0].text) if queries else repr(passages[0][:80])
        return "fail", f"{found}, e.g. {example}"
    return "pass", found
