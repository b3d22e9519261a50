"""`ragtrial cache`: the LLM calls that are kept, so that none is paid for twice."""

import dataclasses
import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ragtrial.cli.terminal import console, say

if TYPE_CHECKING:
    from ragtrial.llm.cache import CallCache

app = typer.Typer(help="LLM calls that are kept: what was answered once is not paid for again.", no_args_is_help=True)

Folder = Annotated[
    Path,
    typer.Option("--folder", help="The cache. An experiment keeps its own in `.ragtrial/calls` beside its file (stores.calls)."),
]
Purpose = Annotated[str | None, typer.Option("--purpose", help="Only these: 'answer', or a metric's name.", show_default=False)]
Model = Annotated[str | None, typer.Option("--model", help="Only calls to this model.", show_default=False)]
Json = Annotated[bool, typer.Option("--json", help="JSON.")]
DEFAULT = Path(".ragtrial/calls")


def _opened(folder: Path) -> "CallCache":
    from ragtrial.errors import InputError
    from ragtrial.llm.cache import CallCache

    if not (folder / "data.mdb").exists():
        raise InputError(f"there is no call cache in {str(folder)!r}: give the folder that an experiment names in stores.calls")
    return CallCache(folder)


@app.command("list")
def list_calls(
    *,
    folder: Folder = DEFAULT,
    keys: Annotated[bool, typer.Option("--keys", help="A line for each call: its key, purpose, model, and how its answer begins.")] = False,
    as_json: Json = False,
) -> None:
    """Show what is kept, by purpose and model: calls, tokens, what they cost, and since when."""
    if keys:
        _list_keys(folder)
        return
    from ragtrial.suite.calls import summarise

    with _opened(folder) as cache:
        groups = summarise(cache)
    if as_json:
        typer.echo(json.dumps([dataclasses.asdict(group) for group in groups]))
        return
    if not groups:
        console().print(f"nothing is kept in {folder}", markup=False, soft_wrap=True)
    for group in groups:
        console().print(group.line(), markup=False, soft_wrap=True)


def _list_keys(folder: Path) -> None:
    with _opened(folder) as cache:
        for entry in cache.entries():
            begins = " ".join(entry.completion.text.split())[:60]
            say(f"{entry.completion.key[:16]}  {entry.purpose:<22}  {entry.request['model']}  {begins}")


@app.command("show")
def show_call(key: Annotated[str, typer.Argument(help="The key, or its beginning.")], *, folder: Folder = DEFAULT) -> None:
    """Show one call as JSON: the whole request, the answer, tokens, cost and time."""
    from ragtrial.errors import InputError

    with _opened(folder) as cache:
        found = [entry for entry in cache.entries() if entry.completion.key.startswith(key.lower())]
    if len(found) != 1:
        raise InputError(f"{len(found)} calls have a key that begins with {key!r}: give one of them, or more of it")
    typer.echo(json.dumps(dataclasses.asdict(found[0]), indent=2, ensure_ascii=False, default=dict))


@app.command("prune")
def prune_calls(
    *,
    folder: Folder = DEFAULT,
    purpose: Purpose = None,
    model: Model = None,
    older_than_days: Annotated[
        float | None, typer.Option("--older-than", metavar="DAYS", min=0, help="Only calls older than this.")
    ] = None,
    yes: Annotated[bool, typer.Option("--yes", help="Really forget them; without it this only says how many there are.")] = False,
) -> None:
    """Forget calls. Evaluations that are logged keep their results; repeating one pays for the forgotten calls again."""
    from ragtrial.suite.calls import prune

    with _opened(folder) as cache:
        n, cost = prune(cache, purpose=purpose, model=model, older_than_days=older_than_days, really=yes)
    money = f"they cost {cost:,.4f} USD as far as prices are known"
    said = f"forgot {n:,} calls" if yes else f"{n:,} calls would be forgotten (--yes does it)"
    console().print(f"{said}; {money}", markup=False, soft_wrap=True)
