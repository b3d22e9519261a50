"""The loop from what users do to a better model: look, and where it pays make a candidate, step by step; a person promotes it."""

import subprocess
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

from ragtrial.contracts import Progress, no_progress
from ragtrial.db.engine import current_revision
from ragtrial.db.reader import Reader
from ragtrial.domain.pair import Pair
from ragtrial.domain.retraining import FEEDBACK, Step
from ragtrial.errors import InputError, NoPairError, SetupError
from ragtrial.finetuning.leakage import text_digest
from ragtrial.finetuning.registry_changes import remove_alias, set_alias
from ragtrial.formats.experiment import load_experiment, resolve_path, sql_url
from ragtrial.formats.pairs import read_pairs
from ragtrial.formats.policy import PolicyFile
from ragtrial.settings import Settings
from ragtrial.suite.candidates import candidate_name, candidate_path, production_of, registry_of, write_candidate
from ragtrial.suite.concluding import conclude
from ragtrial.suite.cycles import Cycle, CycleLog
from ragtrial.suite.loop_gold import gold_reading
from ragtrial.suite.monitoring import LookOptions, look
from ragtrial.suite.pair_sources import VoteOptions
from ragtrial.suite.pairing import Built, Wanted, build_pairs
from ragtrial.suite.preparing import prepare
from ragtrial.suite.promoting import Moved, promote
from ragtrial.suite.running import run
from ragtrial.suite.training import train_model

PAIRS = "pairs.jsonl"
"""A cycle's training pairs, in its folder."""
_LOOKED = "looked.jsonl"


@dataclass(frozen=True, kw_only=True)
class Looked:
    """What a look at the triggers found.

    Attributes:
        reasons: What opens a candidate, in words; empty where nothing does.
        seen: What was looked at and what was found, in words, whether or not it opens anything.
    """

    reasons: tuple[str, ...]
    seen: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class Around:
    """What every step needs.

    Attributes:
        file: The policy.
        settings: The environment.
        progress: Told how far long work is.
        say: Told what was done.
    """

    file: PolicyFile
    settings: Settings
    progress: Progress = no_progress
    say: Callable[[str], None] = field(default=lambda _text: None)

    @property
    def log(self) -> CycleLog:
        """The loop's cycles."""
        return CycleLog(self.file.folder)


def look_for_reasons(around: Around) -> Looked:
    """Whether a candidate would pay now, by the policy.

    Raises:
        InputError: The experiment's files are wrong, or something is asked for that they lack.
    """
    when = around.file.policy.when
    found: list[tuple[str, bool]] = []
    if when.new_pairs is not None:
        n = len(_new_pairs(around))
        found.append((f"{n:,} pairs that no candidate was trained on ({when.new_pairs:,} open one)", n >= when.new_pairs))
    if when.drift:
        found.append(_drift(around) if _is_logged(around.file) else ("no drift can be seen: nothing is logged yet", False))
    if when.gold is not None:
        found.append(gold_reading(around.file, when.gold, settings=around.settings, progress=around.progress))
    return Looked(reasons=tuple(said for said, opens in found if opens), seen=tuple(said for said, _opens in found))


def _drift(around: Around) -> tuple[str, bool]:
    """What the monitor says; it keeps its own looks, so one more is only taken where there is something new."""
    report = look(around.file.experiment, settings=around.settings, options=LookOptions(), progress=around.progress)
    raised = report.raised
    if raised:
        return f"drift: {', '.join(signal.name for signal in raised)}", True
    n_judged = sum(signal.effect is not None for signal in report.signals)
    return f"no drift alert stands ({n_judged} of {len(report.signals)} signals could be judged)", False


def _is_logged(file: PolicyFile) -> bool:
    """Whether there is a database with anything in it."""
    return current_revision(sql_url(load_experiment(file.experiment))) is not None


def _new_pairs(around: Around) -> tuple[Pair, ...]:
    """Pairs from feedback that no candidate was trained on; those that a cycle was refused for are new still."""
    file = around.file
    feedback = tuple(source for source in file.policy.pairs.sources if source in FEEDBACK)
    if not feedback or not _is_logged(file):
        return ()
    output = file.folder / _LOOKED
    try:
        pairs = build_pairs(file.experiment, output, _wanted(around, feedback), settings=around.settings, progress=around.progress).pairs
    except NoPairError:
        return ()
    finally:
        output.unlink(missing_ok=True)
    used = {_key(pair) for cycle in around.log.all() if "train" in cycle.done for pair in read_pairs(around.log.home(cycle) / PAIRS)}
    return tuple(pair for pair in pairs if _key(pair) not in used)


def _key(pair: Pair) -> tuple[str, str]:
    return text_digest(pair.query), text_digest(pair.passage)


def _wanted(around: Around, sources: tuple[Any, ...]) -> Wanted:
    """Users of shadow runs saw production's answers, so their votes count like those of the experiment itself."""
    spec, name = around.file.policy.pairs, load_experiment(around.file.experiment).experiment.name
    shadows = tuple(candidate_name(name, cycle.number) for cycle in around.log.all())
    return Wanted(sources=sources, votes=VoteOptions(consent=spec.consent, cap=spec.cap, also=(*around.file.policy.also, *shadows)))


def run_loop(around: Around, *, until: Step | None = None, now: bool = False) -> Cycle | None:
    """Go on with the open cycle, or look and open one; the cycle as it is afterwards, or None where none was opened.

    Killed at any moment, the same call goes on: steps that are over are not done again.

    Args:
        around: What the steps need.
        until: Stop after this step.
        now: Open a candidate whatever the triggers say; it is noted.

    Raises:
        RagtrialError: A step failed; the cycle stays open, and the same call tries the step again.
    """
    cycle = open_cycle(around) or _opened(around, now=now)
    while cycle is not None and (step := cycle.next_step) is not None:
        around.say(f"cycle {cycle.number}: {step}")
        cycle = _STEPS[step](around, cycle)
        if step == until:
            break
    return cycle


def open_cycle(around: Around) -> Cycle | None:
    """The cycle that is not over; None where there is none."""
    cycles = around.log.all()
    return cycles[-1] if cycles and not cycles[-1].is_over else None


def _opened(around: Around, *, now: bool) -> Cycle | None:
    rests = _rests_until(around)
    if rests is not None and not now:
        around.say(f"the last cycle ended lately: the policy rests until {rests:%Y-%m-%d %H:%M} UTC (when.rest_days)")
        return None
    looked = look_for_reasons(around)
    for said in looked.seen:
        around.say(said)
    reasons = looked.reasons or (("opened by hand",) if now else ())
    if not reasons:
        return None
    return around.log.open(reasons)


def _rests_until(around: Around) -> datetime | None:
    ended = [cycle.ended_at for cycle in around.log.all() if cycle.ended_at is not None]
    if not ended:
        return None
    until = datetime.fromisoformat(ended[-1]) + timedelta(days=around.file.policy.when.rest_days)
    return until if until > datetime.now(UTC) else None


def _pairs(around: Around, cycle: Cycle) -> Cycle:
    """Gather what candidates are trained on, and write the candidate's experiment."""
    file, spec = around.file, around.file.policy.pairs
    output = around.log.home(cycle) / PAIRS
    try:
        built = build_pairs(
            file.experiment, output, _wanted(around, spec.sources), settings=around.settings, say=around.say, progress=around.progress
        )
    except NoPairError as error:
        return around.log.refuse(cycle, str(error))
    n_train = sum(pair.split == "train" for pair in built.pairs)
    if n_train < spec.fewest:
        return around.log.refuse(cycle, f"{n_train:,} training pairs, and the policy wants {spec.fewest:,} (pairs.fewest)")
    path = write_candidate(file, cycle.number, pairs=output, model=None)
    return around.log.note(cycle, "pairs", {"pairs": n_train, "experiment": path.name, **_counts(built)})


def _counts(built: Built) -> dict[str, Any]:
    return {
        "sources": {source: len(gathered.pairs) for source, gathered in built.sources.items()},
        "refused": built.counts_refused,
        "left_out": dict(built.left_out),
    }


def _train(around: Around, cycle: Cycle) -> Cycle:
    """Train and register the candidate, unless a kill came between its registration and the note of it."""
    file = around.file
    path = candidate_path(file, cycle.number)
    registry = registry_of(file)
    name = candidate_name(load_experiment(file.experiment).experiment.name, cycle.number)
    made = [model for model in registry.list() if model.name == file.policy.model and model.lineage.get("experiment") == name]
    if not made:
        prepared = prepare(path, settings=around.settings)
        made = [train_model(prepared, name=file.policy.model, progress=around.progress)]
    model = made[-1]
    write_candidate(file, cycle.number, pairs=around.log.home(cycle) / PAIRS, model=model.reference)
    return around.log.note(cycle, "train", {"model": model.reference})


def _evaluate(around: Around, cycle: Cycle) -> Cycle:
    """The candidate against the model in production, on the gold set, by the experiment's own gate."""
    prepared = prepare(candidate_path(around.file, cycle.number), settings=around.settings)
    evaluation_id = run(prepared, resume=True, allow_training=False, progress=around.progress, say=around.say)
    url = sql_url(prepared.file)
    registry = resolve_path(prepared.file.folder, prepared.experiment.stores.registry)
    with Reader(url) as reader:
        outcome = conclude(
            reader,
            reader.evaluation(evaluation_id),
            prepared.experiment,
            output=around.log.home(cycle) / "report",
            store=url,
            registry=registry,
        )
    verdict = outcome.analysis.verdict
    around.say(verdict.sentence)
    facts = {"evaluation": evaluation_id, "gate": verdict.gate_passed, "sentence": verdict.sentence}
    cycle = around.log.note(cycle, "evaluate", facts)
    if not verdict.gate_passed:
        return around.log.refuse(cycle, f"the experiment's gate fails: {verdict.sentence}")
    return cycle


def _shadow(around: Around, cycle: Cycle) -> Cycle:
    """Mark the version as the candidate, and hand its experiment to whatever deploys it."""
    path, model = candidate_path(around.file, cycle.number), cycle.model or ""
    set_alias(registry_of(around.file), model, "candidate", who="ragtrial loop", reason=f"cycle {cycle.number}: the gate holds")
    command = [part.replace("{file}", str(path)).replace("{model}", model) for part in around.file.policy.command]
    if command:
        _deploy(command)
    return around.log.note(cycle, "shadow", {"experiment": path.name, "command": command})


def _deploy(command: list[str]) -> None:
    """Run the policy's command: a local file decides what it is, as with import paths of providers.

    Raises:
        SetupError: It can't be run, or fails.
    """
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603  the policy's own command
    except OSError as error:
        raise SetupError(f"the policy's command {command[0]!r} can't be run: {error.strerror}") from error
    if done.returncode != 0:
        last = (done.stderr.strip() or done.stdout.strip()).splitlines()[-1:] or ["it said nothing"]
        raise SetupError(
            f"the policy's command {' '.join(command)!r} ended with {done.returncode}: {last[0]}; mend it and run the loop again"
        )


_STEPS: Mapping[Step, Callable[[Around, Cycle], Cycle]] = {"pairs": _pairs, "train": _train, "evaluate": _evaluate, "shadow": _shadow}


def promote_candidate(around: Around, *, who: str, reason: str = "", force: bool = False) -> tuple[Cycle, Moved]:
    """Put the candidate that waits into production, by the evidence of its own evaluation.

    Raises:
        InputError: No candidate waits.
        ModelError: The evidence refuses it.
    """
    cycle = _waiting(around)
    path = candidate_path(around.file, cycle.number)
    moved = promote(path, cycle.model or "", settings=around.settings, who=who, reason=reason, force=force)
    _no_candidate(around)
    return around.log.end(cycle, "promoted", who=who, reason=reason), moved


def reject_candidate(around: Around, *, who: str, reason: str) -> Cycle:
    """Close the open cycle; its model stays in the registry.

    Raises:
        InputError: No cycle is open.
    """
    cycle = open_cycle(around)
    if cycle is None:
        raise InputError("no cycle is open, so there is nothing to reject")
    _no_candidate(around)
    return around.log.end(cycle, "rejected", who=who, reason=reason)


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


def in_production(file: PolicyFile) -> str | None:
    """`NAME@VERSION` in production; None before the first promotion."""
    return production_of(registry_of(file), file.policy.model)
