"""Small experiments that tests run for real: hashing embedders in place of models, everything else as shipped."""

import json
import random
from pathlib import Path

import yaml

TOPICS = ("berth", "crane", "yard", "gate", "reefer", "tariff", "backup", "segment")
WORDS = [
    "anchor",
    "ballast",
    "bollard",
    "capstan",
    "cargo",
    "chain",
    "deck",
    "draft",
    "fender",
    "hatch",
    "hawser",
    "helm",
    "hold",
    "hull",
    "keel",
    "lashing",
    "lock",
    "manifest",
    "mast",
    "mooring",
    "pallet",
    "pilot",
    "port",
    "quay",
    "ramp",
    "rope",
    "rudder",
    "shackle",
    "sling",
    "stack",
    "stern",
    "tally",
    "tide",
    "tow",
    "tug",
    "twistlock",
    "valve",
    "vessel",
    "winch",
    "yoke",
]


def write_beir_folder(folder: Path, *, n_passages: int = 200, n_queries: int = 120, seed: int = 0, answers: bool = True) -> Path:
    """A BEIR folder in which a query shares some words with its passage, so that retrieval finds much but not all of it."""
    rng = random.Random(seed)
    passages = []
    for number in range(n_passages):
        code = f"pw{number:04d}"
        sentences = [" ".join(rng.choices(WORDS, k=9)).capitalize() + "." for _ in range(3)]
        sentences.insert(1, f"The {rng.choice(WORDS)} of {code} is {' '.join(rng.choices(WORDS, k=3))}.")
        passages.append({"_id": f"p{number}", "title": rng.choice(TOPICS), "text": " ".join(sentences)})
    queries, qrels = [], ["query-id\tcorpus-id\tscore"]
    for number in range(n_queries):
        target = rng.randrange(n_passages)
        words = passages[target]["text"].lower().replace(".", "").split()
        text = " ".join([*rng.sample(words, 4), *rng.choices(WORDS, k=2)])
        query = {"_id": f"q{number}", "text": text, "tags": {"topic": passages[target]["title"]}, "cluster": f"c{number}"}
        if answers:
            query["answers"] = [passages[target]["text"].split(". ")[1]]
        queries.append(query)
        qrels.append(f"q{number}\tp{target}\t2")
        other = rng.randrange(n_passages)
        if other != target:
            qrels.append(f"q{number}\tp{other}\t{rng.choice((0, 1))}")
    (folder / "qrels").mkdir(parents=True)
    (folder / "corpus.jsonl").write_text("".join(json.dumps(p) + "\n" for p in passages))
    (folder / "queries.jsonl").write_text("".join(json.dumps(q) + "\n" for q in queries))
    (folder / "qrels" / "test.tsv").write_text("\n".join(qrels) + "\n")
    return folder


def write_experiment(path: Path, data: Path, **changes: object) -> Path:
    """An experiment file with two hashing embedders of different sizes; `changes` replace its top-level keys."""
    content = {
        "name": "small",
        "hypothesis": "More dimensions collide less.",
        "data": {"format": "beir", "path": str(data), "split": "test"},
        "arms": [
            {"name": "baseline", "role": "control", "embedding": {"provider": "hashing", "model": "a", "dimensions": 32}},
            {"name": "custom", "role": "treatment", "embedding": {"provider": "hashing", "model": "b", "dimensions": 256}},
        ],
        "metrics": {
            "primary": {"name": "nDCG@10", "min_effect": 0.01},
            "secondary": ["R@5", "RR@10", "answer_f1"],
            "guardrails": [{"name": "latency_ms", "max_relative_increase": 1e6}],  # how busy the machine is decides no verdict
        },
        "analysis": {"resamples": 1000, "latency_queries": 20},
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(yaml.safe_dump({**content, **changes}, sort_keys=False))
    return path
