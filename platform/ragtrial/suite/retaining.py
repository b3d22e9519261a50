"""`ragtrial db retention`: which trials may go, and what is said of those that may not."""

import functools
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from ragtrial.contracts import Progress, no_progress
from ragtrial.db.retention import Old, Retention
from ragtrial.errors import InputError
from ragtrial.formats.experiment import load_experiment, sql_url
from ragtrial.suite.rolling import Rolling


@dataclass(slots=True, kw_only=True)
class Retained:
    """What a retention has removed, by experiment and table, and which experiments it has left alone with the reason."""

    removed: dict[str, dict[str, int]] = field(default_factory=dict)
    left: dict[str, str] = field(default_factory=dict)


def retain(
    path: Path,
    *,
    keep_days: float,
    everything: bool = False,
    running_too: bool = False,
    dry_run: bool = False,
    agree: Callable[[str], None] = lambda _question: None,
    progress: Progress = no_progress,
) -> Retained:
    """Remove live trials older than `keep_days`.

    Args:
        path: The experiment file.
        keep_days: Whole days (UTC).
        everything: All experiments of the database.
        running_too: Also what the verdict of a running experiment needs: it is then one of the trials that stay. Likewise what the
            covariate of a later experiment needs.
        dry_run: Only count.
        agree: Asked before anything is removed; raises where the answer is no.
        progress: Told of trials.

    Raises:
        InputError: `keep_days` is too small.
        StoreError: The database fails.
    """
    file = load_experiment(path)
    done = Retained()
    with Retention(sql_url(file), keep_days=keep_days) as retention:
        chosen = []
        for old in retention.old(None if everything else file.experiment.name):
            reason = _why_not(old, running_too=running_too)
            if reason is None:
                chosen.append(old)
            else:
                done.left[_called(old)] = reason
        if chosen and not dry_run:
            agree(f"Remove {sum(old.trials for old in chosen):,} trials of {', '.join(map(_called, chosen))}? It can't be undone.")
        if not chosen or dry_run:
            done.removed = {_called(old): {"trials": old.trials} for old in chosen}
            return done
        conclude = functools.partial(_concluded, sql_url(file))
        removed = retention.remove_all(chosen, actor="command line", conclude=conclude, progress=progress)
        done.removed = {_called(old): removed[old.live_id] for old in chosen if old.live_id in removed}
        done.left |= {_called(old): retention.refused[old.live_id] for old in chosen if old.live_id in retention.refused}
    return done


def _concluded(url: str, old: Old) -> str | None:
    """Store what an experiment that is over has come to, for the last time; why there is nothing to store, or None."""
    with Rolling(url) as rolling:
        return rolling.one(old.live_id, anew=True)


def _called(old: Old) -> str:
    return f"{old.name} ({old.live_id})"


def _why_not(old: Old, *, running_too: bool) -> str | None:
    if not old.summed:
        return f"only mode split keeps sums by unit; without these {old.trials:,} trials its analysis would be another one: they stay"
    if old.running:
        why = f"it runs, or was stopped a moment ago, and its verdict needs these {old.trials:,} trials: stop it, or give --running"
        return None if running_too else why
    if old.needed_by and not running_too:
        names = ", ".join(map(repr, old.needed_by))
        return (
            f"{names} began while it ran, and its effect takes off what the same users did in these {old.trials:,} trials (CUPED): stop and "
            "close that one first (db retention on it), or give --running"
        )
    if not old.concluded:
        return f"what it has come to is not stored yet ({old.trials:,} trials): run ragtrial roll-up first"
    return None


def days_of(text: str) -> float:
    """Days, as in `180d`.

    Raises:
        InputError: It is no number of days.
    """
    try:
        days = float(text.strip().removesuffix("d"))
    except ValueError:
        days = float("nan")
    if not 0 < days < float("inf"):
        raise InputError(f"--keep is {text!r}: give days, as in 180d")
    return days
