"""Documents that a gold set was made from: not for training, and not for choosing settings."""

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from ragtrial.domain.corpus import Corpus
from ragtrial.domain.gold import GoldSet
from ragtrial.domain.pair import Pair
from ragtrial.finetuning.leakage import find_leaks, normalise
from ragtrial.preparation.documents import Kept
from ragtrial.preparation.duplicates import SHINGLE_WORDS, Shingles, shingles
from ragtrial.settings import Settings
from ragtrial.suite.preparing import prepare

HOLDS_PASSAGE = "it holds a relevant passage of the gold set, or is a part of one"
HOLDS_QUERY = "it holds a gold query"
ASKS_QUERY = "its title, a heading or a question in it is a gold query, or nearly one"

CONTAINED = 0.5
"""Share of the runs of five words of the shorter text from which the longer one holds it."""

_FEWEST_RUNS = 3
_HEADING = re.compile(r"#{1,6}\s+(.*)")
_QUESTION = re.compile(r"[^.?!\n]*\?")


@dataclass(frozen=True, kw_only=True)
class RelevantRuns:
    """The runs of five words of relevant passages, to find texts that hold one of them, or are a part of one.

    Attributes:
        passages: The runs of each.
        by_run: Places of the passages that hold a run.
        common: Runs that count nowhere; `passages` are without them.
    """

    passages: Sequence[Shingles]
    by_run: Mapping[int, Sequence[int]]
    common: Shingles = frozenset()

    @classmethod
    def of(cls, gold: GoldSet, corpus: Corpus) -> "RelevantRuns":
        """Those that a gold set judges relevant, on passages of `corpus`."""
        ids = dict.fromkeys(judgment.target_id for judgment in gold.judgments if judgment.grade > 0)
        return cls.of_texts([corpus.by_id[each].content for each in ids if each in corpus.by_id])

    @classmethod
    def of_texts(cls, texts: Iterable[str]) -> "RelevantRuns":
        """Those of the texts of passages."""
        return cls._of_runs([shingles(text) for text in texts])

    def without(self, common: Shingles) -> "RelevantRuns":
        """The same with runs that stand in many documents counting nowhere; a passage that is little else finds nothing then."""
        rest = [(passage - common, min(_FEWEST_RUNS, len(passage))) for passage in self.passages]
        return self._of_runs([runs for runs, fewest in rest if len(runs) >= fewest], common)

    @classmethod
    def _of_runs(cls, passages: Sequence[Shingles], common: Shingles = frozenset()) -> "RelevantRuns":
        by_run: dict[int, list[int]] = {}
        for number, passage in enumerate(passages):
            for run in passage:
                by_run.setdefault(run, []).append(number)
        return cls(passages=passages, by_run=by_run, common=common)

    def held_by(self, text: str) -> bool:
        """Whether the text has half of a passage's runs, or the passage half of the text's."""
        runs = shingles(text) - self.common
        shared = Counter(number for run in runs for number in self.by_run.get(run, ()))
        return any(
            n >= min(_FEWEST_RUNS, len(self.passages[number])) and n / min(len(runs), len(self.passages[number])) >= CONTAINED
            for number, n in shared.items()
        )


@dataclass(frozen=True, kw_only=True)
class GoldTexts:
    """A gold set as documents are compared with it.

    Attributes:
        gold: Its queries and judgments, on passages of `corpus`.
        corpus: What it searches.
    """

    gold: GoldSet
    corpus: Corpus

    @classmethod
    def read(cls, path: Path, settings: Settings) -> "GoldTexts":
        """The gold set of an experiment file.

        Raises:
            InputError: The file or its data are wrong.
        """
        prepared = prepare(path, settings=settings)
        return cls(gold=prepared.gold, corpus=prepared.corpus)

    @property
    def unchecked(self) -> int:
        """Queries that are too short to be looked for within texts: two or three words stand anywhere."""
        return sum(len(normalise(query.text).split()) < SHINGLE_WORDS for query in self.gold.queries)

    def found_in(self, documents: Sequence[Kept]) -> Mapping[int, str]:
        """The documents that touch the gold set, by their number, with the reason."""
        asked = self._asked(documents)
        runs, relevant = self._query_runs(), RelevantRuns.of(self.gold, self.corpus)
        found: dict[int, str] = {}
        for number, document in enumerate(documents):
            text = f"{document.title}\n{document.text}"
            if relevant.held_by(text):
                found[number] = HOLDS_PASSAGE
            elif _holds_query(normalise(text).split(), runs):
                found[number] = HOLDS_QUERY
            elif number in asked:
                found[number] = ASKS_QUERY
        return found

    def _query_runs(self) -> dict[tuple[str, ...], list[list[str]]]:
        """The queries that are long enough, by their first five words."""
        found: dict[tuple[str, ...], list[list[str]]] = {}
        for query in self.gold.queries:
            words = normalise(query.text).split()
            if len(words) >= SHINGLE_WORDS:
                found.setdefault(tuple(words[:SHINGLE_WORDS]), []).append(words)
        return found

    def _asked(self, documents: Sequence[Kept]) -> set[int]:
        """The documents with a line that training would refuse as a query."""
        pairs, owners = [], []
        for number, document in enumerate(documents):
            for line in dict.fromkeys(_lines(document)):
                pairs.append(Pair(query=line, passage="", passage_id=document.document_id, document_id=document.document_id))
                owners.append(number)
        return {owners[place] for place in find_leaks(pairs, gold=self.gold, corpus=self.corpus).reasons}


def _lines(document: Kept) -> Iterator[str]:
    """What may be asked: the title, headings, and sentences that end in a question mark."""
    if document.title.strip():
        yield document.title.strip()
    for line in document.text.split("\n"):
        heading = _HEADING.match(line)
        if heading and heading[1].strip():
            yield heading[1].strip()
        yield from (question.strip() for question in _QUESTION.findall(line) if question.strip(" ?"))


def _holds_query(words: Sequence[str], runs: Mapping[tuple[str, ...], Sequence[Sequence[str]]]) -> bool:
    return any(
        list(words[at : at + len(query)]) == list(query)
        for at in range(len(words) - SHINGLE_WORDS + 1)
        for query in runs.get(tuple(words[at : at + SHINGLE_WORDS]), ())
    )
