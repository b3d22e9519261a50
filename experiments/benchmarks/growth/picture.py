"""Growth as a plot: a panel for each step, both axes logarithmic."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import altair as alt
import vl_convert

from growth.fitting import Growth
from growth.plan import STEPS
from ragtrial.report.drawing import DARK, LIGHT, Spec, finished, values
from ragtrial.report.svg import svg_of, vl_version

_COLUMNS, _WIDTH, _HEIGHT = 4, 165, 120


def written(growths: Mapping[str, Growth], relative: Mapping[str, Mapping[int, float]], path: Path) -> None:
    """SVG that follows the reader's light or dark, or where the name ends in `.png` PNG on white; there as a whole or not at all."""
    spec = drawn(growths, relative)
    if path.suffix == ".png":
        light = {**spec, "background": LIGHT.surface}
        _write(path, vl_convert.vegalite_to_png(light, vl_version=vl_version(spec), scale=2, allowed_base_urls=[]))
        return
    svg = svg_of(spec, prefix="growth").replace("<svg", '<svg style="color-scheme: light dark"', 1)
    body = svg.index(">") + 1
    _write(path, (svg[:body] + _dark() + svg[body:]).encode())


def drawn(growths: Mapping[str, Growth], relative: Mapping[str, Mapping[int, float]]) -> Spec:
    """Points are measured (medians), lines are fitted; dashed is what grows in proportion."""
    rows, order = [], []
    for name, growth in growths.items():
        exponent = f"{growth.exponent:z.2f}".replace("-", "\N{MINUS SIGN}")
        panel = f"{STEPS[name].title}: {exponent}"
        order.append(panel)
        sizes = sorted(relative[name])
        low, first = sizes[0], growth.at(sizes[0]) / _seconds_of_one(growth, relative[name])
        for size, times in relative[name].items():
            fitted = first * (size / low) ** growth.exponent
            rows.append({"step": panel, "size": size, "times": times, "fitted": fitted, "proportional": size / low})
    look = LIGHT
    bare = {"title": None, "format": "~s", "grid": True, "domain": False, "ticks": False}
    x_axis, y_axis = (alt.Axis(**bare, values=[10**n for n in powers]) for powers in (range(2, 9), range(5)))
    y_scale = alt.Scale(type="log", nice=False)
    x = alt.X("size:Q", scale=alt.Scale(type="log", nice=False), axis=x_axis)
    base = alt.Chart().encode(x=x)
    layers = alt.layer(
        base.mark_line(color=look.muted, strokeDash=[4, 3], clip=True).encode(y=alt.Y("proportional:Q", scale=y_scale, axis=y_axis)),
        base.mark_line(color=look.baseline).encode(y=alt.Y("fitted:Q", scale=y_scale)),
        base.mark_point(color=look.custom, filled=True, size=45, opacity=1).encode(y=alt.Y("times:Q", scale=y_scale)),
        data=values(rows),
    ).properties(width=_WIDTH, height=_HEIGHT)
    header = alt.Header(title=None, labelColor=look.ink, labelFontSize=12, labelLimit=0, labelAnchor="start", labelFontWeight="bold")
    chart: Any = layers.facet(facet=alt.Facet("step:N", sort=order, header=header), columns=min(_COLUMNS, len(order)), spacing=18)
    described = "; ".join(
        f"{STEPS[name].title} grows with the {growth.exponent:.2f}th power of its {STEPS[name].unit}" for name, growth in growths.items()
    )
    return finished(chart, look, f"Times of each step over that at its smallest size, on logarithmic axes. {described}.")


def _seconds_of_one(growth: Growth, relative: Mapping[int, float]) -> float:
    """Seconds that 1 stands for, so that the fitted line lies among the points: the mean on the logarithmic scale passes through them."""
    product, n = 1.0, len(relative)
    for size, times in relative.items():
        product *= (growth.at(size) / times) ** (1 / n)
    return product


def _dark() -> str:
    """The dark look's colours in the place of the light one's, where the reader's system is dark."""
    rules = []
    for colour in ("ink", "muted", "line", "surface", "baseline", "custom"):
        light, dark = getattr(LIGHT, colour), getattr(DARK, colour)
        rules += [f'[{paint}="{light}"]{{{paint}:{dark}}}' for paint in ("fill", "stroke")]
    return f"<style>@media (prefers-color-scheme: dark) {{{''.join(rules)}}}</style>"


def _write(path: Path, content: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f".{path.name}.part")
    part.write_bytes(content)
    part.replace(path)
