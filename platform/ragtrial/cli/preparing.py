"""`ragtrial prepare`: raw files to a clean corpus with splits and a data card."""

import json
import shlex
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ragtrial.cli.experiments import Json, Quiet
from ragtrial.cli.terminal import console, progress_bars

if TYPE_CHECKING:
    from ragtrial.domain.preparation import PreparationSpec
    from ragtrial.suite.data_preparation import Looked, Made


class _By(StrEnum):
    DOCUMENT = "document"
    TIME = "time"


class _Gold(StrEnum):
    TEST = "test"
    DROP = "drop"
    FLAG = "flag"


def prepare(
    sources: Annotated[
        list[Path], typer.Argument(metavar="SOURCE...", help="Folders (searched to the bottom) and files.", show_default=False)
    ],
    *,
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", metavar="FOLDER", help="The folder to make; never one that is there.", show_default=False),
    ] = None,
    config: Annotated[
        Path | None,
        typer.Option("--config", metavar="PREPARE.yaml", help="All settings; options given here go before it.", show_default=False),
    ] = None,
    gold: Annotated[
        Path | None,
        typer.Option("--gold", metavar="EXPERIMENT.yaml", help="Keep what its gold set was made from out of training.", show_default=False),
    ] = None,
    gold_rule: Annotated[
        _Gold | None, typer.Option("--gold-rule", help="What becomes of such documents. [default: test]", show_default=False)
    ] = None,
    redact: Annotated[
        bool | None, typer.Option("--redact/--no-redact", help="Take out personal data. [default: redact]", show_default=False)
    ] = None,
    model: Annotated[
        str | None,
        typer.Option(
            "--model", metavar="SPACY", help="An installed spaCy model that finds names of people and places.", show_default=False
        ),
    ] = None,
    languages: Annotated[
        str | None, typer.Option("--languages", metavar="en,de", help="Keep documents in these. [default: all]", show_default=False)
    ] = None,
    near: Annotated[
        float | None, typer.Option("--near", help="Similarity from which two documents are one. [default: 0.8]", show_default=False)
    ] = None,
    by: Annotated[_By | None, typer.Option("--by", help="How documents are split. [default: document]", show_default=False)] = None,
    dev: Annotated[float | None, typer.Option("--dev", help="Share for choosing settings. [default: 0.1]", show_default=False)] = None,
    test: Annotated[float | None, typer.Option("--test", help="Share for testing. [default: 0.1]", show_default=False)] = None,
    seed: Annotated[int | None, typer.Option("--seed", help="Of the draw. [default: 42]", show_default=False)] = None,
    licence: Annotated[
        str | None,
        typer.Option(
            "--licence",
            metavar="TEXT",
            help="Of the documents: for the data card, and for pairs and models made from them.",
            show_default=False,
        ),
    ] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Take over what a killed run had done.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say which files would be read.")] = False,
    quiet: Quiet = False,
    as_json: Json = False,
) -> None:
    """Make a clean, de-duplicated corpus without personal data out of raw files, with train, dev and test splits and a data card.

    Text, Markdown, HTML, PDF, Word (.docx), e-mail (.eml), and tickets exported as CSV, JSON or JSON lines are read. What can't be read or
    is dropped is counted with the reason, and listed in removed.jsonl.

    FOLDER is written whole or not at all: corpus.jsonl, splits.tsv, removed.jsonl, redactions.jsonl, card.json, card.md, card.html. The
    same files and settings give the same bytes.

    Exit codes: 0 written, 2 bad input or set-up, or FOLDER is there already.
    """
    from ragtrial.errors import InputError
    from ragtrial.settings import read_settings
    from ragtrial.suite.data_preparation import look, prepare_data

    plain: dict[str, Any] = {"redact": redact, "model": model, "licence": licence}
    plain["languages"] = None if languages is None else tuple(part.strip() for part in languages.split(",") if part.strip())
    plain["gold"] = None if gold_rule is None else str(gold_rule)
    split = {"by": None if by is None else str(by), "dev": dev, "test": test, "seed": seed}
    spec = _spec(config, plain, near=near, split=split)
    if dry_run:
        _show_look(look(sources, spec), as_json=as_json)
        return
    if output is None:
        raise InputError("give the folder to make: --output FOLDER")
    with progress_bars(quiet=quiet or as_json) as progress:
        made = prepare_data(sources, output, spec, settings=read_settings(), progress=progress, gold=gold, resume=resume)
    _show_made(made, output, as_json=as_json)


def _spec(config: Path | None, plain: dict[str, Any], *, near: float | None, split: dict[str, Any]) -> "PreparationSpec":
    """The settings of the file, and over them the options that were given."""
    from dataclasses import replace

    from ragtrial.domain.preparation import PreparationSpec
    from ragtrial.errors import InputError

    spec = PreparationSpec()
    if config is not None:
        from ragtrial.formats.preparation import load_preparation

        spec = load_preparation(config)
    try:
        spec = replace(spec, **{name: value for name, value in plain.items() if value is not None})
        spec = replace(spec, split=replace(spec.split, **{name: value for name, value in split.items() if value is not None}))
        return spec if near is None else replace(spec, duplicates=replace(spec.duplicates, near=near))
    except ValueError as error:
        raise InputError(str(error)) from error


def _show_look(found: "Looked", *, as_json: bool) -> None:
    if as_json:
        typer.echo(json.dumps({"files": found.files, "megabytes": round(found.megabytes, 3), "unread": found.unread}, ensure_ascii=False))
        return
    lines = [f"{n:,} {kind}" for kind, n in found.files.items()]
    console().print(f"would read {', '.join(lines)}: {found.megabytes:,.1f} MB", markup=False, soft_wrap=True)
    for reason, n in found.unread.items():
        console().print(f"would not read {n:,}: {reason}", markup=False, soft_wrap=True)


def _show_made(made: "Made", output: Path, *, as_json: bool) -> None:
    from dataclasses import asdict

    from ragtrial.report.data_card import said_of

    if as_json:
        typer.echo(json.dumps({"folder": str(made.folder), "taken_over": made.taken_over, "card": asdict(made.card)}, ensure_ascii=False))
        return
    if made.taken_over:
        console().print(f"{made.taken_over:,} documents were taken over from a run that was stopped", markup=False, soft_wrap=True)
    lines = [*said_of(made.card), f"wrote {output}: see card.html or card.md"]
    if made.card.n_removed:
        lines.append(f"left out: {made.card.n_removed:,} files and documents, each with its step and reason in {output / 'removed.jsonl'}")
    if any(size.split == "train" and size.documents for size in made.card.splits):
        lines.append(f"next: ragtrial pairs build EXPERIMENT.yaml --from titles,headings,definitions --corpus {shlex.quote(str(output))}")
    for line in lines:
        console().print(line, markup=False, highlight=False, soft_wrap=True)
