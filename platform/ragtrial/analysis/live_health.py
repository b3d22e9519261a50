"""Health checks of a live experiment: what refuses a verdict, and what one should know before trusting it."""

from collections.abc import Sequence

import numpy as np

from ragtrial.analysis.live_setting import LiveSetting
from ragtrial.analysis.live_split import MISMATCH, planned_shares
from ragtrial.domain.live_scores import NOT_SCORED, SplitScores, UnitSums
from ragtrial.domain.live_verdict import LeftOut, LiveArm, LiveComparison, SampleRatioFound
from ragtrial.domain.verdict import Check, CheckState
from ragtrial.stats.sequential_guardrail import sequential_guardrail_rate

MAX_FAILED = 0.05
"""Above this share of failed trials in an arm, what is left is no picture of what users ask."""

MAX_IN_BOTH = 0.01
"""Above this share of units that saw both arms, the split does not stick to units."""

FEW = 10
"""Fewer failures, or units in both arms, refuse nothing: at the start a share of them says little."""

MAX_LOST = 0.01
"""Above this share of requests that were refused or not logged, the times of outage are missing noticeably."""

MAX_APART = 0.05
"""Above this share of an arm that would have to be of another version to be mixed like the other arm, days differ and not arms."""

MIN_SCORED = 0.5
"""Below this share of scored trials the primary metric speaks for the smaller part of what users ask."""

NOT_MEANT = (NOT_SCORED, "not sampled", "the trial failed", "the baseline stood in for another arm")
"""Reasons of trials that could not be scored by now, as `serving.scoring` names them: they say nothing of coverage."""

MAX_OVERRIDES = 0.05
MAX_BACKWARDS = 0.001


def health_checks(setting: LiveSetting, comparisons: Sequence[LiveComparison], ratios: Sequence[SampleRatioFound]) -> tuple[Check, ...]:
    """Every check, those that can refuse a verdict first."""
    split = [*_ratio_checks(ratios), *_arms_check(setting)] if setting.live.mode == "split" else []
    return (
        _parity(setting),
        *split,
        *setting.given,
        _failures(setting),
        _coverage(comparisons[0]),
        *_missing(setting, comparisons),
        _outages(setting),
        *_allocation(setting),
        _overrides(setting),
        _clock(setting),
        *_stopped(setting),
        _plan(setting),
    )


def _parity(setting: LiveSetting) -> Check:
    parity = setting.parity
    if parity is None:
        return Check(name="parity", state="unknown", detail="no certificate was logged when the service was started")
    if not parity.ok:
        return Check(name="parity", state="fail", detail=f"the arms differ in what is not under test: {'; '.join(parity.undeclared)}")
    shown = "; ".join(parity.declared) or "nothing: the arms are the same (A/A)"
    return Check(name="parity", state="pass", detail=f"certificate {parity.digest}; the arms differ in {shown}")


def _ratio_checks(ratios: Sequence[SampleRatioFound]) -> list[Check]:
    checks = []
    by_level = {found.level: found for found in ratios}
    units = by_level.get("units")
    if units is None:
        checks.append(Check(name="srm_units", state="unknown", detail="no unit was assigned yet"))
    else:
        detail = (
            f"{units.counts[0]:,} units in control and {units.counts[1]:,} in treatment: {units.observed:.2%} where {units.expected:.2%} "
            f"was planned (sequential p {_p(units.p_value)})"
        )
        if units.state == "fail":
            detail += "; units are lost or assigned wrongly, so the arms are not alike: find out why before reading anything else"
        checks.append(Check(name="srm_units", state=units.state, detail=detail))
    queries = by_level.get("queries")
    if queries is None:
        checks.append(Check(name="srm_queries", state="unknown", detail="too few units to compare queries per unit"))
        return checks
    detail = (
        f"treatment's units ask {queries.observed - 1:+.1%} queries each against control's "
        f"(always-valid {1 - MISMATCH:.0%} interval {_change(queries.low)} to {_change(queries.high)})"
    )
    if queries.state == "fail":
        detail += "; either trials of an arm are lost, or an arm makes users ask more or less: find out which before reading anything else"
    checks.append(Check(name="srm_queries", state=queries.state, detail=detail))
    return checks


def _change(ratio: float | None) -> str:
    return "?" if ratio is None else f"{ratio - 1:+.1%}"


def _p(value: float) -> str:
    return "< 0.001" if value < 0.001 else f"{value:.3f}"


def _arms_check(setting: LiveSetting) -> list[Check]:
    control, treatment = (int(n) for n in setting.exposure.units.sum(axis=0))
    both, n = setting.exposure.in_both, control + treatment
    checks = []
    if not control or not treatment:
        lacking = " and ".join(name for name, count in zip(setting.arms, (control, treatment), strict=True) if not count)
        checks.append(Check(name="exposure", state="unknown", detail=f"no unit saw {lacking} yet"))
    if not both:
        checks.append(Check(name="in_both_arms", state="pass", detail="no unit saw both arms"))
        return checks
    share = both / (n + both)
    state: CheckState = "fail" if share > MAX_IN_BOTH and both >= FEW else "warn"
    detail = f"{both:,} units ({share:.2%}) saw both arms and are left out"
    if state == "fail":
        detail += "; the split does not stick to units: are callers sending the same user under the same name?"
    checks.append(Check(name="in_both_arms", state=state, detail=detail))
    return checks


def _failures(setting: LiveSetting) -> Check:
    counted = _trials_by_arm(setting)
    shares = {arm: setting.exposure.failed.get(arm, 0) / n for arm, n in counted.items() if n}
    if not shares:
        return Check(name="failures", state="unknown", detail="no trial was logged yet")
    detail = "; ".join(f"{setting.exposure.failed.get(arm, 0):,} of {counted[arm]:,} trials failed in {arm}" for arm in shares)
    worst = max(shares.values())
    if any(share > MAX_FAILED and setting.exposure.failed.get(arm, 0) >= FEW for arm, share in shares.items()):
        return Check(name="failures", state="fail", detail=f"{detail}; at least {1 - MAX_FAILED:.0%} must work in each arm")
    return Check(name="failures", state="warn" if worst > MAX_FAILED / 5 else "pass", detail=detail)


def _trials_by_arm(setting: LiveSetting) -> dict[str, int]:
    """Trials by the arm that made them; both rankings make one answer in mode interleaved."""
    control, treatment = (int(n) for n in setting.exposure.trials.sum(axis=0))
    if setting.live.mode == "interleaved":
        return {"interleaved": control + treatment}
    return dict(zip(setting.arms, (control, treatment), strict=True))


def _coverage(primary: LiveComparison) -> Check:
    """Whether at least half of the trials that could be scored are; not those that failed, that nobody drew for the judge, or whose turn is to come."""
    trials, scored = sum(arm.n_trials for arm in primary.samples), sum(arm.n_scored for arm in primary.samples)
    if not trials:
        return Check(name="coverage", state="unknown", detail="no trial was logged yet")
    detail = f"{scored:,} of {trials:,} trials are scored on {primary.metric.name}"
    reasons: dict[str, int] = {}
    for arm in primary.samples:
        for reason, n in arm.unscored.items():
            reasons[reason] = reasons.get(reason, 0) + n
    if reasons:
        detail += "; without a score: " + ", ".join(f"{reason} ({n:,})" for reason, n in sorted(reasons.items(), key=lambda item: -item[1]))
    able = trials - sum(reasons.get(reason, 0) for reason in NOT_MEANT)
    if scored and scored >= MIN_SCORED * able:
        return Check(name="coverage", state="pass", detail=detail)
    if scored:
        detail += f"; that is {scored / able:.0%} of the {able:,} that could be scored: the verdict speaks for these only"
    return Check(name="coverage", state="warn", detail=detail)


def _missing(setting: LiveSetting, comparisons: Sequence[LiveComparison]) -> list[Check]:
    """Whether one arm lacks scores more often: what is missing is seldom a random sample, so its mean may flatter."""
    found = []
    planned = [c for c in comparisons if c.role in ("primary", "secondary") and not c.within]
    for comparison in planned:
        table = setting.tables.get(comparison.metric.name)
        if not isinstance(table, SplitScores):
            continue
        differs = _missing_differs(table)
        if differs is not None:
            left, right = (_share_missing(arm) for arm in (comparison.baseline, comparison.custom))
            found.append(f"{comparison.metric.name} ({left:.1%} without a score in {setting.arms[0]}, {right:.1%} in {setting.arms[1]})")
    if found:
        detail = f"the arms lack scores at different rates on {', '.join(found)}: what is missing could turn these differences"
        return [Check(name="missing", state="warn", detail=detail)]
    return [Check(name="missing", state="pass", detail="no arm lacks scores more often than chance has it")] if planned else []


def _missing_differs(table: SplitScores) -> bool | None:
    """True where the shares of missing scores differ by a test that holds at any look; None where they are not shown to."""
    arms = [_missing_counts(arm) for arm in (table.control, table.treatment)]
    (missing_c, n_c), (missing_t, n_t) = arms
    if min(n_c, n_t) < 1 or missing_c == missing_t == 0:
        return None
    test = sequential_guardrail_rate((missing_c, missing_t), (n_c, n_t), margin=0.0, alpha=MISMATCH / 2, expected_rate=0.2)
    return True if test.lower_bound > 0 or test.bound < 0 else None


def _missing_counts(sums: UnitSums) -> tuple[int, int]:
    """Trials without a score, and all, as if a unit's trials were missing together: (sum n)^2 / sum n^2 of them count."""
    scored = float(sums.counts.sum())
    together = float((sums.counts**2).sum()) / scored if scored else 1.0
    n = max(1, round(sums.n_trials / together))
    return min(n, max(0, round((sums.n_trials - scored) / together))), n


def _share_missing(arm: LiveArm) -> float:
    return 1 - arm.n_scored / arm.n_trials if arm.n_trials else 0.0


def _outages(setting: LiveSetting) -> Check:
    refused, unlogged = (sum(getattr(outage, name) for outage in setting.outages) for name in ("refused", "unlogged"))
    if not setting.outages:
        return Check(name="outages", state="pass", detail="the log could be written all the time")
    trials = setting.n_trials + sum(setting.exposure.excluded.values())
    lost = (refused + unlogged) / max(1, trials + refused + unlogged)
    times = "once" if len(setting.outages) == 1 else f"{len(setting.outages)} times"
    detail = f"the log could not be written {times}: {refused:,} queries refused, {unlogged:,} answered unlogged ({lost:.2%} of all)"
    return Check(name="outages", state="warn" if lost > MAX_LOST else "pass", detail=detail)


def _allocation(setting: LiveSetting) -> list[Check]:
    """A share of the treatment that was changed mixes days with arms (Simpson's paradox): no interval holds then."""
    if setting.live.mode != "split":
        return []
    counts, shares = planned_shares(setting.exposure)
    if len(shares) < 2 or np.ptp(shares[:, 1]) < 1e-9:
        return []
    said = " to ".join(f"{share:.0%}" for share in dict.fromkeys(shares[:, 1].tolist()))
    detail = f"the treatment's share was changed from {said}, so that days weigh differently in the arms"
    expected = counts.sum(axis=1, keepdims=True) * shares
    mixtures = expected / expected.sum(axis=0)  # how much of each arm is of each version
    if 0.5 * float(np.abs(mixtures[:, 1] - mixtures[:, 0]).sum()) > MAX_APART:
        detail += ", and no interval holds: start anew, and change only who takes part (share)"
        return [Check(name="allocation", state="fail", detail=detail)]
    detail += ", though hardly: change only who takes part (share)"
    return [Check(name="allocation", state="warn", detail=detail)]


def _overrides(setting: LiveSetting) -> Check:
    forced, counted = setting.exposure.excluded.get("override", 0), setting.n_trials
    if not forced:
        return Check(name="overrides", state="pass", detail="nobody was put into an arm by hand")
    share = forced / (forced + counted)
    detail = f"{forced:,} trials ({share:.1%}) of units that were put into an arm by hand are left out"
    return Check(name="overrides", state="warn" if share > MAX_OVERRIDES else "pass", detail=detail)


def _clock(setting: LiveSetting) -> Check:
    clock, trials = setting.clock, setting.n_trials
    ahead = clock.last is not None and clock.last > clock.now + 60
    if ahead:
        return Check(name="clock", state="warn", detail="the log holds trials from the future: a clock is or was wrong")
    if not clock.backwards:
        return Check(name="clock", state="pass", detail="trials came in the order of their time")
    state: CheckState = "warn" if clock.backwards > MAX_BACKWARDS * max(1, trials) else "pass"
    detail = (
        f"{clock.backwards:,} trials are stamped more than a minute before one logged earlier: a clock was set back, or clocks disagree"
    )
    return Check(name="clock", state=state, detail=detail)


def _stopped(setting: LiveSetting) -> list[Check]:
    state = setting.traffic[-1]
    if not state.stopped and state.share > 0:
        return []
    said = f"stopped by {state.actor}: {state.reason}" if state.stopped else f"nobody takes part since {state.actor} set the share to 0"
    return [Check(name="traffic", state="warn", detail=said.rstrip(": "))]


def _plan(setting: LiveSetting) -> Check:
    stored, now = setting.stored_digest, setting.experiment.live_digest()
    if stored == now:
        return Check(name="plan", state="pass", detail=f"plan {stored} was stored before the first query")
    return Check(name="plan", state="warn", detail=f"plan {now} is not the one stored before the first query ({stored}): exploratory")


def left_out(setting: LiveSetting) -> tuple[LeftOut, ...]:
    """Everything that does not count, with its number; the most first."""
    found = [LeftOut(what=f"trials: {_REASONS.get(reason, reason)}", n=n) for reason, n in setting.exposure.excluded.items()]
    found.append(LeftOut(what="units that saw both arms", n=setting.exposure.in_both))
    found += [LeftOut(what=f"trials of {arm} erased on request", n=n) for arm, n in setting.exposure.erased.items()]
    for name in ("refused", "unlogged"):
        said = "queries refused while the log could not be written" if name == "refused" else "queries answered without a log"
        found.append(LeftOut(what=said, n=sum(getattr(outage, name) for outage in setting.outages)))
    late = sum(count.late for count in setting.votes)
    found.append(LeftOut(what=f"votes that came later than {setting.live.late_vote_days} days", n=late))
    return tuple(sorted((each for each in found if each.n), key=lambda each: -each.n))


_REASONS = {
    "override": "of testers, put into an arm by hand",
    "no unit": "without a unit, so that nobody knows whose they are",
    "outside": "of units that do not take part",
    "holdout": "of the holdout",
    "denied": "of units that are denied or not on the allow list",
    "stopped": "while the experiment was stopped",
    "in both arms": "of units that saw both arms",
}
