"""Drawings are kept: the same chart of the same data is drawn once, other data anew, and the narrow form only when it is asked for."""

from collections.abc import Callable
from functools import partial

import altair as alt

from ragtrial.report.drawing import DARK, LIGHT, Look, Spec, spec_of, values
from ragtrial_board.drawn import SLIM, WIDE, Drawings, draw, identity

DRAWN: list[int] = []


def spec(rows: list[dict[str, float]], look: Look) -> Spec:
    chart = alt.Chart(values(rows)).mark_point(color=look.custom).encode(x="at:Q")
    return spec_of(chart, look, height=40, description=f'{len(rows)} points, "said" <so>')


def of(rows: list[dict[str, float]]) -> Callable[[Look], Spec]:
    return lambda look: spec(rows, look)


def test_functions_that_draw_the_same_are_told_from_others() -> None:
    one = identity(of([{"at": 1.0}]))
    assert one is not None
    assert identity(of([{"at": 1.0}])) == one
    assert identity(of([{"at": 2.0}])) != one
    assert identity(partial(spec, [{"at": 1.0}])) == identity(partial(spec, [{"at": 1.0}]))
    assert identity(partial(spec, [{"at": 1.0}])) != identity(partial(spec, [{"at": 1.5}]))


def test_functions_on_one_line_that_call_others_are_not_taken_for_each_other() -> None:
    rows = [{"at": 1.0}]
    one, other = (lambda look: spec(rows, look)), (lambda look: counted(rows, look))
    nested = [lambda look, n=n: spec([*rows, {"at": float(n)}], look) for n in (1, 2)]
    found = {identity(each) for each in (one, other, *nested)}
    assert len(found) == 4
    assert None not in found


def test_functions_that_hold_on_to_what_can_not_be_compared_have_no_identity() -> None:
    lock = (each for each in ())
    assert identity(lambda look: spec(list(lock), look)) is None


def counted(rows: list[dict[str, float]], look: Look) -> Spec:
    DRAWN.append(look.width)
    return spec(rows, look)


def test_the_same_chart_is_drawn_once_and_its_narrow_form_when_it_is_asked_for() -> None:
    DRAWN.clear()
    drawings = Drawings()
    drawing, name = drawings.wide(partial(counted, [{"at": 1.0}]))
    assert drawings.wide(partial(counted, [{"at": 1.0}])) == (drawing, name)
    assert DRAWN == [WIDE]
    _, another = drawings.wide(partial(counted, [{"at": 2.0}]))
    assert another != name
    slim = drawings.slim(name)
    assert drawings.slim(name) == slim
    assert DRAWN == [WIDE, WIDE, SLIM]
    assert drawings.slim("0" * 40) is None


def test_a_drawing_holds_both_colours_of_every_mark_and_its_text_alternative() -> None:
    drawing = draw(of([{"at": 1.0}]), WIDE)
    assert drawing.description == '1 points, "said" <so>'
    assert 'stroke="var(--chart-custom)"' in drawing.svg
    assert f"--chart-custom: {LIGHT.custom}" in drawing.svg
    assert f"--chart-custom: {DARK.custom}" in drawing.svg
    assert f'"{LIGHT.custom}"' not in drawing.svg
    assert "<script" not in drawing.svg
