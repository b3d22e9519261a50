"""The losses of `domain.training.TrainingSpec`, from sentence-transformers. Imported only where something is trained."""

from collections.abc import Callable, Iterable
from typing import Any

import torch
from sentence_transformers import SentenceTransformer
from sentence_transformers.base.losses.merged_forward import embed_columns
from sentence_transformers.sentence_transformer.losses import (
    CachedMultipleNegativesRankingLoss,
    CoSENTLoss,
    CosineSimilarityLoss,
    MatryoshkaLoss,
    MultipleNegativesRankingLoss,
    TripletDistanceMetric,
    TripletLoss,
)
from torch.nn import functional

from ragtrial.domain.training import TrainingSpec
from ragtrial.finetuning.distilling import Targets
from ragtrial.finetuning.examples import Examples

TRIPLET_MARGIN = 0.2
"""By how much more similar (in cosine) a passage shall be than its negative; the library's 5 is for Euclidean distances of raw vectors."""

_SCALE = 20.0
"""Of similarities in a softmax; the default of `MultipleNegativesRankingLoss`, for the teacher's as for the student's."""


def loss_of(
    model: SentenceTransformer, spec: TrainingSpec, rows: Examples, targets: Targets | None, *, n_processes: int = 1
) -> torch.nn.Module:
    """What the settings ask for: the loss, the teacher's beside it, and all of it at every truncation.

    The base's own dimension is trained in any case: with Matryoshka truncations alone it would be left behind.

    Args:
        model: In training.
        spec: The settings.
        rows: The training set; its rows' numbers are the labels where there is a teacher.
        targets: What the teacher says; None without one.
        n_processes: Whose batches are negatives of one another.
    """
    loss: torch.nn.Module = _plain(model, spec, together=n_processes > 1)
    if targets is not None and spec.distillation is not None:
        loss = Distilled(model, loss, targets=targets, scores=rows.scores, weight=spec.distillation.weight)
    if spec.matryoshka:
        own = int(model.get_embedding_dimension())
        loss = MatryoshkaLoss(model, loss, sorted({own, *spec.matryoshka}, reverse=True))
    return loss


def name_of(loss: torch.nn.Module) -> str:
    """For the record, the outermost first: `MatryoshkaLoss(Distilled(MultipleNegativesRankingLoss))`."""
    inner = getattr(loss, "loss", None)
    is_wrapper = isinstance(loss, MatryoshkaLoss | Distilled) and isinstance(inner, torch.nn.Module)
    return f"{type(loss).__name__}({name_of(inner)})" if is_wrapper and inner is not None else type(loss).__name__


def _plain(model: SentenceTransformer, spec: TrainingSpec, *, together: bool) -> torch.nn.Module:
    made: dict[str, Callable[[], torch.nn.Module]] = {
        "multiple-negatives": lambda: MultipleNegativesRankingLoss(model, scale=_SCALE, gather_across_devices=together),
        "cached-multiple-negatives": lambda: CachedMultipleNegativesRankingLoss(
            model, scale=_SCALE, mini_batch_size=spec.mini_batch_size, gather_across_devices=together
        ),
        "triplet": lambda: TripletLoss(model, distance_metric=TripletDistanceMetric.COSINE, triplet_margin=TRIPLET_MARGIN),
        "cosent": lambda: CoSENTLoss(model, scale=_SCALE),
        "cosine": lambda: CosineSimilarityLoss(model),
    }
    return made[spec.loss]()


class Distilled(torch.nn.Module):  # type: ignore[misc]  # torch has no types here
    """A loss, and beside it how far the student's similarities are from a teacher's.

    Similarities are distilled and not vectors, as a teacher may have another dimension. With scored rows the inner loss is asked a second
    time, with the teacher's similarities for scores. Else it is the Kullback-Leibler divergence between both models' distributions over
    all passages of the batch (Hinton et al. 2015), each a softmax of scaled similarities. `DistillKLDivLoss` of the library compares the
    candidates of one row alone and needs at least two: pairs without negatives have one.

    Args:
        model: The student.
        loss: What is trained otherwise.
        targets: The teacher's vectors.
        scores: Of the rows, or None.
        weight: The teacher's share.
    """

    def __init__(
        self, model: SentenceTransformer, loss: torch.nn.Module, *, targets: Targets, scores: tuple[float, ...] | None, weight: float
    ) -> None:
        super().__init__()
        self.model, self.loss, self._weight = model, loss, weight
        self._vectors, self._places = torch.from_numpy(targets.vectors), torch.from_numpy(targets.places)
        self._scores = None if scores is None else torch.tensor(scores)

    def forward(self, sentence_features: Iterable[dict[str, Any]], labels: torch.Tensor) -> torch.Tensor:
        """The weighted sum, for the rows whose numbers are the labels."""
        embeddings = embed_columns(self.model, list(sentence_features))
        rows = labels.cpu().long()
        teacher = [self._vectors[self._places[rows, column]].to(embeddings[0].device) for column in range(len(embeddings))]
        if self._scores is None:
            own = self.loss.compute_loss_from_embeddings(embeddings, None)
            other = _divergence(embeddings, teacher)
        else:
            asked = functional.cosine_similarity(teacher[0], teacher[1])
            own = self.loss.compute_loss_from_embeddings(embeddings, self._scores[rows].to(asked.device))
            other = self.loss.compute_loss_from_embeddings(embeddings, asked)
        return (1 - self._weight) * own + self._weight * other


def _divergence(student: list[torch.Tensor], teacher: list[torch.Tensor]) -> torch.Tensor:
    said = [functional.log_softmax(_similarities(vectors).float() * _SCALE, dim=1) for vectors in (student, teacher)]
    return functional.kl_div(said[0], said[1], reduction="batchmean", log_target=True)


def _similarities(columns: list[torch.Tensor]) -> torch.Tensor:
    """Of each query with every passage of the batch, shape (n_rows, n_rows * n_columns)."""
    queries, passages = functional.normalize(columns[0], dim=1), functional.normalize(torch.cat(columns[1:]), dim=1)
    return queries @ passages.T
