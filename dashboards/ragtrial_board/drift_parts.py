"""Drift over time on the page of models: what has moved, since when and by how much, from the last snapshot of a live experiment."""

from collections.abc import Callable, Mapping

from ragtrial.analysis.drift import DriftSignal
from ragtrial.report import drift_charts, drift_words
from ragtrial.report.drawing import Look, Spec
from ragtrial.report.live_summary import LiveSummary
from ragtrial_board.frame import chart, empty, heading, section, stores, table
from ragtrial_board.verdict_parts import fold, lines


def drift(content: LiveSummary) -> None:
    """The largest drift first, every signal over time, all windows as a table, and how it is measured.

    Args:
        content: The snapshot; of one that was made before drift was part of it, there is nothing to show.
    """
    names = {arm: content.label(arm) for arm in (content.control, content.treatment)}
    found = drift_words.findings(content.drift, names)
    others = drift_words.others(found)
    lead = drift_words.lead(content.drift)
    heading(f"Models and drift · {content.experiment.name}", drift_words.headline(found), f"{others} {lead}" if others else lead)
    if not found:
        empty(
            "Nothing to compare yet",
            "Drift is told from the trials of the split, when the log is summed up.",
            "ragtrial roll-up EXPERIMENT.yaml",
        )
        return
    for place, finding in enumerate(sorted(found, key=lambda each: (not each.goes_on, -each.effect))):
        with section(drift_words.NAMES[finding.name]):
            if any(signal.judged for signal in finding.signals):
                chart(
                    f"drift {finding.name}",
                    _drawn(finding.signals, (content.control, content.treatment), names),
                    finding=finding.said,
                    caption=drift_words.caption(finding, names) + (f" {drift_words.READING}" if place == 0 else ""),
                )
            else:
                lines(finding.said, [drift_words.caption(finding, names)])
    with section("All windows"), fold("windows", "All windows as a table"):
        rows = drift_words.rows(content.drift, names)
        if rows:
            table(
                "drift",
                rows,
                caption="Effects are Hedges' g, those of shares Cohen's h. What was not measured has no number, and its reason instead.",
            )
    lines("How drift is measured", drift_words.method(content.drift))


def alerts(experiment: str) -> None:
    """What the drift monitor raised and cleared; nothing where it never did."""
    found = stores().live_board.monitor_alerts(experiment)
    if not found:
        return
    lines(drift_words.standing(found), ["ragtrial monitor compares the newest queries, documents and answers with a reference."])
    with section("Alerts of the monitor"), fold("alerts", "Every alert that was raised or cleared"):
        table(
            "alerts",
            drift_words.alert_rows(found),
            caption="Effects are in standard deviations; their intervals hold at all looks together.",
        )


def _drawn(signals: tuple[DriftSignal, ...], arms: tuple[str, str], names: Mapping[str, str]) -> Callable[[Look], Spec]:
    return lambda look: drift_charts.drift_over_time(signals, arms=arms, names=names, look=look)
