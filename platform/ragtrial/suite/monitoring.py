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

from pydantic import TypeAdapter

from ragtrial.build import build_embedder
from ragtrial.contracts import Embedder, Kind, Progress, Vectors, no_progress
from ragtrial.db import schema
from ragtrial.db.monitoring import LONGEST_DELIVERY_S, MOST_ATTEMPTS, MonitorStore, Standing, StoredLook, checked_name
from ragtrial.domain.fingerprint import digest
from ragtrial.domain.monitor import CORPUS_ALONE, PLANNED, Alert, MonitorReport, MonitorSpec, Signal, asked_for
from ragtrial.embedding.cache import CachedEmbedder, VectorCache
from ragtrial.errors import ConflictError, InputError
from ragtrial.formats.experiment import resolve_path, sql_url
from ragtrial.monitoring import webhook
from ragtrial.monitoring.alerting import alert_of, closed, judged, sentence
from ragtrial.settings import Settings, read_settings
from ragtrial.suite.monitor_signals import Compared, Embed, scored
from ragtrial.suite.monitored import Gathered, NeverServedError, Sides, add_documents, gather_file, gather_live, keep_reference
from ragtrial.suite.preparing import Prepared, prepare

_NICE = 15


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
    schema.upgrade(url)
    with MonitorStore(url, clock=clock) as store:
        gathered = _gathered(prepared, url, store, spec, asked, now=clock())
        if asked.keep_reference is not None:
            keep_reference(gathered, prepared, store, checked_name(asked.keep_reference))
        series = _series(prepared, spec, asked, embedder)
        looking = _Looking(prepared, spec, gathered, store, series, _asked_for(prepared, spec, asked), clock())
        report = looking.report(_embedding(prepared, embedder, progress), remember=asked.remember)
        if asked.remember:
            report = dataclasses.replace(report, changes=(*report.changes, *_closed(store, report, at=clock())))
        report = dataclasses.replace(report, earlier=tuple(each.alert for each in _earlier(store, report)))
        if asked.remember and target is not None:
            secret = environment.secret(spec.webhook_secret_env)
            webhook.deliver(store, prepared.experiment.name, target, send=partial(webhook.post, url=target, secret=secret))
        waiting = () if target is None else store.alerts(prepared.experiment.name)
    return dataclasses.replace(report, undelivered=sum(_waits(alert, clock()) for alert in waiting))


def last_report(prepared: Prepared, *, any_series: bool = False) -> MonitorReport | None:
    """What the newest look at the live log found, from the database alone; None before the first, or where there is no database.

    Where the plan or the model is another since, and nothing was told under it yet, it has no signals, and the alerts that stand still.

    Args:
        prepared: The experiment.
        any_series: Looks at files, or with another reference, as well.

    Raises:
        StoreError: The database can't be read.
    """
    url, spec = sql_url(prepared.file), prepared.experiment.monitor or MonitorSpec()
    if schema.current_revision(url) != schema.HEAD:
        return None
    series = None if any_series else _series(prepared, spec, LookOptions(), None)
    with MonitorStore(url) as store:
        report = _last(store, prepared.experiment.name, series)[1]
        if series is None:
            return report
        if report is None:
            report = _last(store, prepared.experiment.name, None)[1]
            if report is None:
                return None
            report = dataclasses.replace(report, series=series, look=0, signals=(), asked=PLANNED)
            earlier = _earlier(store, report)
            return dataclasses.replace(report, earlier=tuple(each.alert for each in earlier)) if earlier else None
        return dataclasses.replace(report, earlier=tuple(each.alert for each in _earlier(store, report)))


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


def _last(store: MonitorStore, experiment: str, series: str | None) -> tuple[StoredLook | None, MonitorReport | None]:
    """The newest look, with the alerts that stand now: one may have been closed, because the plan was another for a while."""
    found = store.last_look(experiment, series)
    if found is None:
        return None, None
    report = dataclasses.replace(_adapter().validate_python(found.document), fresh=False, changes=())
    stand = {each.alert.signal for each in store.standing(experiment) if each.series == report.series}
    signals = (
        dataclasses.replace(each, state="calm" if each.effect is not None else "too few", since=None, above=0, below=0)
        if each.state == "raised" and each.name not in stand
        else each
        for each in report.signals
    )
    return found, dataclasses.replace(report, signals=tuple(signals))


def _earlier(store: MonitorStore, report: MonitorReport) -> tuple[Standing, ...]:
    """Alerts that stand of other series that were asked for alike: under another plan, or with another arm or model."""
    return tuple(
        each
        for each in store.standing(report.experiment)
        if each.series != report.series and report.asked and each.document.get("asked") == report.asked
    )


def _closed(store: MonitorStore, report: MonitorReport, *, at: float) -> tuple[Alert, ...]:
    """Alerts of series that this one has taken the place of: with another arm, collection, model or plan no look of theirs comes again.

    Only what this series has measured itself since, or watches no longer: a look that found nothing to compare, because the plan of the
    file isn't served yet, say, tells nothing of whether the drift is over.
    """
    measured = {signal.name for signal in report.signals if signal.effect is not None}
    watched = {signal.name for signal in report.signals}
    left = report.source != CORPUS_ALONE  # without the log it is not known which arms there are
    gone = [
        each
        for each in (_earlier(store, report) if report.look > 0 else ())
        if each.alert.at <= report.at and (each.alert.signal in measured or (left and each.alert.signal not in watched))
    ]
    now = {signal: report.reference for signal in measured if signal != "document_embedding"}  # of which the reference is the corpus
    ends = [(each, closed(each.alert, at=at, reference=now.get(each.alert.signal))) for each in gone]
    return store.close_alerts(report.experiment, ends) if ends else ()


def _waits(alert: Alert, now: float) -> bool:
    return alert.delivered_at is None and alert.attempts < MOST_ATTEMPTS and alert.at > now - LONGEST_DELIVERY_S


def _gathered(prepared: Prepared, url: str, store: MonitorStore, spec: MonitorSpec, asked: LookOptions, *, now: float) -> Gathered:
    if asked.queries is not None:
        found = gather_file(prepared, asked.queries, spec, since=asked.since, now=now)
    elif asked.live or prepared.experiment.live is not None:
        if prepared.experiment.live is None:
            raise InputError(f"{str(prepared.file.path)!r} has no section 'live', so it has no live log: give --queries FILE")
        try:
            metrics = scored(prepared.experiment)
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
    return Gathered(sides=Sides(None, None, reason), source=CORPUS_ALONE, reference="the corpus at the first look")


def _asked_for(prepared: Prepared, spec: MonitorSpec, asked: LookOptions) -> str:
    planned = (prepared.experiment.monitor or MonitorSpec()).reference
    source, documents = _places(asked)
    return asked_for(source=source, reference=None if spec.reference == planned else spec.reference, since=asked.since, documents=documents)


def _series(prepared: Prepared, spec: MonitorSpec, asked: LookOptions, embedder: Embedder | None) -> str:
    """What looks belong together: where source, reference or model change, counting begins anew."""
    model = prepared.experiment.control.embedding if embedder is None else str(embedder.identity)
    source, documents = _places(asked)
    watched = [spec.reference, spec.reference_queries, spec.signals, spec.alpha, asked.since, documents]
    return digest([source, *watched, model, prepared.experiment.live_digest()], length=16)


def _places(asked: LookOptions) -> tuple[str, str]:
    """Where queries and documents come from, wherever the command is run."""
    source = "live" if asked.queries is None else str(asked.queries.resolve())
    return source, "" if asked.documents is None else str(asked.documents.resolve())


def _embedding(prepared: Prepared, embedder: Embedder | None, progress: Progress) -> Embed:
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
    asked: str
    now: float

    def report(self, embed: Embed, *, remember: bool) -> MonitorReport:
        """What is found; written down where it is new and tells something."""
        name = self.prepared.experiment.name
        before, earlier = _last(self.store, name, self.series)
        seen = self.gathered.seen([repr(dataclasses.replace(self.spec, webhook=None))])
        if before is not None and earlier is not None and before.seen == seen:
            return earlier
        number = 1 if before is None else before.number + 1
        found = Compared(self.prepared, self.spec, self.gathered).signals(number, embed)
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
            latest = _last(self.store, name, self.series)[1]
            if latest is None:
                raise
            return latest
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
            asked=self.asked,
            note=self._note(number),
        )

    def _note(self, number: int) -> str | None:
        """A file looked at once can raise nothing, which nobody would guess."""
        needed = self.spec.raise_looks
        if self.gathered.source.startswith("the live log") or self.gathered.sides.window is None or not 0 < number < needed:
            return None
        return (
            f"this look alone can't raise an alert, which takes {needed} looks in a row with new queries, and this is look {number} of the file: "
            "add later queries to the same file and look again. To judge a file by one look, set monitor.raise_looks to 1"
        )


@functools.cache
def _adapter() -> TypeAdapter[MonitorReport]:
    return TypeAdapter(MonitorReport)


def said(report: MonitorReport, *, quiet: bool = False) -> list[tuple[str, str | None]]:
    """The report in lines, each with its colour or None; when quiet the alerts that stand, and nothing else."""
    styles = {"raised": "red", "rising": "yellow", "too few": "dim", "calm": None}
    signals = report.raised if quiet else report.signals
    lines: list[tuple[str, str | None]] = [(f"{each.state:>7}  {sentence(each)}", styles[each.state]) for each in signals]
    lines += [(f" raised  {alert.sentence}; under an earlier plan or model, and not measured since", "red") for alert in report.earlier]
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
    if report.note is not None:
        lines.append((f"note: {report.note}.", None))
    if report.undelivered:
        lines.append((f"{report.undelivered} messages were not delivered yet; the next look tries again", "red"))
    return lines


def exit_code(report: MonitorReport) -> int:
    """1 where an alert stands, or else 0."""
    return int(bool(report.raised or report.earlier))
