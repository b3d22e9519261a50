"""An experiment file evaluated as a test: once for all who ask, and with the gate's reasons at hand."""

import json
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

from ragtrial.db.reader import Reader
from ragtrial.domain.experiment import Experiment
from ragtrial.domain.verdict import Comparison, Verdict
from ragtrial.errors import InputError
from ragtrial.finetuning.registry_records import locked, write_json
from ragtrial.formats.experiment import load_experiment, sql_url
from ragtrial.report.gate_words import gate_lines, headline
from ragtrial.settings import Settings
from ragtrial.suite.concluding import Outcome, conclude
from ragtrial.suite.folders import output_folder
from ragtrial.suite.preparing import prepare
from ragtrial.suite.running import run


@dataclass(frozen=True, slots=True, kw_only=True)
class Gate:
    """The evidence rule of an experiment, and whether it holds; true where it does.

    Attributes:
        rule: `adopt` or `no-regression`, as the experiment file says.
        holds: Whether it holds; too little data never does.
        lines: Why, the sentence first.
    """

    rule: str
    holds: bool
    lines: tuple[str, ...]

    def __bool__(self) -> bool:
        return self.holds

    def __str__(self) -> str:
        return "\n".join(self.lines)

    def __repr__(self) -> str:
        return f"<{self}>"  # `assert result.gate` shows it


@dataclass(frozen=True, kw_only=True)
class Gated:
    """What an evaluation came to, for a test.

    Attributes:
        outcome: All of it.
        folder: Where the reports are.
        gate: Whether the experiment's evidence rule holds, and why.
        headline: The result in one line.
    """

    outcome: Outcome
    folder: Path
    gate: Gate
    headline: str

    @property
    def verdict(self) -> Verdict:
        """The decision, its sentence and its reasons."""
        return self.outcome.analysis.verdict

    @property
    def evaluation_id(self) -> str:
        """Under which it is in the log."""
        return self.outcome.evaluation.evaluation_id

    @property
    def report(self) -> Path:
        """The report as a page."""
        return self.folder / "report.html"

    def comparison(self, metric: str) -> Comparison:
        """Control against treatment on one metric.

        Raises:
            InputError: It was not measured.
        """
        found = {comparison.metric.name: comparison for comparison in self.outcome.analysis.comparisons}
        if metric not in found:
            raise InputError(f"metric {metric!r} was not measured: there are {', '.join(found)}")
        return found[metric]


def needs_network(experiment: Experiment) -> str | None:
    """What of the experiment is asked over the network; None where nothing is, as far as its file says."""
    if experiment.asks_llm:
        return "it asks an LLM"
    if any(arm.embedding.provider == "openai-compatible" for arm in experiment.arms):
        return "it embeds by an endpoint"
    if any(experiment.retrieval_of(arm).retriever is not None for arm in experiment.arms):
        return "an arm brings a retriever of its own, which may ask anybody"
    stores = experiment.stores
    served = [name for name, url in (("milvus", stores.milvus), ("sql", stores.sql)) if "://" in url and not url.startswith("sqlite")]
    return f"stores.{served[0]} is a server" if served else None


def evaluate_once(
    path: Path,
    *,
    settings: Settings,
    shared: Path,
    output: Path,
    limit: int | None = None,
    resume: bool = False,
    allow_training: bool = False,
) -> Gated:
    """Evaluate an experiment, or take what another process of the same session has evaluated.

    Processes that share a folder wait for each other: stores in files are opened by one at a time, and the second one to ask for the same
    experiment gets the first one's evaluation.

    Args:
        path: The experiment file.
        settings: The environment.
        shared: Folder of the session, which exists: what is evaluated is noted there.
        output: Folder under which the reports are written, in one for each experiment.
        limit: Ask only a random sample of so many queries.
        resume: Take a finished evaluation of the same plan, data and models, or go on with an interrupted one.
        allow_training: Train registered models that are missing.

    Raises:
        RagtrialError: Whatever `ragtrial evaluate` would end with.
    """
    name = load_experiment(path).experiment.name
    folder = output_folder(output / (name if limit is None else f"{name}-limit-{limit}"))
    note = shared / f"ragtrial-{sha256(f'{path.resolve()} {limit}'.encode()).hexdigest()[:16]}.json"
    with locked(shared):
        prepared = prepare(path, settings=settings, limit=limit)
        known = note.is_file()
        if known:
            evaluation_id = str(json.loads(note.read_text(encoding="utf-8"))["evaluation_id"])
        else:
            evaluation_id = run(prepared, resume=resume, allow_training=allow_training)
        with Reader(sql_url(prepared.file)) as reader:
            outcome = conclude(
                reader,
                reader.evaluation(evaluation_id),
                prepared.experiment,
                output=None if known else folder,
                store=None if known else sql_url(prepared.file),
                registry=None if known else prepared.around.registry,
            )
        write_json(note, {"evaluation_id": evaluation_id})
    lines = (*gate_lines(outcome.content), f"  {'report':<10} {(folder / 'report.html').resolve()}")
    gate = Gate(rule=prepared.experiment.analysis.gate, holds=outcome.analysis.verdict.gate_passed, lines=lines)
    return Gated(outcome=outcome, folder=folder, gate=gate, headline=headline(outcome.content))
