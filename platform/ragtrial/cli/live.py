"""Commands on live experiments: the analysis as of now, and how long one takes."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from ragtrial.cli.experiments import ExperimentPath, Json
from ragtrial.cli.terminal import console, say

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ragtrial.report.live_content import LiveContent

LiveFormat = Literal["terminal", "html", "json", "md"]


def show_live(experiment: Path, *, form: LiveFormat, output: Path | None, quiet: bool) -> bool:
    """Analyse a live experiment as of now and show it; returns whether its gate holds.

    Raises:
        InputError: There is no such live experiment in the log, or the output can't be written. What is wrong with the output's folder is
            said before the analysis.
    """
    if output is not None:
        _check_folder(output)
    from ragtrial.suite.live_analysis import live_content_of, replica_said

    content = live_content_of(experiment)
    replica = replica_said(experiment)
    if replica is not None and not quiet:
        typer.echo(replica, err=True)
    verdict = content.analysis.verdict
    if output is not None:
        _write(output, _as_text(content, form))
        typer.echo(output.resolve())
    elif form != "terminal":
        typer.echo(_as_text(content, form).rstrip("\n"))
    elif quiet:
        say(verdict.sentence)
    else:
        from ragtrial.report.live_terminal import render_live

        render_live(content, console())
    return verdict.gate_passed


def _as_text(content: "LiveContent", form: LiveFormat) -> str:
    if form == "json":
        from ragtrial.report.live_json import as_live_json

        return f"{as_live_json(content)}\n"
    if form == "md":
        from ragtrial.report.live_markdown import as_live_markdown

        return as_live_markdown(content)
    from ragtrial.report.live_html import as_live_html

    return as_live_html(content)


def form_of(given: LiveFormat | None, output: Path | None) -> LiveFormat:
    """How it is shown: as `--format` says, else as the output's suffix does, else on the terminal.

    Raises:
        InputError: The suffix is unknown, or is that of another format than the one that was asked for.
    """
    if output is None:
        return given or "terminal"
    from ragtrial.errors import InputError

    forms: dict[str, LiveFormat] = {".md": "md", ".json": "json", ".html": "html"}
    named = forms.get(output.suffix.lower())
    if named is None:
        raise InputError(f"--output {str(output)!r} has the suffix {output.suffix!r}: give one of {', '.join(forms)}")
    if given not in (None, named):
        raise InputError(
            f"--output {str(output)!r} is {named}, but --format is {given}: leave --format out, or give {_suffixes(forms, given)}"
        )
    return named


def _suffixes(forms: "Mapping[str, LiveFormat]", given: LiveFormat | None) -> str:
    fitting = [suffix for suffix, form in forms.items() if form == given]
    return f"a file that ends in {' or '.join(fitting or forms)}"


def _check_folder(output: Path) -> None:
    from ragtrial.errors import InputError
    from ragtrial.suite.folders import output_folder

    folder = output.absolute().parent
    if not folder.is_dir():
        raise InputError(f"there is no folder {str(folder)!r} for --output {str(output)!r}: make it, or give another file")
    output_folder(folder)


def _write(path: Path, text: str) -> None:
    from ragtrial.errors import InputError

    try:
        path.write_text(text, encoding="utf-8")
    except OSError as error:
        raise InputError(f"{str(path)!r} can't be written ({error.strerror or error}): give another file with --output") from error


def plan(
    experiment: ExperimentPath,
    *,
    sd: Annotated[
        float | None,
        typer.Option(
            "--sd", help="Standard deviation of one unit's mean on the primary metric, as this command prints it.", show_default=False
        ),
    ] = None,
    baseline: Annotated[
        float | None, typer.Option("--baseline", help="The baseline's rate, where the primary metric is 0 or 1.", show_default=False)
    ] = None,
    units_per_day: Annotated[
        float | None,
        typer.Option("--units-per-day", help="New units (users) a day that take part. [default: as logged]", show_default=False),
    ] = None,
    as_json: Json = False,
) -> None:
    """Say how many units and days the live experiment takes to see its smallest gain worth having.

    How much units vary is read from its log where there is one, else from the latest evaluation of the same name; --sd or --baseline
    come before both. Write the number into `live.units_planned` before the first user is served: it belongs to the plan, and an
    experiment that runs keeps its own.
    """
    from ragtrial.suite.live_analysis import Assumptions, plan_file

    found = plan_file(experiment, Assumptions(sd=sd, baseline=baseline, units_per_day=units_per_day))
    if as_json:
        from ragtrial.report.live_json import plan_dict

        typer.echo(json.dumps(plan_dict(found), ensure_ascii=False))
        return
    from ragtrial.report.live_terminal import render_plan

    render_plan(found, console())
