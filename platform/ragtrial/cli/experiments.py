"""Commands that take an experiment file: validate, train, index, evaluate."""

import dataclasses
import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ragtrial.cli.terminal import console, error_console, progress_bars, say

if TYPE_CHECKING:
    from ragtrial.suite.concluding import Outcome
    from ragtrial.suite.preparing import Prepared
    from ragtrial.suite.running import Plan

ExperimentPath = Annotated[
    Path, typer.Argument(metavar="EXPERIMENT.yaml", help="The experiment file; its relative paths start at its folder.")
]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="No progress; only the result.")]
Json = Annotated[bool, typer.Option("--json", help="One JSON object on stdout instead of text.")]


def validate(experiment: ExperimentPath, *, as_json: Json = False) -> None:
    """Check an experiment file, its corpus and its gold set, and list every problem with file, line and field.

    Nothing is written. A corpus that is cut into passages is cut here too, so that judgments which no passage holds are shown.
    """
    from ragtrial.settings import read_settings
    from ragtrial.suite.checking import check

    found = check(experiment, read_settings())
    if as_json:
        typer.echo(json.dumps(found.as_dict(), ensure_ascii=False, indent=2))
    else:
        out = console()
        for problem in found.problems:
            out.print(f"problem: {problem}", markup=False, style="red", soft_wrap=True)
        for warning in found.warnings:
            out.print(f"warning: {warning}", markup=False, style="yellow", soft_wrap=True)
        for line in found.summary:
            out.print(line, markup=False, soft_wrap=True)
        many = f"{len(found.problems)} problem{'' if len(found.problems) == 1 else 's'}"
        out.print("valid" if not found.problems else many, style="bold")
    raise typer.Exit(2 if found.problems else 0)


def train(
    experiment: ExperimentPath,
    *,
    method: Annotated[
        str | None, typer.Option("--method", help="full, lora, linear-adapter or scratch, instead of the file's.", show_default=False)
    ] = None,
    loss: Annotated[
        str | None,
        typer.Option(
            "--loss",
            help="multiple-negatives, cached-multiple-negatives, triplet, cosent or cosine, instead of the file's.",
            show_default=False,
        ),
    ] = None,
    base: Annotated[str | None, typer.Option("--base", help="The model to start from, instead of the file's.", show_default=False)] = None,
    negatives: Annotated[
        int | None,
        typer.Option("--negatives", min=0, help="Hard negatives to mine for each pair, instead of the file's.", show_default=False),
    ] = None,
    epochs: Annotated[int | None, typer.Option("--epochs", min=1, help="Passes over the pairs.", show_default=False)] = None,
    batch_size: Annotated[int | None, typer.Option("--batch-size", min=2, help="Pairs per step.", show_default=False)] = None,
    learning_rate: Annotated[
        float | None, typer.Option("--learning-rate", min=0.0, help="Peak learning rate of the method.", show_default=False)
    ] = None,
    seed: Annotated[int | None, typer.Option("--seed", help="Of shuffling and initialisation.", show_default=False)] = None,
    name: Annotated[
        str | None, typer.Option("--name", help="Name in the registry. [default: the one an arm asks for]", show_default=False)
    ] = None,
    licence: Annotated[
        str | None,
        typer.Option(
            "--licence",
            help="Your own licence of the model, e.g. apache-2.0. [default: those of the data and of the base]",
            show_default=False,
        ),
    ] = None,
    missing: Annotated[bool, typer.Option("--missing", help="Only where the registry lacks a model that an arm asks for.")] = False,
    quiet: Quiet = False,
    as_json: Json = False,
) -> None:
    """Train the custom model as the experiment's `training` section says, and register it as a new version.

    Pairs whose query or passage is in the gold set are refused and counted: a model must not be tested on what it was trained on.
    A training that was killed goes on where it was when the same command is given again. The result is found by arms as `registry:NAME`;
    see `ragtrial models`. Options take the place of settings in the file; what was used is in the model's lineage.
    """
    from ragtrial.suite.training_files import check_files

    if missing and not _lacks_a_model(experiment):
        typer.echo("{}" if as_json else "nothing to train: every model that an arm asks for is registered")
        return
    check_files(experiment)  # before what takes seconds to import

    from ragtrial.finetuning.processes import is_main
    from ragtrial.settings import read_settings
    from ragtrial.suite.preparing import prepare
    from ragtrial.suite.training import Overrides, model_name, overridden, train_model
    from ragtrial.suite.training_words import describe

    given = Overrides(
        method=method,
        loss=loss,
        base=base,
        per_pair=negatives,
        epochs=epochs,
        batch_size=batch_size,
        learning_rate=learning_rate,
        seed=seed,
    )
    with progress_bars(quiet=quiet) as progress:
        prepared = overridden(prepare(experiment, settings=read_settings()), given)
        model = train_model(prepared, name=name or model_name(prepared), progress=progress)
    if not is_main():
        return
    if licence is not None:
        from ragtrial.cli.registry import note_licence

        note_licence(prepared.around.registry, model.reference, licence)
    if as_json:
        typer.echo(
            json.dumps({"name": model.name, "version": model.version, "folder": str(model.folder), "lineage": model.lineage}, default=str)
        )
    else:
        for line in (*describe(model, own=licence and licence.strip()), f"next: ragtrial evaluate {experiment}"):
            console().print(line, markup=False, soft_wrap=True)


def _lacks_a_model(experiment: Path) -> bool:
    from ragtrial.settings import read_settings
    from ragtrial.suite.arm_models import missing_models
    from ragtrial.suite.preparing import prepare

    return bool(missing_models(prepare(experiment, settings=read_settings())))


def index(
    experiment: ExperimentPath,
    *,
    rollback: Annotated[
        str | None, typer.Option("--rollback", metavar="ARM", help="Point this arm's alias back to its previous collection, and stop.")
    ] = None,
    estimate: Annotated[
        bool,
        typer.Option(
            "--estimate", help="Say what the collections will take (memory, disk, time to embed) for each type of index, and stop."
        ),
    ] = False,
    quiet: Quiet = False,
    as_json: Json = False,
) -> None:
    """Embed the corpus with each arm's model into its own Milvus collection, without evaluating.

    Here, or on Ray (`execution: ray` in the file). What is indexed already is left alone; an interrupted indexing goes on where it stopped. An
    arm's alias moves to a new collection only when that is complete, and finds what `index.min_recall` demands of exact search.
    """
    if estimate:
        from ragtrial.cli.estimates import print_estimate

        print_estimate(experiment, quiet=quiet, as_json=as_json)
        return

    from ragtrial.settings import read_settings
    from ragtrial.suite.indexing import index_file, roll_back
    from ragtrial.suite.preparing import prepare

    if rollback is not None:
        typer.echo(f"{rollback}: {roll_back(prepare(experiment, settings=read_settings()), rollback)}")
        return

    with progress_bars(quiet=quiet) as progress:
        facts = index_file(experiment, settings=read_settings(), progress=progress)
    if as_json:
        typer.echo(json.dumps({name: dataclasses.asdict(fact) for name, fact in facts.items()}))
        return
    for name, fact in facts.items():
        recall = "not measured" if fact.ann_recall is None else f"{fact.ann_recall:.2%}"
        console().print(
            f"{name}: {fact.n_passages:,} passages in {fact.collection} ({fact.index_type}, {fact.metric}), recall against exact search {recall}",
            markup=False,
            soft_wrap=True,
        )


def evaluate(
    experiment: ExperimentPath,
    *,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="Folder for the reports. [default: reports/NAME]", show_default=False)
    ] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on with an interrupted evaluation, or reuse a finished one.")] = False,
    retry_failed: Annotated[
        bool,
        typer.Option(
            "--retry-failed",
            help="Ask again what failed in the finished evaluation, as an evaluation of its own. Retrying only what failed shifts the "
            "distribution, which the report then says.",
        ),
    ] = False,
    limit: Annotated[int | None, typer.Option("--limit", min=1, help="Ask only a random sample of so many queries.")] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would be done and stop.")] = False,
    training: Annotated[bool, typer.Option("--train/--no-train", help="Train a registered model that is missing.")] = True,
    quiet: Quiet = False,
    as_json: Json = False,
) -> None:
    """Run the whole A/B suite: index both arms, ask every gold query, score, log, analyse, report, decide.

    Writes report.html, report.json, report.md, junit.xml, trials.parquet, qrels.txt and a TREC run for each arm. An evaluation that
    was killed goes on with --resume and ends with the same result.

    Exit codes: 0 the experiment's gate holds (default: the verdict is "adopt custom"), 1 it fails, 2 bad input or set-up.
    """
    from ragtrial.settings import read_settings
    from ragtrial.suite.folders import output_folder
    from ragtrial.suite.preparing import prepare
    from ragtrial.suite.running import plan

    prepared = prepare(experiment, settings=read_settings(), limit=limit)
    planned = plan(prepared, allow_training=training)
    _say_plan(prepared, planned, as_json=as_json and dry_run, quiet=quiet or (as_json and not dry_run))
    if dry_run:
        return
    folder = output_folder(output or Path("reports") / prepared.experiment.name)
    outcome = evaluate_prepared(prepared, folder, resume=resume, retry_failed=retry_failed, training=training, quiet=quiet)
    show(outcome, as_json=as_json, quiet=quiet)
    raise typer.Exit(0 if outcome.analysis.verdict.gate_passed else 1)


def evaluate_prepared(
    prepared: "Prepared", folder: Path, *, resume: bool, training: bool, quiet: bool, retry_failed: bool = False
) -> "Outcome":
    """Run with progress bars, then conclude from what is in SQL."""
    from functools import partial

    from rich.console import Console

    from ragtrial.db.reader import Reader
    from ragtrial.formats.experiment import sql_url
    from ragtrial.suite.concluding import conclude
    from ragtrial.suite.running import run

    say = partial((Console(quiet=True) if quiet else error_console()).print, markup=False, soft_wrap=True)
    with progress_bars(quiet=quiet) as progress:
        evaluation_id = run(prepared, resume=resume, retry_failed=retry_failed, allow_training=training, progress=progress, say=say)
    say(f"analysing evaluation {evaluation_id} and writing the reports to {folder}")
    with Reader(sql_url(prepared.file)) as reader:
        return conclude(
            reader,
            reader.evaluation(evaluation_id),
            prepared.experiment,
            output=folder,
            store=sql_url(prepared.file),
            registry=prepared.around.registry,
        )


def show(outcome: "Outcome", *, as_json: bool, quiet: bool) -> None:
    """The result as a table, as one sentence, or as JSON; on standard error why the dashboard does not get it, where that is so."""
    from ragtrial.report.json_report import as_json as report_json
    from ragtrial.report.terminal import render_terminal

    if outcome.not_stored is not None:
        error_console().print(f"the dashboard does not show this result: {outcome.not_stored}", markup=False, soft_wrap=True)
    if as_json:
        typer.echo(report_json(outcome.content))
    elif quiet:
        say(outcome.analysis.verdict.sentence)
    else:
        render_terminal(outcome.content, console())
        if "report.html" in outcome.files:
            console().print(f"report: {outcome.files['report.html'].resolve()}", markup=False, soft_wrap=True)


def _say_plan(prepared: "Prepared", planned: "Plan", *, as_json: bool, quiet: bool) -> None:
    experiment = prepared.experiment
    if as_json:
        fields = dataclasses.asdict(planned)
        typer.echo(json.dumps({"experiment": experiment.name, "plan_digest": experiment.plan_digest(), **fields}))
        return
    if quiet:
        return
    out = error_console()
    out.print(
        f"{experiment.name}: {planned.n_passages:,} passages, {planned.n_queries:,} queries, {planned.n_trials:,} trials; "
        f"{prepared.turnover.summary()}",
        markup=False,
        soft_wrap=True,
    )
    for line in planned.llm.lines() if planned.llm is not None else ():
        out.print(line, markup=False, soft_wrap=True)
    if planned.to_train:
        out.print(f"to be trained first: {', '.join(planned.to_train)}", markup=False)
    spread = experiment.analysis.assumed_sd
    out.print(
        f"before the run: {planned.n_queries:,} queries show an effect of about {planned.mde:.4f} on {experiment.metrics.primary.name} "
        f"with {experiment.analysis.power:.0%} power (assuming differences spread by {spread:g}); "
        f"worth having is {experiment.metrics.primary.min_effect:g}",
        markup=False,
        soft_wrap=True,
    )
