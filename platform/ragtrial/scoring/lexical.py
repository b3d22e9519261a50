"""Answers against reference answers, word by word.

Normalisation, F1 and exact match are SQuAD's (Rajpurkar et al. 2016, section 6.1, and its official script): own few lines, because
the libraries that carry them (`evaluate`, torchmetrics) bring a framework each. ROUGE-L is Google's `rouge-score`.

For every metric the best reference counts. An abstention scores 0: it did not answer, and a system must not gain by keeping silent.
"""

import re
import string
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from ragtrial.domain.gold import GoldSet
from ragtrial.domain.metric import Metric
from ragtrial.domain.score import Score
from ragtrial.domain.trial import Trial
from ragtrial.scoring.reasons import NO_REFERENCE, why_no_answer

_PUNCTUATION = str.maketrans("", "", string.punctuation)
_ARTICLES = re.compile(r"\b(a|an|the)\b")
_ROUGE_WORD = re.compile(r"[a-z0-9]")


@dataclass(frozen=True, slots=True, kw_only=True)
class _Text:
    """A text and its normalised words."""

    raw: str
    words: tuple[str, ...]


def normalised(text: str) -> tuple[str, ...]:
    """The words that SQuAD compares: lower-case, without ASCII punctuation (`p.N62D` is `pn62d`), without `a`, `an`, `the`."""
    return tuple(_ARTICLES.sub(" ", text.lower().translate(_PUNCTUATION)).split())


def f1(answer: Sequence[str], reference: Sequence[str]) -> float:
    """Harmonic mean of precision and recall over the words as multisets, 0 to 1; 0 where nothing is shared."""
    shared = _shared(answer, reference)
    return 2 * shared / (len(answer) + len(reference)) if shared else 0.0


def token_recall(answer: Sequence[str], reference: Sequence[str]) -> float:
    """Share of the reference's words, as a multiset, that stand in the answer; `reference` holds at least one."""
    return _shared(answer, reference) / len(reference)


def containment(answer: Sequence[str], reference: Sequence[str]) -> float:
    """1 where the reference's words stand in the answer as whole words, side by side and in order; else 0."""
    n = len(reference)
    return float(any(tuple(answer[i : i + n]) == tuple(reference) for i in range(len(answer) - n + 1)))


def _shared(answer: Sequence[str], reference: Sequence[str]) -> int:
    return (Counter(answer) & Counter(reference)).total()


_MEASURES: dict[str, Callable[[_Text, _Text], float]] = {
    "answer_f1": lambda answer, reference: f1(answer.words, reference.words),
    "answer_exact_match": lambda answer, reference: float(answer.words == reference.words),
    "answer_containment": lambda answer, reference: containment(answer.words, reference.words),
    "answer_token_recall": lambda answer, reference: token_recall(answer.words, reference.words),
}
_ROUGE_L = "answer_rouge_l"


class LexicalScorer:
    """Scores answers by the words that they share with the reference answers.

    A failed trial, a trial without generation, and a query without a reference that holds a word after normalisation are unscored.

    Args:
        metrics: Of `answer_f1`, `answer_exact_match`, `answer_containment`, `answer_token_recall`, `answer_rouge_l`, `abstained`.

    Raises:
        ValueError: Another metric.
    """

    version = "lexical/1"
    deterministic = True

    def __init__(self, metrics: Sequence[Metric]) -> None:
        self.metrics = tuple(metrics)
        known = [*_MEASURES, _ROUGE_L, "abstained"]
        unknown = [metric.name for metric in self.metrics if metric.name not in known]
        if unknown:
            raise ValueError(f"the lexical scorer has no {', '.join(map(repr, unknown))}: it computes {', '.join(known)}")
        rouge = {_ROUGE_L: _rouge_l()} if any(metric.name == _ROUGE_L for metric in self.metrics) else {}
        self._measures = {**_MEASURES, **rouge}
        self._gold: GoldSet | None = None
        self._references: dict[str, tuple[_Text, ...]] = {}

    def score(self, trials: Sequence[Trial], gold: GoldSet) -> tuple[tuple[Score, ...], ...]:
        """See `contracts.Scorer`."""
        if gold is not self._gold:
            self._gold = gold
            self._references = {query.query_id: tuple(map(_text, query.answers)) for query in gold.queries}
        return tuple(self._scores(trial) for trial in trials)

    def _scores(self, trial: Trial) -> tuple[Score, ...]:
        reason = why_no_answer(trial)
        if trial.answer is None:
            return tuple(Score(metric=metric.name, unscored=reason, scorer=self.version) for metric in self.metrics)
        abstained = trial.answer.finish_reason == "abstained"
        answer, references = _text(trial.answer.text), self._references[trial.query_id]
        values = (float(abstained) if m.name == "abstained" else self._best(m.name, answer, references) for m in self.metrics)
        return tuple(
            Score(metric=metric.name, value=value, unscored=NO_REFERENCE if value is None else None, scorer=self.version)
            for metric, value in zip(self.metrics, values, strict=True)
        )

    def _best(self, name: str, answer: _Text, references: Sequence[_Text]) -> float | None:
        usable = [r for r in references if (_ROUGE_WORD.search(r.raw.lower()) if name == _ROUGE_L else r.words)]
        return max((self._measures[name](answer, reference) for reference in usable), default=None)


def _rouge_l() -> Callable[[_Text, _Text], float]:
    """ROUGE-L's F-measure, imported when it is asked for: `rouge-score` brings nltk, which takes seconds."""
    from rouge_score.rouge_scorer import RougeScorer

    scorer = RougeScorer(["rougeL"], use_stemmer=False)
    return lambda answer, reference: float(scorer.score(reference.raw, answer.raw)["rougeL"].fmeasure)


def _text(raw: str) -> _Text:
    return _Text(raw=raw, words=normalised(raw))
