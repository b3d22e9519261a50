"""What must not be trained on, one rule for every command that makes, mines or reads pairs: nothing that the gold set asks, or is answered by."""

import dataclasses
import functools
from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field

from ragtrial.domain.corpus import Corpus, Passage
from ragtrial.domain.gold import GoldSet
from ragtrial.domain.pair import Pair
from ragtrial.finetuning.leakage import find_leaks, normalise, part_of
from ragtrial.formats.data import load_data
from ragtrial.preparation.duplicates import Shingles, shingles
from ragtrial.suite.data_gold import RelevantRuns
from ragtrial.suite.preparing import Prepared, load

GOLD_WORDING = "its passage holds half of one that is relevant in the gold set, or is a part of one"
GOLD_DOCUMENT_WORDING = "its passage holds half of one of a document that answers a gold query, or is a part of one"
COMMON = 3
"""Documents that hold a run of five words from which it is wording of the house, and tells no document."""

GOLD_NEGATIVE = "negatives that are relevant in the gold set, or stand in a document that answers a gold query"


@dataclass(frozen=True, kw_only=True)
class Gold:
    """What pairs must not touch: the experiment's whole gold set, on the passages of its corpus.

    A passage of that corpus is known by its id and text, and its document is the one that it has there, whatever a file says of it. Any
    other one, of another corpus, cut otherwise, or of a file that somebody wrote, has other ids: there the wording tells, as it does for the
    documents of `ragtrial prepare --gold`. Wording doesn't go before ids, because passages that are written after one template share half
    of their words and answer other queries. A sentence that three or more documents hold makes nothing a passage of a document that answers
    a gold query; of what is relevant itself every word counts.

    Attributes:
        gold: Judged on passages of `corpus`.
        corpus: What the test searches.
        groups: By document what it belongs to (the article of an already cut passage); what belongs to nothing is left out.
    """

    gold: GoldSet
    corpus: Corpus
    groups: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def of(cls, prepared: Prepared) -> "Gold":
        """The experiment's, also where only a sample of it was asked for."""
        corpus, gold, _ = load(prepared.experiment.data, prepared.file)
        documents = load_data(prepared.experiment.data, prepared.file.folder).documents
        return cls(gold=gold, corpus=corpus, groups={each.document_id: each.group for each in documents if each.group is not None})

    def leaks(self, pairs: Sequence[Pair], corpus: Corpus | None = None) -> dict[int, str]:
        """Why pairs are refused, by place.

        Args:
            pairs: Training pairs.
            corpus: What they were made from, where that is known: there a pair that holds a part of a passage counts as all of it.
        """
        pairs = [self._sourced(pair) for pair in pairs]
        found = dict(find_leaks(pairs, gold=self.gold, corpus=self.corpus).reasons)
        if corpus is not None:
            whole = [_whole(pair, corpus) for pair in pairs]
            found = {**find_leaks(whole, gold=self.gold, corpus=self.corpus).reasons, **found}
        for place, pair in enumerate(pairs):
            own = self.corpus.by_id.get(pair.passage_id)
            if place not in found and (own is None or not part_of(pair, own)):
                reason = self._told_by_wording(pair.passage)
                if reason is not None:
                    found[place] = reason
        return found

    def untouched(self, passages: Sequence[Passage]) -> tuple[Passage, ...]:
        """The passages that may be trained on, as positives or as negatives: neither relevant for a gold query nor of a document that answers one.

        Asked with their own text as query, which is no gold query.
        """
        asked = [
            Pair(
                query=each.content,
                passage=each.content,
                passage_id=each.passage_id,
                document_id=each.document_id,
            )
            for each in passages
        ]
        leaks = self.leaks(asked)
        return tuple(each for place, each in enumerate(passages) if place not in leaks)

    def touches(self, text: str) -> bool:
        """Whether a negative, of which nothing but its text is known, must not be trained on."""
        key = normalise(text)
        if key in self._texts_of_gold:
            return True
        return key not in self._all_texts and self._told_by_wording(text) is not None

    def without_touched_negatives(self, pairs: Sequence[Pair]) -> tuple[list[Pair], int]:
        """The pairs without negatives that touch the gold set, and how many those were."""
        touched = {text: self.touches(text) for text in dict.fromkeys(text for pair in pairs for text in pair.negatives)}
        kept = [
            dataclasses.replace(pair, negatives=tuple(text for text in pair.negatives if not touched[text])) if pair.negatives else pair
            for pair in pairs
        ]
        return kept, sum(touched[text] for pair in pairs for text in pair.negatives)

    def _sourced(self, pair: Pair) -> Pair:
        """With its document, and what that belongs to, as the corpus has them; only of this corpus, for another may number alike.

        A source that the pair names stays where it answers a gold query: the query was made from it, wherever its passage stands.
        """
        own = self.corpus.by_id.get(pair.passage_id)
        if own is None or not part_of(pair, own):
            return pair
        source = pair.source if pair.source in self._sources else self.groups.get(own.document_id, pair.source)
        return dataclasses.replace(pair, document_id=own.document_id, source=source)

    def _told_by_wording(self, text: str) -> str | None:
        relevant, others = self._runs
        if relevant.held_by(text):
            return GOLD_WORDING
        return GOLD_DOCUMENT_WORDING if others.held_by(text) and self._telling.held_by(text) else None

    @functools.cached_property
    def _sources(self) -> frozenset[str]:
        """What gold queries were made from."""
        return frozenset(query.cluster for query in self.gold.queries if query.cluster is not None)

    @functools.cached_property
    def _of_gold(self) -> tuple[Passage, ...]:
        """All passages of documents that answer a gold query."""
        by_id = self.corpus.by_id
        documents = {by_id[each.target_id].document_id for each in self.gold.judgments if each.grade > 0}
        return tuple(
            each for each in self.corpus.passages if each.document_id in documents or self.groups.get(each.document_id) in self._sources
        )

    @functools.cached_property
    def _texts_of_gold(self) -> frozenset[str]:
        """Normalised, with and without their titles."""
        return frozenset(normalise(text) for passage in self._of_gold for text in (passage.content, passage.text))

    @functools.cached_property
    def _all_texts(self) -> frozenset[str]:
        return frozenset(normalise(text) for passage in self.corpus.passages for text in (passage.content, passage.text))

    @functools.cached_property
    def _runs(self) -> tuple[RelevantRuns, RelevantRuns]:
        """Of what is relevant, and of the other passages of the same documents."""
        relevant = {judgment.target_id for judgment in self.gold.judgments if judgment.grade > 0}
        others = [passage.content for passage in self._of_gold if passage.passage_id not in relevant]
        return RelevantRuns.of(self.gold, self.corpus), RelevantRuns.of_texts(others)

    @functools.cached_property
    def _telling(self) -> RelevantRuns:
        """Of the other passages what stands in fewer than `COMMON` documents (articles, where passages came cut); made where it is asked for."""
        others = self._runs[1]
        return others.without(self._common_among(others.by_run))

    def _common_among(self, runs: Collection[int]) -> Shingles:
        holders: dict[int, set[str]] = defaultdict(set)
        for passage in self.corpus.passages:
            for run in shingles(passage.content):
                if run in runs:
                    holders[run].add(self.groups.get(passage.document_id, passage.document_id))
        return frozenset(run for run, documents in holders.items() if len(documents) >= COMMON)


def _whole(pair: Pair, corpus: Corpus) -> Pair:
    own = corpus.by_id.get(pair.passage_id)
    return pair if own is None or not part_of(pair, own) else dataclasses.replace(pair, passage=own.content)
