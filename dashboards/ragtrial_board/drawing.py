"""Charts as images drawn on the server: they follow the viewer's colours and the column's width, print, and need no script."""

import base64
import dataclasses

import streamlit as st

from ragtrial.report.drawing import LIGHT, Spec
from ragtrial.report.svg import vl_version
from ragtrial_board.drawn import DRAWINGS, SpecOf
from ragtrial_board.naming import download_name, slug
from ragtrial_board.saying import escaped

_SCALE = 2.0
_PAPER = 820


def chart(key: str, spec_of: SpecOf, *, finding: str | None = None, caption: str | None = None) -> None:
    """A chart with its text alternative and its downloads, in two widths, of which the one that suits its column is shown.

    Args:
        key: Names it on its page; the file that is downloaded, too.
        spec_of: Its specification in given colours and width. Charts are drawn in the colours of `LIGHT`, which the viewer's take the place
            of. A chart is drawn again only when the function holds on to other values than before: let it close over data, not over readers.
        finding: What it shows, as a heading.
        caption: How to read it, below.
    """
    title = f"<h3>{escaped(finding)}</h3>" if finding else ""
    below = f"<figcaption>{escaped(caption)}</figcaption>" if caption else ""
    st.html(f'<figure class="rt-chart">{title}<div class="rt-drawn">{_images(spec_of)}</div>{below}</figure>')
    _downloads(key, spec_of)


def _images(spec_of: SpecOf) -> str:
    drawing, name = DRAWINGS.wide(spec_of)
    said, data = escaped(drawing.description), base64.b64encode(drawing.svg.encode()).decode()
    return (
        f'<img class="wide" alt="{said}" src="data:image/svg+xml;base64,{data}">'
        f'<img class="slim" alt="{said}" loading="lazy" src="/drawn/{name}.svg">'
    )


def _downloads(key: str, spec_of: SpecOf) -> None:
    name = download_name(key)
    with st.container(horizontal=True, key=f"downloads-chart-{slug(key)}"):
        for kind, media, make in (("PNG", "image/png", png_of), ("SVG", "image/svg+xml", svg_file)):
            st.download_button(
                kind,
                lambda make=make: make(spec_of),  # type: ignore[misc]
                file_name=f"{name}.{kind.lower()}",
                mime=media,
                key=f"{kind} {key}",
                type="tertiary",
                on_click="ignore",
                help=f"Download this chart as {kind}",
            )


def _for_paper(spec_of: SpecOf) -> Spec:
    return {**spec_of(dataclasses.replace(LIGHT, width=_PAPER)), "background": LIGHT.surface}


def png_of(spec_of: SpecOf) -> bytes:
    """The chart as a picture of twice its size, on white."""
    import vl_convert

    spec = _for_paper(spec_of)
    drawn: bytes = vl_convert.vegalite_to_png(spec, vl_version=vl_version(spec), scale=_SCALE, allowed_base_urls=[])
    return drawn


def svg_file(spec_of: SpecOf) -> bytes:
    """The chart as an SVG file, on white."""
    import vl_convert

    spec = _for_paper(spec_of)
    drawn: str = vl_convert.vegalite_to_svg(spec, vl_version=vl_version(spec), allowed_base_urls=[])
    return drawn.encode()
