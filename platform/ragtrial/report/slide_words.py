"""What the verdict on one page for a slide says."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass

from ragtrial.domain.verdict import Check, CheckState
from ragtrial.report import charts, findings, live_verdict_words, live_words, verdict_words, words
from ragtrial.report.drawing import Look, Spec
from ragtrial.report.live_summary import LiveSummary
from ragtrial.report.next_step import live_next_step, next_step
from ragtrial.report.page import CHECK_SIGNS, CHECK_TONES, SIGNS, TONES, URGENCY
from ragtrial.report.summary import Summary
from ragtrial.report.verdict_words import Card

CAUTION = "A health check fails: these numbers must not be decided by."
_GUARDS: dict[str, CheckState] = {"holds": "pass", "broken": "fail"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """One guardrail or check: its state, its name, and what was found."""

    state: CheckState
    name: str
    said: str

    @property
    def sign(self) -> str:
        """For those who don't see the colours."""
        return CHECK_SIGNS[self.state]

    @property
    def tone(self) -> str:
        """Name of the colours."""
        return CHECK_TONES[self.state]


@dataclass(frozen=True, slots=True, kw_only=True)
class Slide:
    """What the page says.

    Attributes:
        experiment: Its name.
        when: Of what and when, in words.
        decision: In two or three words.
        tone: Name of its colours.
        plain: What to do, in plain words.
        cards: How large, how sure, at what cost.
        finding: What became of the primary metric.
        effect: Draws it with its interval; None where there is none.
        caption: How to read the drawing.
        guardrails: Each of them.
        health: The health checks together.
        problems: Checks that do not pass, the worst first.
        next_step: What to do next.
        measured: How it was measured.
        caution: Or None.
    """

    experiment: str
    when: str
    decision: str
    tone: str
    plain: str
    cards: tuple[Card, ...]
    finding: str
    effect: Callable[[Look], Spec] | None
    caption: str
    guardrails: tuple[Line, ...]
    health: str
    problems: tuple[Line, ...]
    next_step: str
    measured: tuple[str, ...]
    caution: str | None

    @property
    def sign(self) -> str:
        """The verdict's sign."""
        return SIGNS[self.tone]

    @property
    def title(self) -> str:
        """Of the page and of its files."""
        return f"{self.decision}: {self.experiment}"

    @property
    def lines(self) -> tuple[Line, ...]:
        """What stands beside the drawing: what fails, then guardrails, then what else does not pass."""
        return tuple(sorted((*self.guardrails, *self.problems), key=lambda line: line.state != "fail"))


def slide_of(content: Summary | LiveSummary) -> Slide:
    """What the page says of an evaluation, or of a live experiment so far."""
    return _of_live(content) if isinstance(content, LiveSummary) else _of_evaluation(content)


def _of_evaluation(content: Summary) -> Slide:
    primary, effect, decision = content.primary, content.primary.effect, content.analysis.verdict.decision
    margin = content.experiment.metrics.primary.min_effect
    date = (content.evaluation.finished_at or content.evaluation.started_at)[:10]
    guards = [(planned.name, c.guardrail.state if c.guardrail else "not shown", words.guardrail(c)) for planned, c in content.guardrails]
    return Slide(
        experiment=content.experiment.name,
        when=f"{words.count(content.evaluation.n_queries, 'query', 'queries')}, {date}",
        decision=words.DECISIONS[decision],
        tone=TONES[decision],
        plain=verdict_words.plain(content),
        cards=(verdict_words.gain(content), verdict_words.sure(content), verdict_words.cost(content)),
        finding=findings.gain(primary, alpha=content.experiment.analysis.alpha),
        effect=None
        if effect is None
        else (lambda look: charts.primary_effect(primary.metric, effect, min_effect=margin, level=content.level, look=look)),
        caption=f"{content.level} interval of the mean difference, n = {primary.n_scored:,}; shaded: too small to be worth it",
        guardrails=_guardrails(guards),
        health=findings.checks(content),
        problems=_problems(content.analysis.checks, words.check_name),
        next_step=next_step(content.analysis, content.experiment),
        measured=verdict_words.measured(content),
        caution=CAUTION if decision == "refused" else None,
    )


def _of_live(content: LiveSummary) -> Slide:
    primary, said, decision = content.primary, live_verdict_words, content.analysis.verdict.decision
    interval = primary.interval
    margin = content.live.metrics.primary.min_effect
    level = "" if interval is None else live_words.level(interval)
    guards = [(planned.name, live_words.guard_state(c), live_words.guardrail(c)) for planned, c in content.guardrails]
    return Slide(
        experiment=content.experiment.name,
        when=f"live, {words.count(content.analysis.progress.n_units, 'unit')}, as of {live_words.date(content.made_at)} UTC",
        decision=live_words.HEADINGS[decision],
        tone=TONES[decision],
        plain=live_words.plain(content),
        cards=(said.gain(content), said.sure(content), said.cost(content)),
        finding=live_words.gain(primary),
        effect=None
        if interval is None
        else (lambda look: charts.primary_effect(primary.metric, interval, min_effect=margin, level=level, look=look)),
        caption=""
        if interval is None
        else f"{level} interval of the difference, {live_words.counted(interval, content.analysis.progress)}; shaded: too small to be worth it",
        guardrails=_guardrails(guards),
        health=live_words.checks(content),
        problems=_problems(content.analysis.checks, live_words.check_name),
        next_step=live_next_step(content),
        measured=said.measured(content),
        caution=CAUTION if decision == "refused" else None,
    )


def _guardrails(found: Iterable[tuple[str, str, str]]) -> tuple[Line, ...]:
    return tuple(Line(state=_GUARDS.get(state, "unknown"), name=name, said=said) for name, state, said in found)


def _problems(checks: Iterable[Check], name_of: Callable[[str], str]) -> tuple[Line, ...]:
    wrong = sorted((check for check in checks if check.state != "pass"), key=lambda check: URGENCY.index(check.state))
    return tuple(Line(state=check.state, name=name_of(check.name), said=check.detail) for check in wrong)
