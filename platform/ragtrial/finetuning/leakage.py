"""Gold never leaks: what a model was trained on must not be what it is tested on (law 4)."""

import hashlib
import re
import unicodedata
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from ragtrial.domain.corpus import Corpus, Passage
from ragtrial.domain.gold import GoldSet
from ragtrial.domain.pair import Pair
from ragtrial.domain.verdict import CheckState
from ragtrial.finetuning.registry import RegisteredModel

NEAR = 0.9
"""Token-multiset Jaccard similarity from which two queries with the same numbers are near-duplicates.

High on purpose: questions made from one template ("What are the symptoms of X?") share most of their words and are not the same.
"""

GOLD_QUERY = "its query is a gold query"
NEAR_GOLD_QUERY = "its query is nearly a gold query"
GOLD_PASSAGE = "its passage is relevant in the gold set"
GOLD_DOCUMENT = "its document answers a gold query"

_WORD = re.compile(r"\w+")


@dataclass(frozen=True, slots=True, kw_only=True)
class Leaks:
    """Training pairs that touch the gold set.

    Attributes:
        reasons: The reason for each refused pair, by its position; empty where none is refused.
    """

    reasons: Mapping[int, str]

    def counts(self) -> dict[str, int]:
        """Refused pairs by reason."""
        return dict(Counter(self.reasons.values()))


def normalise(text: str) -> str:
    """Words only, case and Unicode form folded: what is left is the same for texts that read the same.

    A text without a word stays as it is, so that two of them are not taken for one.
    """
    folded = unicodedata.normalize("NFKC", text).casefold()
    return " ".join(_WORD.findall(folded)) or folded.strip()


def text_digest(text: str) -> str:
    """SHA-256 of the normalised text."""
    return hashlib.sha256(normalise(text).encode()).hexdigest()


def find_leaks(pairs: Sequence[Pair], *, gold: GoldSet, corpus: Corpus) -> Leaks:
    """The pairs whose query is a gold query or nearly one, or whose passage or document answers a gold query.

    A passage counts by its text, with or without its title. Documents count by their id, or the source of the query, but only where the
    pair's passage is (a part of) a passage of the gold set's corpus too: two corpora may number their documents alike. Which document that
    is, the corpus says: a pair may come from a file, and that may name any.

    Args:
        pairs: Training pairs.
        gold: The queries of the test, judged on passages of `corpus`.
        corpus: What the test searches.
    """
    queries = [normalise(query.text) for query in gold.queries]
    relevant = [corpus.by_id[j.target_id] for j in gold.judgments if j.grade > 0]
    exact, near = set(queries), _NearIndex(queries)
    texts = {normalise(text) for passage in relevant for text in (passage.content, passage.text)}
    documents = {passage.document_id for passage in relevant}
    sources = {query.cluster for query in gold.queries if query.cluster is not None}
    reasons: dict[int, str] = {}
    for position, pair in enumerate(pairs):
        query, same = normalise(pair.query), corpus.by_id.get(pair.passage_id)
        if query in exact:
            reasons[position] = GOLD_QUERY
        elif normalise(pair.passage) in texts:
            reasons[position] = GOLD_PASSAGE
        elif same is not None and part_of(pair, same) and (same.document_id in documents or pair.source in sources):
            reasons[position] = GOLD_DOCUMENT
        elif near.has(query):
            reasons[position] = NEAR_GOLD_QUERY
    return Leaks(reasons=reasons)


def part_of(pair: Pair, passage: Passage) -> bool:
    """Whether a pair holds a part, or all, of a passage; white space at its ends aside."""
    return bool(pair.passage.strip()) and pair.passage.strip() in passage.content


def near_duplicates(texts: Sequence[str]) -> set[int]:
    """Places of the texts that are nearly, or exactly, one that stands before them and is none itself."""
    whole = [normalise(text) for text in texts]
    index, found = _NearIndex(whole), set[int]()
    for place, text in enumerate(whole):
        if any(other < place and other not in found for other in index.near(text)):
            found.add(place)
    return found


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
        return any(True for _ in self.near(text))

    def near(self, text: str) -> Iterator[int]:
        """Places of the texts of the index that are nearly this one."""
        bag = Counter(text.split())
        candidates = {number for word in self._prefix(bag) for number in self._by_word.get(word, ())}
        return (number for number in candidates if _similar(bag, self._bags[number]))

    def _prefix(self, bag: Counter[str]) -> list[str]:
        words = sorted(bag, key=lambda word: (self._frequency[word], word))
        allowed = int(bag.total() * (1 - NEAR) / NEAR) + 1
        return words[:allowed]


def _similar(a: Counter[str], b: Counter[str]) -> bool:
    if {w for w in a if any(c.isdigit() for c in w)} != {w for w in b if any(c.isdigit() for c in w)}:
        return False
    union = (a | b).total()
    return union > 0 and (a & b).total() / union >= NEAR


def check_lineage(model: RegisteredModel, gold: GoldSet, relevant_passages: Sequence[str]) -> tuple[CheckState, str]:
    """Whether a registered model was trained on gold queries or relevant passages, and a sentence about it.

    The registry keeps digests of the normalised training texts, so this finds texts that read the same, not near-duplicates: those
    are refused before training, from the gold set of that time.

    Args:
        model: With its training texts.
        gold: The queries of the test.
        relevant_passages: Contents of the passages judged relevant there.

    Returns:
        `fail`, `pass`, or `unknown` where the model has no record of its training texts.
    """
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
