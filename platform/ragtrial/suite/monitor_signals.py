"""The signals of one look of the drift monitor: which are watched, and each one compared with its reference."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from ragtrial.contracts import Kind, Vectors
from ragtrial.domain.corpus import Passage
from ragtrial.domain.experiment import Experiment
from ragtrial.domain.metric import metric_named
from ragtrial.domain.monitor import MonitorSpec, Signal, SignalKind
from ragtrial.errors import NotEnoughDataError
from ragtrial.monitoring import comparing
from ragtrial.monitoring.comparing import Level, Series, Texts
from ragtrial.stats.alpha_spending import spent_at
from ragtrial.suite.monitored import Gathered, lengths
from ragtrial.suite.preparing import Prepared

_OF_QUERIES: tuple[SignalKind, ...] = ("query_embedding", "new_terms", "query_length", "in_gold")
_OF_ARMS: tuple[SignalKind, ...] = ("similarity", "abstained", "unanswered", "thumbs_up")

Embed = Callable[[Sequence[str], Kind], Vectors]
"""Vectors of texts, one a row. Shape (n_texts, dimension)."""


@dataclass(frozen=True, slots=True)
class Compared:
    """What was gathered for one look, to be compared."""

    prepared: Prepared
    spec: MonitorSpec
    gathered: Gathered

    def signals(self, number: int, embed: Embed) -> list[Signal]:
        """Every signal that is watched, at the error rate that the look of this number may spend."""
        wanted = self._wanted()
        level = Level(spec=self.spec, alpha=spent_at(number, alpha=self.spec.alpha), family=max(1, len(wanted)))
        return [self._signal(kind, arm, metric, level, embed) for kind, arm, metric in wanted]

    def _wanted(self) -> list[tuple[SignalKind, str | None, str | None]]:
        """Kind, arm and metric of every signal that is watched, whether or not it can be told: so many share the error rate."""
        experiment, live = self.prepared.experiment, self.prepared.experiment.live
        is_live = live is not None and self.gathered.source.startswith("the live log")
        of_queries = [kind for kind in _OF_QUERIES if is_live or kind != "in_gold"]  # a file does not say
        found: list[tuple[SignalKind, str | None, str | None]] = [(kind, None, None) for kind in of_queries]
        if self.gathered.passages is not None:
            found.append(("document_embedding", None, None))
        if live is not None and is_live:
            arms = ("interleaved",) if live.mode == "interleaved" else tuple(arm.name for arm in experiment.arms)
            found += [(kind, arm, None) for arm in arms for kind in _OF_ARMS]
            found += [("score", arm, metric) for arm in arms for metric in scored(experiment)]
        return [(kind, arm, metric) for kind, arm, metric in found if self.spec.watches(kind)]

    def _signal(self, kind: SignalKind, arm: str | None, metric: str | None, level: Level, embed: Embed) -> Signal:
        if kind == "document_embedding":
            return self._documents(level, embed)
        if arm is not None:
            return self._of_arm(kind, arm, metric, level)
        sides = self.gathered.sides
        if sides.reference is None or sides.window is None or sides.missing is not None:
            n, m = (0 if side is None else len(side.texts) for side in (sides.window, sides.reference))
            return Signal(kind=kind, state="too few", n=n, n_reference=m, reason=sides.missing or "there are no queries")
        if kind == "query_embedding":
            return self._queries(sides.reference, sides.window, level, embed)
        return self._of_texts(kind, sides.reference, sides.window, level)

    def _of_texts(self, kind: SignalKind, reference: Texts, window: Texts, level: Level) -> Signal:
        n, m = len(window.texts), len(reference.texts)
        if kind == "new_terms":
            reason = comparing.too_few(n, m, self.spec.fewest)
            if reason is not None:  # so many queries, not words
                return Signal(kind=kind, state="too few", n=n, n_reference=m, reason=reason)
            pair = comparing.terms([passage.content for passage in self.prepared.corpus.passages], reference, window)
        elif kind == "query_length":
            if self._redacted():
                return Signal(kind=kind, state="too few", n=n, n_reference=m, reason="redacted queries have another length")
            pair = lengths(reference), lengths(window)
        elif self.gathered.apart is not None:
            return Signal(kind=kind, state="too few", n=n, n_reference=m, reason=self.gathered.apart)
        else:
            pair = self._in_gold()
        return comparing.compared(kind, *pair, level)

    def _redacted(self) -> bool:
        live = self.prepared.experiment.live
        return live is not None and live.query_text != "full" and self.gathered.source.startswith("the live log")

    def _in_gold(self) -> tuple[Series, Series]:
        if self.gathered.trials is not None:
            old, new = (comparing.of_users(trials, "in_gold") for trials in self.gathered.trials)
            return old, new
        nothing = Series.of([], [])
        return nothing, nothing

    def _queries(self, reference: Texts, window: Texts, level: Level, embed: Embed) -> Signal:
        some = [side.sampled(self.spec.sample, seed=self.spec.seed) for side in (reference, window)]
        for where, all_of, side in zip(("reference", "window"), (reference, window), some, strict=True):
            if more := len(all_of.texts) - len(side.texts):
                self.gathered.left_out[f"queries of the {where} that were not drawn to be embedded"] = more
        reason = comparing.too_few(len(some[1].texts), len(some[0].texts), self.spec.fewest)
        if reason is not None:  # before a model is loaded
            return Signal(kind="query_embedding", state="too few", n=len(some[1].texts), n_reference=len(some[0].texts), reason=reason)
        first, second = ((_vectors(side.texts, "query", embed), side.units) for side in some)
        return comparing.embeddings_compared("query_embedding", first, second, level)

    def _documents(self, level: Level, embed: Embed) -> Signal:
        if self.gathered.passages is None:
            raise NotEnoughDataError("documents are not watched")
        old, new = self.gathered.passages
        if not new:
            return Signal(kind="document_embedding", state="too few", n=0, n_reference=len(old), reason="no passage is new")
        some = [_passages(side).sampled(self.spec.sample, seed=self.spec.seed) for side in (old, new)]
        reason = comparing.too_few(len(new), len(old), self.spec.fewest)
        if reason is not None:
            return Signal(kind="document_embedding", state="too few", n=len(new), n_reference=len(old), reason=reason)
        first, second = ((_vectors(side.texts, "passage", embed), side.units) for side in some)
        return comparing.embeddings_compared("document_embedding", first, second, level)

    def _of_arm(self, kind: SignalKind, arm: str, metric: str | None, level: Level) -> Signal:
        if self.gathered.trials is None:
            overlap = "reference and window overlap: fewer queries came than the two take together"
            reason = self.gathered.sides.missing or self.gathered.apart or overlap
            return Signal(kind=kind, arm=arm, metric=metric, state="too few", n=0, n_reference=0, reason=reason)
        if kind == "similarity" and arm == "interleaved":
            reason = "each context holds passages of both models, whose similarities are on different scales"
            return Signal(kind=kind, arm=arm, state="too few", n=0, n_reference=0, reason=reason)
        name = f"score:{metric}" if metric is not None else kind
        old, new = (comparing.of_arm(trials, name, arm) for trials in self.gathered.trials)
        return comparing.compared(kind, old, new, level, arm=arm, metric=metric)


def scored(experiment: Experiment) -> tuple[str, ...]:
    """Metrics of answers and rankings that the live experiment has scored in the background."""
    names = () if experiment.live is None else experiment.live.metrics.names
    return tuple(name for name in names if metric_named(name).kind in ("retrieval", "answer") and name != "abstained")


def _passages(passages: Sequence[Passage]) -> Texts:
    return Texts(texts=tuple(p.content for p in passages), units=tuple(p.document_id for p in passages))


def _vectors(texts: Sequence[str], kind: Kind, embed: Embed) -> Vectors:
    """Of each text; the same text is embedded once."""
    different = list(dict.fromkeys(texts))
    place = {text: number for number, text in enumerate(different)}
    return np.asarray(embed(different, kind)[[place[text] for text in texts]], dtype=np.float32)
