"""Vega-Lite specifications to SVG that can be put into a page, several of them beside each other, without a script."""

import dataclasses
import re
from collections.abc import Callable
from typing import Any

from markupsafe import Markup

from ragtrial.report.drawing import LIGHT, Look, Spec

COLOURS = ("ink", "muted", "line", "surface", "baseline", "custom", "reference", "zone")
"""Names of the colours that the page's style sheet sets, once for light and once for dark."""

_WIDTHS = {"wide": 820, "slim": 340}

_ID = re.compile(r'(\bid="|url\(#|href="#)([A-Za-z_][\w-]*)')
_LABELLED = re.compile(r"<svg\b([^>]*)>")


def svg_of(spec: dict[str, Any], *, prefix: str) -> str:
    """The chart as an `<svg>` element that scales down with its column.

    Args:
        spec: A Vega-Lite specification; its `description` becomes the text alternative.
        prefix: Put before every id in it: ids are global to a page.
    """
    import vl_convert

    whole = {**spec, "config": {**spec.get("config", {}), "aria": False}}  # one image with one description, not hundreds of marks
    drawn: str = vl_convert.vegalite_to_svg(whole, vl_version=vl_version(spec), allowed_base_urls=[])
    drawn = _ID.sub(lambda match: f"{match[1]}{prefix}-{match[2]}", drawn)
    return _LABELLED.sub(lambda match: f'<svg{match[1]} role="img" aria-label="{_attribute(spec.get("description", ""))}">', drawn, count=1)


def vl_version(spec: dict[str, Any]) -> str:
    """The Vega-Lite version that the specification names, as `6.4`."""
    found = re.search(r"/v(\d+\.\d+)", spec.get("$schema", ""))
    if found is None:
        raise ValueError(f"specification names the schema {spec.get('$schema')!r}: a Vega-Lite version was expected")
    return found[1]


def _attribute(text: str) -> str:
    return text.replace("&", "&amp;").replace('"', "&quot;").replace("<", "&lt;").replace(">", "&gt;")


def in_two_widths(name: str, chart: Callable[[Look], Spec]) -> Markup:
    """One chart in both widths, its colours left to the page's style sheet, which shows the width that suits the screen."""
    parts = []
    for width, pixels in _WIDTHS.items():
        svg = svg_of(chart(dataclasses.replace(LIGHT, width=pixels)), prefix=f"{name}-{width}")
        for colour in COLOURS:
            svg = svg.replace(f'"{getattr(LIGHT, colour)}"', f'"var(--chart-{colour})"')
        parts.append(f'<div class="{width}">{svg}</div>')
    return Markup("\n".join(parts))  # noqa: S704 - vega escapes the texts that it draws, svg_of its own
