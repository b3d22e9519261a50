"""What training would take, timed on an embedder whose speed is known."""

import time
from collections.abc import Sequence

import pytest

from ragtrial.assessment import costing
from ragtrial.contracts import Kind, Progress, Vectors, no_progress
from ragtrial.domain.assessment import Costs
from ragtrial.domain.corpus import Corpus, Passage
from ragtrial.domain.gold import GoldSet, Query
from ragtrial.domain.training import TrainingSpec
from ragtrial.embedding.hashing import HashingEmbedder
from ragtrial.report import assessment_words as said


class SlowNowAndThen(HashingEmbedder):
    """10 ms for many texts; a second in the calls that another program disturbs."""

    def __init__(self, disturbed: Sequence[int]) -> None:
        super().__init__(dimension=16)
        self.calls, self.disturbed = 0, disturbed

    def embed(self, texts: Sequence[str], *, kind: Kind, progress: Progress = no_progress) -> Vectors:  # type: ignore[override]
        if len(texts) > 2:
            time.sleep(0.5 if self.calls in self.disturbed else 0.01)
            self.calls += 1
        return super().embed(texts, kind=kind)


def costs_of(embedder: HashingEmbedder) -> Costs:
    passages = tuple(Passage(passage_id=f"p{i}", document_id="d", text=f"text {i}", start=0, end=6) for i in range(10))
    gold = GoldSet(name="g", queries=(Query(query_id="q", text="ask"),), judgments=())
    training = TrainingSpec(base="x", method="linear-adapter")
    corpus = Corpus(name="c", passages=passages)
    return costing.costs(embedder, corpus, gold, n_pairs=10, training=training, cost_per_hour=None, seed=1)


def test_a_program_that_comes_between_does_not_make_training_dearer() -> None:
    """10 passages in 10 ms and 10 queries as fast at most: 10 to 20 ms, from half to twice of that; with the disturbed ones over 250 ms."""
    found = costs_of(SlowNowAndThen(disturbed=(0, 2)))
    assert found.reembed_s < 0.2
    assert found.train_low_s is not None
    assert found.train_low_s < 0.2


def test_a_machine_that_is_busy_throughout_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.cpu_count", lambda: 2)
    monkeypatch.setattr("os.getloadavg", lambda: (1.2, 0.0, 0.0))
    idle = costs_of(HashingEmbedder(dimension=16))
    assert idle.busy is None
    assert "busy" not in said.costs(idle)[0][1]
    monkeypatch.setattr("os.getloadavg", lambda: (6.0, 0.0, 0.0))
    assert "the machine was busy (3.0 times its cores)" in said.costs(costs_of(HashingEmbedder(dimension=16)))[0][1]
