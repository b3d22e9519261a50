"""`ragtrial quantize`: the cheapest variant of a model that loses less than a margin."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ragtrial.cli.experiments import ExperimentPath, Json, Quiet
from ragtrial.cli.terminal import console, progress_bars

if TYPE_CHECKING:
    from rich.console import Console

_UNBOUND = 10_000
"""Columns that no row needs."""


def quantize(
    experiment: ExperimentPath,
    *,
    max_loss: Annotated[float, typer.Option("--max-loss", metavar="LOSS", help="What may be lost of the metric at most.")] = 0.01,
    metric: Annotated[str, typer.Option("--metric", metavar="METRIC", help="The retrieval metric that may lose so much.")] = "nDCG@10",
    by: Annotated[
        str, typer.Option("--by", metavar="WHAT", help="What is made cheap: query, passage, bytes, or all (geometric mean of the ratios).")
    ] = "all",
    model: Annotated[
        str | None, typer.Option("--model", metavar="MODEL", help="Instead of the treatment's model.", show_default=False)
    ] = None,
    variants: Annotated[
        str | None,
        typer.Option(
            "--variants", metavar="LIST", help="E.g. openvino-bf16,dim128+vectors-int8 instead of the usual ones.", show_default=False
        ),
    ] = None,
    usd_per_cpu_hour: Annotated[
        float | None,
        typer.Option("--usd-per-cpu-hour", metavar="USD", min=0.0, help="Price of a core, to give costs in USD.", show_default=False),
    ] = None,
    limit: Annotated[
        int | None, typer.Option("--limit", metavar="N", help="Ask only a random sample of so many queries.", show_default=False)
    ] = None,
    output: Annotated[
        Path | None,
        typer.Option("--output", metavar="FOLDER", help="Folder of the result. [default: reports/NAME-quantization]", show_default=False),
    ] = None,
    quiet: Quiet = False,
    as_json: Json = False,
) -> None:
    """Measure quantized and truncated variants of a model as arms, and pick the cheapest that loses less than a margin.

    Each variant (ONNX, OpenVINO, bf16, int8, fewer dimensions, int8 and binary vectors) searches the experiment's Milvus and is scored on
    its gold set against float32, query by query. The pick goes by the lower end of a simultaneous interval, never by the mean. What was
    measured is kept in the output folder, so that an interrupted run goes on where it was.
    """
    from ragtrial.report.pareto import HEADINGS, as_dict, notes, rows, sentence
    from ragtrial.settings import read_settings
    from ragtrial.suite.folders import output_folder
    from ragtrial.suite.preparing import prepare
    from ragtrial.suite.quantizing import plan_of, quantize_and_report

    plan = plan_of(max_loss=max_loss, metric=metric, by=by, model=model, variants=variants, usd_per_cpu_hour=usd_per_cpu_hour)
    prepared = prepare(experiment, settings=read_settings(), limit=limit)
    folder = output_folder(output or Path("reports") / f"{prepared.experiment.name}-quantization")
    with progress_bars(quiet=quiet or as_json) as progress:
        made = quantize_and_report(prepared, plan, output=folder, progress=progress)
    if as_json:
        typer.echo(json.dumps({**as_dict(made.found, arm=made.arm), "page": str(made.page)}, ensure_ascii=False))
        return
    out = console()
    table(out, HEADINGS, rows(made.found))
    for line in (sentence(made.found), *notes(made.found), "", made.arm.rstrip(), "", f"the picture: {made.page}"):
        out.print(line, markup=False, soft_wrap=True)


def table(out: "Console", headings: Sequence[str], lines: Sequence[Sequence[str]]) -> None:
    """Print rows under their headings; where a row does not fit into the terminal, each as a list."""
    from rich.markup import escape
    from rich.table import Table

    drawn = Table(*headings, box=None, header_style="bold", pad_edge=False)
    for line in lines:
        drawn.add_row(*map(escape, line))
    if out.measure(drawn, options=out.options.update_width(_UNBOUND)).maximum <= out.width:
        out.print(drawn)
        return
    for name, *values in lines:
        out.print(escape(name), style="bold", soft_wrap=True)
        for heading, value in zip(headings[1:], values, strict=True):
            if value:
                out.print(f"  {heading}: {value}", markup=False)
