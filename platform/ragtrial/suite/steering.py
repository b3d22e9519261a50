"""What operators change from a page: how much traffic takes part, and whether any does."""

import time
from collections.abc import Callable, Collection, Sequence

from ragtrial.db.traffic import TrafficStore
from ragtrial.domain.access import Role, Scope, allows
from ragtrial.domain.live import LONGEST_REASON, Mode, TrafficState, acted_on
from ragtrial.errors import InputError

_SHADOWS = "custom answers the queries of {share} of the units silently; nobody sees its answers"
_SHARES_ANSWERS = "{share} of the units get answers from both models' passages"


def change_traffic(
    url: str,
    live_id: int,
    *,
    expected_version: int,
    actor: str,
    role: Role,
    reason: str,
    scopes: Collection[Scope] | None = None,
    share: float | None = None,
    stopped: bool | None = None,
    clock: Callable[[], float] = time.time,
) -> TrafficState:
    """Change the traffic of an experiment that was served; in force in the service within a second, and in the audit log.

    The share of the treatment can't be changed here: another one moves units from one arm to the other and mixes days with arms.

    Args:
        url: SQLAlchemy URL of the log.
        live_id: Of the experiment.
        expected_version: The version that the change was decided on.
        actor: Who changes it.
        role: What that person or key is.
        reason: Why; it must say something.
        scopes: All that a limited key may do; None: what its role may.
        share: Of the units that take part, from 0 to 1; None: as it is.
        stopped: Everyone gets the baseline; None: as it is.
        clock: Seconds since 1970.

    Raises:
        InputError: The role or key may not change traffic, no reason was given, nothing is to be changed, a share is out of its range, or
            there is no such experiment. Nothing was changed.
        ConflictError: Somebody else, or a guardrail, has changed it meanwhile. Nothing was changed.
        StoreError: The database refused. Nothing was changed.
    """
    if not allows(role, scopes, "operate"):
        raise InputError(f"{actor!r} is a {role} and may not change traffic: ask an operator")
    why = reason.strip()
    if not why:
        raise InputError("a change of the traffic needs a reason: say why, for it is kept in the audit log")
    if len(why) > LONGEST_REASON:
        raise InputError(f"the reason has {len(why):,} characters: give at most {LONGEST_REASON:,}")
    if share is None and stopped is None:
        raise InputError("nothing is to be changed: give another share, or stop it or start it again")
    with TrafficStore(url, clock=clock) as store:
        return store.change(live_id, expected_version=expected_version, actor=actor, reason=why, share=share, stopped=stopped)


def consequences(
    history: Sequence[TrafficState], *, mode: Mode, share: float | None = None, stopped: bool | None = None
) -> tuple[str, ...]:
    """What a change of the traffic does to users and to the experiment, one sentence each, for whoever has to confirm it.

    Args:
        history: The traffic's states, oldest first; at least one.
        mode: The experiment's.
        share: Of the units that are to take part; None: as it is.
        stopped: Whether it is to be stopped; None: as it is.
    """
    now = history[-1]
    then, stops = now.share if share is None else share, now.stopped if stopped is None else stopped
    if stops:
        return _of_a_stop(now, mode)
    if now.stopped:
        kept = ("Units get the arm that they had before.",) if mode == "split" and then else ()
        return (*_said(then, now.treatment, mode), *kept, *_unprotected(history))
    if then == now.share:
        return ("Nothing changes.",)
    nobody = ("Nobody changes from one arm to the other.",) if mode == "split" else ()
    moved = percent(abs(then - now.share))
    if then > now.share:
        return (f"{moved} of the units come in.", *_said(then, now.treatment, mode), *nobody, *_unprotected(history))
    left = f"{moved} of the units leave: {_gets_baseline(mode)}, and what they ask from then on does not count."
    return (left, *_said(then, now.treatment, mode), "What was logged stays in the analysis.", *nobody)


def percent(share: float) -> str:
    """A share of the traffic in per cent, without digits that say nothing."""
    return f"{100 * share:.4g}%"


def _of_a_stop(now: TrafficState, mode: Mode) -> tuple[str, ...]:
    if now.stopped:
        return ("It is stopped already: nothing changes.",)
    everyone = {
        "split": "Everyone gets the baseline from the next query on, within a second; nobody gets custom.",
        "shadow": "Custom answers nothing any more, within a second; users get the baseline as before.",
        "interleaved": "Everyone gets the baseline's answers from the next query on, within a second.",
    }[mode]
    return (everyone, "Nothing more is counted until it is started again; what was logged stays in the analysis.")


def _said(share: float, treatment: float, mode: Mode) -> tuple[str, ...]:
    if not share:
        return ("Nobody takes part: everyone gets the baseline, and nothing is counted.",)
    if mode == "split":
        custom = share * treatment
        return (f"{percent(share)} of the units then take part: {percent(custom)} get custom, {percent(share - custom)} the baseline.",)
    said = (_SHADOWS if mode == "shadow" else _SHARES_ANSWERS).format(share=percent(share))
    return (f"{said[0].upper()}{said[1:]}.",)


def _gets_baseline(mode: Mode) -> str:
    return "users get the baseline as before" if mode == "shadow" else "they get the baseline from their next query on"


def _unprotected(history: Sequence[TrafficState]) -> tuple[str, ...]:
    """What a guardrail has done once it does not do again (`serving.watching`)."""
    broken = acted_on(history)
    if not broken:
        return ()
    acted = "stopped it" if history[-1].stopped else "acted"
    return (f"A guardrail has {acted} ({', '.join(broken)}) and will not act on that again: to go on is your decision.",)
