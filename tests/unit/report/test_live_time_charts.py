"""Charts of a live experiment in time: what they draw, in words and in units, and what they leave out."""

import dataclasses
import re
from collections.abc import Callable
from typing import Any
from xml.etree import ElementTree as ET

import numpy as np
import pytest
from scipy import stats

from ragtrial.analysis.live_guardrail_looks import GuardrailLook
from ragtrial.db.live_board_reader import LiveBucket
from ragtrial.domain.live import TrafficState
from ragtrial.domain.live_verdict import LiveGuardrail
from ragtrial.domain.metric import metric_named
from ragtrial.report import live_charts
from ragtrial.report.drawing import DARK, LIGHT, Look, Spec
from ragtrial.report.live_content import LiveContent
from ragtrial.report.live_time_charts import (
    FEWEST_VOTES,
    bands_of,
    guardrail_over_time,
    single_looks,
    stretch,
    traffic_over_time,
    votes_over_time,
    width_for,
)
from ragtrial.report.svg import svg_of
from ragtrial.stats.confidence_sequence import half_width
from unit.live_parts import DAY, START
from unit.report.live_samples import build

HOUR = 3600.0
ARMS = ("baseline", "custom")
NAMES = {"baseline": "baseline", "custom": "custom", "interleaved": "both models"}
NOTHING = dict.fromkeys((field.name for field in dataclasses.fields(LiveBucket)), 0)

STATES = (
    TrafficState(version=1, share=1.0, treatment=0.5, at=START),
    TrafficState(version=2, share=0.1, treatment=0.5, actor="ann", at=START + 5 * HOUR),
    TrafficState(version=3, share=0.1, treatment=0.5, stopped=True, actor="guardrail", at=START + 9 * HOUR),
)
GUARD = LiveGuardrail(margin=0.02, relative=False, estimate=0.005, low=-0.01, high=0.018, state="holds", method="")
LOOKS = (
    GuardrailLook(at=START),
    *(GuardrailLook(at=START + day * DAY, estimate=0.005, low=-0.05 / day, high=0.06 / day) for day in range(1, 6)),
)


def bucket(hour: float, arm: str, reason: str = "split", **counts: Any) -> LiveBucket:
    trials = counts.get("trials", 10)
    return LiveBucket(
        **{**NOTHING, "start": START + hour * HOUR, "arm": arm, "reason": reason, "trials": trials, "served": trials, **counts}
    )


BUCKETS = (
    *(bucket(hour, arm, trials=20 + hour, up=2, down=1) for hour in range(10) for arm in ARMS),
    *(bucket(hour, "baseline", "outside", trials=7) for hour in range(5, 10)),
    bucket(9, "baseline", "no unit", trials=3),
)


@pytest.fixture(scope="module")
def content() -> LiveContent:
    return build()


DRAWN: dict[str, Callable[[Look], Spec]] = {
    "traffic": lambda look: traffic_over_time(BUCKETS, STATES, arms=ARMS, names=NAMES, width_s=3600, look=look),
    "guardrail": lambda look: guardrail_over_time(metric_named("failed"), GUARD, LOOKS, look=look),
    "rated": lambda look: votes_over_time(BUCKETS, arms=ARMS, names=NAMES, measure="rated", look=look),
    "up": lambda look: votes_over_time(BUCKETS, arms=ARMS, names=NAMES, measure="up", look=look, greyed=True),
}


def drawn(spec: Spec) -> str:
    """The words in the picture."""
    return " ".join(ET.fromstring(svg_of(spec, prefix="x")).itertext())  # noqa: S314 - our own SVG


def rows_of(spec: Spec, *columns: str) -> list[dict[str, Any]]:
    """The rows that hold these columns."""
    own = spec.get("data", {}).get("values", ()) or [row for rows in spec.get("datasets", {}).values() for row in rows]
    inner = [row for layer in spec.get("layer", ()) for row in rows_of(layer, *columns)]
    return [*(row for row in own if set(columns) <= set(row)), *inner]


@pytest.mark.parametrize("name", DRAWN)
@pytest.mark.parametrize("width", [820, 340])
def test_each_is_drawn_with_its_axis_in_words_and_a_text_alternative(name: str, width: int) -> None:
    spec = DRAWN[name](dataclasses.replace(LIGHT, width=width))
    said = drawn(spec)
    assert "time (UTC)" in said
    assert any(unit in said for unit in ("trials in 1 hour", "worse by (points)", "rated, of answers", "thumbs up, of votes"))
    assert len(spec["description"]) > 40


@pytest.mark.parametrize("name", DRAWN)
def test_looks_change_colours_and_nothing_else(name: str) -> None:
    light, dark = (re.sub(r"clip\d+", "clip", svg_of(DRAWN[name](look), prefix="x")) for look in (LIGHT, DARK))
    for field in dataclasses.fields(Look):
        if field.name != "width":
            dark = dark.replace(f'"{getattr(DARK, field.name)}"', f'"{getattr(LIGHT, field.name)}"')
    assert light == dark


def test_arms_lie_on_each_other_and_what_does_not_count_on_top() -> None:
    spec = DRAWN["traffic"](LIGHT)
    last = [row for row in rows_of(spec, "band", "low") if row["begin"] == "2027-01-15T17:00:00Z"]
    assert [(row["band"], row["low"], row["high"]) for row in last] == [("baseline", 0, 29), ("custom", 29, 58), ("left out", 58, 68)]
    assert spec["description"] == "Trials over time, in stretches of 1 hour: baseline 245; custom 245; left out 38."
    assert list(bands_of(BUCKETS, arms=ARMS, names=NAMES)) == ["baseline", "custom", "left out"]


def test_changes_of_the_traffic_are_named_but_for_the_plan() -> None:
    said = drawn(DRAWN["traffic"](LIGHT))
    assert "10%" in said
    assert "stopped" in said
    assert "100%" not in said


def test_both_models_together_have_a_band_of_their_own() -> None:
    found = [bucket(hour, "interleaved") for hour in range(3)]
    assert bands_of(found, arms=ARMS, names=NAMES) == {"both models": 30}
    assert "both models" in drawn(traffic_over_time(found, STATES[:1], arms=ARMS, names=NAMES, width_s=300, look=LIGHT))


def test_an_hour_without_trials_is_left_empty_and_not_drawn_as_zero_trials() -> None:
    found = [bucket(0, "custom"), bucket(2, "custom")]
    spec = traffic_over_time(found, (), arms=ARMS, names=NAMES, width_s=3600, look=LIGHT)
    assert [row["begin"] for row in rows_of(spec, "band")] == ["2027-01-15T08:00:00Z", "2027-01-15T10:00:00Z"]


@pytest.mark.parametrize(
    ("span", "width", "said"),
    [
        (0, 300, "5 minutes"),
        (5 * HOUR, 300, "5 minutes"),
        (DAY, 1800, "30 minutes"),
        (10 * DAY, 21_600, "6 hours"),
        (3 * 365 * DAY, 19 * 86_400, "19 days"),
    ],
)
def test_a_chart_has_a_few_dozen_bars_of_a_length_that_people_know(span: float, width: int, said: str) -> None:
    assert width_for(span) == width
    assert stretch(width) == said
    assert span / width <= 60


def test_a_guardrail_is_drawn_in_points_with_its_stop_line_and_leaves_a_gap_before_it_could_be_told() -> None:
    spec = DRAWN["guardrail"](LIGHT)
    said = drawn(spec)
    assert "stop: +2.00 points" in said
    assert "no change" in said
    rows = rows_of(spec, "estimate")
    assert len({row["at"] for row in rows}) == len(LOOKS) - 1
    assert rows[0]["estimate"] == pytest.approx(0.5), "points"
    assert spec["description"] == (
        "Guardrail failed over time (holds): now +0.50 points, bounds -1.00 points and +1.80 points, stop line +2.00 points."
    )


def test_a_relative_guardrail_is_drawn_in_per_cent() -> None:
    relative = dataclasses.replace(GUARD, relative=True, margin=0.25, estimate=0.06)
    spec = guardrail_over_time(metric_named("latency_ms"), relative, LOOKS, look=LIGHT)
    assert "worse by (%)" in drawn(spec)
    assert "stop: +25.0%" in drawn(spec)


def test_shares_of_votes_are_those_of_everything_until_then_and_only_of_the_split() -> None:
    found = [
        *(bucket(hour, "custom", up=4, down=2, trials=30) for hour in range(3)),
        bucket(1, "custom", "override", up=50, trials=50),
        bucket(0, "baseline", up=1, down=0, trials=4),
    ]
    up = rows_of(votes_over_time(found, arms=ARMS, names=NAMES, measure="up", look=LIGHT), "share", "n")
    custom = {row["n"]: row["share"] for row in up}
    assert custom == {12: pytest.approx(8 / 12), 18: pytest.approx(12 / 18)}, f"nothing before {FEWEST_VOTES} votes"
    rated = votes_over_time(found, arms=ARMS, names=NAMES, measure="rated", look=LIGHT)
    assert rated["description"] == "Votes over time, by arm. Rated answers: custom 20.0% of 90."


def test_votes_that_must_not_be_read_lose_their_colours_and_say_so() -> None:
    spec = DRAWN["up"](LIGHT)
    assert "Not to be read: users of one arm rate more often." in spec["description"]
    picture = svg_of(spec, prefix="x")
    assert LIGHT.custom not in picture
    assert LIGHT.baseline not in picture


def test_nothing_yet_is_said_and_drawn_without_an_error() -> None:
    assert "Thumbs up among the votes: nothing yet" in votes_over_time((), arms=ARMS, names=NAMES, measure="up", look=LIGHT)["description"]
    assert "none yet" in traffic_over_time((), (), arms=ARMS, names=NAMES, width_s=300, look=LIGHT)["description"]
    assert svg_of(guardrail_over_time(metric_named("failed"), GUARD, (), look=LIGHT), prefix="x")


def test_an_interval_for_one_look_is_read_back_from_the_band(content: LiveContent) -> None:
    levels, looks = content.analysis.progress.levels, content.analysis.looks
    last, found = looks[-1], single_looks(looks, levels)[-1]
    assert last.estimate is not None
    assert last.high is not None
    assert found is not None
    # alpha 5 %: a fifth is spent on looking; the band is `half_width` standard errors wide, one look takes the normal quantile of all of alpha
    errors = float(half_width(last.n_units, last.n_units, alpha=0.01, planned_units=1_800))
    assert found.high - last.estimate == pytest.approx((last.high - last.estimate) / errors * stats.norm.isf(0.025))
    assert found.high - found.low == pytest.approx(2 * (found.high - last.estimate))
    assert all(one is None for one, look in zip(single_looks(looks, levels), looks, strict=True) if look.estimate is None)


def test_single_looks_lie_within_the_band_and_are_drawn_into_it(content: LiveContent) -> None:
    looks = content.analysis.looks
    single = single_looks(looks, content.analysis.progress.levels)
    for look, one in zip(looks, single, strict=True):
        if one is not None and look.low is not None and look.high is not None:
            assert look.low < one.low < one.high < look.high
    metric = content.primary.metric
    plain, both = (
        live_charts.effect_over_time(looks, metric, min_effect=0.01, planned_at=None, look=LIGHT, single=given) for given in ((), single)
    )
    assert len(both["layer"]) == len(plain["layer"]) + 2
    assert svg_of(both, prefix="x").count("stroke-dasharray") > svg_of(plain, prefix="x").count("stroke-dasharray")


def test_a_million_trials_are_as_few_rows_as_a_hundred() -> None:
    many = [dataclasses.replace(each, trials=each.trials * 10_000) for each in BUCKETS]
    spec = traffic_over_time(many, STATES, arms=ARMS, names=NAMES, width_s=3600, look=LIGHT)
    assert len(rows_of(spec, "band")) == len(rows_of(DRAWN["traffic"](LIGHT), "band"))
    assert max(row["high"] for row in rows_of(spec, "band")) == 680_000
    assert np.isfinite([row["high"] for row in rows_of(spec, "band")]).all()
