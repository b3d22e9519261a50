"""Drift in words and pictures: titles state what was found, and what was not measured is said and not drawn."""

import dataclasses
from xml.etree import ElementTree as ET

import numpy as np
import pytest

from ragtrial.analysis.drift import DriftSignal, drift_signals, windows_of
from ragtrial.domain.live_drift import DriftName
from ragtrial.report import drift_words
from ragtrial.report.drawing import DARK, LIGHT, Look, Spec
from ragtrial.report.drift_charts import drift_over_time
from ragtrial.report.svg import svg_of
from unit.drifting import ARMS, BEGIN, Change, days_of, longer, missing, sample

NAMES = {"baseline": "baseline", "custom": "ours (custom)"}


def headline(signals: tuple[DriftSignal, ...]) -> str:
    return drift_words.headline(drift_words.findings(signals, NAMES))


def finding_of(name: DriftName, **changes: Change | None) -> drift_words.Finding:
    return next(each for each in drift_words.findings(days_of(sample(per_day=1_000, **changes)), NAMES) if each.name == name)


def drawn(signals: tuple[DriftSignal, ...], look: Look = LIGHT) -> Spec:
    return drift_over_time(signals, arms=("baseline", "custom"), names=NAMES, look=look)


def texts(spec: Spec) -> str:
    return " ".join(ET.fromstring(svg_of(spec, prefix="x")).itertext())  # noqa: S314 - our own SVG


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({}, "No drift beyond chance in 14 days"),
        ({"query_length": longer(6)}, "Queries have become 0.6 standard deviations longer in both arms since 8 Oct"),
        ({"query_length": longer(-10, arm=1)}, "Queries have become 1.0 standard deviation shorter in ours (custom) since 8 Oct"),
        ({"query_length": longer(9, since=3, until=5)}, "Queries were 0.9 standard deviations longer in both arms from 4 Oct to 5 Oct"),
        (
            {"similarity": lambda v, day, _: v - 0.07 * (day >= 9)},
            "The best passage's similarity has fallen by 0.7 standard deviations in both arms since 10 Oct",
        ),
    ],
)
def test_the_title_states_the_largest_drift(changes: dict[str, Change], said: str) -> None:
    assert headline(days_of(sample(per_day=1_000, **changes))) == said


def test_shares_are_said_in_percent() -> None:
    found = finding_of("in_gold", in_gold=lambda v, day, _: np.where((day >= 7) & (np.arange(v.size) % 2 == 0), 0.0, v))
    assert found.said.startswith("Queries of the gold set have become rarer (3")
    assert "% → 1" in found.said
    assert found.said.endswith("% ) in both arms since 8 Oct".replace(" )", ")"))


def test_arms_that_go_different_ways_are_told_apart() -> None:
    opposite = lambda v, day, arm: v + np.where(arm == 0, 8, -12) * (day >= 7)  # noqa: E731
    found = finding_of("query_length", query_length=opposite)
    assert found.said == (
        "Queries have become 1.2 standard deviations shorter in ours (custom) since 8 Oct; "
        "queries have become 0.8 standard deviations longer in baseline since 8 Oct"
    )


def test_what_goes_on_is_the_title_and_the_rest_is_named_below_it() -> None:
    found = drift_words.findings(
        days_of(sample(per_day=1_000, query_length=longer(20, since=3, until=5), similarity=lambda v, day, _: v - 0.06 * (day >= 9))), NAMES
    )
    assert drift_words.headline(found).startswith("The best passage's similarity has fallen")
    assert drift_words.others(found) == "Also: queries were 2.0 standard deviations longer in both arms from 4 Oct to 5 Oct."


def test_without_drift_nothing_else_is_named() -> None:
    found = drift_words.findings(days_of(sample()), NAMES)
    assert drift_words.others(found) is None
    assert {each.said for each in found} == {
        "Similarity of the best passage: no drift beyond chance",
        "Query length: no drift beyond chance",
        "Queries of the gold set: no drift beyond chance",
        "Abstentions: no drift beyond chance",
    }


def test_a_difference_that_is_beyond_chance_and_tiny_is_no_drift() -> None:
    tiny = days_of(sample(per_day=30_000, days=3, query_length=longer(1.2, since=1)), days=3)
    assert any(window.beyond_chance for signal in tiny for window in signal.windows)
    assert headline(tiny) == "Nothing has drifted by 0.2 standard deviations or more in 3 days"


def test_nothing_and_too_little_are_said() -> None:
    assert headline(()) == "Drift was not worked out yet"
    few = days_of(sample(days=0.2, per_day=100), days=1)
    assert headline(few) == "Too little was logged so far to tell drift"
    assert drift_words.lead(few).startswith("From all 20 trials that count; the first 50")
    assert drift_words.lead(()) == ""


def test_the_lead_says_how_many_were_looked_at() -> None:
    signals = days_of(sample(), n_trials=1_000_000)
    assert drift_words.lead(signals) == (
        "Every day is compared with how it began, in each arm: the first 50 trials or more. From 2,800 of the 1,000,000 trials that count."
    )


def test_the_caption_has_means_with_units_and_n_and_counts_gaps_by_reason() -> None:
    found = finding_of("query_length", query_length=missing(5, 7))
    said = drift_words.caption(found, NAMES)
    first = found.signals[0].reference
    assert first is not None
    assert said.startswith(f"baseline: 50 characters at first (n = {first.n}), ")
    assert "on 14 Oct (n = " in said
    assert "not beyond chance. ours (custom): " in said
    assert said.endswith("Not judged, 4 windows: no trial has a value.")


def test_a_signal_without_values_says_why_in_its_caption() -> None:
    found = finding_of("query_length", query_length=None)
    assert found.said == "Query length: can't be told yet"
    assert "no query is kept in full" in drift_words.caption(found, NAMES)


def test_windows_of_hours_are_named_by_the_hour_and_come_with_a_warning() -> None:
    found = sample(days=1, per_day=4_000, query_length=longer(10, since=0.5))
    signals = drift_signals(found, windows_of(BEGIN, BEGIN + 86_399), mode="split", n_trials=4_000, now=1e12)
    assert headline(signals) == "Queries have become 1.0 standard deviation longer in both arms since 1 Oct 12:00"
    assert drift_words.lead(signals).startswith("Every 3 hours is compared")
    assert "time of day looks like drift" in drift_words.method(signals)[-1]
    assert "weekend" in drift_words.method(days_of(sample()))[-1]


def test_the_table_has_every_window_and_no_number_where_none_was_measured() -> None:
    signals = days_of(sample(query_length=missing(5, 6)))
    rows = drift_words.rows(signals, NAMES)
    assert len(rows) == 8 * 14
    assert [row["what it shows"] for row in rows].count("reference") == 8
    gaps = [row for row in rows if row["n"] == 0]
    assert len(gaps) == 2
    assert all(row["mean"] is row["effect"] is row["low"] is None and row["what it shows"] == "no trial has a value" for row in gaps)
    assert rows[0]["from (UTC)"] == "2026-10-01 00:00"


def test_effects_are_said_with_their_intervals() -> None:
    window = dataclasses.replace(days_of(sample())[0].windows[0], effect=-0.001, low=-0.3, high=0.298)
    assert drift_words.effect(window) == "+0.00 [-0.30, +0.30]"
    assert drift_words.value("abstained", 0.00123) == "0.12%"
    assert drift_words.value("abstained", 0.0) == "0.0%"


@pytest.mark.parametrize("width", [340, 820])
def test_a_chart_names_zones_arms_unit_and_reference(width: int) -> None:
    signals = finding_of("query_length", query_length=longer(6)).signals
    spec = drawn(signals, dataclasses.replace(LIGHT, width=width))
    said = texts(spec)
    for word in ("none", "small", "medium", "large", "baseline", "ours (custom)", "standard deviations from the reference", "reference"):
        assert word in said
    assert "baseline is beyond chance in 7 of 13 windows, at last +0." in spec["description"]
    assert spec["width"] == width


def test_shares_are_drawn_on_their_own_scale() -> None:
    assert "Cohen's h from the reference" in texts(drawn(finding_of("abstained").signals))


def test_looks_change_colours_and_nothing_else() -> None:
    signals = finding_of("query_length", query_length=longer(6)).signals
    light, dark = (svg_of(drawn(signals, look), prefix="x") for look in (LIGHT, DARK))
    for field in dataclasses.fields(Look):
        if field.name != "width":
            dark = dark.replace(f'"{getattr(DARK, field.name)}"', f'"{getattr(LIGHT, field.name)}"')
    assert light == dark


def points(spec: Spec) -> list[dict[str, object]]:
    """The rows of windows."""
    return [row for rows in spec["datasets"].values() for row in rows if "run" in row] if "datasets" in spec else _inline(spec)


def _inline(spec: Spec) -> list[dict[str, object]]:
    found = [layer["data"]["values"] for layer in spec["layer"] if "run" in layer.get("data", {}).get("values", [{}])[0]]
    return list(found[0])


def test_a_line_breaks_at_a_window_without_data() -> None:
    signals = finding_of("query_length", query_length=missing(5, 6)).signals
    rows = points(drawn(signals))
    assert len(rows) == 24
    assert {row["run"] for row in rows} == {f"{name} {run}" for name in NAMES.values() for run in (0, 1)}
    assert all(isinstance(row["effect"], float) for row in rows)


def test_a_huge_drift_stays_on_the_axis_and_small_zones_lose_their_names() -> None:
    spec = drawn(finding_of("query_length", query_length=longer(200)).signals)
    said = texts(spec)
    assert "large" in said
    assert "small" not in said
    assert "20" in said


def test_an_arm_without_values_is_not_in_the_legend() -> None:
    signals = finding_of("query_length").signals
    nothing = dataclasses.replace(signals[1], windows=(), reference=None, reason="no trial has an answer")
    spec = drawn((signals[0], nothing))
    assert "ours (custom) has no window that could be judged" in spec["description"]
    assert "ours (custom)" not in texts(spec)


def test_an_arm_that_is_neither_is_drawn() -> None:
    signals = days_of(sample(arms=("interleaved",)), mode="interleaved")
    assert "interleaved" in texts(drawn((signals[1],)))
    assert ARMS[0] not in texts(drawn((signals[1],)))
