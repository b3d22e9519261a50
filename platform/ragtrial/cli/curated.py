"""`ragtrial curated`: what operators chose on the dashboard for the gold set and for training."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ragtrial.cli.experiments import ExperimentPath, Json
from ragtrial.cli.terminal import console

if TYPE_CHECKING:
    from ragtrial.suite.curated_export import Exported, Listed

app = typer.Typer(help="What operators chose on the dashboard for the gold set and for training.", no_args_is_help=True)

_SHOWN = 70


@app.command("list")
def list_curated(
    experiment: ExperimentPath,
    *,
    everything: Annotated[bool, typer.Option("--all", help="Also what was taken back, and by whom.")] = False,
    as_json: Json = False,
) -> None:
    """List what stands: judgments, training pairs and hard negatives, each with who chose it, when, where and why."""
    from ragtrial.suite.curated_export import listed

    found = listed(experiment, history=everything)
    if as_json:
        typer.echo(json.dumps({"curated": [_as_dict(each) for each in found]}, ensure_ascii=False))
        return
    if not found:
        console().print("nothing was chosen yet: choose passages on a query's page (ragtrial dashboard)", markup=False, soft_wrap=True)
    for each in found:
        for line in _lines(each):
            console().print(line, markup=False, highlight=False, soft_wrap=True)


@app.command("export")
def export_curated(
    experiment: ExperimentPath,
    *,
    output: Annotated[Path, typer.Option("--output", "-o", metavar="DIR", help="The folder to make; never one that is there.")] = Path(
        "curated"
    ),
    as_json: Json = False,
) -> None:
    """Write what stands as files that extend the gold set and the training data.

    gold/: lines to add to the gold set's `queries.jsonl` (queries that it lacks) and `qrels` or `spans`, in BEIR form.

    training/: the same for training data (hard negatives have grade 0), and `pairs.jsonl`, which `training.data` reads by itself:
    `format: table`, with the experiment's own `corpus.jsonl`.

    provenance.jsonl: for each choice who made it, when, where and why, and why it was left out where it was.

    Gold never leaks: a pair whose query, passage or document is in the gold set, or among the judgments chosen here, is left out. So is what
    came from a live trial that was erased since. The same choices give the same files.

    Exit codes: 0 written, 2 bad input, nothing to write, or the folder is there already.
    """
    from ragtrial.settings import read_settings
    from ragtrial.suite.curated_export import export

    done = export(experiment, output, settings=read_settings())
    if as_json:
        typer.echo(json.dumps(_summary(done), ensure_ascii=False))
        return
    for line in _said(done):
        console().print(line, markup=False, highlight=False, soft_wrap=True)


def _as_dict(each: "Listed") -> dict[str, object]:
    import dataclasses

    return {**dataclasses.asdict(each.curation), "query_text_is": each.text}


def _lines(each: "Listed") -> list[str]:
    from ragtrial.report.words import plain

    curation = each.curation
    back = "" if curation.takes_back is None else f" takes back {curation.takes_back}:"
    text = "(erased)" if each.text == "erased" else repr(_short(curation.query_text))
    marked = ", redacted" if each.text == "redacted" else ""
    lines = [
        f"{curation.curation_id}:{back} {curation.chosen_as} of passage {curation.passage_id} for {text}{marked}",
        f"    {curation.actor}, {curation.created_at[:16].replace('T', ' ')} UTC, {curation.source}",
    ]
    if curation.note:
        lines.append(f"    {_short(curation.note)}")
    return [plain(line) for line in lines]


def _short(text: str) -> str:
    text = " ".join(text.split())
    return text if len(text) <= _SHOWN else f"{text[: _SHOWN - 1]}…"


def _summary(done: "Exported") -> dict[str, object]:
    return {
        "folder": str(done.folder),
        "files": list(done.files),
        "judgments": len(done.kept("judgment")),
        "pairs": len(done.kept("pair")),
        "hard_negatives": len(done.kept("hard negative")),
        "replacing": sum(each.replaces is not None for each in done.entries if each.left_out is None),
        "left_out": done.left_out,
        "warnings": list(done.warnings),
    }


def _said(done: "Exported") -> list[str]:
    from ragtrial.report.words import count

    judged = done.kept("judgment")
    new = len({each.query_id for each in judged if each.new})
    parts = [count(len(judged), "judgment"), count(len(done.kept("pair")), "pair"), count(len(done.kept("hard negative")), "hard negative")]
    lines = [f"wrote {', '.join(parts)} to {done.folder}: {', '.join(done.files)}"]
    if new:
        lines.append(f"{count(new, 'query is', 'queries are')} new to the gold set")
    lines += [
        f"replaces a judgment: {each.curation.passage_id} for query {each.query_id} had grade {each.replaces}, now {each.curation.grade}: "
        "take the old line out"
        for each in judged
        if each.replaces is not None
    ]
    lines += [f"left out: {n} because {reason}" for reason, n in done.left_out.items()]
    return [*lines, *(f"warning: {warning}" for warning in done.warnings)]
