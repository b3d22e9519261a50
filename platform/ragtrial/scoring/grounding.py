"""Answers against the passages that they cite."""

import re
from collections.abc import Mapping, Sequence

import sentencex

from ragtrial.domain.corpus import Passage
from ragtrial.domain.gold import GoldSet
from ragtrial.domain.metric import metric_named
from ragtrial.domain.score import Score
from ragtrial.domain.trial import Answer, Trial
from ragtrial.scoring.reasons import ABSTAINED, why_no_answer

TEXT_MISSING = "text of a cited passage missing"

_LINE_MARKS = re.compile(r"^\s{0,3}(?:>\s?)*\s*(?:#{1,6}\s+|[-*+•]\s+|[0-9]{1,3}[.)]\s+)?", re.MULTILINE)
_BARS_AND_EMPHASIS = re.compile(r"[|*`]")
_WORD = re.compile(r"\w")


class GroundingScorer:
    """Scores `citation_support`: the share of an answer's sentences that stand word for word in a passage it cites.

    0 where it cites nothing, or cites a passage that was not retrieved for this query: such an answer rests on nothing that it
    was given. Sentences are compared with white space collapsed, once as they are and once without Markdown's line marks, table bars
    and emphasis. The normalisation is this module's own and not the generator's, so that the check shares no code with what it checks.

    Args:
        passages: The corpus by passage id.
    """

    metrics = (metric_named("citation_support"),)
    version = "grounding/1"
    deterministic = True

    def __init__(self, passages: Mapping[str, Passage]) -> None:
        self._passages = passages

    def score(self, trials: Sequence[Trial], gold: GoldSet) -> tuple[tuple[Score, ...], ...]:
        """See `contracts.Scorer`."""
        del gold
        return tuple((self._score(trial),) for trial in trials)

    def _score(self, trial: Trial) -> Score:
        name = self.metrics[0].name
        reason = why_no_answer(trial)
        if trial.answer is None or reason is not None:
            return Score(metric=name, unscored=reason, scorer=self.version)
        if trial.answer.finish_reason == "abstained":
            return Score(metric=name, unscored=ABSTAINED, scorer=self.version)
        retrieved = trial.ranking.passage_ids if trial.ranking is not None else ()
        if not trial.answer.cited or not set(trial.answer.cited) <= set(retrieved):
            return Score(metric=name, value=0.0, scorer=self.version)
        sources = [self._passages[cited].text for cited in trial.answer.cited if cited in self._passages]
        if len(sources) < len(trial.answer.cited):
            return Score(metric=name, unscored=TEXT_MISSING, scorer=self.version)
        return Score(metric=name, value=_supported_share(trial.answer, sources), scorer=self.version)


def _supported_share(answer: Answer, sources: Sequence[str]) -> float:
    """Share of the answer's sentences (at least one: the text is not blank) found in a source."""
    views = [_views(source) for source in sources]
    sentences = [_views(sentence) for sentence in sentencex.segment("en", answer.text) if sentence.strip()]
    return sum(any(_within(sentence, source) for source in views) for sentence in sentences) / len(sentences)


def _within(sentence: tuple[str, str], source: tuple[str, str]) -> bool:
    """Whether the sentence stands in the source in whole words, each view against its like."""
    pairs = zip(sentence, source, strict=True)
    return any(_WORD.search(part) is not None and _stands_in(part, whole) for part, whole in pairs)


def _stands_in(part: str, whole: str) -> bool:
    """Whether `whole` holds `part`, with no word cut at either end."""
    before, after = (r"(?<!\w)" if _WORD.match(part) else ""), (r"(?!\w)" if _WORD.match(part[-1]) else "")
    return part in whole and re.search(f"{before}{re.escape(part)}{after}", whole) is not None


def _views(text: str) -> tuple[str, str]:
    """The text with white space collapsed: as it is, and without Markdown."""
    plain = _BARS_AND_EMPHASIS.sub(" ", _LINE_MARKS.sub("", text))
    return " ".join(text.split()), " ".join(plain.split())
