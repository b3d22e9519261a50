"""What to do next, in one plain sentence: derived from the verdict, and from what stands in its way."""

from collections.abc import Sequence

from ragtrial.analysis.deciding import round_up
from ragtrial.analysis.rule import HOPELESS
from ragtrial.domain.experiment import Experiment
from ragtrial.domain.live_verdict import LiveComparison
from ragtrial.domain.verdict import Analysis, Check, Comparison
from ragtrial.report import words
from ragtrial.report.live_content import LiveContent

_REMEDIES = {
    "parity": "Make the arms differ in nothing but what is under test, and evaluate again",
    "leakage": "Fix the leakage: take the gold queries out of the training pairs, train and evaluate again",
    "coverage": "Find out why so many trials failed or have no score, and evaluate again",
}

_LIVE_REMEDIES = {
    "parity": "Serve arms that differ in nothing but what is under test, as a new experiment",
    "leakage": "Fix the leakage: take the gold queries out of the training pairs, train again and serve the new model",
    "srm_units": "Find out where units are lost or assigned wrongly, and start again as a new experiment",
    "srm_queries": "Find out why the units of one arm ask more or less, or whose trials are lost, before reading anything else",
    "in_both_arms": "Let callers name the same user the same way each time, and start again as a new experiment",
    "failures": "Find out why so many answers fail in an arm before reading anything else",
    "allocation": "Start again as a new experiment, with the treatment's share left as it is from the first day",
}


def next_step(analysis: Analysis, experiment: Experiment) -> str:
    """What to do after an evaluation, in one sentence with its full stop."""
    verdict, primary = analysis.verdict, analysis.primary
    if verdict.decision == "refused":
        return _fixed(analysis.checks, _REMEDIES, otherwise="Mend what the health checks found, and evaluate again")
    if any(check.name == "plan" and check.state != "pass" for check in analysis.checks):
        return "Evaluate again under the plan as it is now: it was changed after the data were seen, so this is no more than a hint."
    if verdict.decision == "adopt custom":
        return _adopt(analysis.checks, experiment)
    if verdict.decision == "keep baseline":
        return _keep([c for c in analysis.comparisons if c.guardrail is not None and c.guardrail.state == "broken"])
    if verdict.decision == "too few":
        more = "more queries" if verdict.n_more is None else f"about {words.count(round_up(verdict.n_more), 'more query', 'more queries')}"
        return f"Add {more} to the gold set, and evaluate again."
    return _undecided(analysis, experiment, primary)


def _fixed(checks: Sequence[Check], remedies: dict[str, str], *, otherwise: str) -> str:
    failed = [check.name for check in checks if check.state == "fail"]
    said = next((remedies[name] for name in failed if name in remedies), otherwise)
    rest = len(failed) - 1
    return f"{said}; then look at the other {words.count(rest, 'check that fails', 'checks that fail')}." if rest > 0 else f"{said}."


def _adopt(checks: Sequence[Check], experiment: Experiment) -> str:
    if any(check.name == "free_method" and check.state == "warn" for check in checks):
        return "Compare custom with plain BM25 or hybrid search before paying for it; if it still wins, ramp it up on live traffic."
    if experiment.live is not None:
        return "Ramp custom up on live traffic: the live experiment is planned already, start it with ragtrial serve."
    return "Ramp custom up on live traffic: a small share of the users first, then all of them."


def _keep(broken: Sequence[Comparison]) -> str:
    if broken:
        return f"Before another try, bring {_names(broken)} back within what is tolerated."
    return "Look at the largest losses, query by query: they show what a next model has to learn."


def _undecided(analysis: Analysis, experiment: Experiment, primary: Comparison) -> str:
    verdict = analysis.verdict
    if primary.effect is None:
        if primary.n_scored and primary.ties == primary.n_scored:
            return "Check that the arms really embed with different models: they found the same for every query."
        return f"Choose a primary metric that can be compared: {primary.metric.name} can't."
    if verdict.n_more is None:
        return _untested([c for c in _guards(analysis, experiment) if c.guardrail is None or c.guardrail.state != "holds"], primary)
    if verdict.n_more > HOPELESS * primary.n_scored:
        return "Decide by what custom costs: more queries won't tell whether its gain is worth it."
    return f"Collect about {words.count(verdict.n_more, 'more query', 'more queries')}, and evaluate them as a new experiment."


def _guards(analysis: Analysis, experiment: Experiment) -> list[Comparison]:
    planned = {guardrail.name for guardrail in experiment.metrics.guardrails}
    return [c for c in analysis.comparisons if c.metric.name in planned]


def _untested(open_guards: Sequence[Comparison], primary: Comparison) -> str:
    """The gain is shown, the guardrails are not: those that were measured on a few queries only want more of these."""
    timed = [c for c in open_guards if c.metric.kind == "operation" and c.n_scored < primary.n_scored]
    if timed and len(timed) == len(open_guards):
        return f"Time more queries (analysis.latency_queries) until {_shown(timed)} to hold: the gain itself is."
    return f"Ask more queries until {_shown(open_guards)} to hold: the gain itself is."


def _names(comparisons: Sequence[Comparison] | Sequence[LiveComparison]) -> str:
    return " and ".join(c.metric.name for c in comparisons) or "every guardrail"


def _shown(comparisons: Sequence[Comparison] | Sequence[LiveComparison]) -> str:
    return f"{_names(comparisons)} {'are' if len(comparisons) > 1 else 'is'} shown"


def live_next_step(content: LiveContent) -> str:
    """What to do with a live experiment as it stands, in one sentence with its full stop."""
    analysis = content.analysis
    verdict, stopped = analysis.verdict, analysis.progress.traffic.stopped
    if verdict.decision == "refused":
        return _fixed(analysis.checks, _LIVE_REMEDIES, otherwise="Mend what the health checks found, and start again as a new experiment")
    if any(check.name == "plan" and check.state != "pass" for check in analysis.checks):
        return "Serve the plan as it is now: it was changed after the first query, so this is no more than a hint."
    if verdict.decision == "adopt custom":
        return _live_adopt(content)
    if verdict.decision == "keep baseline":
        broken = [c for c in analysis.comparisons if c.guardrail is not None and c.guardrail.state == "broken"]
        return _live_keep(broken, stopped=stopped)
    return _live_open(content)


def _live_adopt(content: LiveContent) -> str:
    if content.live.mode != "split":
        return "Switch to custom by a split, a small share of the users first: none of them has had its answers alone so far."
    if content.analysis.progress.traffic.stopped:
        return "Switch to custom for all users: the experiment is stopped, so that they get the baseline now."
    return "Ramp custom up to all users, and watch the guardrails on the way."


def _live_keep(broken: Sequence[LiveComparison], *, stopped: bool) -> str:
    if broken:
        why = f"find out why {_names(broken)} got worse before users see custom again"
        return f"Everyone gets the baseline: {why}." if stopped else f"Stop the treatment, and {why}."
    return "Stay with the baseline, which everyone gets by now." if stopped else "Stop the treatment, so that everyone gets the baseline."


def _live_open(content: LiveContent) -> str:
    analysis, primary = content.analysis, content.primary
    verdict, progress = analysis.verdict, analysis.progress
    if progress.traffic.stopped:
        return "Start the treatment again, or leave it at the baseline: the experiment is stopped, so no more will be known."
    if verdict.n_more is not None:
        wait = "" if analysis.days_more is None else f", in about {words.count(analysis.days_more, 'day')}"
        return f"Leave it running for about {words.count(verdict.n_more, 'more unit')}{wait}."
    waits = progress.planned_at is not None and primary.effect is not None and primary.effect.planned is None
    if waits:
        return "Wait until the trials of the planned size are scored: then comes the verdict."
    if primary.interval is not None and primary.interval.low <= 0 <= primary.interval.high:
        return "Decide by what custom costs: more units won't tell whether its gain is worth it."
    unshown = [c for _, c in content.guardrails if c.guardrail is None or c.guardrail.state != "holds"]
    if unshown and primary.effect is not None:
        return f"Leave it running until {_shown(unshown)} to hold: the gain itself is."
    return "Leave it running, and look again when more units have come."
