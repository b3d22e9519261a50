"""Charts of drift: how far a signal is from its reference in each window, with intervals, over the zones that effects are named by.

As in `charts`: every function takes what it draws and a `Look`, and puts a text alternative into the specification's `description`.
"""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import altair as alt

from ragtrial.analysis.drift import SHARES, SIZES, DriftSignal, DriftSize, DriftWindow
from ragtrial.report import drift_words
from ragtrial.report.drawing import Look, Spec, spec_of, title_of, value_axis, values
from ragtrial.report.live_charts import moment, time_axis

_HEIGHT = 220
_LEAST = 1.05
"""How far the axis reaches at least, so that calm signals look calm."""

_ROOM, _EDGE, _REACH = 0.12, 0.03, 0.8  # around estimates and intervals, and the longest half of an interval that makes the axis longer
_FAR = 3.5
_SHADES = {"none": 0.0, "small": 0.09, "medium": 0.18, "large": 0.28}


def drift_over_time(signals: Sequence[DriftSignal], *, arms: tuple[str, str], names: Mapping[str, str], look: Look) -> Spec:
    """One signal of each arm: effects against the reference as points on a line, filled where they are beyond chance, with their intervals.

    Args:
        signals: One signal in each arm.
        arms: Control and treatment.
        names: What an arm is called.
        look: Colours and width.
    """
    shown = [signal for signal in signals if signal.judged]
    rows = [row for place, signal in enumerate(shown) for row in _rows(signal, names, _shift(place, len(shown)))]
    domain = _domain([window for signal in shown for window in signal.judged])
    begin, end = _span(signals)
    x = time_axis(begin, end, look=look)
    x.scale = alt.Scale(type="utc", domain=[moment(begin), moment(end)], nice=False)
    scale = alt.Scale(domain=domain, nice=False, clamp=True)
    y = alt.Y("effect:Q", title=title_of(_title(signals), look), scale=scale, axis=_axis(domain, look))
    order = [names.get(signal.arm, signal.arm) for signal in shown]
    tones = [{arms[0]: look.baseline, arms[1]: look.custom}.get(signal.arm, look.ink) for signal in shown]
    legend = alt.Legend(title=None, orient="top", symbolSize=100, symbolOpacity=1, symbolStrokeWidth=2)
    colour = alt.Color("arm:N", scale=alt.Scale(domain=order, range=tones), legend=legend)
    shape = alt.Shape("arm:N", scale=alt.Scale(domain=order, range=["circle", "square"][: len(order)]), legend=legend)
    base = alt.Chart(values(rows)).encode(x=x, color=colour)
    silent = alt.Y("effect:Q", scale=scale, axis=None)
    size = 22 if look.narrow else 46
    fill = alt.condition(
        "datum.beyond", alt.Fill("arm:N", scale=alt.Scale(domain=order, range=tones), legend=None), alt.value(look.surface)
    )
    layers = [
        *_zones(domain, scale, look),
        *_reference(signals, look),
        base.mark_rule(strokeWidth=1.6, opacity=0.55).encode(y=alt.Y("low:Q", scale=scale, axis=None), y2="high:Q"),
        base.mark_line(strokeWidth=1.8).encode(y=y, detail="run:N"),
        base.mark_point(size=size, opacity=1, strokeWidth=1.6).encode(y=silent, shape=shape, fill=fill),
    ]
    chart = alt.layer(*layers).resolve_axis(y="independent")
    return spec_of(chart, look, height=_HEIGHT, description=_description(signals, names))


def _title(signals: Sequence[DriftSignal]) -> str:
    share = any(signal.name in SHARES for signal in signals)
    return "Cohen's h from the reference" if share else "standard deviations from the reference"


def _axis(domain: Sequence[float], look: Look) -> Any:
    """With the bounds of the zones, where they do not run into each other."""
    axis = value_axis(look, grid=False)
    if domain[1] - domain[0] < _FAR:
        bounds = [above for _, above in SIZES[:-1]]
        axis.values, axis.format = [*(-above for above in bounds), 0, *bounds], ".1f"
        axis.tickCount, axis.labelOverlap = len(axis.values), False
    return axis


def _shift(place: int, number: int) -> float:
    """In widths of a window: arms stand side by side, so that their intervals can be told apart."""
    return (place - (number - 1) / 2) * 0.34


def _rows(signal: DriftSignal, names: Mapping[str, str], shift: float) -> list[dict[str, Any]]:
    """One for each window that is judged; `run` changes where windows between them are not."""
    rows, run, before = [], 0, None
    for place, window in enumerate(signal.windows):
        if window.effect is None:
            continue
        run += before is not None and place != before + 1
        before = place
        middle = (window.begin + window.end) / 2 + shift * (window.end - window.begin)
        row = {"at": moment(middle), "effect": window.effect, "low": window.low, "high": window.high}
        arm = names.get(signal.arm, signal.arm)
        rows.append({**row, "arm": arm, "run": f"{arm} {run}", "beyond": window.beyond_chance})
    return rows


def _span(signals: Sequence[DriftSignal]) -> tuple[float, float]:
    """From the begin of the reference to the end of the newest window."""
    begins = [signal.reference.begin for signal in signals if signal.reference is not None]
    ends = [window.end for signal in signals for window in (*signal.windows, signal.reference) if window is not None]
    return min(begins, default=0.0), max(ends, default=0.0)


def _domain(judged: Sequence[DriftWindow]) -> list[float]:
    """Holds every estimate, and intervals as far as they are not much wider than that."""
    effects = [window.effect for window in judged if window.effect is not None]
    lows = [window.low for window in judged if window.low is not None]
    highs = [window.high for window in judged if window.high is not None]
    low, high = min(effects, default=0.0), max(effects, default=0.0)
    down = min(low - _ROOM, max(min(lows, default=0.0) - _EDGE, low - _REACH), -_LEAST)
    up = max(high + _ROOM, min(max(highs, default=0.0) + _EDGE, high + _REACH), _LEAST)
    return [down, up]


class _Zone(NamedTuple):
    """A band of effects of one name, as far as it is on the axis."""

    name: DriftSize
    low: float
    high: float

    @property
    def middle(self) -> float:
        """Where its name stands."""
        return (self.low + self.high) / 2


def _zones_on(domain: Sequence[float]) -> list[_Zone]:
    """From below."""
    bounds = [-above for _, above in reversed(SIZES)] + [above for _, above in SIZES]
    names = [*(name for name, _ in reversed(SIZES)), *(name for name, _ in SIZES[1:])]
    zones = (_Zone(name, max(low, domain[0]), min(high, domain[1])) for name, low, high in zip(names, bounds[:-1], bounds[1:], strict=True))
    return [zone for zone in zones if zone.high > zone.low]


def _zones(domain: Sequence[float], scale: Any, look: Look) -> list[Any]:
    """Faint bands, named on the right where there is room for the name."""
    zones = _zones_on(domain)
    least = 13 / _HEIGHT * (domain[1] - domain[0])
    named = [zone for zone in zones if zone.high - zone.low >= least]
    said = "".join(f"abs(datum.value - ({zone.middle!r})) < 1e-6 ? '{zone.name}' : " for zone in named)
    axis = alt.Axis(orient="right", values=[zone.middle for zone in named], labelExpr=f"{said}''", title=None, domain=False)
    axis.ticks, axis.grid, axis.labelColor, axis.labelFontSize, axis.minExtent = False, False, look.muted, 11, 54
    bands = alt.Chart(values([zone._asdict() for zone in zones])).mark_rect(color=look.muted)
    shades = alt.Opacity("name:N", scale=alt.Scale(domain=list(_SHADES), range=list(_SHADES.values())), legend=None)
    level = alt.Chart(values([{"level": 0.0}])).mark_rule(color=look.muted, strokeDash=[4, 3])
    return [
        bands.encode(y=alt.Y("low:Q", scale=scale, axis=axis), y2="high:Q", opacity=shades),
        level.encode(y=alt.Y("level:Q", scale=scale, axis=None)),
    ]


def _reference(signals: Sequence[DriftSignal], look: Look) -> list[Any]:
    """Where nothing is compared: the windows that the others are compared with."""
    found = [signal.reference for signal in signals if signal.reference is not None]
    if not found:
        return []
    row = {"begin": moment(min(each.begin for each in found)), "end": moment(max(each.end for each in found))}
    base = alt.Chart(values([row])).encode(x="begin:T")
    name = base.mark_text(angle=270, align="right", baseline="top", dx=-4, dy=3, fontSize=11, color=look.muted)
    return [
        base.mark_rect(color=look.line, opacity=0.9).encode(x2="end:T"),
        name.encode(y=alt.value(0), text=alt.value("reference")),
    ]


def _description(signals: Sequence[DriftSignal], names: Mapping[str, str]) -> str:
    """Each arm's windows beyond chance, and the newest one."""
    said = []
    for signal in signals:
        arm, judged = names.get(signal.arm, signal.arm), signal.judged
        if not judged:
            said.append(f"{arm} has no window that could be judged")
            continue
        beyond = sum(window.beyond_chance for window in judged)
        said.append(f"{arm} is beyond chance in {beyond} of {len(judged)} windows, at last {drift_words.effect(judged[-1])}")
    name = drift_words.NAMES[signals[0].name] if signals else "A signal"
    return f"{name}, away from its reference over time: {'; '.join(said)}."
