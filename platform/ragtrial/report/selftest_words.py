"""A self-test in words: the same for the terminal, Markdown and HTML."""

import dataclasses
from typing import Any

from ragtrial.domain.selftest import N_RATES, SELF_TEST_LEVEL, NullRuns, Rate, SelfTest, Tried
from ragtrial.report import words

HEADINGS = ("fault", "caught by", "after", "what you would read")
NULL_HEADINGS = ("A/A", "runs", "false verdicts", "refused for nothing", "stopped for nothing", "one-look test, peeked")
DESIGNS = {"live": "live (split)", "paired": "offline (paired)"}
HOW = (
    "A/A runs draw from the trials that the control and an evaluation of two models logged here, and go through the whole chain: "
    "assignment by hash (live) or pairs (offline), SQL, scores, reader, analysis, verdict. Intervals are exact (Clopper and Pearson), 95 %. "
    f"A rate fails from the count on that an exact binomial test at {SELF_TEST_LEVEL / N_RATES:.1%} shows to be above what is allowed; so where "
    f"all {N_RATES} rates are exactly what is allowed, at most {SELF_TEST_LEVEL:.0%} of self-tests fail."
)


def heading(found: SelfTest) -> str:
    """Whether it is in order, in one sentence."""
    missed = found.missed
    if not missed:
        n_caught, few = len(found.tried) - len(found.untold), ", ".join(found.untold)
        untold = f" Too little was asked to tell of: {few}." if few else ""
        return f"Caught: {n_caught} of {len(found.tried)} planted faults; the experiment without a fault raised nothing.{untold}"
    return f"Not in order: {', '.join(missed)}."


def where(found: SelfTest) -> str:
    """Where it ran, from which seed, and how long it took."""
    sql, milvus = found.stores
    return f"Simulated on {sql} and {milvus}, seed {found.seed}, in {found.seconds:.0f} s; its scratch data are removed."


def rows(found: SelfTest) -> list[tuple[str, str, str, str]]:
    """Each fault, and the control last."""
    control = found.control
    raised = "NOTHING MAY BE RAISED: " + "; ".join(control.alarms) if control.alarms else f"nothing is raised; {control.sentence}"
    last = (
        "none (control)",
        "every guard, at every look",
        f"{words.count(control.asked, 'query', 'queries')}, {control.looks} looks",
        raised,
    )
    return [*(_row(each) for each in found.tried), last]


def _row(tried: Tried) -> tuple[str, str, str, str]:
    planted = f"{tried.fault.name}: {tried.fault.planted}"
    if not tried.told:
        return planted, f"not told: {tried.fault.guard}", f"not in {tried.asked:,} {tried.counted}", tried.also
    if tried.sentence is None:
        also = f" ({tried.also})" if tried.also else ""
        return planted, f"NOT CAUGHT by {tried.fault.guard}", f"never, in {tried.asked:,} {tried.counted}", f"nothing of it{also}"
    return planted, tried.fault.guard, after(tried), f"{tried.sentence} ({tried.also})" if tried.also else tried.sentence


def after(tried: Tried) -> str:
    """After how much it was caught."""
    if tried.after is None:
        return "never"
    return "at once" if tried.after == 0 else f"{tried.after:,} {tried.counted}"


def null_rows(found: SelfTest) -> list[tuple[str, ...]]:
    """False alarms of each design."""
    return [_null_row(each) for each in found.null_runs]


def _null_row(runs: NullRuns) -> tuple[str, ...]:
    stopped = words.NOTHING if runs.stopped is None else rate(runs.stopped)
    return (
        DESIGNS[runs.design],
        f"{runs.verdicts.of:,}",
        f"{rate(runs.verdicts)}, {runs.alpha:.0%} allowed, fails from {runs.verdicts.fails_from:,} on",
        rate(runs.refused),
        stopped,
        rate(runs.naive),
    )


def rate(found: Rate) -> str:
    """`3 (0.3 % [0.1 %, 0.9 %])`."""
    return f"{found.n:,} ({found.n / found.of:.1%} [{found.low:.1%}, {found.high:.1%}])"


def as_dict(found: SelfTest) -> dict[str, Any]:
    """All of it as plain values, for JSON."""
    content = dataclasses.asdict(found)
    for row, tried in zip(content["tried"], found.tried, strict=True):
        row["caught"] = tried.caught
    for row, runs in zip(content["null_runs"], found.null_runs, strict=True):
        row["ok"] = runs.ok
    return {"ok": not found.missed, "missed": list(found.missed), **content}
