"""What a live experiment has come to, from the log alone: no experiment file is needed."""

import dataclasses
import time
from collections.abc import Callable

from ragtrial.analysis.drift import DriftSignal, drift_signals, windows_of
from ragtrial.analysis.live import analyse_tables
from ragtrial.analysis.live_guardrail_looks import GuardrailLook, guardrail_looks, with_look
from ragtrial.analysis.live_setting import LiveSetting
from ragtrial.analysis.side_by_side import PreferencesFound, preferences_found
from ragtrial.db.live_board_reader import BUCKET_SECONDS, LiveBoardReader, StoredSnapshot
from ragtrial.db.live_reader import LiveExperiment, LiveReader
from ragtrial.errors import InputError, NotEnoughDataError, StoreError
from ragtrial.formats.experiment import logged_experiment
from ragtrial.report.live_summary import SNAPSHOT_FORM, LiveSummary, as_document, latencies, read_live_summary, usage_of
from ragtrial.suite.live_analysis import environment_of, live_setting, models_of

_ALL_TIME = 100_000_000 * BUCKET_SECONDS


def snapshot_of(
    live: LiveExperiment,
    reader: LiveReader,
    board: LiveBoardReader,
    *,
    version: int,
    beside: str | None = None,
    clock: Callable[[], float] = time.time,
) -> StoredSnapshot:
    """The analysis as of now as it is stored: a document, or why there is none.

    Args:
        live: The experiment.
        reader: Of the log.
        board: Of its roll-ups, which must be up to date.
        version: Of the roll-ups.
        beside: Digest of what it depends on beside trials and votes, as it was before anything is read for it.
        clock: Seconds since 1970.

    Raises:
        StoreError: The database fails.
    """
    begin = clock()
    document, problem, due_at = None, None, None
    try:
        summary = summarise_live(live, reader, board, now=begin, before=_stored(live.live_id, reader, board))
        document, due_at = as_document(summary), _due_at(summary)
    except (InputError, NotEnoughDataError) as error:
        problem = str(error)
    except (ValueError, ArithmeticError, LookupError) as error:  # an analysis that fails on these data must not stop those of others
        problem = f"the analysis failed ({type(error).__name__}: {error}); please report this"
    return StoredSnapshot(
        form=SNAPSHOT_FORM,
        made_at=begin,
        took_s=max(0.0, clock() - begin),
        version=version,
        beside=beside,
        due_at=due_at,
        document=document,
        problem=problem,
    )


def _due_at(summary: LiveSummary) -> float | None:
    """When the newest window of drift is over, which is judged then and not before; None where there is none."""
    ends = [window.end for signal in summary.drift for window in signal.windows if window.end > summary.made_at]
    return max(ends, default=None)


def _stored(live_id: int, reader: LiveReader, board: LiveBoardReader) -> LiveSummary | None:
    """What is stored, where it can be read: it is about to be replaced."""
    try:
        return read_live_summary(reader, board, live_id)
    except StoreError:
        return None


def summarise_live(
    live: LiveExperiment, reader: LiveReader, board: LiveBoardReader, *, now: float, before: LiveSummary | None = None
) -> LiveSummary:
    """What every page says of a live experiment, under the plan that is in the log.

    Args:
        live: The experiment.
        reader: Of the log.
        board: Of its roll-ups.
        now: Seconds since 1970.
        before: What was said last: guardrails over time are continued from there, and computed from the log only now and then.

    Raises:
        InputError: The plan is none that this version understands.
        StoreError: The database fails.
    """
    experiment = logged_experiment(live.plan, f"the plan of {live.name!r} in the log")
    setting = live_setting(
        experiment, reader, live_id=live.live_id, now=now, looked=lambda: () if before is None else before.analysis.looks
    )
    # The plan is the log's own: its digest differs only where units are named in it, which the log keeps as pseudonyms.
    setting = dataclasses.replace(setting, stored_digest=experiment.live_digest())
    analysis = analyse_tables(setting)
    buckets = board.buckets(live.live_id, width_s=_ALL_TIME)
    return LiveSummary(
        experiment=experiment,
        analysis=analysis,
        made_at=now,
        models=models_of(live.facts),
        environment=environment_of(live.facts),
        guardrail_looks=_guardrail_looks(live.live_id, setting, reader, board, before),
        latency=latencies(
            board.stage_times(live.live_id, mode=setting.live.mode), arms=() if setting.live.mode == "interleaved" else setting.arms
        ),
        usage=usage_of(bucket for bucket in buckets if bucket.reason == "split"),
        spent=usage_of(buckets),
        preferences=_preferences(live.live_id, setting, board),
        drift=_drift(live.live_id, setting, board, n_trials=sum(bucket.trials for bucket in buckets if bucket.reason == "split"), now=now),
    )


def _drift(live_id: int, setting: LiveSetting, board: LiveBoardReader, *, n_trials: int, now: float) -> tuple[DriftSignal, ...]:
    """Nothing before the first trial that counts."""
    if setting.clock.first is None or setting.clock.last is None:
        return ()
    mode = setting.live.mode
    sample = board.drift_sample(live_id, arms=("interleaved",) if mode == "interleaved" else setting.arms, n_trials=n_trials)
    windows = windows_of(setting.clock.first, setting.clock.last)
    return drift_signals(sample, windows, mode=mode, n_trials=n_trials, now=now)


def _guardrail_looks(
    live_id: int, setting: LiveSetting, reader: LiveReader, board: LiveBoardReader, before: LiveSummary | None
) -> dict[str, tuple[GuardrailLook, ...]]:
    """Of the guardrails that the mode can measure. To read one by time takes as long as half of the analysis."""
    found = {}
    for planned in setting.live.metrics.guardrails:
        if planned.name not in setting.tables:
            continue
        seen = () if before is None else before.guardrail_looks.get(planned.name, ())
        if (seen or setting.looked is not None) and setting.clock.last is not None:
            found[planned.name] = with_look(seen, setting.clock.last, setting.tables[planned.name], planned, setting.experiment)
            continue
        timed = reader.timed(live_id, planned.name, experiment=setting.experiment)
        twins = None
        if setting.live.mode == "shadow" and timed is not None and setting.clock.first is not None:
            twins = board.twin_sums(live_id, planned.name, arms=setting.arms, begin=setting.clock.first, ends=timed.ends)
        found[planned.name] = guardrail_looks(timed, planned, setting.experiment, twins=twins)
    return found


def _preferences(live_id: int, setting: LiveSetting, board: LiveBoardReader) -> PreferencesFound:
    counts: dict[str, int] = {}
    for count in board.preferences(live_id):
        counts[count.choice] = counts.get(count.choice, 0) + count.comparisons
    return preferences_found(
        board.preferred_by_person(live_id, arms=setting.arms),
        alpha=setting.plan.alpha,
        both=counts.get("both", 0),
        neither=counts.get("neither", 0),
        withdrawn=counts.get("withdrawn", 0),
        open_=counts.get("open", 0),
    )
