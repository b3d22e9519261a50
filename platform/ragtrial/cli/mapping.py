"""`ragtrial map`: where the models put passages and queries."""

import json
from typing import Annotated

import typer

from ragtrial.cli.experiments import ExperimentPath, Json, Quiet
from ragtrial.cli.results import EvaluationId
from ragtrial.cli.terminal import console, progress_bars


def map_embeddings(
    experiment: ExperimentPath,
    *,
    evaluation: EvaluationId = None,
    tag: Annotated[
        str | None, typer.Option("--tag", help="Colour by this tag of the queries. [default: topic, or the best]", show_default=False)
    ] = None,
    quiet: Quiet = False,
    as_json: Json = False,
) -> None:
    """Draw a map of passages and queries as each arm's model sees them, for the dashboard's page of models.

    Queries of which the baseline finds nothing relevant are marked. At most 400 queries and 800 passages are drawn; vectors that were
    embedded before come from the cache. Making it again replaces it.
    """
    from ragtrial.settings import read_settings
    from ragtrial.suite.mapping import map_file

    with progress_bars(quiet=quiet or as_json) as progress:
        made = map_file(experiment, evaluation, settings=read_settings(), tag=tag, progress=progress)
    if as_json:
        found = [{"arm": each.arm, "points": len(each.points), "trustworthiness": each.trustworthiness, "tag": each.tag} for each in made]
        typer.echo(json.dumps(found, ensure_ascii=False))
        return
    for each in made:
        said = f"{each.arm}: {len(each.points)} texts, trustworthiness {each.trustworthiness:.2f}"
        console().print(said, markup=False, soft_wrap=True)
    console().print("see them on the dashboard: ragtrial dashboard, page Models and drift", markup=False, soft_wrap=True)
