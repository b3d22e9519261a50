"""What a person decides of a candidate that waits: into production, on its evaluation and its shadow run; or closed."""

from ragtrial.db.live_reader import LiveReader
from ragtrial.errors import InputError, StoreError
from ragtrial.finetuning.registry_changes import remove_alias
from ragtrial.formats.experiment import load_experiment, sql_url
from ragtrial.suite.candidates import candidate_path, registry_of
from ragtrial.suite.cycles import Cycle
from ragtrial.suite.live_analysis import analyse_live
from ragtrial.suite.looping import Around, in_production, open_cycle
from ragtrial.suite.promoting import Moved, promote


def promote_candidate(around: Around, *, who: str, reason: str = "", force: bool = False) -> tuple[Cycle, Moved]:
    """Put the candidate that waits into production, by the evidence of its own evaluation and of its shadow run.

    A shadow run that was not seen yet, or has not decided anything, is said and stops nobody: how long to wait is the person's to say.

    Raises:
        InputError: No candidate waits.
        ModelError: The evidence refuses it.
        BusyError: The loop is at work.
    """
    _waiting(around)  # before a folder is made for the lock
    with around.log.alone():
        cycle = _waiting(around)
        against = _against(around, cycle)
        path = candidate_path(around.file, cycle.number)
        moved = promote(path, cycle.model or "", settings=around.settings, who=who, reason=reason, force=force, against=against)
        _no_candidate(around)
        return around.log.end(cycle, "promoted", who=who, reason=reason), moved


def reject_candidate(around: Around, *, who: str, reason: str) -> Cycle:
    """Close the open cycle; its model stays in the registry.

    Raises:
        InputError: No cycle is open, or its model is in production.
        BusyError: The loop is at work.
    """
    _open(around)  # before a folder is made for the lock
    with around.log.alone():
        cycle = _open(around)
        if cycle.model is not None and cycle.model == in_production(around.file):
            raise InputError(
                f"{cycle.model} is in production already: ragtrial loop promote {around.file.path} closes its cycle, and "
                f"ragtrial models rollback {around.file.policy.model} {candidate_path(around.file, cycle.number)} takes it back"
            )
        _no_candidate(around)
        return around.log.end(cycle, "rejected", who=who, reason=reason)


def _against(around: Around, cycle: Cycle) -> tuple[str, ...]:
    """What the shadow run says against the candidate: a verdict for the baseline (it is worse, or a guardrail is broken), or a failed check."""
    file = load_experiment(candidate_path(around.file, cycle.number))
    try:
        with LiveReader(sql_url(file)) as reader:
            verdict = analyse_live(file, reader, pictures=False).verdict
    except (InputError, StoreError) as error:
        around.say(f"its shadow run says nothing: {error}")
        return ()
    if verdict.decision in ("keep baseline", "refused") and not verdict.gate_passed:
        return (f"its shadow run speaks against it: {verdict.sentence}",)
    around.say(f"its shadow run: {verdict.sentence}")
    return ()


def _open(around: Around) -> Cycle:
    cycle = open_cycle(around)
    if cycle is None:
        raise InputError("no cycle is open, so there is nothing to reject")
    return cycle


def _waiting(around: Around) -> Cycle:
    cycle = open_cycle(around)
    if cycle is None or not cycle.waits:
        where = "no cycle is open" if cycle is None else f"cycle {cycle.number} has still to {cycle.next_step}"
        raise InputError(f"no candidate waits for a decision: {where}; ragtrial loop run goes on with it")
    return cycle


def _no_candidate(around: Around) -> None:
    registry, name = registry_of(around.file), around.file.policy.model
    if "candidate" in registry.records(name).aliases:
        remove_alias(registry, name, "candidate", who="ragtrial loop")
