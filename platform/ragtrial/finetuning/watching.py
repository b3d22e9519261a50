"""What is seen of a training: its curve, the checkpoint to keep, and whether it overfits."""

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

DEV_METRIC = "nDCG@10"
TRAIN_METRIC = "train nDCG@10"
"""The key of a curve's point for the sample of training queries; the dev score stands under `DEV_METRIC`."""

_Z = 1.96


@dataclass(frozen=True, kw_only=True)
class Scores:
    """One evaluation, query by query.

    Attributes:
        dev: Of each dev query, shape (n_dev,).
        train: Of each training query in the sample, shape (n_train,); empty where none are watched.
    """

    dev: NDArray[np.float64]
    train: NDArray[np.float64]


@dataclass(kw_only=True)
class Watch:
    """What was seen of a training so far; saved with each checkpoint.

    Attributes:
        curve: `{"step", "loss"}` or `{"step", "nDCG@10", "train nDCG@10"}`, in order.
        before: Dev nDCG@10 before the first step; None without a dev set.
        best: Best dev scores so far, one for each query.
        best_step: The last step with the best score, for of two that score alike the later has seen more; 0 is the base model.
        kept_step: Whose weights are kept: `best_step`.
        without_gain: Evaluations since the score rose last.
        first: Dev and training scores of the base, query by query.
        last: Dev scores of the last evaluation, query by query.
        gaps: By how much more the training queries gained than the dev queries: `{"step", "gap", "error"}`, the error a standard error.
    """

    curve: list[dict[str, float]] = field(default_factory=list)
    before: float | None = None
    best: list[float] = field(default_factory=list)
    best_step: int = 0
    kept_step: int = 0
    without_gain: int = 0
    first: dict[str, list[float]] = field(default_factory=dict)
    last: list[float] = field(default_factory=list)
    gaps: list[dict[str, float]] = field(default_factory=list)

    def see(self, step: int, scores: Sequence[float], train: Sequence[float] = ()) -> None:
        """Take in an evaluation of the dev queries and, where they are watched, of training queries."""
        values, best = np.asarray(scores, dtype=np.float64), np.asarray(self.best)
        self.curve.append({"step": step, DEV_METRIC: float(values.mean()), **({TRAIN_METRIC: float(np.mean(train))} if len(train) else {})})
        self.last = values.tolist()
        if step == 0:
            self.before, self.best, self.first = float(values.mean()), values.tolist(), {"dev": values.tolist(), "train": list(train)}
            return
        if values.mean() > best.mean():
            self.best, self.best_step, self.kept_step, self.without_gain = values.tolist(), step, step, 0
        else:
            self.without_gain += 1
            if values.mean() == best.mean():
                self.best, self.best_step, self.kept_step = values.tolist(), step, step
        self._see_gap(step, values, np.asarray(train, dtype=np.float64))

    def _see_gap(self, step: int, dev: NDArray[np.float64], train: NDArray[np.float64]) -> None:
        if min(len(train), len(dev)) < 2:
            return
        gains = [train - np.asarray(self.first["train"]), dev - np.asarray(self.first["dev"])]
        error = float(np.sqrt(sum(gain.var(ddof=1) / len(gain) for gain in gains)))
        self.gaps.append({"step": step, "gap": float(gains[0].mean() - gains[1].mean()), "error": error})

    def score_at(self, step: int, metric: str = DEV_METRIC) -> float | None:
        """A score at a step; None where it wasn't evaluated."""
        return next((point[metric] for point in self.curve if point["step"] == step and metric in point), None)


def is_near(values: NDArray[np.float64], best: NDArray[np.float64]) -> bool:
    """Whether scores are within one standard error of the best ones, paired by query: a fall that is less may be noise.

    Args:
        values: Scores of one checkpoint, shape (n,), n at least 2.
        best: Scores of the best one on the same queries.
    """
    deficit = best - values
    error = deficit.std(ddof=1) / np.sqrt(len(deficit))
    return bool(deficit.mean() <= error)


def overfitting(watch: Watch) -> str:
    """A sentence on whether the training queries and the dev queries come apart, or why that isn't known.

    Two signs: after the best evaluation the dev scores fell by more than one standard error while those of the training queries rose; or,
    at the kept step, the training queries have gained more than the dev queries, by an interval that excludes 0 (the normal
    approximation; queries are taken for independent). The second is usual for a model that has seen those very queries: it says how
    little the training score tells about new ones.
    """
    if not watch.gaps:
        return "overfitting was not watched: there are no dev queries to put beside the training queries"
    parts = [part for part in (_decline(watch), _gap(watch)) if part is not None]
    return "; ".join(parts)


def _decline(watch: Watch) -> str | None:
    steps = [int(point["step"]) for point in watch.curve if TRAIN_METRIC in point]
    best, last = watch.best_step, steps[-1]
    train = watch.score_at(best, TRAIN_METRIC), watch.score_at(last, TRAIN_METRIC)
    dev = watch.score_at(best), watch.score_at(last)
    if train[0] is None or train[1] is None or dev[0] is None or dev[1] is None:
        return None
    if last <= best or train[1] <= train[0] or is_near(np.asarray(watch.last), np.asarray(watch.best)):
        return None
    return (
        f"overfitting after step {best}: {DEV_METRIC} of training queries rose from {train[0]:.3f} to {train[1]:.3f} while that of dev "
        f"queries fell from {dev[0]:.3f} to {dev[1]:.3f}; kept is step {watch.kept_step}"
    )


def _gap(watch: Watch) -> str | None:
    found = next((gap for gap in watch.gaps if gap["step"] == watch.kept_step), None)
    if found is None:
        return "the base was kept, so nothing is overfitted"
    low, high = found["gap"] - _Z * found["error"], found["gap"] + _Z * found["error"]
    gained = [
        (watch.score_at(watch.kept_step, metric) or 0.0) - (watch.score_at(0, metric) or 0.0) for metric in (TRAIN_METRIC, DEV_METRIC)
    ]
    said = f"training queries gained {gained[0]:+.3f} and dev queries {gained[1]:+.3f} {DEV_METRIC} (difference {found['gap']:.3f}, "
    said += f"95 % interval {low:.3f} to {high:.3f})"
    if low > 0:
        return f"{said}: part of what was learnt doesn't carry over to new queries"
    return f"{said}: no sign of overfitting"
