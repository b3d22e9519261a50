"""A small search for settings, by dev nDCG@10 and within a time that is kept. Imported only where something is searched.

Tree-structured Parzen estimator (Bergstra et al. 2011) with median pruning, by optuna. What was tried is on disk: a search that was
killed goes on with the trial that it was in.
"""

import contextlib
import dataclasses
import time
import warnings
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import optuna

from ragtrial.contracts import Progress, no_progress
from ragtrial.domain.training import SearchSpec, TrainingSpec
from ragtrial.errors import InputError, ModelError
from ragtrial.finetuning.watching import DEV_METRIC, Watch

Attempt = Callable[[TrainingSpec, Progress, Callable[[Watch], None]], float]
"""Trains with these settings, tells steps and evaluations, and gives the dev score of what it would keep."""

_STARTUP = 3
"""Trials before the first is guided by earlier ones, or pruned."""

_RANGE = 5.0
"""The learning rate is looked for from a fifth of the given one to five times as much."""

_SECONDS, _RESULT, _WHY = "seconds", "result", "why"
_DONE, _PRUNED, _LATE, _FAILED = "finished", "pruned", "out of time", "failed"


class _OutOfTimeError(Exception):
    """The time of the search is over in the middle of a trial."""


@dataclass(frozen=True, kw_only=True)
class Found:
    """What a search came to.

    Attributes:
        spec: The settings to train with.
        trials: One row for each trial: settings, result, dev score (None where it has none), seconds.
        sentence: What was chosen, and why.
    """

    spec: TrainingSpec
    trials: tuple[Mapping[str, Any], ...]
    sentence: str


def search(
    spec: TrainingSpec,
    *,
    limits: SearchSpec,
    attempt: Attempt,
    n_pairs: int,
    folder: Path,
    progress: Progress = no_progress,
    clock: Callable[[], float] = time.monotonic,
) -> Found:
    """Try settings until the time or the number of trials is used up, and take the best.

    The first trial is that of the given settings. A trial that would take longer than what is left, as earlier ones tell, isn't begun;
    one that does all the same is broken off. One that can't be trained (its loss diverges, its batches need more memory or more examples
    than there are) has failed, and the search goes on. Varied are the learning rate, epochs, batch size and, where negatives are mined, how many.

    Args:
        spec: The settings to start from.
        limits: Minutes and trials.
        attempt: Trains.
        n_pairs: Of the training.
        folder: Where the trials are written down; of this search alone.
        progress: Told of the trials.
        clock: Seconds.

    Raises:
        MissingExtraError: What the method needs is not installed.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with _quiet():
        study = optuna.create_study(
            storage=f"sqlite:///{(folder / 'search.db').as_posix()}",
            study_name="search",
            direction="maximize",
            load_if_exists=True,
            pruner=optuna.pruners.MedianPruner(n_startup_trials=_STARTUP),
        )
        _take_up(study, spec)
        advance, why = progress("search settings", limits.trials), "all trials were made"
        advance(len(_results(study)))
        while len(_results(study)) < limits.trials:
            study.sampler = optuna.samplers.TPESampler(seed=spec.seed + len(_results(study)), n_startup_trials=_STARTUP)
            trial = study.ask()
            candidate = _suggested(trial, spec, n_pairs)
            left = limits.minutes * 60 - _spent(study)
            if left <= 0 or (_expected(study, candidate) or 0.0) > left:
                study.tell(trial, state=optuna.trial.TrialState.FAIL)
                why = f"the next trial would not have ended within {limits.minutes:g} minutes"
                break
            if _try(study, trial, candidate, attempt=attempt, left=left, clock=clock) == _LATE:
                why = f"{limits.minutes:g} minutes were over"
                break
            advance(1)
        return _found(study, spec, why)


def _take_up(study: optuna.Study, spec: TrainingSpec) -> None:
    """Begin with the given settings, or go on with the trial that was killed."""
    if not study.trials:
        study.enqueue_trial(_settings(spec))
    for trial in study.trials:
        if trial.state == optuna.trial.TrialState.RUNNING:
            study.tell(trial.number, state=optuna.trial.TrialState.FAIL)
            if trial.params:
                study.enqueue_trial(trial.params)


def _try(
    study: optuna.Study,
    trial: optuna.Trial,
    candidate: TrainingSpec,
    *,
    attempt: Attempt,
    left: float,
    clock: Callable[[], float],
) -> str:
    """One trial, with what it came to."""
    start = clock()

    def spend() -> None:
        """Write down what it took, so that a kill doesn't give it back."""
        trial.set_user_attr(_SECONDS, round(clock() - start, 2))

    def watched(description: str, total: int) -> Callable[[int], None]:
        del description, total

        def advance(_done: int) -> None:
            if clock() - start > left:
                raise _OutOfTimeError

        return advance

    def seen(watch: Watch) -> None:
        spend()
        scores = [point[DEV_METRIC] for point in watch.curve if DEV_METRIC in point]
        trial.report(scores[-1], len(scores))
        if trial.should_prune():
            raise optuna.TrialPruned

    result, value = _DONE, None
    try:
        value = attempt(candidate, watched, seen)
    except optuna.TrialPruned:
        result = _PRUNED
    except _OutOfTimeError:
        result = _LATE
    except (ModelError, InputError) as error:
        result = _FAILED
        trial.set_user_attr(_WHY, str(error))
    spend()
    trial.set_user_attr(_RESULT, result)
    states = {_DONE: optuna.trial.TrialState.COMPLETE, _PRUNED: optuna.trial.TrialState.PRUNED}
    study.tell(trial, value, state=states.get(result, optuna.trial.TrialState.FAIL))
    return result


def _settings(spec: TrainingSpec) -> dict[str, Any]:
    """What is varied, as given."""
    found: dict[str, Any] = {
        "learning_rate": spec.lora.learning_rate if spec.method == "lora" else spec.learning_rate,
        "epochs": spec.epochs,
        "batch_size": spec.batch_size,
    }
    if spec.method == "linear-adapter":
        found |= {"learning_rate": spec.adapter.learning_rate, "epochs": spec.adapter.epochs, "batch_size": spec.adapter.batch_size}
    if spec.mining.per_pair:
        found["per_pair"] = spec.mining.per_pair
    return found


def _suggested(trial: optuna.Trial, spec: TrainingSpec, n_pairs: int) -> TrainingSpec:
    own = _settings(spec)
    rate = trial.suggest_float("learning_rate", own["learning_rate"] / _RANGE, own["learning_rate"] * _RANGE, log=True)
    epochs = trial.suggest_int("epochs", 1, 2 * own["epochs"])
    batches = (own["batch_size"] // 2, own["batch_size"], own["batch_size"] * 2)
    sizes = sorted({size for size in batches if size == own["batch_size"] or 2 <= size <= n_pairs})
    batch = trial.suggest_categorical("batch_size", sizes)
    changes: dict[str, Any] = {}
    if "per_pair" in own:
        changes["mining"] = dataclasses.replace(spec.mining, per_pair=trial.suggest_int("per_pair", 1, own["per_pair"]))
    match spec.method:
        case "lora":
            changes |= {"lora": dataclasses.replace(spec.lora, learning_rate=rate), "epochs": epochs, "batch_size": batch}
        case "linear-adapter":
            changes["adapter"] = dataclasses.replace(spec.adapter, learning_rate=rate, epochs=epochs, batch_size=batch)
        case _:
            changes |= {"learning_rate": rate, "epochs": epochs, "batch_size": batch}
    return dataclasses.replace(spec, **changes)


def _results(study: optuna.Study) -> list[optuna.trial.FrozenTrial]:
    """Trials that came to an end of their own."""
    return [trial for trial in study.trials if trial.user_attrs.get(_RESULT) in (_DONE, _PRUNED, _FAILED)]


def _spent(study: optuna.Study) -> float:
    return float(sum(trial.user_attrs.get(_SECONDS, 0.0) for trial in study.trials))


def _expected(study: optuna.Study, candidate: TrainingSpec) -> float | None:
    """Seconds, by the slowest epoch of the finished trials; None before the first."""
    paces = [trial.user_attrs[_SECONDS] / trial.params["epochs"] for trial in study.trials if trial.user_attrs.get(_RESULT) == _DONE]
    return max(paces) * int(_settings(candidate)["epochs"]) if paces else None


def _found(study: optuna.Study, spec: TrainingSpec, why: str) -> Found:
    rows = tuple(
        {
            **trial.params,
            "result": trial.user_attrs[_RESULT],
            **({_WHY: trial.user_attrs[_WHY]} if _WHY in trial.user_attrs else {}),
            DEV_METRIC: trial.value if trial.user_attrs[_RESULT] == _DONE else None,
            "seconds": trial.user_attrs[_SECONDS],
        }
        for trial in study.trials
        if _RESULT in trial.user_attrs
    )
    finished = [trial for trial in study.trials if trial.user_attrs.get(_RESULT) == _DONE]
    tried = f"{len(rows)} trials in {_spent(study):.0f} s ({why})"
    if not finished:
        return Found(spec=spec, trials=rows, sentence=f"no trial was finished, so the given settings are used: {tried}")
    best = max(finished, key=lambda trial: (trial.value, -trial.number))
    chosen = _suggested_as(best.params, spec)
    said = ", ".join(f"{name} {value:.3g}" for name, value in best.params.items())
    own = next((trial.value for trial in finished if trial.params == _settings(spec)), None)
    beside = "" if own is None or best.params == _settings(spec) else f", the given settings {own:.4f}"
    return Found(
        spec=chosen,
        trials=rows,
        sentence=f"chosen: {said} (dev {DEV_METRIC} {best.value:.4f}{beside}); {tried}; as the best of {len(finished)} on the same dev "
        "queries its score is optimistic",
    )


def _suggested_as(params: Mapping[str, Any], spec: TrainingSpec) -> TrainingSpec:
    fixed = optuna.trial.FixedTrial(dict(params))
    return _suggested(fixed, spec, n_pairs=max(2, params["batch_size"] * 2))


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    verbosity = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
            yield
    finally:
        optuna.logging.set_verbosity(verbosity)
