"""One look of the drift monitor: gather, compare, judge, remember, tell."""

import dataclasses
import functools
import os
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import TypeAdapter

from ragtrial.build import build_embedder
from ragtrial.contracts import Embedder, Kind, Progress, Vectors, no_progress
from ragtrial.db import engine as database
from ragtrial.db.monitoring import LONGEST_DELIVERY_S, MOST_ATTEMPTS, MonitorStore, checked_name
from ragtrial.domain.corpus import Passage
from ragtrial.domain.experiment import Experiment
from ragtrial.domain.fingerprint import digest
from ragtrial.domain.metric import metric_named
from ragtrial.domain.monitor import Alert, MonitorReport, MonitorSpec, Signal, SignalKind
from ragtrial.embedding.cache import CachedEmbedder, VectorCache
from ragtrial.errors import ConflictError, InputError, NotEnoughDataError
from ragtrial.formats.experiment import resolve_path, sql_url
from ragtrial.monitoring import comparing, webhook
from ragtrial.monitoring.alerting import alert_of, judged, sentence
from ragtrial.monitoring.comparing import Level, Series, Texts
from ragtrial.settings import Settings, read_settings
from ragtrial.stats.alpha_spending import spent_at
from ragtrial.suite.monitored import Gathered, NeverServedError, Sides, add_documents, gather_file, gather_live, keep_reference, lengths
from ragtrial.suite.preparing import Prepared, prepare

_NICE = 15
_OF_QUERIES: tuple[SignalKind, ...] = ("query_embedding", "new_terms", "query_length", "in_gold")
_OF_ARMS: tuple[SignalKind, ...] = ("similarity", "abstained", "unanswered", "thumbs_up")


@dataclass(frozen=True, slots=True, kw_only=True)
class LookOptions:
    """What one look is asked for beside the experiment's plan.

    Attributes:
        spec: Instead of the experiment's `monitor` section; None: that, or the defaults.
        queries: A JSON-lines file of queries instead of the live log.
        documents: A folder of new documents instead of the corpus's own new passages.
        live: Insist on the live log; otherwise an experiment without one is watched by its documents alone.
        since: Look at nothing that came earlier, seconds since 1970.
        keep_reference: Keep this window and corpus under this name.
        webhook: Instead of the plan's.
        remember: Write the look down, and deliver alerts; False only shows.
    """

    spec: MonitorSpec | None = None
    queries: Path | None = None
    documents: Path | None = None
    live: bool = False
    since: float | None = None
    keep_reference: str | None = None
    webhook: str | None = None
    remember: bool = True


def look(
    where: Path | Prepared,
    *,
    settings: Settings | None = None,
    options: LookOptions | None = None,
    embedder: Embedder | None = None,
    clock: Callable[[], float] = time.time,
    progress: Progress = no_progress,
) -> MonitorReport:
    """Look once at the drift of an experiment's queries, documents and answers.

    The look is counted, and alerts are raised or cleared, where there is something new; otherwise the last look is returned with `fresh`
    False. Alerts that wait are delivered either way.

    Args:
        where: The experiment file, or the experiment with its data.
        settings: The environment; None reads it.
        options: What else is asked for.
        embedder: Embeds queries and passages; None: the control's model, with the vector cache.
        clock: Seconds since 1970.
        progress: Told of texts embedded.

    Raises:
        InputError: A file, a reference or the webhook is wrong, or `live` is asked of an experiment that was never served.
        StoreError: The database can't be read or written.
        ModelError: The model can't be loaded.
    """
    asked, environment = options or LookOptions(), settings or read_settings()
    prepared = where if isinstance(where, Prepared) else prepare(where, settings=environment)
    spec = asked.spec or prepared.experiment.monitor or MonitorSpec()
    if asked.keep_reference is not None and not asked.remember:
        raise InputError("--keep-reference writes a reference and --dry-run writes nothing: give one of them")
    target = webhook_of(asked.webhook or spec.webhook, environment)
    url = sql_url(prepared.file)
    database.upgrade(url)
    with MonitorStore(url, clock=clock) as store:
        gathered = _gathered(prepared, url, store, spec, asked, now=clock())
        if asked.keep_reference is not None:
            keep_reference(gathered, prepared, store, checked_name(asked.keep_reference))
        looking = _Looking(prepared, spec, gathered, store, _series(prepared, spec, asked, embedder), clock())
        report = looking.report(_embedding(prepared, embedder, progress), remember=asked.remember)
        if asked.remember and target is not None:
            secret = environment.secret(spec.webhook_secret_env)
            webhook.deliver(store, prepared.experiment.name, target, send=partial(webhook.post, url=target, secret=secret))
        waiting = () if target is None else store.alerts(prepared.experiment.name)
    return dataclasses.replace(report, undelivered=sum(_waits(alert, clock()) for alert in waiting))


def last_report(prepared: Prepared, *, any_series: bool = False) -> MonitorReport | None:
    """What the newest look at the live log found, from the database alone; None before the first, or where there is no database.

    Args:
        prepared: The experiment.
        any_series: Looks at files, or with another reference, as well.

    Raises:
        StoreError: The database can't be read.
    """
    url, spec = sql_url(prepared.file), prepared.experiment.monitor or MonitorSpec()
    if database.current_revision(url) != database.HEAD:
        return None
    series = None if any_series else _series(prepared, spec, LookOptions(), None)
    with MonitorStore(url) as store:
        found = store.last_look(prepared.experiment.name, series)
    return None if found is None else dataclasses.replace(_adapter().validate_python(found.document), fresh=False, changes=())


def look_alone(path: Path) -> None:
    """One look at the live log in a process of its own, which gives way to every other one: how a service looks.

    Raises:
        RagtrialError: As `look`.
    """
    if hasattr(os, "nice"):
        os.nice(_NICE)
    look(path, options=LookOptions(live=True))


def as_document(report: MonitorReport) -> dict[str, Any]:
    """The report as JSON holds it."""
    document: dict[str, Any] = _adapter().dump_python(report, mode="json")
    for signal, fields in zip(report.signals, document["signals"], strict=True):
        fields["name"] = signal.name
    return document


def webhook_of(given: str | None, settings: Settings) -> str | None:
    """The URL that alerts are sent to; None where there is no webhook.

    Raises:
        InputError: It is no URL, or the environment variable that should hold it is not set.
    """
    if given is None:
        return None
    if given.startswith("env:"):
        found = settings.secret(given.removeprefix("env:"))
        if found is None:
            raise InputError(f"the webhook is {given!r}, and this environment variable is not set")
        given = found
    return webhook.checked_url(given)


def _waits(alert: Alert, now: float) -> bool:
    return alert.delivered_at is None and alert.attempts < MOST_ATTEMPTS and alert.at > now - LONGEST_DELIVERY_S


def _gathered(prepared: Prepared, url: str, store: MonitorStore, spec: MonitorSpec, asked: LookOptions, *, now: float) -> Gathered:
    if asked.queries is not None:
        found = gather_file(prepared, asked.queries, spec, since=asked.since, now=now)
    elif asked.live or prepared.experiment.live is not None:
        if prepared.experiment.live is None:
            raise InputError(f"{str(prepared.file.path)!r} has no section 'live', so it has no live log: give --queries FILE")
        try:
            metrics = _scored(prepared.experiment)
            found = gather_live(prepared, url, store, spec, metrics=metrics, since=asked.since, now=now, remember=asked.remember)
        except NeverServedError as error:
            if asked.live:
                raise
            found = _corpus_alone(str(error))
    else:
        found = _corpus_alone("there are no queries: the experiment has no section 'live', and no --queries were given")
    if spec.watches("document_embedding"):
        add_documents(found, prepared, store, spec, asked.documents, remember=asked.remember)
    return found


def _corpus_alone(reason: str) -> Gathered:
    return Gathered(sides=Sides(None, None, reason), source="the corpus alone", reference="the corpus at the first look")


def _scored(experiment: Experiment) -> tuple[str, ...]:
    """Metrics of answers and rankings that the live experiment has scored in the background."""
    names = () if experiment.live is None else experiment.live.metrics.names
    return tuple(name for name in names if metric_named(name).kind in ("retrieval", "answer") and name != "abstained")


def _series(prepared: Prepared, spec: MonitorSpec, asked: LookOptions, embedder: Embedder | None) -> str:
    """What looks belong together: where source, reference or model change, counting begins anew."""
    model = prepared.experiment.control.embedding if embedder is None else str(embedder.identity)
    source = "live" if asked.queries is None else str(asked.queries.resolve())
    watched = [spec.reference, spec.reference_queries, spec.signals, spec.alpha, asked.since, str(asked.documents or "")]
    return digest([source, *watched, model, prepared.experiment.live_digest()], length=16)


_Embed = Callable[[Sequence[str], Kind], Vectors]


def _embedding(prepared: Prepared, embedder: Embedder | None, progress: Progress) -> _Embed:
    """Embeds where it is needed; the model is loaded then and not before."""

    def embed(texts: Sequence[str], kind: Kind) -> Vectors:
        advance = progress(f"embed {'queries' if kind == 'query' else 'passages'}", len(texts))
        if embedder is not None:
            return embedder.embed(texts, kind=kind, progress=advance)
        with ExitStack() as stack:
            folder = resolve_path(prepared.file.folder, prepared.experiment.stores.vectors)
            cache = stack.enter_context(VectorCache(folder))
            return CachedEmbedder(_model(), cache).embed(texts, kind=kind, progress=advance)

    @functools.cache
    def _model() -> Embedder:
        return build_embedder(prepared.experiment.control.embedding, prepared.around)

    return embed


@dataclass(frozen=True, slots=True)
class _Looking:
    """One look under way."""

    prepared: Prepared
    spec: MonitorSpec
    gathered: Gathered
    store: MonitorStore
    series: str
    now: float

    def report(self, embed: _Embed, *, remember: bool) -> MonitorReport:
        """What is found; written down where it is new and tells something."""
        name = self.prepared.experiment.name
        before = self.store.last_look(name, self.series)
        seen = self.gathered.seen([repr(dataclasses.replace(self.spec, webhook=None))])
        earlier = None if before is None else _adapter().validate_python(before.document)
        if before is not None and earlier is not None and before.seen == seen:
            return dataclasses.replace(earlier, fresh=False, changes=())
        number = 1 if before is None else before.number + 1
        found = self._compared(number, embed)
        known = {} if earlier is None else {signal.name: signal for signal in earlier.signals}
        results = [judged(signal, known.get(signal.name), self.spec, at=self.now) for signal in found]
        signals = tuple(signal for signal, _ in results)
        changes = [alert_of(signal, change, experiment=name, at=self.now, look=number) for signal, change in results if change is not None]
        told = any(signal.effect is not None for signal in signals)
        report = self._made(signals, number if told else number - 1)
        if not told or not remember:
            return dataclasses.replace(report, changes=tuple(changes))
        try:
            written = self.store.add_look(
                name, self.series, number, seen=seen, document=_adapter().dump_python(report, mode="json"), alerts=changes
            )
        except ConflictError:  # another process looked at the same time: what it found stands
            latest = self.store.last_look(name, self.series)
            if latest is None:
                raise
            return dataclasses.replace(_adapter().validate_python(latest.document), fresh=False, changes=())
        return dataclasses.replace(report, changes=written)

    def _made(self, signals: tuple[Signal, ...], number: int) -> MonitorReport:
        return MonitorReport(
            experiment=self.prepared.experiment.name,
            series=self.series,
            source=self.gathered.source,
            reference=self.gathered.reference,
            look=number,
            at=self.now,
            signals=signals,
            left_out=dict(self.gathered.left_out),
        )

    def _compared(self, number: int, embed: _Embed) -> list[Signal]:
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
            found += [("score", arm, metric) for arm in arms for metric in _scored(experiment)]
        return [(kind, arm, metric) for kind, arm, metric in found if self.spec.watches(kind)]

    def _signal(self, kind: SignalKind, arm: str | None, metric: str | None, level: Level, embed: _Embed) -> Signal:
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

    def _queries(self, reference: Texts, window: Texts, level: Level, embed: _Embed) -> Signal:
        some = [side.sampled(self.spec.sample, seed=self.spec.seed) for side in (reference, window)]
        for where, all_of, side in zip(("reference", "window"), (reference, window), some, strict=True):
            if more := len(all_of.texts) - len(side.texts):
                self.gathered.left_out[f"queries of the {where} that were not drawn to be embedded"] = more
        reason = comparing.too_few(len(some[1].texts), len(some[0].texts), self.spec.fewest)
        if reason is not None:  # before a model is loaded
            return Signal(kind="query_embedding", state="too few", n=len(some[1].texts), n_reference=len(some[0].texts), reason=reason)
        first, second = ((_vectors(side.texts, "query", embed), side.units) for side in some)
        return comparing.embeddings_compared("query_embedding", first, second, level)

    def _documents(self, level: Level, embed: _Embed) -> Signal:
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
            reason = self.gathered.sides.missing or "reference and window overlap: fewer queries came than the two take together"
            return Signal(kind=kind, arm=arm, metric=metric, state="too few", n=0, n_reference=0, reason=reason)
        if kind == "similarity" and arm == "interleaved":
            reason = "each context holds passages of both models, whose similarities are on different scales"
            return Signal(kind=kind, arm=arm, state="too few", n=0, n_reference=0, reason=reason)
        name = f"score:{metric}" if metric is not None else kind
        old, new = (comparing.of_arm(trials, name, arm) for trials in self.gathered.trials)
        return comparing.compared(kind, old, new, level, arm=arm, metric=metric)


def _passages(passages: Sequence[Passage]) -> Texts:
    return Texts(texts=tuple(p.content for p in passages), units=tuple(p.document_id for p in passages))


def _vectors(texts: Sequence[str], kind: Kind, embed: _Embed) -> Vectors:
    """Of each text; the same text is embedded once."""
    different = list(dict.fromkeys(texts))
    place = {text: number for number, text in enumerate(different)}
    return np.asarray(embed(different, kind)[[place[text] for text in texts]], dtype=np.float32)


@functools.cache
def _adapter() -> TypeAdapter[MonitorReport]:
    return TypeAdapter(MonitorReport)


def said(report: MonitorReport, *, quiet: bool = False) -> list[tuple[str, str | None]]:
    """The report in lines, each with its colour or None; when quiet the alerts that stand, and nothing else."""
    styles = {"raised": "red", "rising": "yellow", "too few": "dim", "calm": None}
    signals = report.raised if quiet else report.signals
    lines: list[tuple[str, str | None]] = [(f"{each.state:>7}  {sentence(each)}", styles[each.state]) for each in signals]
    if quiet:
        return lines
    counted = f"look {report.look}" if report.fresh else f"nothing new since look {report.look}, which is"
    head = f"{report.experiment}: {counted} at {datetime.fromtimestamp(report.at, UTC):%Y-%m-%d %H:%M} UTC: {report.source}"
    lines.insert(0, (f"{head}, compared with {report.reference}", None))
    for each in report.signals:
        if each.centroid_cosine is not None:
            p = "" if each.p_value is None else f", p = {each.p_value:.3f} by permutation (of this look alone)"
            lines.append((f"{each.name}: cosine of the centroids {each.centroid_cosine:.3f}{p}", "dim"))
    lines += [(f"left out: {count:,} {reason}", "dim") for reason, count in report.left_out.items()]
    lines += [(f"{alert.change}: {alert.sentence}", "bold") for alert in report.changes]
    if report.undelivered:
        lines.append((f"{report.undelivered} messages were not delivered yet; the next look tries again", "red"))
    return lines


def exit_code(report: MonitorReport) -> int:
    """1 where an alert stands, or else 0."""
    return int(bool(report.raised))
