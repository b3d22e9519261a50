"""Which scorers compute which metrics: each metric by exactly one."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ragtrial.contracts import Embedder, Scorer
from ragtrial.domain.corpus import Corpus
from ragtrial.domain.metric import Metric
from ragtrial.llm.chat import Endpoint, Sampling

if TYPE_CHECKING:  # its SDK takes a fifth of a command's start, and most experiments ask no judge
    from ragtrial.llm.gate import Gate


@dataclass(frozen=True, slots=True, kw_only=True)
class Judging:
    """What scorers that ask an LLM need.

    Attributes:
        gate: What every call goes through.
        endpoint: Who judges.
        sampling: How it is asked.
        repetitions: Judgments of each answer, by metric.
        context_passages: How many of the ranking's passages an answer was made from.
        context_by_arm: The same for each arm, which may have its own generation.
        control: Name of the control arm.
        treatment: Name of the treatment arm.
        first_repetition: Number of the first judgment; our own judge asks anew from there on.
    """

    gate: "Gate"
    endpoint: Endpoint
    sampling: Sampling
    repetitions: Mapping[str, int]
    context_passages: int
    context_by_arm: Mapping[str, int]
    control: str
    treatment: str
    first_repetition: int = 0


def build_scorers(
    metrics: Sequence[Metric],
    *,
    corpus: Corpus,
    similarity: Embedder | None,
    retrieval: bool = True,
    judging: Judging | None = None,
    unmapped: Mapping[str, Callable[[str], float | None]] | None = None,
) -> tuple[Scorer, ...]:
    """The scorers that compute these metrics.

    Args:
        metrics: Each is computed by exactly one scorer.
        corpus: For the texts of cited passages.
        similarity: The model behind `answer_similarity` and `answer_relevancy`.
        retrieval: Score rankings too (not for lines that borrow them).
        judging: For metrics that an LLM judges; without it they are left out.
        unmapped: As for `scoring.unmapped.UnmappedScorer`.

    Raises:
        MissingExtraError: A metric of RAGAS is asked for, and it is not installed.
    """
    from ragtrial.scoring.grounding import GroundingScorer
    from ragtrial.scoring.lexical import LexicalScorer
    from ragtrial.scoring.operation import OperationScorer
    from ragtrial.scoring.retrieval import RetrievalScorer
    from ragtrial.scoring.similarity import SimilarityScorer
    from ragtrial.scoring.unmapped import UnmappedScorer

    scorers: list[Scorer] = []
    names = {metric.name for metric in metrics}
    rankings = [metric for metric in metrics if metric.kind == "retrieval" and metric.judge is None]
    if rankings and retrieval:
        scorers.append(RetrievalScorer(rankings))
    own = [m for m in metrics if m.kind == "answer" and m.judge is None]
    lexical = [m for m in own if m.name not in ("citation_support", "answer_similarity")]
    if lexical:
        scorers.append(LexicalScorer(lexical))
    if "citation_support" in names:
        scorers.append(GroundingScorer(corpus.by_id))
    if "answer_similarity" in names and similarity is not None:
        scorers.append(SimilarityScorer(similarity))
    operation = [metric for metric in metrics if metric.kind == "operation" and metric.name != "unmapped"]
    if operation:
        scorers.append(OperationScorer(operation))
    if "unmapped" in names:
        scorers.append(UnmappedScorer(unmapped or {}))
    if judging is not None:
        scorers += _judges(metrics, corpus, similarity, judging)
    return tuple(scorers)


def _judges(metrics: Sequence[Metric], corpus: Corpus, similarity: Embedder | None, judging: Judging) -> list[Scorer]:
    endpoint, sampling = judging.endpoint, judging.sampling
    scorers: list[Scorer] = []
    filled = [metric for metric in metrics if metric.judge == "judge" and metric.kind == "retrieval"]
    if filled:
        from ragtrial.scoring.filled import FilledRetrievalScorer
        from ragtrial.scoring.umbrela import RelevanceJudge

        judge = RelevanceJudge(gate=judging.gate, endpoint=endpoint, sampling=sampling)
        scorers.append(FilledRetrievalScorer(filled, judge=judge, passages=corpus.by_id))
    ours = [metric for metric in metrics if metric.judge == "judge" and metric.kind == "answer"]
    if ours:
        from ragtrial.scoring.judge import JudgeScorer

        scorers.append(
            JudgeScorer(
                ours,
                gate=judging.gate,
                endpoint=endpoint,
                sampling=sampling,
                passages=corpus.by_id,
                context_passages=judging.context_passages,
                context_by_arm=judging.context_by_arm,
                repetitions=judging.repetitions,
                control=judging.control,
                treatment=judging.treatment,
                first_repetition=judging.first_repetition,
            )
        )
    theirs = [metric for metric in metrics if metric.judge == "ragas"]
    if theirs:
        from ragtrial.scoring.ragas import RagasScorer

        scorers.append(
            RagasScorer(
                theirs,
                gate=judging.gate,
                endpoint=endpoint,
                sampling=sampling,
                passages=corpus.by_id,
                context_passages=judging.context_passages,
                context_by_arm=judging.context_by_arm,
                repetitions=judging.repetitions,
                embedder=similarity,
            )
        )
    return scorers
