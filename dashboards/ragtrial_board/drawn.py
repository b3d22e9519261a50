"""Drawings that are kept: a chart of the same data is drawn once, and its narrow form only when a narrow column shows it."""

import dataclasses
import hashlib
import hmac
import pickle
import secrets
import threading
from collections import OrderedDict
from collections.abc import Callable
from functools import partial
from types import CodeType, FunctionType
from typing import Any

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from ragtrial.report.drawing import DARK, LIGHT, Look, Spec
from ragtrial.report.svg import COLOURS, svg_of

WIDE, SLIM = 820, 340
"""Widths in pixels, as in the reports."""

SpecOf = Callable[[Look], Spec]

_MOST_KEPT = 512
_DAY = "; ".join(f"--chart-{name}: {getattr(LIGHT, name)}" for name in COLOURS)
_NIGHT = "; ".join(f"--chart-{name}: {getattr(DARK, name)}" for name in COLOURS)
_STYLE = f"<style>:root {{ {_DAY} }} @media (prefers-color-scheme: dark) {{ :root {{ {_NIGHT} }} }}</style>"


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Drawing:
    """A chart as SVG, in colours that follow the page that it lies on, and its text alternative."""

    svg: str
    description: str


def draw(spec_of: SpecOf, width: int) -> Drawing:
    """Draw a chart."""
    spec = spec_of(dataclasses.replace(LIGHT, width=width))
    svg = svg_of(spec, prefix="chart")
    for colour in COLOURS:
        svg = svg.replace(f'"{getattr(LIGHT, colour)}"', f'"var(--chart-{colour})"')
    begin = svg.index(">", svg.index("<svg")) + 1
    return Drawing(svg=svg[:begin] + _STYLE + svg[begin:], description=spec.get("description", ""))


def identity(spec_of: SpecOf) -> str | None:
    """A digest that two functions share that draw the same: where they stand and everything they hold on to; None where that can't be told."""
    try:
        return hashlib.sha256(pickle.dumps(_parts(spec_of))).hexdigest()
    except (pickle.PicklingError, TypeError, AttributeError, ValueError, RecursionError):
        return None


def _parts(held: Any) -> Any:
    if isinstance(held, partial):
        return ("partial", _parts(held.func), tuple(map(_parts, held.args)), {name: _parts(value) for name, value in held.keywords.items()})
    if isinstance(held, FunctionType):
        cells = tuple(_parts(cell.cell_contents) for cell in held.__closure__ or ())
        return (held.__module__, held.__qualname__, _code(held.__code__), cells, tuple(map(_parts, held.__defaults__ or ())))
    return held


def _code(code: CodeType) -> tuple[Any, ...]:
    constants = tuple(_code(each) if isinstance(each, CodeType) else each for each in code.co_consts)
    return code.co_code, code.co_names, code.co_freevars, constants, code.co_filename, code.co_firstlineno


class Drawings:
    """What was drawn in this process, those that nobody asked for longest forgotten first. For several threads."""

    def __init__(self) -> None:
        self._salt = secrets.token_bytes(16)
        self._lock = threading.Lock()
        self._wide: OrderedDict[str, Drawing] = OrderedDict()
        self._slim: OrderedDict[str, SpecOf | str] = OrderedDict()

    def wide(self, spec_of: SpecOf) -> tuple[Drawing, str]:
        """The wide drawing, and the name under which `slim` finds the narrow one; nobody guesses it."""
        known = identity(spec_of) or secrets.token_hex(16)
        name = hmac.new(self._salt, known.encode(), hashlib.sha256).hexdigest()[:40]
        with self._lock:
            drawing = self._wide.get(name)
            if drawing is not None:
                self._wide.move_to_end(name)
                if name in self._slim:
                    self._slim.move_to_end(name)
                    return drawing, name
        drawing = drawing or draw(spec_of, WIDE)
        with self._lock:
            self._wide[name] = drawing
            self._slim[name] = spec_of
            for kept in (self._wide, self._slim):
                while len(kept) > _MOST_KEPT:
                    kept.popitem(last=False)
        return drawing, name

    def slim(self, name: str) -> str | None:
        """The narrow drawing of this name; None where it was forgotten or never was."""
        with self._lock:
            found = self._slim.get(name)
        if found is None or isinstance(found, str):
            return found
        svg = draw(found, SLIM).svg
        with self._lock:
            self._slim[name] = svg  # what drew it is not held any longer
        return svg


DRAWINGS = Drawings()


async def _serve(request: Request) -> Response:
    svg = await run_in_threadpool(DRAWINGS.slim, request.path_params["name"])
    if svg is None:
        return PlainTextResponse("this drawing was forgotten: load the page again", status_code=404)
    return Response(svg, media_type="image/svg+xml", headers={"Cache-Control": "private, max-age=3600"})


def routes() -> list[Route]:
    """Where narrow drawings are fetched from."""
    return [Route("/drawn/{name}.svg", _serve, methods=["GET"])]
