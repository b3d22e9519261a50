"""Vega-Lite specifications to SVG that can be put into a page, several of them beside each other, without a script."""

import re
from typing import Any

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
