"""The pictures of docs/explained.md, by simulation with ragtrial's own functions: `make docs-images`.

Seeds are fixed. Beside the pictures stands `numbers.json` with every figure that the page quotes; a test holds the page to it.
"""

import json
import sys
from pathlib import Path

import altair as alt
import numpy as np
import pandas as pd
from scipy import stats

from ragtrial.stats.confidence_sequence import half_width
from ragtrial.stats.noninferiority import non_inferiority
from ragtrial.stats.paired import paired_t
from ragtrial.stats.power import queries_for
from ragtrial.stats.prediction_powered import Labels, corrected_mean
from ragtrial.stats.srm import sample_ratio

BLUE, ORANGE, GREY = "#0072B2", "#D55E00", "#777777"
ALPHA = 0.05
SEED = 7
Numbers = dict[str, float]


def main(folder: Path) -> None:
    """Draws all of them into the folder."""
    folder.mkdir(parents=True, exist_ok=True)
    numbers: Numbers = {}
    for draw in (pairing, peeking, clusters, regions, power, split, judge):
        chart, found = draw(np.random.default_rng(SEED))
        numbers |= {f"{draw.__name__}: {name}": value for name, value in found.items()}
        themed = (
            chart.configure(background="white", font="sans-serif")
            .configure_axis(grid=False, labelFontSize=12, titleFontSize=12)
            .configure_legend(labelFontSize=12)
            .configure_view(strokeWidth=0)
        )
        themed.save(str(folder / f"{draw.__name__}.svg"))
    (folder / "numbers.json").write_text(json.dumps(numbers, indent=1) + "\n", encoding="utf-8")


def pairing(rng: np.random.Generator) -> tuple[alt.Chart, Numbers]:
    """The same experiment forty times, with and without knowing which scores belong to one query."""
    n, effect = 150, 0.04
    rows, found = [], {"paired": 0, "unpaired": 0}
    for run in range(1000):
        difficulty = rng.normal(0.5, 0.3, n)
        control, treatment = difficulty + rng.normal(0, 0.1, n), difficulty + effect + rng.normal(0, 0.1, n)
        fit = paired_t(treatment - control, alpha=ALPHA)
        welch = stats.ttest_ind(treatment, control, equal_var=False).confidence_interval(1 - ALPHA)
        for kind, low, high in (("paired", fit.low, fit.high), ("unpaired", float(welch.low), float(welch.high))):
            found[kind] += low > 0
            if run < 40:
                rows.append({"run": run, "kind": kind, "low": low, "high": high, "sees the gain": "yes" if low > 0 else "no"})
    chart = _intervals(rows, "run", truth=effect).facet(column=alt.Column("kind:N", title=None))
    return chart, {f"{kind} sees the gain, %": round(100 * count / 1000) for kind, count in found.items()}


def _intervals(rows: list[dict[str, object]], by: str, *, truth: float) -> alt.LayerChart:
    data = pd.DataFrame(rows)
    colour = alt.Color(
        "sees the gain:N", scale=alt.Scale(domain=["yes", "no"], range=[BLUE, ORANGE]), title="excludes 0", legend=alt.Legend(orient="top")
    )
    bars = (
        alt.Chart(data)
        .mark_rule(strokeWidth=2)
        .encode(x=alt.X("low:Q", title="difference, 95 % interval"), x2="high:Q", y=alt.Y(f"{by}:O", axis=None), color=colour)
    )
    lines = alt.Chart(data).mark_rule(color="black").encode(x=alt.datum(0)) + alt.Chart(data).mark_rule(
        color=GREY, strokeDash=[4, 3]
    ).encode(x=alt.datum(truth))
    return (bars + lines).properties(width=230, height=260)


def peeking(rng: np.random.Generator) -> tuple[alt.Chart, Numbers]:
    """Equal arms, looked at again and again: who ever cries wolf?"""
    units, looks = 4000, np.arange(200, 4001, 200)
    scores = rng.normal(0, 1, (2000, units))
    sums, squares = scores.cumsum(axis=1)[:, looks - 1], (scores**2).cumsum(axis=1)[:, looks - 1]
    mean = sums / looks
    variance = (squares / looks - mean**2) * looks / (looks - 1)
    plain = np.abs(mean) > stats.t.ppf(1 - ALPHA / 2, looks - 1) * np.sqrt(variance / looks)
    always = np.abs(mean) > np.array(
        [[half_width(n, v, alpha=ALPHA, planned_units=units) for n, v in zip(looks, row, strict=True)] for row in variance]
    )
    ever = {
        name: 100 * np.maximum.accumulate(hit, axis=1).mean(axis=0)
        for name, hit in (("plain 95 % interval", plain), ("always-valid interval", always))
    }
    rows = [{"looks": k + 1, "kind": name, "share": share} for name, shares in ever.items() for k, share in enumerate(shares)]
    left = (
        alt.Chart(pd.DataFrame(rows))
        .mark_line(point=True)
        .encode(
            x=alt.X("looks:Q", title="looks at the growing data"),
            y=alt.Y("share:Q", title="equal arms called different, %"),
            color=_two("kind", list(ever)),
        )
    )
    rule = alt.Chart(pd.DataFrame({"y": [5]})).mark_rule(strokeDash=[4, 3], color=GREY).encode(y="y:Q")
    worst = int(np.argmax(plain.sum(axis=1) * (~plain[:, -1]) * (~always.any(axis=1))))
    path = [
        {"units": int(n), "kind": name, "low": mean[worst, k] - half, "high": mean[worst, k] + half, "mean": mean[worst, k]}
        for k, n in enumerate(looks)
        for name, half in (
            ("plain 95 % interval", float(stats.t.ppf(1 - ALPHA / 2, n - 1) * np.sqrt(variance[worst, k] / n))),
            ("always-valid interval", float(half_width(n, variance[worst, k], alpha=ALPHA, planned_units=units))),
        )
    ]
    band = (
        alt.Chart(pd.DataFrame(path))
        .mark_area(opacity=0.3)
        .encode(x=alt.X("units:Q", title="users so far"), y=alt.Y("low:Q", title="difference"), y2="high:Q", color=_two("kind", list(ever)))
    )
    middle = alt.Chart(pd.DataFrame(path)).mark_line(color="black").encode(x="units:Q", y="mean:Q")
    zero = alt.Chart(pd.DataFrame({"y": [0]})).mark_rule().encode(y="y:Q")
    chart = (left + rule).properties(width=300, height=220) | (band + middle + zero).properties(width=300, height=220)
    return chart, {f"{name} after {len(looks)} looks, %": round(float(shares[-1]), 1) for name, shares in ever.items()}


def _two(field: str, names: list[str]) -> alt.Color:
    scale = alt.Scale(domain=names, range=[ORANGE, BLUE, GREY][: len(names)])
    return alt.Color(f"{field}:N", scale=scale, title=None, legend=alt.Legend(orient="top", labelLimit=300))


def clusters(rng: np.random.Generator) -> tuple[alt.Chart, Numbers]:
    """Five queries written from each of forty documents: equal arms, by how much a document's queries hang together."""
    labels = np.repeat(np.arange(40), 5)
    rows = []
    for share in (0.0, 0.1, 0.2, 0.4, 0.6):
        wrong = {"queries as if independent": 0, "clusters of a document": 0}
        for _ in range(500):
            differences = np.sqrt(share) * rng.normal(size=40)[labels] + np.sqrt(1 - share) * rng.normal(size=200)
            wrong["queries as if independent"] += paired_t(differences, alpha=ALPHA).p_value < ALPHA
            wrong["clusters of a document"] += paired_t(differences, alpha=ALPHA, clusters=labels).p_value < ALPHA
        rows += [{"icc": share, "kind": kind, "share": 100 * count / 500} for kind, count in wrong.items()]
    data = pd.DataFrame(rows)
    lines = (
        alt.Chart(data)
        .mark_line(point=True)
        .encode(
            x=alt.X("icc:Q", title="correlation of queries from one document"),
            y=alt.Y("share:Q", title="equal arms called different, %"),
            color=_two("kind", ["queries as if independent", "clusters of a document"]),
        )
    )
    rule = alt.Chart(pd.DataFrame({"y": [5]})).mark_rule(strokeDash=[4, 3], color=GREY).encode(y="y:Q")
    at = {row["kind"]: round(row["share"], 1) for row in rows if row["icc"] == 0.4}
    return (lines + rule).properties(width=420, height=220), {f"{kind}, correlation 0.4, %": value for kind, value in at.items()}


def _exactly(mean: float, sd: float, n: int) -> np.ndarray:
    """Values with just this mean and standard deviation."""
    values = np.linspace(-1, 1, n)
    return mean + sd * (values - values.mean()) / values.std(ddof=1)


def regions(_: np.random.Generator) -> tuple[alt.Chart, Numbers]:
    """What an interval must do for each verdict; and the same question turned round for a guardrail."""
    cases = {"adopt custom": 0.045, "undecided: 0 is inside": 0.020, "undecided: a worthwhile gain fits": -0.015, "keep baseline": -0.025}
    rows = [
        {"case": name, "low": fit.low, "high": fit.high, "e": fit.estimate}
        for name, e in cases.items()
        for fit in [paired_t(_exactly(e, 0.2, 200), alpha=ALPHA)]
    ]
    first = _forest(rows, [(0.0, "0"), (0.01, "min_effect")], "primary metric: difference")
    margins = {"holds": 0.005, "not shown": 0.02, "broken": 0.06}
    rows = [
        {"case": name, "low": fit.lower_bound, "high": fit.bound, "e": fit.estimate}
        for name, worse in margins.items()
        for fit in [non_inferiority(_exactly(worse, 0.12, 150), margin=0.03, alpha=ALPHA)]
    ]
    second = _forest(rows, [(0.03, "margin")], "guardrail: worse by, one-sided bounds")
    return alt.vconcat(first, second), {}


def _forest(rows: list[dict[str, object]], marks: list[tuple[float, str]], title: str) -> alt.LayerChart:
    data = pd.DataFrame(rows)
    y = alt.Y("case:N", sort=None, title=None, axis=alt.Axis(labelLimit=300, labelOverlap=False))
    bars = alt.Chart(data).mark_rule(strokeWidth=3, color=BLUE).encode(x=alt.X("low:Q", title=title), x2="high:Q", y=y)
    points = alt.Chart(data).mark_point(filled=True, size=70, color=BLUE).encode(x="e:Q", y=y)
    at = pd.DataFrame([{"x": x, "name": name} for x, name in marks])
    lines = alt.Chart(at).mark_rule(strokeDash=[4, 3], color=ORANGE).encode(x="x:Q")
    names = alt.Chart(at).mark_text(dy=-8, color=ORANGE, align="left").encode(x="x:Q", y=alt.value(0), text="name:N")
    return (bars + points + lines + names).properties(width=420, height=alt.Step(32))


def power(_: np.random.Generator) -> tuple[alt.Chart, Numbers]:
    """How many queries it takes to see a gain."""
    rows = [
        {
            "effect": float(effect),
            "queries": queries_for(float(effect), sd, alpha=ALPHA, power=0.8),
            "spread": f"differences spread by {sd}",
        }
        for sd in (0.1, 0.2, 0.3)
        for effect in np.geomspace(0.01, 0.1, 15)
    ]
    chart = (
        alt.Chart(pd.DataFrame(rows))
        .mark_line(point=True)
        .encode(
            x=alt.X(
                "effect:Q",
                title="true gain in nDCG@10",
                scale=alt.Scale(type="log", domain=[0.01, 0.1]),
                axis=alt.Axis(values=[0.01, 0.02, 0.05, 0.1]),
            ),
            y=alt.Y(
                "queries:Q",
                title="queries for 80 % power",
                scale=alt.Scale(type="log"),
                axis=alt.Axis(values=[20, 50, 100, 200, 500, 1000, 2000, 5000]),
            ),
            color=_two("spread", [f"differences spread by {sd}" for sd in (0.1, 0.2, 0.3)]),
        )
    )
    return chart.properties(width=420, height=240), {
        f"queries for {gain}": queries_for(gain, 0.2, alpha=ALPHA, power=0.8) for gain in (0.05, 0.02)
    }


def split(rng: np.random.Generator) -> tuple[alt.Chart, Numbers]:
    """A share of the treatment's exposures is lost on the way to the log: after how many users the test knows."""
    looks = np.arange(500, 20001, 500)
    rows, numbers = [], {}
    for lost in (0.0, 0.05, 0.1):
        fired = np.zeros(len(looks))
        for _ in range(300):
            kept = rng.binomial(500, 0.5 * (1 - lost) / (1 - 0.5 * lost), len(looks)).cumsum()
            alarm = [sample_ratio([int(n - k), int(k)], [0.5, 0.5]).p_value < 0.01 for n, k in zip(looks, kept, strict=True)]
            fired += np.maximum.accumulate(alarm)
        name = f"{lost:.0%} of treatment lost" if lost else "nothing lost"
        rows += [{"units": int(n), "kind": name, "share": 100 * count / 300} for n, count in zip(looks, fired, strict=True)]
        numbers[f"{name}, alarms after 20,000 users, %"] = round(100 * float(fired[-1]) / 300, 1)
        if fired[-1] == 300:
            numbers[f"{name}, half of the experiments alarmed by, users"] = int(looks[fired >= 150][0])
    names = ["10% of treatment lost", "nothing lost", "5% of treatment lost"]
    chart = (
        alt.Chart(pd.DataFrame(rows))
        .mark_line()
        .encode(
            x=alt.X("units:Q", title="users, a look every 500"),
            y=alt.Y("share:Q", title="experiments alarmed so far, %"),
            color=_two("kind", names),
        )
    )
    return chart.properties(width=420, height=220), numbers


def judge(rng: np.random.Generator) -> tuple[alt.Chart, Numbers]:
    """A lenient judge scores 400 answers, people label 80 of them at random."""
    truth, rows, covered = 0.6, [], {"judge alone": 0, "corrected by 80 labels": 0}
    for run in range(500):
        human = np.clip(rng.normal(truth, 0.2, 400), 0, 1)
        judged = np.clip(human + 0.08 + rng.normal(0, 0.1, 400), 0, 1)
        labelled = rng.choice(400, 80, replace=False)
        alone = paired_t(judged, alpha=ALPHA)
        fixed = corrected_mean(judged, Labels(rows=labelled, values=human[labelled]), alpha=ALPHA)
        for kind, low, high in (("judge alone", alone.low, alone.high), ("corrected by 80 labels", fixed.low, fixed.high)):
            covered[kind] += low <= truth <= high
            if run < 30:
                rows.append({"run": run, "kind": kind, "low": low, "high": high})
    data = pd.DataFrame(rows)
    bars = (
        alt.Chart(data)
        .mark_rule(strokeWidth=2)
        .encode(
            x=alt.X("low:Q", title="mean score, 95 % interval", scale=alt.Scale(zero=False)),
            x2="high:Q",
            y=alt.Y("run:O", axis=None),
            color=_two("kind", list(covered)),
        )
    )
    line = alt.Chart(pd.DataFrame({"x": [truth]})).mark_rule(strokeDash=[4, 3]).encode(x="x:Q")
    return (bars + line).properties(width=420, height=240), {
        f"{kind} covers what people say, %": round(100 * count / 500, 1) for kind, count in covered.items()
    }


if __name__ == "__main__":
    main(Path(sys.argv[1] if len(sys.argv) > 1 else Path(__file__).resolve().parents[1] / "images" / "explained"))
