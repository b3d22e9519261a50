"""From an experiment file to everything that is fixed before a model is loaded."""

import dataclasses
from dataclasses import dataclass
from pathlib import Path

from ragtrial.build import Surroundings
from ragtrial.chunking import Turnover, cut, resolve
from ragtrial.domain.corpus import Corpus
from ragtrial.domain.data import DataSpec
from ragtrial.domain.experiment import Experiment
from ragtrial.domain.gold import GoldSet
from ragtrial.errors import InputError
from ragtrial.evaluation import order_of
from ragtrial.formats.beir import derive_clusters
from ragtrial.formats.data import load_data
from ragtrial.formats.experiment import ExperimentFile, load_experiment, resolve_path
from ragtrial.settings import Settings


@dataclass(frozen=True, kw_only=True)
class Configured:
    """An experiment, its data unread.

    Attributes:
        file: The experiment file.
        around: What its specifications are resolved against.
    """

    file: ExperimentFile
    around: Surroundings

    @property
    def experiment(self) -> Experiment:
        """The experiment as written."""
        return self.file.experiment


@dataclass(frozen=True, kw_only=True)
class Prepared(Configured):
    """An experiment with its data, ready to be indexed and evaluated; with the attributes of `Configured`.

    Attributes:
        corpus: The passages.
        gold: The queries asked, with judgments on passages.
        n_gold: Queries of the whole gold set; more than are asked where a sample is.
        turnover: What became of the judgments when the documents were cut.
    """

    corpus: Corpus
    gold: GoldSet
    n_gold: int
    turnover: Turnover


def surroundings(file: ExperimentFile, settings: Settings) -> Surroundings:
    """What the file's specifications are resolved against."""
    registry = resolve_path(file.folder, file.experiment.stores.registry)
    return Surroundings(folder=file.folder, registry=registry, settings=settings)


def configure(path: Path, *, settings: Settings) -> Configured:
    """Read the experiment file alone.

    Raises:
        InputError: It is wrong.
    """
    file = load_experiment(path, settings)
    return Configured(file=file, around=surroundings(file, settings))


def prepare(path: Path, *, settings: Settings, limit: int | None = None) -> Prepared:
    """Read the experiment, its corpus and its gold set; cut documents and resolve judgments.

    Args:
        path: The experiment file.
        settings: The environment.
        limit: Ask only a random sample of so many queries (fixed by the experiment's seed).

    Raises:
        InputError: Anything in these files is wrong.
    """
    file = load_experiment(path, settings)
    experiment = file.experiment
    corpus, gold, turnover = load(experiment.data, file)
    gold = _clustered(gold, experiment.analysis.cluster)
    n_gold = len(gold.queries)
    if limit is not None:
        gold = _sample(gold, experiment, limit)
    return Prepared(file=file, around=surroundings(file, settings), corpus=corpus, gold=gold, n_gold=n_gold, turnover=turnover)


def load(spec: DataSpec, file: ExperimentFile) -> tuple[Corpus, GoldSet, Turnover]:
    """A corpus under the experiment's chunking, and the gold set on its passages, each query with its source document."""
    data = load_data(spec, file.folder)
    corpus = cut(data.documents, file.experiment.chunking, data.name)
    resolved = resolve(derive_clusters(data.gold, data.documents), data.documents, corpus)
    return corpus, resolved.gold, resolved.turnover


def _clustered(gold: GoldSet, cluster: str) -> GoldSet:
    """Clusters as planned: by source document, none, or by a tag."""
    if cluster == "auto":
        return gold
    if cluster == "none":
        queries = [dataclasses.replace(query, cluster=None) for query in gold.queries]
    else:
        lacking = [query.query_id for query in gold.queries if cluster not in query.tags]
        if lacking:
            raise InputError(f"analysis.cluster is {cluster!r}, but {len(lacking)} queries have no such tag, e.g. {lacking[0]!r}")
        queries = [dataclasses.replace(query, cluster=query.tags[cluster]) for query in gold.queries]
    return dataclasses.replace(gold, queries=tuple(queries))


def _sample(gold: GoldSet, experiment: Experiment, limit: int) -> GoldSet:
    if limit < 1:
        raise InputError(f"--limit is {limit}: ask at least 1 query")
    kept = {query.query_id for query in order_of(gold, seed=experiment.analysis.seed, limit=limit)}
    return dataclasses.replace(
        gold,
        queries=tuple(query for query in gold.queries if query.query_id in kept),
        judgments=tuple(judgment for judgment in gold.judgments if judgment.query_id in kept),
    )
