"""From the log of a live experiment to its analysis: the same for the command line, the service and a dashboard."""

import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ragtrial.analysis.health import MIN_ANN_RECALL, unmeasured_index
from ragtrial.analysis.live import analyse_tables
from ragtrial.analysis.live_comparing import estimate_of, fit_of, units_of
from ragtrial.analysis.live_deciding import full_days
from ragtrial.analysis.live_planning import FEW_UNITS, LivePlan, Spread, VarianceSource, observed_words, plan_live, split_spread
from ragtrial.analysis.live_setting import EVERY_TRIAL, Clock, LiveSetting, Table, live_of
from ragtrial.db.live_board_reader import LiveBoardReader
from ragtrial.db.live_reader import LiveExperiment, LiveReader
from ragtrial.db.reader import Reader
from ragtrial.db.schema import current_revision
from ragtrial.db.unit_reader import UnitTables
from ragtrial.domain.experiment import Experiment
from ragtrial.domain.live_verdict import LiveAnalysis, Look
from ragtrial.domain.parity import ParityCertificate
from ragtrial.domain.verdict import Check
from ragtrial.errors import InputError, NotEnoughDataError, StoreError
from ragtrial.formats.experiment import ExperimentFile, load_experiment, sql_url
from ragtrial.report.live_content import LiveContent
from ragtrial.report.live_json import live_dict
from ragtrial.report.live_summary import LiveSummary, read_live_summary
from ragtrial.stats.paired import paired_t
from ragtrial.suite.reading_place import read_url, reads_replica, replica_note

READ_BY_TIME = 300_000
"""Trials up to which the pictures of a log that is kept by unit are made from the log anew."""

ASSUMED_SHARE = 0.5
"""A rate whose variance is assumed where nothing is known: the largest that a metric from 0 to 1 can have."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Assumptions:
    """What is given by hand where the log can't say it; None where it is not given.

    Attributes:
        sd: Standard deviation of a unit's mean on the primary metric.
        baseline: The baseline's rate, for metrics that are 0 or 1.
        units_per_day: New units a day that take part.
    """

    sd: float | None = None
    baseline: float | None = None
    units_per_day: float | None = None

    def __post_init__(self) -> None:
        if self.sd is not None and not (math.isfinite(self.sd) and self.sd > 0):
            raise InputError(f"--sd is {self.sd}: give a standard deviation above 0")
        if self.baseline is not None and not 0 < self.baseline < 1:
            raise InputError(f"--baseline is {self.baseline}: give a rate between 0 and 1")
        if self.units_per_day is not None and not (math.isfinite(self.units_per_day) and self.units_per_day > 0):
            raise InputError(f"--units-per-day is {self.units_per_day}: give a number above 0")


def analyse_live(file: ExperimentFile, reader: LiveReader, *, pictures: bool = True) -> LiveAnalysis:
    """What the live experiment of a file has come to by now; once retention has closed it, what it had come to when all trials were there.

    Args:
        file: The experiment that is served; its plan must be the one in the log.
        reader: Of the log.
        pictures: Read how the effect came about as well, which takes one more sum by time.

    Raises:
        InputError: The experiment has no section `live`, or was never served under this plan.
        StoreError: The database can't be read.
    """
    live_id = reader.live_id(file.experiment)
    kept = _stored(file, reader, live_id) if live_id in reader.closed() else None
    if kept is not None:
        return kept.analysis
    return analyse_tables(
        live_setting(file.experiment, reader, pictures=pictures, live_id=live_id, looked=lambda: _stored_looks(file, reader, live_id))
    )


def _stored(file: ExperimentFile, reader: LiveReader, live_id: int) -> LiveSummary | None:
    """What the dashboard shows; None where there is none that can be read."""
    with LiveBoardReader(read_url(sql_url(file))) as board:
        try:
            return read_live_summary(reader, board, live_id)
        except StoreError:
            return None


def _stored_looks(file: ExperimentFile, reader: LiveReader, live_id: int) -> tuple[Look, ...]:
    stored = _stored(file, reader, live_id)
    return () if stored is None else stored.analysis.looks


def live_setting(
    experiment: Experiment,
    reader: LiveReader,
    *,
    pictures: bool = True,
    live_id: int | None = None,
    now: float | None = None,
    looked: Callable[[], Sequence[Look]] = tuple,
) -> LiveSetting:
    """Everything that the analysis looks at, read from the log.

    Args:
        experiment: The plan.
        reader: Of the log.
        pictures: As in `analyse_live`.
        live_id: The experiment's number, where the plan was read from the log; None: it is found by the plan's digest.
        now: Seconds since 1970; default: the present.
        looked: What was seen at earlier looks; asked where the log is kept by unit and holds more trials than `READ_BY_TIME`.

    Raises:
        InputError: As `analyse_live`.
    """
    live = live_of(experiment)
    live_id = reader.live_id(experiment) if live_id is None else live_id
    found = next(each for each in reader.experiments() if each.live_id == live_id)
    if live.mode == "split":
        names = list(dict.fromkeys([*_readable(experiment), EVERY_TRIAL]))
        units = reader.unit_tables(live_id, names, experiment=experiment)
        if units is not None:
            return _of_units(experiment, reader, found, units, pictures=pictures, now=now, looked=looked)
    times = reader.times(live_id)
    reached = None if live.units_planned is None else reader.exposed_at(live_id, live.units_planned)
    names = _readable(experiment)
    decisive = [live.metrics.primary.name, *live.metrics.secondary]
    split, votes = live.mode == "split", reader.votes(live_id)
    also = [EVERY_TRIAL] if split and EVERY_TRIAL not in names else []
    voted = split and any(count.up or count.down for count in votes)
    return LiveSetting(
        experiment=experiment,
        stored_digest=found.live_digest,
        tables={name: _table(reader, live_id, name, experiment) for name in [*names, *also]},
        frozen={}
        if reached is None
        else {name: _table(reader, live_id, name, experiment, until=reached) for name in decisive if name in names},
        exposure=reader.exposure(live_id, experiment=experiment),
        votes=votes,
        votes_by_unit=reader.votes_by_unit(live_id) if voted else {},
        latencies=reader.latencies(live_id) if split else {},
        timed=reader.timed(live_id, live.metrics.primary.name, experiment=experiment) if pictures else None,
        assigned=reader.timed(live_id, EVERY_TRIAL, experiment=experiment, first=True) if pictures and split else None,
        traffic=reader.traffic_history(live_id),
        outages=reader.outages(live_id),
        parity=_parity(found.facts),
        given=_checks(found.facts),
        clock=Clock(
            now=time.time() if now is None else now, first=times.first, last=times.last, backwards=times.backwards, planned_at=reached
        ),
    )


def _of_units(
    experiment: Experiment,
    reader: LiveReader,
    found: LiveExperiment,
    units: UnitTables,
    *,
    pictures: bool,
    now: float | None,
    looked: Callable[[], Sequence[Look]],
) -> LiveSetting:
    """The same from the sums by unit. A large log is not read by time: what was seen at earlier looks stays as it was seen."""
    live, live_id = live_of(experiment), found.live_id
    by_time = pictures and not units.closed and int(units.exposure.trials.sum()) <= READ_BY_TIME
    return LiveSetting(
        experiment=experiment,
        stored_digest=found.live_digest,
        tables=units.tables,
        frozen=units.frozen,
        exposure=units.exposure,
        votes=units.votes,
        votes_by_unit=units.votes_by_unit,
        latencies=units.latencies,
        drawn=units.drawn if units.drawn[0] < units.drawn[1] else None,
        timed=reader.timed(live_id, live.metrics.primary.name, experiment=experiment) if by_time else None,
        assigned=reader.timed(live_id, EVERY_TRIAL, experiment=experiment, first=True) if by_time else None,
        looked=tuple(looked()) if pictures and not by_time else None,
        traffic=reader.traffic_history(live_id),
        outages=reader.outages(live_id),
        parity=_parity(found.facts),
        given=_checks(found.facts),
        clock=Clock(
            now=time.time() if now is None else now,
            first=units.times.first,
            last=units.times.last,
            backwards=units.times.backwards,
            planned_at=units.planned_at,
        ),
    )


def _readable(experiment: Experiment) -> list[str]:
    """The planned metrics that the mode can measure, the primary first."""
    live = live_of(experiment)
    return [name for name in live.metrics.names if live.mode != "interleaved" or name == "preference"]


def _table(reader: LiveReader, live_id: int, name: str, experiment: Experiment, *, until: float | None = None) -> Table:
    if live_of(experiment).mode == "split":
        return reader.split_scores(live_id, name, experiment=experiment, until=until)
    return reader.within_scores(live_id, name, experiment=experiment, until=until)


def guardrail_tables(experiment: Experiment, reader: LiveReader, live_id: int) -> dict[str, Table]:
    """The tables that `analysis.live_guardrails.guardrail_alarms` looks at, and no others: cheap enough for every ten seconds.

    Raises:
        InputError: The experiment has no section `live`.
    """
    planned = {guardrail.name for guardrail in live_of(experiment).metrics.guardrails}
    return {name: _table(reader, live_id, name, experiment) for name in _readable(experiment) if name in planned}


def _parity(facts: Mapping[str, Any]) -> ParityCertificate | None:
    """The certificate that was logged when the service was started; None where there is none."""
    found = facts.get("parity")
    if not isinstance(found, Mapping) or "ok" not in found:
        return None
    return ParityCertificate(
        ok=bool(found["ok"]),
        digest=found.get("digest"),
        declared=tuple(found.get("declared", ())),
        undeclared=tuple(found.get("undeclared", ())),
    )


def _checks(facts: Mapping[str, Any]) -> tuple[Check, ...]:
    """What was found when the service was started: leakage, and whether the index finds what exact search finds."""
    given = facts.get("checks")
    found = [Check(name=str(name), state=state, detail=str(detail)) for name, (state, detail) in (given or {}).items()]
    for arm in facts.get("arms") or ():
        index = arm.get("index") or {}
        recall = index.get("ann_recall")
        if recall is None:
            if index:
                why = unmeasured_index(index.get("index_type", "?"), index.get("n_passages", 0), index.get("bytes", 0))
                found.append(Check(name=f"ann_recall[{arm['arm']}]", state="unknown", detail=why))
            continue
        detail = f"the {index.get('index_type', '?')} index returns {recall:.2%} of what exact search returns"
        found.append(Check(name=f"ann_recall[{arm['arm']}]", state="pass" if recall >= MIN_ANN_RECALL else "warn", detail=detail))
    return tuple(found)


def live_content(file: ExperimentFile, reader: LiveReader) -> LiveContent:
    """What live reports say.

    Raises:
        InputError: As `analyse_live`.
    """
    analysis = analyse_live(file, reader)
    live_id = reader.live_id(file.experiment)
    facts = next(each for each in reader.experiments() if each.live_id == live_id).facts
    return LiveContent(
        experiment=file.experiment,
        analysis=analysis,
        made_at=time.time(),
        models=models_of(facts),
        environment=environment_of(facts),
    )


def models_of(facts: Mapping[str, Any]) -> dict[str, str]:
    """What each arm embeds with, by arm, in words; of the facts that were logged when the service was started."""
    return {str(arm["arm"]): _model(arm["model"]) for arm in facts.get("arms") or () if arm.get("model")}


def environment_of(facts: Mapping[str, Any]) -> dict[str, str]:
    """Versions that the service ran under, likewise."""
    return {str(name): str(value) for name, value in (facts.get("environment") or {}).items()}


def _model(found: Mapping[str, Any]) -> str:
    return f"{found.get('name', '?')}@{found.get('revision', '?')}"


def live_content_of(path: Path) -> LiveContent:
    """`live_content` for the experiment of a file, from the log that the file names.

    Raises:
        InputError: As `analyse_live`.
        StoreError: There is no such database, or it can't be read.
    """
    file = load_experiment(path)
    live_of(file.experiment)
    with LiveReader(read_url(sql_url(file))) as reader:
        return live_content(file, reader)


def replica_said(path: Path) -> str | None:
    """What is to be said of the replica that `live_content_of` reads; None where it reads the database itself.

    Raises:
        StoreError: The replica can't be reached.
    """
    return replica_note(sql_url(load_experiment(path))) if reads_replica() else None


def analysis_json(file: ExperimentFile, reader: LiveReader) -> dict[str, Any]:
    """The analysis as of now as plain values, as `report/live.schema.json` says.

    Raises:
        InputError: As `analyse_live`.
        StoreError: The database can't be read.
    """
    return live_dict(live_content(file, reader))


def plan_file(path: Path, given: Assumptions) -> LivePlan:
    """How long the live experiment of a file takes: from its own log where there is one, else from an evaluation, else from assumptions.

    Raises:
        InputError: The experiment has no section `live`, or nothing tells how much the primary metric varies.
    """
    file = load_experiment(path)
    live = live_of(file.experiment)
    setting, paired_sd = _logged(file), _evaluated(file)
    spread = None if given.sd is not None or given.baseline is not None or setting is None else observed_spread(setting)
    spread = spread or _given_spread(file.experiment, given, paired_sd)
    days = [] if setting is None or given.units_per_day is not None else full_days(setting).tolist()
    paired = paired_sd[0] if paired_sd is not None and live.metrics.primary.name == file.experiment.metrics.primary.name else None
    try:
        return plan_live(
            file.experiment,
            spread,
            units_per_day=given.units_per_day,
            new_units_by_day=days if any(days) else (),
            paired_sd=paired,
            n_trials=0 if setting is None else setting.n_trials,
        )
    except NotEnoughDataError as error:
        raise InputError(f"no plan can be made: {error}") from error


def observed_spread(setting: LiveSetting) -> Spread | None:
    """How much an exposed unit varies, from the log; None where too few units have a score.

    Units without a score tell nothing, so that where many have none an exposed unit is worth less, and more of them are needed.
    """
    table = setting.tables[setting.live.metrics.primary.name]
    units = units_of(table)
    try:
        fit = fit_of(table, alpha=setting.plan.alpha)
    except NotEnoughDataError:
        return None
    if min(units) < FEW_UNITS:
        return None
    name, exposed = setting.live.metrics.primary.name, max(setting.n_units, sum(units))
    said = observed_words(name, exposed, sum(units), estimate_of(fit))
    return Spread(variance=fit.standard_error**2 * exposed, source="live data", said=said)


def _given_spread(experiment: Experiment, given: Assumptions, evaluated: tuple[float, float, int] | None) -> Spread:
    """From what was given by hand, else from an evaluation, else from the largest variance that a share can have."""
    live = live_of(experiment)
    name = live.metrics.primary.name
    if given.sd is not None:
        return _spread(experiment, given.sd, "given", f"a unit's {name} spreads by {given.sd:.6g} (given)")
    if given.baseline is not None:
        deviation = math.sqrt(given.baseline * (1 - given.baseline))
        return _spread(experiment, deviation, "given", f"a rate of {given.baseline:.1%} (given), one query a unit")
    if evaluated is not None and name == experiment.metrics.primary.name:
        paired, plain, n = evaluated
        deviation = plain if live.mode == "split" else paired
        return _spread(experiment, deviation, "evaluation", f"{name} of {n:,} queries in the latest evaluation, one query a unit")
    deviation = math.sqrt(ASSUMED_SHARE * (1 - ASSUMED_SHARE))
    said = f"nothing is known of {name}: the largest spread of a share is assumed ({deviation:g}); give --sd or --baseline"
    return _spread(experiment, deviation, "assumed", said)


def _spread(experiment: Experiment, deviation: float, source: VarianceSource, said: str) -> Spread:
    live = live_of(experiment)
    if live.mode == "split":
        return split_spread(unit_sd=deviation, treatment=live.traffic.treatment, source=source, said=said)
    return Spread(variance=deviation**2, source=source, said=said)


def _logged(file: ExperimentFile) -> LiveSetting | None:
    """What the log holds of the experiment under exactly this plan; None where there is none."""
    try:
        if current_revision(sql_url(file)) is None:
            return None
        with LiveReader(sql_url(file)) as reader:
            return live_setting(file.experiment, reader, pictures=False)
    except (InputError, StoreError):
        return None


def _evaluated(file: ExperimentFile) -> tuple[float, float, int] | None:
    """Deviations of paired differences and of one arm's scores in the latest evaluation, and its queries; None where there is none."""
    experiment = file.experiment
    try:
        if current_revision(sql_url(file)) is None:
            return None
        with Reader(sql_url(file)) as reader:
            finished = [each for each in reader.evaluations(experiment.name) if each.finished_at is not None]
            if not finished:
                return None
            name = experiment.metrics.primary.name
            scores = reader.scores(finished[-1].evaluation_id, [name])[name].paired(experiment.control.name, experiment.treatment.name)
    except (InputError, StoreError, KeyError):
        return None
    try:
        fit = paired_t(scores.differences, alpha=experiment.analysis.alpha)
    except NotEnoughDataError:
        return None
    return fit.standard_error * math.sqrt(scores.n_scored), float(scores.control.std(ddof=1)), scores.n_scored
