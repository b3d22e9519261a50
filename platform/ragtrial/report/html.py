"""`report.html`: one page that holds everything it shows, needs no script and asks nothing of any network."""

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

import yaml
from markupsafe import Markup

from ragtrial.domain.experiment import Experiment
from ragtrial.domain.verdict import Comparison
from ragtrial.report import charts, findings, people, words
from ragtrial.report.content import ReportContent
from ragtrial.report.drawing import Look, Spec
from ragtrial.report.json_report import lineage_summary
from ragtrial.report.page import ROLES, TONES, URGENCY, rendered
from ragtrial.report.svg import in_two_widths

SNIPPET = 400
"""Characters of a passage that are shown before it is opened."""


def as_html(content: ReportContent) -> str:
    """The page."""
    return rendered(
        "report.html.j2",
        c=content,
        words=words,
        findings=findings,
        people=people,
        alpha=content.experiment.analysis.alpha,
        charts=_charts(content),
        tone=TONES[content.analysis.verdict.decision],
        groups=_groups(content),
        shown_references=[name for name in content.references if name != "shuffled-context"],
        checks=sorted(content.analysis.checks, key=lambda check: URGENCY.index(check.state)),
        slices=_slices(content),
        not_drawn=[c for c in content.analysis.comparisons if c.metric.unit == "share" and c.effect is None],
        exclusions=_exclusions(content),
        plan=_plan(content),
        lineages=_lineages(content),
        snippet=_snippet,
    )


def _charts(content: ReportContent) -> dict[str, Markup]:
    """Every chart that has something to draw; the style sheet shows the width and the colours that suit the screen."""
    primary, analysis, level, alpha = content.primary, content.analysis, content.level, content.experiment.analysis.alpha
    arms = {"baseline": content.control, "custom": content.treatment}
    drawn: dict[str, Callable[[Look], Spec]] = {}
    if primary.effect is not None:
        effect, margin = primary.effect, content.experiment.metrics.primary.min_effect
        drawn["effect"] = lambda look: charts.primary_effect(primary.metric, effect, min_effect=margin, level=level, look=look)
    if any(c.effect is not None and c.metric.unit == "share" for c in analysis.comparisons):
        drawn["forest"] = lambda look: charts.forest(analysis.comparisons, alpha=alpha, level=level, look=look)
    if content.wins or content.losses:
        drawn["win_loss"] = lambda look: charts.win_loss(content.differences, primary.metric, look=look)
    if primary.n_scored:
        drawn["means"] = lambda look: charts.means(primary, **arms, look=look)
    if any(part.effect is not None for part in analysis.slices):
        drawn["slices"] = lambda look: charts.slice_effects(analysis.slices, primary.metric, alpha=alpha, level=level, look=look)
    headline = content.headline
    if headline is not None and headline.n_scored:
        drawn["answers"] = lambda look: charts.means(headline, **arms, look=look)
    if any(row.quantiles is not None for row in content.latency):
        drawn["latency"] = lambda look: charts.latency(content.latency, **arms, look=look)
    return {name: in_two_widths(name, chart) for name, chart in drawn.items()}


def _groups(content: ReportContent) -> list[tuple[str, list[Comparison]]]:
    """Comparisons by role, in words."""
    rows = [(said, [c for c in content.analysis.comparisons if c.role == role]) for role, said in ROLES.items()]
    return [(said, found) for said, found in rows if found]


def _slices(content: ReportContent) -> dict[str, Any]:
    parts = content.analysis.slices
    return {"tested": [part for part in parts if part.effect is not None], "other": [part for part in parts if part.effect is None]}


def _exclusions(content: ReportContent) -> list[dict[str, Any]]:
    """What has no value, a row for each reason; lines and metrics that miss as many trials share a row."""
    metrics: dict[tuple[str, str, int], list[str]] = {}
    for found in content.exclusions:
        metrics.setdefault((found.arm, found.reason, found.n), []).append(found.metric)
    lines: dict[tuple[str, int, tuple[str, ...]], list[str]] = {}
    for (arm, reason, n), names in metrics.items():
        lines.setdefault((reason, n, tuple(names)), []).append(arm)
    return [{"arms": arms, "reason": reason, "n": n, "metrics": names} for (reason, n, names), arms in lines.items()]


def plan_of(experiment: Experiment) -> dict[str, Any]:
    """The experiment as a file that can be run again, without stores (they are nobody else's) and without what was not given."""
    plan = dataclasses.asdict(experiment)
    plan.pop("stores")
    given: dict[str, Any] = _given(plan)
    return given


def _plan(content: ReportContent) -> str:
    return words.without_credentials(yaml.safe_dump(plan_of(content.experiment), sort_keys=False, allow_unicode=True, width=100))


def _given(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {name: _given(inner) for name, inner in value.items() if inner is not None}
    return [_given(inner) for inner in value] if isinstance(value, (list, tuple)) else value


def _lineages(content: ReportContent) -> dict[str, dict[str, str]]:
    """Each trained arm's record as `name: value` lines."""
    records = ((facts.arm, facts.lineage) for facts in content.evaluation.arms)
    return {arm: dict(_flat(lineage_summary(lineage))) for arm, lineage in records if lineage is not None}


def _flat(record: Mapping[str, Any], before: str = "") -> list[tuple[str, str]]:
    lines = []
    for name, value in record.items():
        if isinstance(value, Mapping):
            lines += _flat(value, f"{before}{name} ")
        else:
            lines.append((f"{before}{name}", ", ".join(value) if isinstance(value, list) else str(value)))
    return [(name.replace("_", " "), value) for name, value in lines]


def _snippet(text: str) -> tuple[str, bool]:
    """The beginning of the text, cut at a word, and whether anything was cut."""
    text = text.strip()
    if len(text) <= SNIPPET:
        return text, False
    return text[:SNIPPET].rsplit(None, 1)[0], True
