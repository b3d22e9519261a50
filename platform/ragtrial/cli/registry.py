"""`ragtrial models`: what the registry holds."""

import json
from pathlib import Path
from typing import Annotated

import typer

from ragtrial.cli.terminal import console

app = typer.Typer(help="Registered models: what `ragtrial train` made, and from what.", no_args_is_help=True)

Where = Annotated[
    Path | None,
    typer.Option("--registry", help="Registry folder. [default: $RAGTRIAL_REGISTRY, or .ragtrial/models]", show_default=False),
]


def _folder(where: Path | None) -> Path:
    from ragtrial.settings import read_settings

    return where or Path(read_settings().registry)


@app.command("list")
def list_models(*, where: Where = None, as_json: Annotated[bool, typer.Option("--json", help="JSON.")] = False) -> None:
    """List names and versions, newest last. An experiment's registry is `.ragtrial/models` beside its file."""
    from ragtrial.finetuning.registry import Registry

    folder = _folder(where)
    models = Registry(folder).list()
    if as_json:
        typer.echo(json.dumps([{"name": model.name, "version": model.version, "folder": str(model.folder)} for model in models]))
    elif not models:
        console().print(
            f"no models in {folder}: ragtrial train EXPERIMENT.yaml makes one, or give --registry", markup=False, soft_wrap=True
        )
    for model in [] if as_json else models:
        console().print(f"registry:{model.name}@{model.version}  {model.folder}", markup=False, soft_wrap=True)


@app.command("show")
def show_model(
    name: Annotated[str, typer.Argument(metavar="NAME[@VERSION]", help="Default: the latest version.")],
    *,
    where: Where = None,
) -> None:
    """Show a model's lineage as JSON, after verifying its checksum."""
    from ragtrial.finetuning.registry import Registry

    model = Registry(_folder(where)).get(name, verify=True)
    typer.echo(json.dumps(model.lineage, indent=2, ensure_ascii=False, default=str))
