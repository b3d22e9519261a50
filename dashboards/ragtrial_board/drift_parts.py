"""Drift over time on the page of models: what has moved, since when and by how much, from the last snapshot of a live experiment."""

from collections.abc import Callable, Mapping

from ragtrial.analysis.drift import DriftSignal
from ragtrial.report import drift_charts, drift_words
from ragtrial.report.drawing import Look, Spec
from ragtrial.report.live_summary import LiveSummary
from ragtrial_board.frame import chart, empty, heading, section, stores, table
from ragtrial_board.saying import badge, escaped
from ragtrial_board.verdict_parts import fold, lines, part


def drift(content: LiveSummary, below_heading: Callable[[], None] = lambda: None) -> None:
    """The largest drift first, every signal over time, all windows as a table, and how it is measured.

    Args:
        content: The snapshot; of one that was made before drift was part of it, there is nothing to show.
        below_heading: Shows what comes before the findings.
    """
    names = {arm: content.label(arm) for arm in (content.control, content.treatment)}
    found = drift_words.findings(content.drift, names)
    others = drift_words.others(found)
    lead = drift_words.lead(content.drift)
    heading(f"Models and drift · {content.experiment.name}", drift_words.headline(found), f"{others} {lead}" if others else lead)
    below_heading()
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


def standing(experiment: str) -> None:
    """The alerts that stand of looks as the plan has them, for the top of a page; nothing where none does."""
    found = [each.alert for each in stores().live_board.standing_alerts(experiment) if each.planned]
    if found:
        said = "".join(
            f"<p>{badge('bad', '!', alert.signal)} {escaped(line)}</p>"
            for alert, line in zip(found, drift_words.standing_lines(found), strict=True)
        )
        part(drift_words.standing(found), f'<div class="rt-method" role="status">{said}</div>')


def alerts(experiment: str) -> None:
    """What the drift monitor raised and cleared; nothing where it never did."""
    found = stores().live_board.monitor_alerts(experiment)
    if not found:
        return
    stand = stores().live_board.standing_alerts(experiment)
    if not any(each.planned for each in stand):
        lines(drift_words.standing(()), ["ragtrial monitor compares the newest queries, documents and answers with a reference."])
    beside = [each for each in stand if not each.planned]
    if beside:
        lines(drift_words.BESIDE, drift_words.beside_lines([(each.alert, each.compared) for each in beside]))
    with section("Alerts of the monitor"), fold("alerts", "Every alert that was raised or cleared"):
        table(
            "alerts",
            drift_words.alert_rows(found),
            caption="Effects are in standard deviations; their intervals hold at all looks together.",
        )


def _drawn(signals: tuple[DriftSignal, ...], arms: tuple[str, str], names: Mapping[str, str]) -> Callable[[Look], Spec]:
    return lambda look: drift_charts.drift_over_time(signals, arms=arms, names=names, look=look)
