"""A matrix over the vectors of a frozen model, for queries. Imported only where something is trained.

The matrix is applied to queries alone. Passages keep the vectors that they have: the index of the base serves the adapted model as it
is, and going back is a matter of leaving the matrix out. One for both sides would change every vector of the index; and it could only
learn a symmetric similarity, q'W'Wp, where q'Wp takes any W.

The loss is that of MultipleNegativesRankingLoss with all passages of the training set as negatives, and not those of a batch: they are
vectors already, so a softmax over some thousand of them costs nothing.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from sentence_transformers import SentenceTransformer
from sentence_transformers.base.modules import Dense, Normalize, Router
from torch.nn import functional

from ragtrial.contracts import Vectors
from ragtrial.domain.pair import Pair
from ragtrial.domain.training import TrainingSpec
from ragtrial.errors import ModelError
from ragtrial.finetuning.watching import Scores, Watch

MOST_CANDIDATES = 8192
"""Passages that a query is told from in a step; of more a random part is drawn."""

_SCALE = 20.0


@dataclass(frozen=True, kw_only=True)
class Lesson:
    """Base vectors of a training set.

    Attributes:
        queries: Of each pair's query, shape (n_pairs, dimension), rows of length 1.
        passages: Of all different passages, negatives included, shape (n_passages, dimension), rows of length 1.
        positives: Which passage answers the pair's query, shape (n_pairs,).
        answers: Which passages are known to answer the pair's query, of all pairs with it; for each pair.
    """

    queries: Vectors
    passages: Vectors
    positives: NDArray[np.int64]
    answers: tuple[frozenset[int], ...]


def texts_of(pairs: Sequence[Pair]) -> tuple[list[str], list[str]]:
    """The queries of the pairs in order, and all different passages."""
    passages = dict.fromkeys(text for pair in pairs for text in (pair.passage, *pair.negatives))
    return [pair.query for pair in pairs], list(passages)


def lesson(pairs: Sequence[Pair], queries: Vectors, passages: Vectors) -> Lesson:
    """Pairs with the vectors of `texts_of`."""
    places = {text: place for place, text in enumerate(texts_of(pairs)[1])}
    answers: dict[str, set[int]] = {}
    for pair in pairs:
        answers.setdefault(pair.query, set()).add(places[pair.passage])
    return Lesson(
        queries=queries,
        passages=passages,
        positives=np.array([places[pair.passage] for pair in pairs], dtype=np.int64),
        answers=tuple(frozenset(answers[pair.query]) for pair in pairs),
    )


def fit_matrix(
    given: Lesson,
    *,
    spec: TrainingSpec,
    score: Callable[[NDArray[np.float32]], Scores] | None,
    seen: Callable[[Watch], None],
    advance: Callable[[int], None],
) -> tuple[NDArray[np.float32], Watch, int, int]:
    """Learn the matrix, from the identity on, evaluated after each epoch.

    AdamW on the difference to the identity, so that weight decay draws towards the base and not towards nothing.

    Args:
        given: The training set.
        spec: Seed, patience, and the section `adapter`.
        score: Of a matrix on the dev and training queries; None trains to the end.
        seen: Told after each evaluation; may raise.
        advance: Told of each epoch that is done: fewer than planned where it stops early.

    Returns:
        The kept matrix, shape (dimension, dimension), what was seen, the epochs done, and the kept epoch (steps of the curve are epochs).

    Raises:
        ModelError: The training diverged.
    """
    generator = torch.Generator().manual_seed(spec.seed)
    dimension = given.queries.shape[1]
    queries, passages = torch.from_numpy(np.array(given.queries)), torch.from_numpy(np.array(given.passages))
    change = torch.zeros(dimension, dimension, requires_grad=True)
    optimizer = torch.optim.AdamW([change], lr=spec.adapter.learning_rate, weight_decay=spec.adapter.weight_decay)
    watch, kept = Watch(), np.eye(dimension, dtype=np.float32)
    if score is not None:
        scores = score(kept)
        watch.see(0, scores.dev.tolist(), scores.train.tolist())
    epoch = 0
    for epoch in range(1, spec.adapter.epochs + 1):
        losses = [
            _step(rows, change, optimizer, queries=queries, passages=passages, given=given, generator=generator)
            for rows in torch.randperm(len(queries), generator=generator).split(spec.adapter.batch_size)
        ]
        loss = math.fsum(losses) / len(losses)
        if not math.isfinite(loss):
            raise ModelError(f"training diverged in epoch {epoch}: the loss is {loss}; lower training.adapter.learning_rate")
        watch.curve.append({"step": epoch, "loss": loss})
        matrix = change.detach().numpy() + np.eye(dimension, dtype=np.float32)
        if score is not None:
            scores = score(matrix)
            watch.see(epoch, scores.dev.tolist(), scores.train.tolist())
            seen(watch)
        if score is None or watch.kept_step == epoch:
            kept = matrix
        advance(1)
        if watch.without_gain >= spec.patience:
            break
    return kept, watch, epoch, epoch if score is None else watch.kept_step


def with_adapter(model: SentenceTransformer, matrix: NDArray[np.float32]) -> SentenceTransformer:
    """The base with the matrix behind it: a folder like any other, in which only the route of queries has it."""
    dimension = matrix.shape[0]
    dense = Dense(dimension, dimension, bias=False, activation_function=None, init_weight=torch.from_numpy(np.array(matrix)))
    router = Router.for_query_document(query_modules=[Normalize(), dense, Normalize()], document_modules=[Normalize()])
    made = SentenceTransformer(
        modules=[*model.children(), router], device="cpu", prompts=model.prompts, similarity_fn_name=model.similarity_fn_name
    )
    made.max_seq_length = model.max_seq_length
    return made


def _step(
    rows: torch.Tensor,
    change: torch.Tensor,
    optimizer: torch.optim.Optimizer,
    *,
    queries: torch.Tensor,
    passages: torch.Tensor,
    given: Lesson,
    generator: torch.Generator,
) -> float:
    asked = queries[rows]
    turned = functional.normalize(asked + asked @ change.T, dim=1)
    chosen = _candidates(rows, len(passages), given, generator)
    place = {int(number): position for position, number in enumerate(chosen)}
    logits = turned @ passages[chosen].T * _SCALE
    for position, row in enumerate(rows.tolist()):
        for other in given.answers[row] - {int(given.positives[row])}:
            if other in place:
                logits[position, place[other]] = -torch.inf
    right = torch.tensor([place[int(given.positives[row])] for row in rows.tolist()])
    loss = functional.cross_entropy(logits, right)
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    return float(loss.detach())


def _candidates(rows: torch.Tensor, n: int, given: Lesson, generator: torch.Generator) -> torch.Tensor:
    if n <= MOST_CANDIDATES:
        return torch.arange(n)
    drawn = torch.randperm(n, generator=generator)[:MOST_CANDIDATES]
    return torch.unique(torch.cat([drawn, torch.from_numpy(given.positives[rows.numpy()])]))
