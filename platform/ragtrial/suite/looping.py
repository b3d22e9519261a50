"""The loop from what users do to a better model: look, and where it pays make a candidate, step by step."""

import subprocess
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from ragtrial.contracts import Progress, no_progress
from ragtrial.db.live_reader import LiveReader
from ragtrial.db.reader import Reader
from ragtrial.db.schema import current_revision
from ragtrial.domain.pair import Pair
from ragtrial.domain.preparation import PreparationSpec
from ragtrial.domain.retraining import FEEDBACK, STEPS, Source, Step
from ragtrial.errors import BusyError, NoPairError, SetupError
from ragtrial.finetuning.leakage import text_digest
from ragtrial.finetuning.registry_changes import set_alias
from ragtrial.formats.experiment import load_experiment, resolve_path, sql_url
from ragtrial.formats.pairs import read_pairs
from ragtrial.formats.policy import PolicyFile
from ragtrial.formats.preparation import load_preparation
from ragtrial.settings import Settings
from ragtrial.suite.candidates import candidate_name, candidate_path, production_of, registry_of, write_candidate
from ragtrial.suite.concluding import conclude
from ragtrial.suite.curated_export import listed
from ragtrial.suite.cycles import Cycle, CycleLog
from ragtrial.suite.data_preparation import prepare_data
from ragtrial.suite.loop_gold import gold_reading
from ragtrial.suite.monitoring import LookOptions, look
from ragtrial.suite.pair_sources import VoteOptions
from ragtrial.suite.pairing import Built, Wanted, build_pairs
from ragtrial.suite.preparing import prepare
from ragtrial.suite.running import run
from ragtrial.suite.training import train_model

PAIRS = "pairs.jsonl"
"""A cycle's training pairs, in its folder."""
CORPUS = "corpus"
"""What a cycle prepared, likewise."""


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
    wanted = _wanted(around, feedback)
    try:
        with tempfile.TemporaryDirectory(prefix="ragtrial-look-") as folder:
            output = Path(folder) / PAIRS
            pairs = build_pairs(file.experiment, output, wanted, settings=around.settings, progress=around.progress).pairs
    except NoPairError:
        return ()
    used = {_key(pair) for cycle in around.log.all() if "train" in cycle.done for pair in read_pairs(around.log.home(cycle) / PAIRS)}
    return tuple(pair for pair in pairs if _key(pair) not in used)


def _key(pair: Pair) -> tuple[str, str]:
    return text_digest(pair.query), text_digest(pair.passage)


def _wanted(around: Around, sources: tuple[Source, ...], corpus: Path | None = None) -> Wanted:
    """Users of shadow runs saw production's answers, so their votes count like those of the experiment itself.

    What users and operators have not given yet is no fault of the policy: such a source is left out until there is something.
    """
    spec, name = around.file.policy.pairs, load_experiment(around.file.experiment).experiment.name
    _say_unknown(around)
    shadows = tuple(candidate_name(name, cycle.number) for cycle in around.log.all())
    return Wanted(
        sources=_filled(around, sources),
        corpus=corpus,
        votes=VoteOptions(consent=spec.consent, cap=spec.cap, also=(*around.file.policy.also, *shadows)),
    )


def _filled(around: Around, sources: tuple[Source, ...]) -> tuple[Source, ...]:
    if not _is_logged(around.file):
        return tuple(source for source in sources if source not in FEEDBACK)
    if "curated" in sources and not listed(around.file.experiment):
        return tuple(source for source in sources if source != "curated")
    return sources


def _say_unknown(around: Around) -> None:
    """A name in `also` that the log doesn't know would be passed over in silence: it may be mistyped."""
    also = around.file.policy.also
    if not also or not _is_logged(around.file):
        return
    with LiveReader(sql_url(load_experiment(around.file.experiment))) as reader:
        known = {each.name for each in reader.experiments()}
    for name in also:
        if name not in known:
            around.say(
                f"also: experiment {name!r} was never served with this database, so it adds no votes (known: {', '.join(sorted(known))})"
            )


def run_loop(around: Around, *, until: Step | None = None, now: bool = False) -> Cycle | None:
    """Go on with the open cycle, or look and open one; the cycle as it is afterwards, or None where none was opened.

    Killed at any moment, the same call goes on: steps that are over are not done again. While another process does that, nothing is done.

    Args:
        around: What the steps need.
        until: Stop after this step; where it is over already, at once.
        now: Open a candidate whatever the triggers say; it is noted.

    Raises:
        RagtrialError: A step failed; the cycle stays open, and the same call tries the step again.
    """
    last = len(STEPS) if until is None else STEPS.index(until)
    try:
        with around.log.alone():
            cycle = open_cycle(around) or _opened(around, now=now)
            while cycle is not None and (step := cycle.next_step) is not None and STEPS.index(step) <= last:
                around.say(f"cycle {cycle.number}: {step}")
                cycle = _STEPS[step](around, cycle)
            return cycle
    except BusyError as error:
        around.say(str(error))
        return open_cycle(around)


def open_cycle(around: Around) -> Cycle | None:
    """The cycle that is not over; None where there is none."""
    cycles = around.log.all()
    return cycles[-1] if cycles and not cycles[-1].is_over else None


def _opened(around: Around, *, now: bool) -> Cycle | None:
    rests = rests_until(around)
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


def rests_until(around: Around) -> datetime | None:
    """Until when no cycle is opened after the last one; None where that is over."""
    ended = [cycle.ended_at for cycle in around.log.all() if cycle.ended_at is not None]
    if not ended:
        return None
    until = datetime.fromisoformat(ended[-1]) + timedelta(days=around.file.policy.when.rest_days)
    return until if until > datetime.now(UTC) else None


def _prepare(around: Around, cycle: Cycle) -> Cycle:
    """Make a corpus of the policy's raw files, where it names any; documents that the gold set was made from are kept out of training."""
    documents, file = around.file.policy.documents, around.file
    if documents is None:
        return around.log.note(cycle, "prepare", {"corpus": None})
    output, folder = around.log.home(cycle) / CORPUS, file.path.parent
    if not output.is_dir():  # a kill may have come between the corpus and the note of it
        spec = PreparationSpec() if documents.config is None else load_preparation(resolve_path(folder, documents.config))
        sources = [resolve_path(folder, source) for source in documents.sources]
        prepare_data(sources, output, spec, settings=around.settings, progress=around.progress, gold=file.experiment, resume=True)
    return around.log.note(cycle, "prepare", {"corpus": CORPUS})


def _pairs(around: Around, cycle: Cycle) -> Cycle:
    """Gather what candidates are trained on, and write the candidate's experiment."""
    file, spec = around.file, around.file.policy.pairs
    output = around.log.home(cycle) / PAIRS
    corpus = None if cycle.done["prepare"]["corpus"] is None else around.log.home(cycle) / CORPUS
    try:
        built = build_pairs(
            file.experiment,
            output,
            _wanted(around, spec.sources, corpus),
            settings=around.settings,
            say=around.say,
            progress=around.progress,
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
    made = [
        model
        for model in registry.list()
        if model.name == file.policy.model
        and model.lineage.get("experiment") == name
        and str(model.lineage.get("created_at", "")) >= cycle.opened_at  # not that of a cycle whose folder was removed since
    ]
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
        _deploy(command, around.file.path.parent)
    return around.log.note(cycle, "shadow", {"experiment": path.name, "command": command})


def _deploy(command: list[str], folder: Path) -> None:
    """Run the policy's command in the policy's folder: a local file decides what it is, as with import paths of providers.

    Raises:
        SetupError: It can't be run, or fails.
    """
    try:
        done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)  # noqa: S603  the policy's own command
    except OSError as error:
        raise SetupError(f"the policy's command {command[0]!r} can't be run: {error.strerror}") from error
    if done.returncode != 0:
        last = (done.stderr.strip() or done.stdout.strip()).splitlines()[-1:] or ["it said nothing"]
        raise SetupError(
            f"the policy's command {' '.join(command)!r} ended with {done.returncode}: {last[0]}; mend it and run the loop again"
        )


_STEPS: Mapping[Step, Callable[[Around, Cycle], Cycle]] = {
    "prepare": _prepare,
    "pairs": _pairs,
    "train": _train,
    "evaluate": _evaluate,
    "shadow": _shadow,
}


def in_production(file: PolicyFile) -> str | None:
    """`NAME@VERSION` in production; None before the first promotion."""
    return production_of(registry_of(file), file.policy.model)
