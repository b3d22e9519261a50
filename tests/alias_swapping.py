"""A running client, and an alias that is moved under it between collections of two models: for a test and a benchmark.

Both models have vectors of the same dimension, so that a store answers the wrong one as readily as the right one, and each recognises itself:
query `7` is passage `a7` under model a and `b7` under model b.
"""

import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np

from ragtrial.contracts import IndexParameters, Kind, VectorIndex, Vectors
from ragtrial.domain.corpus import Passage
from ragtrial.domain.model import ModelIdentity
from ragtrial.errors import ModelError

DIMENSION, PASSAGES = 32, 200


class Recognisable:
    """The embedder of model `letter`: text `7` is its seventh row, the same for queries and passages."""

    def __init__(self, letter: str) -> None:
        rows = np.random.default_rng(ord(letter)).normal(size=(PASSAGES, DIMENSION)).astype(np.float32)
        self.rows: Vectors = rows / np.linalg.norm(rows, axis=1, keepdims=True)
        self.letter, self.identity = letter, ModelIdentity(name=f"model-{letter}", revision="1", dimension=DIMENSION)

    def embed(self, texts: Sequence[str], *, kind: Kind, progress: Callable[[int], None] | None = None) -> Vectors:
        del kind, progress
        return self.rows[[int(text) for text in texts]]

    def count_tokens(self, texts: Sequence[str]) -> int | None:
        del texts
        return None


MODELS = {embedder.identity: embedder for embedder in (Recognisable("a"), Recognisable("b"))}


def embedder_of(model: ModelIdentity) -> Recognisable:
    """The embedder of a collection's model."""
    if model not in MODELS:
        raise ModelError(f"there is no model {model}")
    return MODELS[model]


def fill(index: VectorIndex, name: str, embedder: Recognisable, parameters: IndexParameters | None = None) -> None:
    """A complete collection of the embedder's model."""
    passages = [
        Passage(passage_id=f"{embedder.letter}{i}", document_id="d", text=str(i), start=0, end=len(str(i))) for i in range(PASSAGES)
    ]
    index.create(name, model=embedder.identity, corpus="c", parameters=parameters or IndexParameters(build={}, search={}))
    index.insert(name, passages, embedder.embed([p.text for p in passages], kind="passage"))
    index.finish(name)


@dataclass
class Told:
    """What a client saw.

    Attributes:
        milliseconds: Of each query that was answered.
        failed: What failed, as text.
        wrong: Answers that don't belong to the model that embedded the query.
        models: Letters of the models that answered.
    """

    milliseconds: list[float] = field(default_factory=list)
    failed: list[str] = field(default_factory=list)
    wrong: list[str] = field(default_factory=list)
    models: set[str] = field(default_factory=set)

    @property
    def asked(self) -> int:
        """Queries, whatever became of them."""
        return len(self.milliseconds) + len(self.failed)


Ask = Callable[[int], tuple[str, str]]
"""Asks query number so and so: the letter of the model that embedded it, and the passage that came first."""


def client(ask: Ask, *, rate: float, threads: int, until: Callable[[], bool]) -> tuple[Told, list[threading.Thread]]:
    """Threads that together ask so many queries a second, evenly, until they are told to end; not started yet."""
    told, lock = Told(), threading.Lock()

    def run(place: int) -> None:
        rng, gap = np.random.default_rng(place), threads / rate
        due = time.perf_counter() + gap * place / threads
        while not until():
            time.sleep(max(0.0, due - time.perf_counter()))
            due += gap
            number, start = int(rng.integers(PASSAGES)), time.perf_counter()
            try:
                letter, first = ask(number)
            except Exception as error:  # noqa: BLE001 - whatever it is, a user has got no answer
                with lock:
                    told.failed.append(f"{type(error).__name__}: {error}")
                continue
            spent = (time.perf_counter() - start) * 1000
            with lock:
                told.milliseconds.append(spent)
                told.models.add(letter)
                if first != f"{letter}{number}":
                    told.wrong.append(f"query {number} of model {letter} was answered with {first}")

    return told, [threading.Thread(target=run, args=(place,)) for place in range(threads)]
