"""What all charts are drawn with: colours, axes, and the finished Vega-Lite specification."""

import textwrap
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import altair as alt

from ragtrial.domain.metric import Metric
from ragtrial.report import words

Spec = dict[str, Any]

FONT = "system-ui, -apple-system, 'Segoe UI', Roboto, 'Liberation Sans', sans-serif"

_WIDE = 560


@dataclass(frozen=True, slots=True, kw_only=True)
class Look:
    """Colours and width of a chart.

    Attributes:
        ink: Text.
        muted: Axes, labels, what is not shown beyond chance.
        line: Grid.
        surface: What the chart lies on; fills marks that are hollow.
        baseline: The control.
        custom: The treatment.
        reference: Reference lines.
        zone: Shade of effects too small to be worth it.
        width: Of the whole chart, in pixels.
    """

    ink: str
    muted: str
    line: str
    surface: str
    baseline: str
    custom: str
    reference: str
    zone: str
    width: int = 720

    @property
    def narrow(self) -> bool:
        """Too narrow for values beside the marks."""
        return self.width < _WIDE


LIGHT = Look(
    ink="#16202c",
    muted="#5a6675",
    line="#e4e8ed",
    surface="#ffffff",
    baseline="#3d6f99",
    custom="#d55e00",
    reference="#7b8694",
    zone="#f0f2f5",
)
DARK = Look(
    ink="#e8edf3",
    muted="#9aa7b6",
    line="#2c3643",
    surface="#171e27",
    baseline="#7db4de",
    custom="#f0a13a",
    reference="#98a4b2",
    zone="#212a35",
)


def marked_line(at: float, said: str, domain: Sequence[float], *, top: bool, look: Look) -> list[Any]:
    """A vertical line with its name, on the side of it that has more room."""
    base = alt.Chart(values([{"at": at}]))
    left = at < (domain[0] + domain[1]) / 2
    rule = base.mark_rule(color=look.ink, size=1.2) if top else base.mark_rule(color=look.muted, strokeDash=[4, 3])
    name = base.mark_text(color=look.muted, align="left" if left else "right", dx=6 if left else -6, fontSize=11)
    begin, end = (0, 84 if left else 68) if top else (16, 84)  # stops where it would run through the other line's name
    return [
        rule.encode(x="at:Q", y=alt.value(begin), y2=alt.value(end)),
        name.encode(x="at:Q", y=alt.value(8 if top else 78), text=alt.value(said)),
    ]


def values(rows: Sequence[dict[str, Any]]) -> Any:
    """Rows that a chart draws."""
    return alt.Data(values=list(rows))


def unit_of(metric: Metric) -> str:
    """A metric's unit on an axis."""
    return "share of 0 to 1" if metric.unit == "share" else words.UNITS.get(metric.unit, metric.unit)


def axis_name(metric: Metric) -> str:
    """A difference on an axis."""
    return f"{metric.name}, custom minus baseline ({unit_of(metric)}, {words.direction(metric)})"


def title_of(text: str, look: Look) -> str | list[str]:
    """An axis title on as many lines as it needs."""
    return textwrap.wrap(text, 44) if look.narrow else text


def value_axis(look: Look, *, grid: bool = True) -> Any:
    """An axis of numbers."""
    return alt.Axis(
        tickCount=4 if look.narrow else 7,
        grid=grid,
        titleAnchor="end" if look.narrow else "middle",
        domain=False,
        ticks=False,
        labelPadding=6,
    )


def name_axis(names: Sequence[str], look: Look) -> Any:
    """An axis of names, with room for the widest: the page's font may be wider than the one that the chart was measured with."""
    limit = 135 if look.narrow else 230
    room = min(1.27 * limit, max((7.3 * len(name) for name in names), default=0)) + 12
    return alt.Axis(title=None, labelLimit=limit, labelOverlap=False, domain=False, ticks=False, labelPadding=8, minExtent=room)


def spec_of(chart: Any, look: Look, *, height: Any, description: str) -> Spec:
    """The specification of a chart that takes the whole width."""
    size = height.to_dict() if isinstance(height, alt.Step) else height
    fit = {"contains": "padding", "type": "fit-x"}
    return {**finished(chart, look, description), "width": look.width, "height": size, "autosize": fit}


def finished(chart: Any, look: Look, description: str) -> Spec:
    """The specification with its text alternative, in the look's colours, on whatever it lies on.

    Altair copies the whole chart, data and all, for each property that is set; so what goes for all charts is put in afterwards. Tests
    check every chart against Vega-Lite's schema, which takes more than half of the time and is left out here.
    """
    spec: Spec = chart.to_dict(validate=False)
    own = spec.get("config", {})
    config = {**own, **_config(look), "view": {**own.get("view", {}), "stroke": None}}
    return {**spec, "description": description, "background": "transparent", "padding": 4, "config": config}


def _config(look: Look) -> dict[str, Any]:
    return {
        "font": FONT,
        "axis": {
            "labelColor": look.muted,
            "titleColor": look.muted,
            "labelFontSize": 12,
            "titleFontSize": 12,
            "titleFontWeight": "normal",
            "gridColor": look.line,
            "titlePadding": 10,
            "titleLimit": look.width,
        },
        "axisY": {"labelColor": look.ink},
        "text": {"fontSize": 12},
        "legend": {"labelColor": look.ink, "labelFontSize": 12},
    }
