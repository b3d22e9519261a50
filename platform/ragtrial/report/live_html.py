"""A live analysis as one page that holds everything it shows, needs no script and asks nothing of any network."""

from collections.abc import Callable

import yaml
from markupsafe import Markup

from ragtrial.domain.live_verdict import LiveComparison
from ragtrial.report import charts, live_charts, live_words, words
from ragtrial.report.drawing import Look, Spec
from ragtrial.report.html import plan_of
from ragtrial.report.live_content import LiveContent
from ragtrial.report.page import ROLES, TONES, URGENCY, rendered
from ragtrial.report.svg import in_two_widths


def as_live_html(content: LiveContent) -> str:
    """The page."""
    analysis = content.analysis
    return rendered(
        "live.html.j2",
        c=content,
        a=analysis,
        v=analysis.verdict,
        p=content.primary,
        progress=analysis.progress,
        words=words,
        said=live_words,
        charts=_charts(content),
        tone=TONES[analysis.verdict.decision],
        groups=_groups(content),
        checks=sorted(analysis.checks, key=lambda check: URGENCY.index(check.state)),
        unscored=live_words.unscored(content),
        plan=words.without_credentials(yaml.safe_dump(plan_of(content.experiment), sort_keys=False, allow_unicode=True, width=100)),
    )


def _charts(content: LiveContent) -> dict[str, Markup]:
    """Every chart that has something to draw."""
    analysis, metric = content.analysis, content.primary.metric
    margin, drawn = content.live.metrics.primary.min_effect, dict[str, Callable[[Look], Spec]]()
    interval = content.primary.interval
    if interval is not None:
        drawn["effect"] = lambda look: charts.primary_effect(
            metric, interval, min_effect=margin, level=live_words.level(interval), look=look
        )
    if sum(look.estimate is not None for look in analysis.looks) > 1:
        planned_at = analysis.progress.planned_at
        drawn["over_time"] = lambda look: live_charts.effect_over_time(
            analysis.looks, metric, min_effect=margin, planned_at=planned_at, look=look
        )
    if any(comparison.guardrail is not None for comparison in analysis.comparisons):
        drawn["guardrails"] = lambda look: live_charts.guardrails(analysis.comparisons, look=look)
    units = next((found for found in analysis.sample_ratios if found.level == "units"), None)
    if units is not None and sum(look.treatment_share is not None for look in analysis.looks) > 1:
        expected = units.expected
        drawn["assignments"] = lambda look: live_charts.assignments(analysis.looks, expected=expected, look=look)
    return {name: in_two_widths(name, chart) for name, chart in drawn.items()}


def _groups(content: LiveContent) -> list[tuple[str, list[LiveComparison]]]:
    """Comparisons by role, in words."""
    rows = [(said, [c for c in content.analysis.comparisons if c.role == role]) for role, said in ROLES.items()]
    return [(said, found) for said, found in rows if found]
