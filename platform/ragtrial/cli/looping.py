"""`ragtrial loop`: from what users do to a better model, again and again, with a person at the end of each round."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from ragtrial.cli.experiments import Json, Quiet
from ragtrial.cli.registry import By, who
from ragtrial.cli.terminal import console, error_console, progress_bars

if TYPE_CHECKING:
    from ragtrial.contracts import Progress
    from ragtrial.suite.cycles import Cycle
    from ragtrial.suite.looping import Around

app = typer.Typer(
    help="Make a new candidate when it pays: pairs from votes, training, offline evaluation, a shadow run. A person promotes.\n\n"
    "The policy file says what opens a candidate (drift, new pairs, a falling score on the gold set), what it is trained on, and what it has "
    "to pass. Every command goes on where the last one was killed.",
    no_args_is_help=True,
)

PolicyPath = Annotated[Path, typer.Argument(metavar="POLICY.yaml", help="The policy file; its relative paths start at its folder.")]
Reason = Annotated[str, typer.Option("--reason", help="Why; kept with the decision.")]


def _around(path: Path, *, quiet: bool, progress: "Progress | None" = None) -> "Around":
    from ragtrial.contracts import no_progress
    from ragtrial.formats.policy import load_policy
    from ragtrial.settings import read_settings
    from ragtrial.suite.looping import Around

    def say(text: str) -> None:
        if not quiet:
            error_console().print(text, markup=False, soft_wrap=True)

    return Around(file=load_policy(path), settings=read_settings(), progress=progress or no_progress, say=say)


@app.command("run")
def run_policy(
    policy: PolicyPath,
    *,
    until: Annotated[
        Literal["prepare", "pairs", "train", "evaluate", "shadow"] | None,
        typer.Option("--until", help="Stop after this step.", show_default=False),
    ] = None,
    now: Annotated[bool, typer.Option("--now", help="Open a candidate whatever the policy's triggers say; it is noted.")] = False,
    quiet: Quiet = False,
    as_json: Json = False,
) -> None:
    """Go on with the open candidate, or look whether one pays and open it: pairs, training, evaluation, shadow.

    Fit for a scheduler: where nothing opens a candidate it says why and ends with 0, and what was killed goes on with the next call.
    Only a person promotes: ragtrial loop promote.

    Exit codes: 0 nothing to do, or a candidate waits; 1 the candidate was refused; 2 bad input or set-up.
    """
    from ragtrial.suite.looping import run_loop

    with progress_bars(quiet=quiet or as_json) as progress:
        cycle = run_loop(_around(policy, quiet=quiet or as_json, progress=progress), until=until, now=now)
    _show(cycle, policy, as_json=as_json)
    raise typer.Exit(1 if cycle is not None and cycle.refused is not None else 0)


@app.command("look")
def look_at_triggers(policy: PolicyPath, *, quiet: Quiet = False, as_json: Json = False) -> None:
    """Say what the policy's triggers show now, and whether they would open a candidate; nothing is opened."""
    from ragtrial.suite.looping import look_for_reasons, open_cycle, rests_until

    with progress_bars(quiet=quiet or as_json) as progress:
        around = _around(policy, quiet=True, progress=progress)
        looked = look_for_reasons(around)
    cycle, rests = open_cycle(around), rests_until(around)
    if as_json:
        found = {"opens": bool(looked.reasons) and cycle is None and rests is None, "reasons": looked.reasons, "seen": looked.seen}
        waits = {"open_cycle": None if cycle is None else cycle.number, "rests_until": None if rests is None else rests.isoformat()}
        typer.echo(json.dumps({**found, **waits}, ensure_ascii=False))
        return
    for said in looked.seen:
        console().print(f"{'opens a candidate: ' if said in looked.reasons else ''}{said}", markup=False, soft_wrap=True)
    if not looked.reasons:
        console().print("nothing opens a candidate", markup=False)
    elif cycle is not None:
        console().print(f"but cycle {cycle.number} is open, and one candidate at a time is: {_where(cycle)}", markup=False, soft_wrap=True)
    elif rests is not None:
        console().print(f"but the policy rests until {rests:%Y-%m-%d %H:%M} UTC (when.rest_days)", markup=False, soft_wrap=True)


@app.command("status")
def show_status(policy: PolicyPath, *, as_json: Json = False) -> None:
    """Show every cycle: what opened it, how far it came, what became of it; and what is in production."""
    from ragtrial.suite.looping import in_production

    around = _around(policy, quiet=True)
    cycles = around.log.all()
    production = in_production(around.file)
    if as_json:
        typer.echo(json.dumps({"production": production, "cycles": [_plain(cycle) for cycle in cycles]}, ensure_ascii=False))
        return
    out = console()
    out.print(f"in production: {production or 'the baseline of the experiment, nothing was promoted yet'}", markup=False, soft_wrap=True)
    for cycle in cycles:
        out.print(f"cycle {cycle.number}, opened {cycle.opened_at}: {'; '.join(cycle.reasons)}", markup=False, soft_wrap=True)
        out.print(f"  {_where(cycle)}", markup=False, soft_wrap=True)
    if not cycles:
        out.print("no cycle was opened yet: ragtrial loop run looks whether one pays", markup=False)


@app.command("promote")
def promote_waiting(
    policy: PolicyPath,
    *,
    reason: Reason = "",
    force: Annotated[
        bool, typer.Option("--force", help="Against what the evidence says; needs --reason, and what was overridden is kept.")
    ] = False,
    by: By = None,
    as_json: Json = False,
) -> None:
    """Put the candidate that waits into production: the registry's alias and Milvus's together.

    Its offline evaluation is the evidence, as for ragtrial models promote. It is refused too where its shadow run shows it worse, breaks a
    guardrail or fails a check (ragtrial analyse FILE --live); a shadow run that has decided nothing yet is said and refuses nothing.

    Exit codes: 0 it is in production, 2 refused or bad input.
    """
    from ragtrial.suite.loop_deciding import promote_candidate

    cycle, moved = promote_candidate(_around(policy, quiet=as_json), who=who(by), reason=reason, force=force)
    if as_json:
        typer.echo(json.dumps({"cycle": cycle.number, "model": cycle.model, "before": moved.before, "collection": moved.collection}))
        return
    console().print(
        f"{cycle.model} is in production (before: {moved.before or 'the baseline'}); arms that name registry:{moved.name}@production take it at "
        f"their next start. Back again: ragtrial models rollback {moved.name} EXPERIMENT.yaml",
        markup=False,
        soft_wrap=True,
    )


@app.command("reject")
def reject_open(policy: PolicyPath, *, reason: Reason, by: By = None, as_json: Json = False) -> None:
    """Close the open candidate; its model stays in the registry."""
    from ragtrial.suite.loop_deciding import reject_candidate

    cycle = reject_candidate(_around(policy, quiet=as_json), who=who(by), reason=reason)
    _show(cycle, policy, as_json=as_json)


@app.command("graph")
def show_graph(
    policy: PolicyPath,
    *,
    trial: Annotated[
        str | None, typer.Option("--trial", help="Only what came of the votes on this live trial.", show_default=False)
    ] = None,
    form: Annotated[Literal["mermaid", "dot", "json"], typer.Option("--form", help="How it is written.")] = "mermaid",
) -> None:
    """Print the lineage of all candidates: votes, pairs, models, evaluations, promotions."""
    from ragtrial.suite.loop_graph import loop_graph

    around = _around(policy, quiet=True)
    graph = loop_graph(around.file, trial=trial)
    if not graph.nodes:
        cycle = next(iter(around.log.all()[-1:]), None)
        so_far = "no cycle was opened yet" if cycle is None else f"cycle {cycle.number}: {_where(cycle)}"
        told = f"there is no lineage yet, as no candidate was trained ({so_far}); ragtrial loop run {policy} looks whether one pays and goes on"
        error_console().print(told, markup=False, soft_wrap=True)
    if form == "json":
        typer.echo(json.dumps(graph.as_dict(), ensure_ascii=False, indent=2, default=str))
    elif graph.nodes:
        typer.echo(graph.mermaid() if form == "mermaid" else graph.dot(), nl=False)


def _show(cycle: "Cycle | None", policy: Path, *, as_json: bool) -> None:
    if as_json:
        typer.echo(json.dumps(None if cycle is None else _plain(cycle), ensure_ascii=False))
        return
    if cycle is None:
        console().print("no candidate is open, and none was opened", markup=False)
        return
    console().print(f"cycle {cycle.number}: {_where(cycle)}", markup=False, soft_wrap=True)
    if cycle.waits:
        file = cycle.done["shadow"]["experiment"]
        console().print(
            f"it runs in silence with ragtrial serve {file}; ragtrial analyse {file} --live shows how it does; then ragtrial loop promote {policy} "
            f"or ragtrial loop reject {policy}",
            markup=False,
            soft_wrap=True,
        )


def _where(cycle: "Cycle") -> str:
    """How far a cycle came."""
    model = f"{cycle.model} " if cycle.model else ""
    if cycle.ending is not None:
        because = f": {cycle.ended_because}" if cycle.ended_because else ""
        return f"{model}{cycle.ending} by {cycle.ended_by} at {cycle.ended_at}{because}"
    if cycle.refused is not None:
        return f"{model}refused: {cycle.refused}"
    if cycle.next_step is None:
        return f"{model}passed its evaluation and waits for a decision: {cycle.done['evaluate']['sentence']}"
    return f"{model}next: {cycle.next_step}"


def _plain(cycle: "Cycle") -> dict[str, object]:
    import dataclasses

    return {**dataclasses.asdict(cycle), "model": cycle.model, "next_step": cycle.next_step, "waits": cycle.waits}
