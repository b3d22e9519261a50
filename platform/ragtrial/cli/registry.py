"""`ragtrial models`: what the registry holds, what became of it, and what is in production."""

import dataclasses
import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from ragtrial.cli.experiments import ExperimentPath, Json
from ragtrial.cli.terminal import console, error_console

if TYPE_CHECKING:
    from ragtrial.finetuning.registry import Registry
    from ragtrial.suite.model_facts import Line
    from ragtrial.suite.promoting import Moved

app = typer.Typer(help="Registered models: what `ragtrial train` made, from what, and which is in production.", no_args_is_help=True)

Where = Annotated[
    Path | None,
    typer.Option("--registry", help="Registry folder. [default: $RAGTRIAL_REGISTRY, or .ragtrial/models]", show_default=False),
]
Experiment = Annotated[
    Path | None,
    typer.Option(
        "--experiment", metavar="EXPERIMENT.yaml", help="Take this file's registry, and look into its log too.", show_default=False
    ),
]
Reference = Annotated[
    str, typer.Argument(metavar="NAME[@VERSION]", help="VERSION is v1, v2, ..., candidate or production. [default: the latest]")
]
Exact = Annotated[str, typer.Argument(metavar="NAME@VERSION", help="VERSION is v1, v2, ..., or candidate.")]
Name = Annotated[str, typer.Argument(metavar="NAME", help="Of the model.")]
By = Annotated[str | None, typer.Option("--by", help="Who does it, for the history. [default: the system's user]", show_default=False)]
Reason = Annotated[str, typer.Option("--reason", help="Why, for the history.", show_default=False)]


def _registry(where: Path | None, experiment: Path | None = None) -> "Registry":
    from ragtrial.finetuning.registry import Registry
    from ragtrial.settings import read_settings

    if where is None and experiment is not None:
        from ragtrial.formats.experiment import load_experiment, resolve_path

        file = load_experiment(experiment)
        return Registry(resolve_path(file.folder, file.experiment.stores.registry))
    return Registry(where or Path(read_settings().registry))


def who(by: str | None) -> str:
    """Who is at work: as said, or as the system knows."""
    if by:
        return by
    import getpass

    try:
        return getpass.getuser()
    except (OSError, KeyError):
        return "unknown"


def _say(text: str) -> None:
    console().print(text, markup=False, highlight=False, soft_wrap=True)


@app.command("list")
def list_models(*, where: Where = None, experiment: Experiment = None, as_json: Json = False) -> None:
    """List versions, newest last, with their aliases and what training and evaluation came to.

    An experiment's registry is `.ragtrial/models` beside its file.
    """
    from ragtrial.suite.model_facts import lines, waiting

    registry = _registry(where, experiment)
    found = lines(registry)
    if as_json:
        typer.echo(json.dumps([dataclasses.asdict(line) for line in found], ensure_ascii=False))
        return
    if not found:
        _say(f"no models in {registry.folder}: ragtrial train EXPERIMENT.yaml makes one, or give --registry or --experiment")
        return
    for row in _aligned([("MODEL", "ALIASES", "CREATED", "BASE", "PAIRS", "DEV", "VERDICT"), *map(_row, found)]):
        _say(row)
    for sentence in waiting(registry):
        error_console().print(sentence, style="yellow", markup=False, soft_wrap=True)


def _row(line: "Line") -> tuple[str, ...]:
    dev = "" if line.before is None or line.after is None else f"{line.metric} {line.before:.4f} -> {line.after:.4f}"
    return (
        f"registry:{line.name}@{line.version}",
        ", ".join(line.aliases),
        line.created_at[:16].replace("T", " "),
        line.base,
        "" if line.pairs is None else f"{line.pairs:,}",
        dev or "not measured",
        line.verdict or "not evaluated",
    )


def _aligned(rows: list[tuple[str, ...]]) -> list[str]:
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    return ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]


@app.command("show")
def show_model(name: Reference, *, where: Where = None, experiment: Experiment = None) -> None:
    """Show what is known of a version as JSON, after verifying its files: lineage, aliases, licence, evaluations, other notes.

    A deleted version is shown too: its record stays.
    """
    from ragtrial.suite.model_facts import shown

    typer.echo(json.dumps(shown(_registry(where, experiment), name, experiment), indent=2, ensure_ascii=False, default=str))


@app.command("verify")
def verify(*, where: Where = None, experiment: Experiment = None, as_json: Json = False) -> None:
    """Compare the files of every version with the checksums of its registration.

    Exit codes: 0 all are what was registered, 1 one is not.
    """
    from ragtrial.suite.model_facts import verified

    registry = _registry(where, experiment)
    found = verified(registry)
    if as_json:
        typer.echo(json.dumps(found, ensure_ascii=False))
    else:
        for reference, problem in found.items():
            _say(f"{reference}: {problem or 'as registered'}")
        if not found:
            _say(f"no models in {registry.folder}")
    raise typer.Exit(1 if any(found.values()) else 0)


@app.command("history")
def show_history(name: Name, *, where: Where = None, experiment: Experiment = None, as_json: Json = False) -> None:
    """List every change of a name: registrations, aliases, promotions, rollbacks, archiving, deletions; who, when and why."""
    from ragtrial.finetuning.registry_changes import history

    found = history(_registry(where, experiment), name)
    if as_json:
        typer.echo(json.dumps([dataclasses.asdict(change) for change in found], ensure_ascii=False))
        return
    for change in found:
        moved = f" {change.alias}: {change.before or 'nothing'} -> {change.after or 'nothing'}" if change.alias else ""
        about = f", experiment {change.details['experiment']}" if change.details.get("experiment") else ""
        forced = f", overriding: {'; '.join(change.details['overridden'])}" if change.details.get("overridden") else ""
        why = f": {change.reason}" if change.reason else ""
        who = f" by {change.who}" if change.who else ""
        _say(f"{change.at[:16].replace('T', ' ')}  {change.action} {name}@{change.version}{moved}{about}{who}{why}{forced}")


@app.command("diff")
def diff(
    first: Annotated[str, typer.Argument(metavar="A", help="NAME[@VERSION].")],
    second: Annotated[str, typer.Argument(metavar="B", help="NAME[@VERSION].")],
    *,
    where: Where = None,
    experiment: Experiment = None,
    as_json: Json = False,
) -> None:
    """Show what differs between the records of two versions: base, data, pairs, settings, environment, dev scores."""
    from ragtrial.suite.model_facts import differences

    registry = _registry(where, experiment)
    found = differences(registry.lineage(first), registry.lineage(second))
    if as_json:
        typer.echo(json.dumps([{"field": name, "a": a, "b": b} for name, a, b in found], ensure_ascii=False))
        return
    for name, a, b in found:
        _say(f"{name}: {_shown(a)} -> {_shown(b)}")
    if not found:
        _say("nothing differs but names and times")


def _shown(value: object) -> str:
    return "none" if value is None else value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


@app.command("graph")
def graph(
    name: Reference,
    *,
    form: Annotated[Literal["mermaid", "dot", "json"], typer.Option("--format", help="Of the graph.")] = "mermaid",
    where: Where = None,
    experiment: Experiment = None,
) -> None:
    """Print the lineage as a graph: data, pairs and votes -> model -> evaluation -> production.

    With --experiment, its files of pairs are read for where pairs come from, and its log for evaluations.
    """
    from ragtrial.suite.model_facts import graph as graph_of

    found = graph_of(_registry(where, experiment), name, experiment)
    if form == "json":
        typer.echo(json.dumps(found.as_dict(), ensure_ascii=False))
    else:
        typer.echo((found.mermaid() if form == "mermaid" else found.dot()).rstrip("\n"))


@app.command("card")
def show_card(name: Reference, *, where: Where = None, experiment: Experiment = None) -> None:
    """Print the model card as of now: Markdown with the Hugging Face hub's YAML before it."""
    from ragtrial.suite.model_facts import card

    typer.echo(card(_registry(where, experiment), name, experiment).rstrip("\n"))


@app.command("export")
def export_model(
    name: Reference,
    folder: Annotated[Path, typer.Argument(metavar="FOLDER", help="To make; never one that is there.")],
    *,
    training_texts: Annotated[
        bool, typer.Option("--training-texts", help="Also the digests of the training texts, and examples of refused pairs.")
    ] = False,
    where: Where = None,
    experiment: Experiment = None,
    as_json: Json = False,
) -> None:
    """Copy a version into a folder that `SentenceTransformer(FOLDER)` loads, with its model card and its lineage."""
    from ragtrial.finetuning.model_export import export
    from ragtrial.suite.model_facts import card

    registry = _registry(where, experiment)
    model = registry.get(name)
    made = export(model, folder, card=card(registry, model.reference, experiment), training_texts=training_texts)
    if as_json:
        typer.echo(json.dumps({"name": model.name, "version": model.version, "folder": str(made)}))
    else:
        _say(f"{model.reference} is in {made}, with README.md (its card) and ragtrial.json (its lineage)")


@app.command("alias")
def alias(
    name: Exact,
    alias: Annotated[str, typer.Argument(metavar="ALIAS", help="candidate; production is moved by promote and rollback.")],
    *,
    remove: Annotated[bool, typer.Option("--remove", help="Let the alias mean nothing.")] = False,
    reason: Reason = "",
    by: By = None,
    where: Where = None,
    experiment: Experiment = None,
) -> None:
    """Let an alias mean a version, so that arms find it as `registry:NAME@candidate`."""
    from ragtrial.finetuning.registry_changes import remove_alias, set_alias

    registry = _registry(where, experiment)
    if remove:
        name = name.removeprefix("registry:").partition("@")[0]
        version = remove_alias(registry, name, alias, who=who(by), reason=reason)
        _say(f"{name}@{version} is not {alias} any more")
    else:
        model = set_alias(registry, name, alias, who=who(by), reason=reason)
        _say(f"registry:{model.name}@{alias} is {model.reference}")


@app.command("archive")
def archive_model(
    name: Exact,
    *,
    undo: Annotated[bool, typer.Option("--undo", help="Take it back.")] = False,
    reason: Reason = "",
    by: By = None,
    where: Where = None,
    experiment: Experiment = None,
) -> None:
    """Mark a version as one that is not to be used any more; an evaluation of it says so."""
    from ragtrial.finetuning.registry_changes import archive

    model = archive(_registry(where, experiment), name, who=who(by), reason=reason, undo=undo)
    _say(f"{model.reference} is {'not archived any more' if undo else 'archived'}")


@app.command("licence")
def licence(
    name: Reference,
    licence: Annotated[str, typer.Argument(metavar="LICENCE", help="SPDX identifier, e.g. apache-2.0.")],
    *,
    by: By = None,
    where: Where = None,
    experiment: Experiment = None,
) -> None:
    """Give a version a licence of your own; without one its card states those of its data and of the base model."""
    from ragtrial.suite.model_facts import set_licence

    model = set_licence(_registry(where, experiment), name, licence, who=who(by))
    _say(f"the licence of {model.reference} is {licence}")


def note_licence(folder: Path, reference: str, licence: str) -> None:
    """What `ragtrial train --licence` leaves."""
    from ragtrial.suite.model_facts import set_licence

    set_licence(_registry(folder), reference, licence, who=who(None))


@app.command("promote")
def promote_model(
    name: Exact,
    experiment: ExperimentPath,
    *,
    arm: Annotated[str | None, typer.Option("--arm", help="The arm that ran it. [default: the treatment]", show_default=False)] = None,
    force: Annotated[bool, typer.Option("--force", help="Against what the evidence says; needs --reason.")] = False,
    reason: Reason = "",
    by: By = None,
    as_json: Json = False,
) -> None:
    """Put a version into production: the registry's alias `production` and the experiment's Milvus alias of production, both or neither.

    Refused where the newest evaluation of this version in the experiment did not pass its gate, lacks parity, found a leak, or is of another
    corpus, gold set or plan than the file's; --force overrides that and records it. Files are compared with their checksums first.

    Exit codes: 0 it is in production, 2 refused or bad input.
    """
    from ragtrial.settings import read_settings
    from ragtrial.suite.promoting import promote

    done = promote(experiment, name, settings=read_settings(), who=who(by), arm=arm, reason=reason, force=force)
    _say_moved(done, as_json=as_json)


@app.command("rollback")
def roll_back(name: Name, experiment: ExperimentPath, *, reason: Reason = "", by: By = None, as_json: Json = False) -> None:
    """Take the last promotion back: the version and the collection before it are in production again, both or neither."""
    from ragtrial.settings import read_settings
    from ragtrial.suite.promoting import roll_back_production

    _say_moved(roll_back_production(experiment, name, settings=read_settings(), who=who(by), reason=reason), as_json=as_json)


def _say_moved(done: "Moved", *, as_json: bool) -> None:
    if as_json:
        typer.echo(json.dumps(dataclasses.asdict(done), ensure_ascii=False))
        return
    for sentence in done.recovered:
        _say(sentence)
    is_now = "no version" if done.version is None else f"{done.name}@{done.version}"
    was = f", before: {done.before}" if done.before and done.before != done.version else ""
    _say(
        f"production of {done.name!r} is {is_now}{'' if done.changed else ' already'}{was}; {done.milvus_alias} points to {done.collection}"
    )
    if done.evidence is not None:
        _say(f"on the evidence of {done.evaluation_id}: {done.evidence}")
    for problem in done.overridden if done.changed else ():
        _say(f"overridden: {problem}")
    for experiment in done.elsewhere:
        _say(f"the Milvus alias of production of experiment {experiment!r} still points to another version: promote there too")


@app.command("recover")
def recover(experiment: ExperimentPath) -> None:
    """Bring a promotion or rollback that was killed to its end; index, evaluate, serve and promote do it by themselves."""
    from ragtrial.settings import read_settings
    from ragtrial.suite.promoting import recover_file

    done = recover_file(experiment, settings=read_settings())
    for sentence in done or ("nothing was interrupted",):
        _say(sentence)


@app.command("delete")
def delete_model(
    name: Exact,
    *,
    experiments: Annotated[
        list[Path] | None,
        typer.Option(
            "--experiment",
            metavar="EXPERIMENT.yaml",
            help="Also protect what this file's arms, live traffic and collections use. Repeatable.",
        ),
    ] = None,
    yes: Annotated[bool, typer.Option("--yes", help="Don't ask.")] = False,
    reason: Reason = "",
    by: By = None,
    where: Where = None,
) -> None:
    """Remove a version's weights for good; its lineage, notes and history stay, so that old verdicts still name it.

    Refused where it has an alias, production would go back to it, another version was trained from it, or an experiment given uses it.
    """
    from ragtrial.finetuning.registry_changes import delete, uses
    from ragtrial.settings import read_settings
    from ragtrial.suite.model_facts import uses_in

    given = experiments or []
    registry = _registry(where, given[0] if given else None)
    model = registry.get(name)
    used = [use for path in given for use in uses_in(path, model, settings=read_settings())]
    if not yes and not used and not uses(registry, model):
        typer.confirm(f"Remove the weights of {model.reference} for good?", abort=True)
    gone = delete(registry, name, who=who(by), reason=reason, used=used)
    _say(f"{gone.reference} is deleted; its record stays: ragtrial models show {gone.reference}")
