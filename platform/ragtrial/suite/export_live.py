"""A live experiment as files that GrowthBook or Statsig read: exposures, values of metrics, and what to set up there.

Units leave as the pseudonyms that the log holds, and no text of a query, a passage, an answer or a comment leaves at all.
"""

import json
import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any, Literal

from ragtrial.analysis.live_setting import live_of
from ragtrial.contracts import Progress, no_progress
from ragtrial.db.live_events import LiveEvents
from ragtrial.db.live_reader import LiveReader
from ragtrial.domain.live import LiveSpec, TrafficState
from ragtrial.domain.metric import Metric, metric_named
from ragtrial.errors import InputError, SetupError
from ragtrial.formats import growthbook, statsig
from ragtrial.formats.experiment import ExperimentFile, load_experiment, sql_url
from ragtrial.formats.table_files import write_table

Service = Literal["growthbook", "statsig"]
FORMAT = "ragtrial-live-export/1"

_Rows = Iterable[Sequence[Sequence[str | float]]]


@dataclass(frozen=True, slots=True, kw_only=True)
class LiveExport:
    """What was written.

    Attributes:
        folder: Where.
        n_exposures: Rows of exposures, one for each unit and arm.
        n_values: Values by metric.
        n_left_out: Trials without a value, by metric.
        files: Names of all files.
    """

    folder: Path
    n_exposures: int
    n_values: Mapping[str, int]
    n_left_out: Mapping[str, int]
    files: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class _Source:
    """Where rows come from."""

    file: ExperimentFile
    live: LiveSpec
    live_id: int
    started: float
    traffic: TrafficState
    events: LiveEvents

    @property
    def metrics(self) -> tuple[Metric, ...]:
        return tuple(metric_named(name) for name in self.live.metrics.names)


def export_live(
    path: Path,
    service: Service,
    folder: Path,
    *,
    datasource: str = "DATASOURCE_ID",
    assignment_query: str = "ASSIGNMENT_QUERY_ID",
    progress: Progress = no_progress,
) -> LiveExport:
    """Write the live experiment of a file for a service; files of the same names are replaced, all of them or none.

    Args:
        path: The experiment file, with the plan that is served.
        service: For whom.
        folder: Where; made where it is missing.
        datasource: GrowthBook's id of the data source.
        assignment_query: GrowthBook's id of its assignment query.
        progress: Told how far it is.

    Raises:
        InputError: There is no such live experiment, or its mode is not split.
        StoreError: The log can't be read.
        SetupError: The folder can't be written to.
    """
    file = load_experiment(path)
    live = live_of(file.experiment)
    if live.mode != "split":
        raise InputError(
            f"experiment {file.experiment.name!r} has mode {live.mode!r}, in which one user sees both arms: {service} compares users of one "
            "arm with users of the other, so only mode split can be exported"
        )
    url = sql_url(file)
    with LiveReader(url) as reader:
        live_id = reader.live_id(file.experiment)
        started = next(each.created_at for each in reader.experiments() if each.live_id == live_id)
        traffic = reader.traffic(live_id)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with LiveEvents(url) as events, tempfile.TemporaryDirectory(dir=folder, prefix=".export-") as name:
            source = _Source(file=file, live=live, live_id=live_id, started=started, traffic=traffic, events=events)
            made = _write(source, service, Path(name), (datasource, assignment_query), progress)
            for file_name in made.files:
                (Path(name) / file_name).replace(folder / file_name)
    except OSError as error:
        reason = error.strerror or str(error)
        raise SetupError(f"{str(folder)!r} can't be written to ({reason}): give another --output") from error
    return LiveExport(folder=folder, n_exposures=made.n_exposures, n_values=made.n_values, n_left_out=made.n_left_out, files=made.files)


def _write(source: _Source, service: Service, folder: Path, ids: tuple[str, str], progress: Progress) -> LiveExport:
    named = growthbook if service == "growthbook" else statsig
    name = source.file.experiment.name
    n_exposures = write_table(folder, "exposures", named.EXPOSURES, _exposures(source, name, service))
    n_values: dict[str, int] = {}
    table, columns = ("scores", growthbook.SCORES) if service == "growthbook" else ("events", statsig.EVENTS)
    write_table(folder, table, columns, _values(source, name, service, n_values, progress))
    left_out = {metric.name: source.events.left_out(source.live_id, metric) for metric in source.metrics}
    _definitions(source, service, folder, ids)
    counts = {"exposures": n_exposures, "values": n_values, "left_out": left_out}
    _manifest(source, service, folder, counts)
    return LiveExport(
        folder=folder,
        n_exposures=n_exposures,
        n_values=n_values,
        n_left_out={metric: sum(sum(reasons.values()) for reasons in by_arm.values()) for metric, by_arm in left_out.items()},
        files=tuple(sorted(path.name for path in folder.iterdir())),
    )


def _exposures(source: _Source, name: str, service: Service) -> _Rows:
    for rows in source.events.exposures(source.live_id):
        yield [(row.unit, *_times(row.at, service), name, row.arm) for row in rows]


def _times(at: float, service: Service) -> tuple[float, ...]:
    """Statsig gets each time twice: in whole seconds, and as a moment."""
    return (at,) if service == "growthbook" else (at, at)


def _numbers(value: float, service: Service) -> tuple[str | float, ...]:
    """Statsig gets each value twice: as text, and as a number."""
    return (value,) if service == "growthbook" else (repr(value), value)


def _values(
    source: _Source, name: str, service: Service, counts: dict[str, int], progress: Progress
) -> Iterator[list[tuple[str | float, ...]]]:
    """Values of one metric after the other; they are counted on the way."""
    advance = progress("metrics", len(source.metrics))
    for metric in source.metrics:
        counts[metric.name] = 0
        for rows in source.events.values(source.live_id, metric):
            counts[metric.name] += len(rows)
            yield [(row.unit, *_times(row.at, service), name, metric.name, *_numbers(row.value, service)) for row in rows]
        advance(1)


def _definitions(source: _Source, service: Service, folder: Path, ids: tuple[str, str]) -> None:
    experiment, live = source.file.experiment, source.live
    if service == "statsig":
        (folder / "statsig.sql").write_text(statsig.sources_sql(experiment.name), encoding="utf-8")
        _json(folder / "statsig-metrics.json", statsig.metric_rows(live))
        return
    queries = {"Assignment query": growthbook.assignment_sql(experiment.name), "Fact table": growthbook.facts_sql(experiment.name)}
    text = "\n\n".join(f"-- {what}\n{query};" for what, query in queries.items())
    (folder / "growthbook.sql").write_text(f"{text}\n", encoding="utf-8")
    datasource, assignment_query = ids
    _json(folder / "growthbook-facts.json", growthbook.facts_body(experiment, live, datasource=datasource))
    body = growthbook.experiment_body(
        experiment, live, source.traffic, started=source.started, datasource=datasource, assignment_query=assignment_query
    )
    _json(folder / "growthbook-experiment.json", body)


def _manifest(source: _Source, service: Service, folder: Path, counts: Mapping[str, Any]) -> None:
    """What was written and what was left out, with digests of the files."""
    files = {path.name: sha256(path.read_bytes()).hexdigest() for path in sorted(folder.iterdir()) if path.suffix != ".parquet"}
    experiment = source.file.experiment
    about = {"name": experiment.name, "live_digest": experiment.live_digest(), "control": experiment.control.name}
    about["treatment"] = experiment.treatment.name
    units = "pseudonyms: ragtrial hashes units before it logs them; whoever has a list of units can hash them and compare"
    _json(
        folder / "manifest.json", {"format": FORMAT, "for": service, "experiment": about, "units": units, "rows": counts, "sha256": files}
    )


def _json(path: Path, content: object) -> None:
    path.write_text(json.dumps(content, indent=2, ensure_ascii=False, allow_nan=False) + "\n", encoding="utf-8")
