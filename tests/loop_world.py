"""A small world in which a loop can close: users ask in words that the passages don't use, so that only a model can learn to match them.

A passage says in `tell` words what a query says in `ask` words (`tiny_model`). The model to begin with has learnt some of it; users vote on
what they get, and their questions are never those of the gold set.
"""

import json
import random
from dataclasses import dataclass
from pathlib import Path

import yaml

from ragtrial.domain.gold import GoldSet, Judgment, Query
from tiny_model import N_WORDS, PASSAGE_WORDS, QUERY_WORDS

FILLER = "berth"
"""Stands in every text, so that the extractive generator finds something to cite; the model doesn't know it."""


@dataclass(frozen=True, kw_only=True)
class World:
    """Where it lies, and what its users want to know.

    Attributes:
        folder: With `data`, `base`, `live.yaml` and `policy.yaml`.
        wishes: What users ask, with the truth.
    """

    folder: Path
    wishes: GoldSet


def build_world(folder: Path, base: Path, *, n_passages: int = 160, n_gold: int = 60, titles: bool = False, seed: int = 3) -> World:
    """Passages, a gold set on some of them, and wishes of users about the others, which have `titles` that are asked for or none."""
    rng = random.Random(seed)
    meanings = rng.sample([(a, b, c) for a in range(N_WORDS) for b in range(a) for c in range(b)], n_passages)
    passages = [{"_id": f"p{number}", "title": "", "text": _said(PASSAGE_WORDS, meaning, rng)} for number, meaning in enumerate(meanings)]
    gold = [{"_id": f"q{number}", "text": _said(QUERY_WORDS, meanings[number], rng)} for number in range(n_gold)]
    if titles:
        for passage, meaning in list(zip(passages, meanings, strict=True))[n_gold:]:
            passage["title"] = _said(QUERY_WORDS, meaning, rng)
            passage["text"] += f" {FILLER}" * 5  # shorter texts are no passage for a title
    data = folder / "data"
    (data / "qrels").mkdir(parents=True)
    _write_lines(data / "corpus.jsonl", passages)
    _write_lines(data / "queries.jsonl", gold)
    rows = ["query-id\tcorpus-id\tscore", *(f"q{number}\tp{number}\t1" for number in range(n_gold))]
    (data / "qrels" / "test.tsv").write_text("\n".join(rows) + "\n")
    asked = [(number, _said(QUERY_WORDS, meanings[number], rng)) for number in range(n_gold, n_passages) for _ in range(2)]
    wishes = GoldSet(
        name="wishes",
        queries=tuple(Query(query_id=f"w{n}", text=text) for n, (_, text) in enumerate(asked)),
        judgments=tuple(Judgment(query_id=f"w{n}", target_id=f"p{target}", grade=1) for n, (target, _) in enumerate(asked)),
    )
    write_yaml(folder / "live.yaml", experiment(str(base)))
    write_yaml(folder / "policy.yaml", policy())
    return World(folder=folder, wishes=wishes)


def experiment(model: str) -> dict[str, object]:
    """Both arms are the model in production: what is served before there is a candidate."""
    arm = {"embedding": {"model": model}}
    return {
        "name": "harbour",
        "data": {"path": "data"},
        "arms": [{"name": "baseline", "role": "control", **arm}, {"name": "custom", "role": "treatment", **arm}],
        "references": [],
        "generation": {"min_score": 0},
        "metrics": {"primary": {"name": "nDCG@10", "min_effect": 0.02}},
        "analysis": {"min_queries": 40, "latency_queries": 0, "resamples": 1000},
        "live": {"metrics": {"primary": {"name": "copied", "min_effect": 0.02}}, "query_text": "full", "solicit": 0.95},
    }


def policy() -> dict[str, object]:
    """A candidate for every hundred new pairs."""
    training = {"base": "./base/model", "epochs": 12, "batch_size": 16, "learning_rate": 5e-3, "max_seq_length": 32, "precision": "fp32"}
    return {
        "experiment": "live.yaml",
        "model": "harbour-model",
        "when": {"new_pairs": 60, "rest_days": 0},
        "pairs": {"sources": ["votes"], "consent": "terms of use, section 4", "fewest": 40},
        "training": {"pairs": ["lesson.jsonl"], **training},
        "shadow": {"mode": "shadow", "metrics": {"primary": {"name": "nDCG@10", "min_effect": 0.02}}},
    }


def write_yaml(path: Path, content: dict[str, object]) -> None:
    """A YAML file."""
    path.write_text(yaml.safe_dump(content, sort_keys=False))


def _said(words: list[str], meaning: tuple[int, ...], rng: random.Random) -> str:
    return " ".join([FILLER, *(words[place] for place in rng.sample(meaning, len(meaning)))])


def _write_lines(path: Path, records: list[dict[str, str]]) -> None:
    path.write_text("".join(json.dumps(record) + "\n" for record in records))
