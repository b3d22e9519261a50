"""What the tests of the RAGAS scorer share: a little gold set, scripts by the form asked for, an embedder with vectors by hand."""

import json
from collections.abc import Callable, Mapping, Sequence
from datetime import date
from typing import Any

import numpy as np

from ragtrial.domain.corpus import Passage
from ragtrial.domain.gold import GoldSet, Query
from ragtrial.domain.metric import metric_named
from ragtrial.domain.model import ModelIdentity
from ragtrial.domain.score import Score
from ragtrial.domain.trial import Answer, Hit, Ranking, Trial
from ragtrial.errors import ModelError
from ragtrial.llm.chat import Endpoint, Sampling
from ragtrial.llm.gate import Gate
from ragtrial.llm.prices import Price, PriceTable
from ragtrial.scoring.ragas import RagasScorer
from scripted_llm import Reply, ScriptedLlm, user_text

PASSAGES = {f"p{i}": Passage(passage_id=f"p{i}", document_id="d", text=f"passage number{i}", start=0, end=15) for i in range(5)}
GOLD = GoldSet(
    name="g",
    queries=(
        Query(query_id="q", text="how early", answers=("kitten", "sitting")),
        Query(query_id="other", text="how late", answers=("mouse",)),
        Query(query_id="none", text="how long", answers=("", "...")),
    ),
    judgments=(),
)
PRICES = PriceTable([("priced", Price(prompt=10.0, cached=10.0, completion=100.0, as_of=date(2026, 11, 1)))])
LLM = ("faithfulness", "answer_relevancy", "context_precision", "context_recall", "factual_correctness", "answer_accuracy")

Said = Callable[[str, int], Any]
"""The prompt and how often its form was asked for before, to the JSON that the model answers."""


class Planted:
    """An embedder with vectors by hand."""

    def __init__(self, vectors: Mapping[str, Sequence[float]]) -> None:
        self.vectors, self.asked = dict(vectors), []

    @property
    def identity(self) -> ModelIdentity:
        return ModelIdentity(name="planted", revision="1", dimension=2)

    def embed(self, texts, *, kind, progress=None):
        self.asked.append((kind, list(texts)))
        return np.array([self.vectors[text] for text in texts], dtype=np.float32)

    def count_tokens(self, texts):
        return None


class Broken(Planted):
    def embed(self, texts, *, kind, progress=None):
        raise ModelError("no such endpoint")


EAST = Planted({"how early": (1, 0), "east": (1, 0), "north-east": (0.6, 0.8), "north": (0, 1), "west": (-1, 0)})


def form(asked: Mapping[str, Any]) -> str:
    """The RAGAS model whose schema is asked for."""
    return str(asked["response_format"]["json_schema"]["schema"]["title"])


def saying(**answers: Said) -> Callable[[dict[str, Any], int], Reply]:
    """A script that answers by the form asked for."""
    counts: dict[str, int] = {}

    def script(asked: dict[str, Any], _number: int) -> Reply:
        name = form(asked)
        counts[name] = counts.get(name, 0) + 1
        return Reply(text=json.dumps(answers[name](user_text(asked), counts[name] - 1)))

    return script


def statements(*texts: str) -> Said:
    return lambda _prompt, _n: {"statements": list(texts)}


def verdicts(*rounds: Sequence[int]) -> Said:
    return lambda _prompt, n: {"statements": [{"statement": f"s{i}", "reason": f"r{i}", "verdict": v} for i, v in enumerate(rounds[n])]}


def scorer_of(gate: Gate, llm: ScriptedLlm, *names: str, model: str = "priced", **more: Any) -> RagasScorer:
    options = {"context_passages": 3, "repetitions": {}, "embedder": EAST, "passages": PASSAGES, "sampling": Sampling(), **more}
    return RagasScorer([metric_named(n) for n in names], gate=gate, endpoint=Endpoint(base_url=llm.url, model=model), **options)


def trial_of(text: str | None = "kitchen", *, arm: str = "a", query_id: str = "q", n_hits: int = 4, **more: Any) -> Trial:
    answer = None if text is None else Answer(text=text, finish_reason="stop" if text else "abstained", generator="fake/1")
    hits = tuple(Hit(passage_id=f"p{i}", similarity=-float(i)) for i in range(n_hits))
    return Trial(arm=arm, query_id=query_id, **{"ranking": Ranking(query_id=query_id, hits=hits), "answer": answer, **more})


def one(scorer: RagasScorer, trial: Trial) -> Score:
    ((score,),) = scorer.score([trial], GOLD)
    return score


def reasons(scorer: RagasScorer, trial: Trial) -> dict[str, str | None]:
    (row,) = scorer.score([trial], GOLD)
    assert all(score.value is None for score in row if score.unscored)
    return {score.metric: score.unscored for score in row}
