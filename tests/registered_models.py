"""A registry with two real models, and an experiment that the second one wins: as small as it can be with everything real.

A passage says in `tell` words what its query says in `ask` words. A random model sees no word in common. The good one has the same
vector for both words of a pair, as training would make it, so it finds nearly every passage.
"""

import json
from pathlib import Path
from typing import Any

import yaml

import tiny_model
from ragtrial.finetuning.leakage import text_digest
from ragtrial.finetuning.registry import RegisteredModel, Registry

N_QUERIES = 130
LINEAGE: dict[str, Any] = {
    "created_at": "2026-01-02T03:04:05+00:00",
    "experiment": "small",
    "data": {"format": "beir", "path": "data", "split": "train"},
    "pair_files": ["pairs.jsonl"],
    "base": {"name": "tiny", "revision": "0123456789abcdef", "location": "package:tiny", "licence": "apache-2.0"},
    "settings": {"epochs": 2, "learning_rate": 3e-5, "seed": 42},
    "pairs": {"found": 210, "used": 200, "refused": {"query in the gold set": 10}, "digest": "abcd", "examples": ["'secret query': leak"]},
    "dev": {"metric": "nDCG@10", "before": 0.25, "after": 0.5, "n_queries": 40},
    "training": {"loss": "MultipleNegativesRankingLoss", "device": "cpu", "steps": 14},
    "environment": {"python": "3.12"},
}


def build(folder: Path, *, good: bool, seed: int = 0) -> Path:
    """A tiny model; a good one has one vector for `aska` and `tella`, and so on."""
    model = tiny_model.build(folder, seed=seed)
    if good:
        from safetensors.torch import load_file, save_file

        path = model / "model.safetensors"
        tensors = load_file(path)
        rows = tensors["embeddings.word_embeddings.weight"].clone()
        n = tiny_model.N_WORDS
        rows[5 + n : 5 + 2 * n] = rows[5 : 5 + n]  # behind five special tokens
        save_file({**tensors, "embeddings.word_embeddings.weight": rows}, path, metadata={"format": "pt"})
    return model


def register(registry: Registry, model: Path, name: str = "tiny", **changes: Any) -> RegisteredModel:
    """Register a folder's model as the next version."""
    import shutil

    texts = frozenset(map(text_digest, ("what was asked", "what was told")))
    return registry.register(
        name,
        save=lambda part: shutil.copytree(model, part, dirs_exist_ok=True) and None,
        lineage={**LINEAGE, **changes},
        training_texts=texts,
    )


def write_experiment(folder: Path, *, treatment: str = "registry:tiny@v2", control: str = "registry:tiny@v1", **changes: Any) -> Path:
    """An experiment file with its data, in which the treatment is expected to win."""
    data = folder / "data"
    if not data.exists():
        pairs = tiny_model.lesson(N_QUERIES, seed=1)
        (data / "qrels").mkdir(parents=True)
        (data / "corpus.jsonl").write_text("".join(json.dumps({"_id": p.passage_id, "title": "", "text": p.passage}) + "\n" for p in pairs))
        (data / "queries.jsonl").write_text("".join(json.dumps({"_id": f"q{n}", "text": p.query}) + "\n" for n, p in enumerate(pairs)))
        rows = [f"q{n}\t{p.passage_id}\t1" for n, p in enumerate(pairs)]
        (data / "qrels" / "test.tsv").write_text("\n".join(["query-id\tcorpus-id\tscore", *rows]) + "\n")
    content = {
        "name": "small",
        "data": {"format": "beir", "path": "data", "split": "test"},
        "arms": [
            {"name": "baseline", "role": "control", "embedding": {"model": control}},
            {"name": "custom", "role": "treatment", "embedding": {"model": treatment}},
        ],
        "generation": {"provider": "none"},
        "references": [],
        "metrics": {"primary": {"name": "nDCG@10", "min_effect": 0.01}, "secondary": ["R@5"]},
        "analysis": {"resamples": 1000, "latency_queries": 0},
    }
    path = folder / changes.pop("file", "e.yaml")
    path.write_text(yaml.safe_dump({**content, **changes}, sort_keys=False))
    return path
