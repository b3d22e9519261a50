"""What a training came to, in words and a small picture of its curve."""

from collections.abc import Mapping, Sequence
from typing import Any

from ragtrial.finetuning.model_card import licence_of
from ragtrial.finetuning.registry import RegisteredModel
from ragtrial.finetuning.watching import DEV_METRIC, TRAIN_METRIC

_BARS = "▁▂▃▄▅▆▇█"
_WIDTH = 40


def describe(model: RegisteredModel, *, own: str | None = None) -> list[str]:
    """What a training came to, in some lines.

    Args:
        model: What was registered.
        own: The licence that its owner gave it; None: those of the data and of the base hold.
    """
    lineage = model.lineage
    pairs, dev, training = lineage["pairs"], lineage["dev"], lineage["training"]
    refused = ", ".join(f"{n} because {reason}" for reason, n in pairs["refused"].items()) or "none"
    lines = [
        f"registered registry:{model.name}@{model.version} in {model.folder}",
        *(f"warning: {warning}" for warning in lineage.get("warnings", ())),
        f"{pairs['used']:,} pairs used, refused: {refused}; {lineage['seconds']:.0f} s",
        *(f"  refused: {example}" for example in pairs["examples"]),
        f"method {lineage['method']}, loss {training['loss']}, {training['device']} {training['precision']}, seed {lineage['seed']}",
        *_counted(lineage),
        *_search(lineage),
        *curve_lines(lineage["curve"], kept=training["kept_step"]),
        *_stopped(lineage),
    ]
    if dev["before"] is not None and dev["after"] is not None:
        lines.append(
            f"dev {dev['metric']} {dev['before']:.4f} -> {dev['after']:.4f} ({dev['n_queries']} queries; the verdict needs the test split)"
        )
    else:
        lines.append(f"dev {dev['metric']} was not measured: {dev['reason']}")
    if training["kept_step"] == 0:
        lines.append("nothing was learnt: no checkpoint scored as high as the base on the dev queries, so this version is the base itself")
    lines.append(lineage["overfitting"])
    licence = licence_of(lineage, own)
    return [*lines, f"licence: {licence}"] if licence else lines


def _counted(lineage: Mapping[str, Any]) -> list[str]:
    """Negatives mined, and what became of them."""
    lines = []
    mining, counts = lineage.get("mining"), lineage["training"]["examples"]
    if mining:
        lines.append(
            f"{mining['negatives']:,} negatives ({mining['per_pair']} a pair asked for, from {mining['passages']:,} passages), "
            f"{mining['pairs_without']:,} pairs without one, {mining['too_near']:,} candidates left out as too near"
        )
    if lineage["pairs"].get("negatives_refused"):
        lines.append(
            f"{lineage['pairs']['negatives_refused']:,} negatives of the files refused: relevant in the gold set, or of a document that answers a gold query"
        )
    if counts:
        lines.append("examples: " + ", ".join(f"{n:,} {what}" for what, n in counts.items()))
    return lines


def _search(lineage: Mapping[str, Any]) -> list[str]:
    found = lineage.get("search")
    if not found:
        return []
    lines = [f"search: {found['sentence']}"]
    for number, row in enumerate(found["trials"]):
        score = "no score" if row[DEV_METRIC] is None else f"{DEV_METRIC} {row[DEV_METRIC]:.4f}"
        said = ", ".join(f"{name} {value:.3g}" for name, value in row.items() if name not in (DEV_METRIC, "result", "seconds", "why"))
        why = f": {row['why']}" if "why" in row else ""
        lines.append(f"  trial {number}: {said}: {score} ({row['result']}, {row['seconds']:.0f} s){why}")
    return lines


def curve_lines(curve: Sequence[Mapping[str, float]], *, kept: int) -> list[str]:
    """The loss as a row of bars, and a line for each evaluation.

    Args:
        curve: Of a lineage.
        kept: The step whose weights were kept.
    """
    losses = [point["loss"] for point in curve if "loss" in point]
    lines = [f"loss {losses[0]:.3f} {sparkline(losses)} {losses[-1]:.3f}"] if losses else []
    evaluated = [point for point in curve if DEV_METRIC in point]
    if len(evaluated) > _WIDTH // 2:
        scores = [point[DEV_METRIC] for point in evaluated]
        score = next((point[DEV_METRIC] for point in evaluated if point["step"] == kept), None)
        chosen = "" if score is None else f", kept is step {kept:,} with {score:.4f}"
        return [*lines, f"dev {DEV_METRIC} {scores[0]:.4f} {sparkline(scores)} {scores[-1]:.4f} ({len(evaluated)} evaluations{chosen})"]
    for point in evaluated:
        beside = f", training queries {point[TRAIN_METRIC]:.4f}" if TRAIN_METRIC in point else ""
        mark = "  <- kept" if point["step"] == kept else ""
        lines.append(f"  step {int(point['step']):>6,}: dev {DEV_METRIC} {point[DEV_METRIC]:.4f}{beside}{mark}")
    return lines


def _stopped(lineage: Mapping[str, Any]) -> list[str]:
    """Where a training ended before its time, when and why."""
    training, patience = lineage["training"], lineage["settings"].get("patience")
    if training["steps"] >= training["planned_steps"]:
        return []
    why = f"{patience} evaluations in a row brought no higher dev score (training.patience)"
    if lineage["method"] == "linear-adapter":
        epochs = lineage["settings"]["adapter"]["epochs"]
        done = round(epochs * training["steps"] / training["planned_steps"])
        return [f"stopped early, after {done:,} of at most {epochs:,} epochs ({training['steps']:,} steps): {why}"]
    return [f"stopped early, after {training['steps']:,} of {training['planned_steps']:,} steps: {why}"]


def sparkline(values: Sequence[float]) -> str:
    """At most `_WIDTH` bars between the least and the greatest value; of more values every so-manieth."""
    shown = [values[round(n * (len(values) - 1) / max(1, min(len(values), _WIDTH) - 1))] for n in range(min(len(values), _WIDTH))]
    low, high = min(shown), max(shown)
    return "".join(_BARS[round((value - low) / (high - low) * (len(_BARS) - 1))] if high > low else _BARS[0] for value in shown)
