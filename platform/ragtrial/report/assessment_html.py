"""An assessment as one page that holds everything it shows, needs no script and asks nothing of any network."""

from collections.abc import Callable

from markupsafe import Markup

from ragtrial.domain.assessment import Assessment
from ragtrial.report import assessment_charts as charts
from ragtrial.report import assessment_words as said
from ragtrial.report import words
from ragtrial.report.drawing import Look, Spec
from ragtrial.report.page import rendered
from ragtrial.report.svg import in_two_widths

MOST_QUERIES = 40
"""Failed queries that are listed; the JSON has them all."""


def as_assessment_html(a: Assessment) -> str:
    """The page."""
    return rendered(
        "assessment.html.j2",
        a=a,
        r=a.recommendation,
        said=said,
        words=words,
        most=dict(a.ceilings),
        tone=said.TONES[a.recommendation.outcome],
        charts=_charts(a),
        listed=a.failures.queries[:MOST_QUERIES],
        confused=[pair for pair in a.failures.look_alikes if pair.n_confused >= said.CONFUSED],
        unseen=[pair for pair in a.failures.look_alikes if pair.n_confused < said.CONFUSED],
    )


def _charts(a: Assessment) -> dict[str, Markup]:
    """Every chart that has something to draw."""
    drawn: dict[str, Callable[[Look], Spec]] = {}
    if any(option.difference.low is not None for option in a.options):
        drawn["headroom"] = lambda look: charts.headroom(a.options, metric=a.metric, min_effect=a.min_effect, look=look)
    if sum(each.low is not None for each in a.baseline if each.name.startswith("R@")) > 1:
        drawn["depth"] = lambda look: charts.recall_by_depth(a, look=look)
    if any(point.failed for point in a.points):
        drawn["map"] = lambda look: charts.failure_map(a.points, look=look)
    terms = [term for term in a.failures.split_terms if term.n_failed]
    if terms:
        drawn["terms"] = lambda look: charts.fragmentation(terms, look=look)
    return {name: in_two_widths(name, chart) for name, chart in drawn.items()}
