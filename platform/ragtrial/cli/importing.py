"""The command that takes over what other programs hold."""

import json
from pathlib import Path
from typing import Annotated

import typer

from ragtrial.cli.experiments import Json, Quiet
from ragtrial.cli.terminal import say

_KINDS = ("phoenix", "langfuse", "langfuse-scores", "ragas", "promptfoo")


def import_(
    kind: Annotated[str, typer.Argument(metavar="KIND", help=f"{', '.join(_KINDS)}.")],
    file: Annotated[Path, typer.Argument(metavar="FILE", help="What the program exported: .json, .jsonl, .csv or .parquet.")],
    *,
    output: Annotated[Path, typer.Option("--output", "-o", help="A new folder.")],
    corpus: Annotated[
        Path | None,
        typer.Option("--corpus", help="Your documents (corpus.jsonl). [default: made of the contexts in the file]", show_default=False),
    ] = None,
    runs: Annotated[
        Path | None, typer.Option("--runs", help="langfuse-scores: the dataset run items, as exported.", show_default=False)
    ] = None,
    question: Annotated[str | None, typer.Option("--question", help="Field of the question.", show_default=False)] = None,
    answer: Annotated[str | None, typer.Option("--answer", help="Field of the reference answer.", show_default=False)] = None,
    contexts: Annotated[str | None, typer.Option("--contexts", help="Field of the texts that answer it.", show_default=False)] = None,
    ids: Annotated[str | None, typer.Option("--ids", help="Field of the ids of what answers it.", show_default=False)] = None,
    judge_retrieved: Annotated[
        bool, typer.Option("--retrieved-are-relevant", help="Take what a system retrieved for relevant, where nobody judged it.")
    ] = False,
    quiet: Quiet = False,
    as_json: Json = False,
) -> None:
    """Turn a data set of Phoenix, Langfuse, ragas or promptfoo into a gold set, and their scores into a table for `ragtrial compare`.

    Writes corpus.jsonl, queries.jsonl and qrels/test.tsv (a BEIR folder, for `data: {format: beir, path: FOLDER}`), scores.jsonl where the file
    has scores, and import.json, which says where it came from and what was left out and why. Texts are data: nothing in them is run.
    """
    from ragtrial.formats.foreign_sets import Fields
    from ragtrial.suite.importing import import_file, lines_of

    if kind not in _KINDS:
        raise typer.BadParameter(f"{kind!r} is unknown: give {', '.join(_KINDS)}")
    made = import_file(
        kind,  # type: ignore[arg-type]  # one of the literal's values, as was just looked at
        file,
        output,
        corpus=corpus,
        runs=runs,
        fields=Fields(question=question, answer=answer, contexts=contexts, ids=ids),
        retrieved_answer=judge_retrieved,
    )
    if as_json:
        typer.echo(json.dumps({"folder": str(made.folder), **made.as_dict()}, ensure_ascii=False))
    elif not quiet:
        for line in lines_of(made):
            say(line)
