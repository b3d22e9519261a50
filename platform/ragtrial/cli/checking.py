"""`ragtrial doctor`: is this machine ready?"""

import json
from pathlib import Path
from typing import Annotated

import typer

from ragtrial.cli.terminal import console


def doctor(
    experiment: Annotated[
        Path | None,
        typer.Argument(metavar="EXPERIMENT.yaml", help="Also try this experiment's stores, and say what set them.", show_default=False),
    ] = None,
    *,
    as_json: Annotated[bool, typer.Option("--json", help="JSON.")] = False,
) -> None:
    """Try every part that an evaluation needs, for real, and say how to mend what is missing.

    With an experiment file it also asks that experiment's database and Milvus, and says for each place and each secret whether the file or
    the environment set it; secrets are not shown.

    Exit codes: 0 all that `ragtrial demo` needs works, and the experiment's stores answer, 2 something of it does not.
    """
    from ragtrial.suite.doctor import diagnose

    findings = diagnose(experiment)
    if as_json:
        typer.echo(json.dumps([{name: getattr(finding, name) for name in finding.__slots__} for finding in findings]))
    else:
        out = console()
        for finding in findings:
            mark = {"ok": "ok      ", "missing": "MISSING ", "optional": "optional"}[finding.state]
            out.print(f"{mark}  {finding.part}: {finding.detail}", markup=False, soft_wrap=True)
    raise typer.Exit(2 if any(finding.state == "missing" for finding in findings) else 0)
