"""One query in, one `Trial` out: retrieve, then generate; identical for every arm.

The one place where errors become failures: an error of the parts (`RagtrialError`) ends one trial and is recorded;
anything else is a bug and ends the run.
"""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from ragtrial.contracts import Generator, ManyAtOnce, Retriever
from ragtrial.domain.corpus import Passage
from ragtrial.domain.gold import Query
from ragtrial.domain.trial import Answer, Failure, Ranking, Stage, Timings, Trial
from ragtrial.errors import CallError, ModelError, RagtrialError, RerankError, StoppedError


@dataclass(frozen=True, kw_only=True)
class Pipeline:
    """What one arm does with a query.

    Attributes:
        arm: The arm's name, or a reference line's.
        retriever: Finds the passages; the only part in which arms differ.
        generator: Makes the answer; None where the experiment has no generation.
        passages: The corpus by passage id.
        top_k: Passages retrieved.
        context_passages: How many of them the generator reads.
    """

    arm: str
    retriever: Retriever
    generator: Generator | None
    passages: Mapping[str, Passage]
    top_k: int
    context_passages: int

    def retrieve(self, queries: Sequence[Query]) -> tuple[Ranking | Failure, ...]:
        """Each query's ranking; where the batch fails, each query is tried alone, so that one can't take others down."""
        if not queries:
            return ()
        try:
            found = self.retriever.retrieve(queries, top_k=self.top_k)
        except RagtrialError as error:
            if len(queries) == 1:
                return (_failure(_stage_of(error), error),)
            return tuple(result for query in queries for result in self.retrieve([query]))
        return tuple(Ranking(query_id=query.query_id, hits=hits) for query, hits in zip(queries, found.hits, strict=True))

    def answer(self, query: Query, ranking: Ranking) -> Answer | Failure | None:
        """The answer from the ranking's first passages; None where generation is off."""
        if self.generator is None:
            return None
        try:
            return self.generator.generate(query, self._reading(ranking))
        except StoppedError:
            raise
        except RagtrialError as error:
            return _failure("generate", error)

    def answers(self, asked: Sequence[tuple[Query, Ranking]], *, repetition: int = 0) -> tuple[Answer | Failure | None, ...]:
        """As `answer`, for several queries: side by side where the generator can."""
        if not isinstance(self.generator, ManyAtOnce):
            return tuple(self.answer(query, ranking) for query, ranking in asked)
        made = self.generator.generate_many([(query, self._reading(ranking)) for query, ranking in asked], repetition=repetition)
        return tuple(_failure("generate", each) if isinstance(each, CallError) else each for each in made)

    @property
    def waits(self) -> bool:
        """Whether the generator waits for a server, so that many queries are better asked together."""
        return isinstance(self.generator, ManyAtOnce)

    def _reading(self, ranking: Ranking) -> list[Passage]:
        return [self.passages[passage_id] for passage_id in self.context_of(ranking)]

    def context_of(self, ranking: Ranking) -> tuple[str, ...]:
        """Ids of the passages that the generator reads."""
        return ranking.passage_ids[: self.context_passages]

    def trial(self, query: Query, ranking: Ranking | Failure, answer: Answer | Failure | None, **more: object) -> Trial:
        """Put together what became of the query; `more` are further fields of `Trial`."""
        return Trial(
            arm=self.arm,
            query_id=query.query_id,
            ranking=ranking if isinstance(ranking, Ranking) else None,
            answer=answer if isinstance(answer, Answer) else None,
            failure=next((part for part in (ranking, answer) if isinstance(part, Failure)), None),
            **more,  # type: ignore[arg-type]  # forwarded by keyword to the dataclass, which checks them
        )

    def run(self, query: Query, known: Answer | Failure | None = None) -> Trial:
        """The whole way for one query alone, timed: what a user would wait for.

        Args:
            query: To ask.
            known: Its answer or failure, where the generator measured its own time: a call to an LLM is not paid for twice to be timed.
        """
        try:
            found = self.retriever.retrieve([query], top_k=self.top_k)
        except RagtrialError as error:
            return self.trial(query, _failure(_stage_of(error), error), None)
        ranking = Ranking(query_id=query.query_id, hits=found.hits[0])
        start = time.perf_counter()
        answer = self.answer(query, ranking) if known is None else known
        generate_ms = (time.perf_counter() - start) * 1000
        if isinstance(answer, Answer) and answer.generate_ms is not None:
            generate_ms = answer.generate_ms
        timings = Timings(embed_ms=found.embed_ms, search_ms=found.search_ms, generate_ms=generate_ms, rerank_ms=found.rerank_ms)
        return self.trial(query, ranking, answer, timings=None if isinstance(answer, Failure) else timings)


def _stage_of(error: RagtrialError) -> Stage:
    """Where retrieval broke, by what it raised."""
    if isinstance(error, RerankError):
        return "rerank"
    return "embed" if isinstance(error, ModelError) else "search"


def _failure(stage: Stage, error: RagtrialError) -> Failure:
    return Failure(stage=stage, kind=error.kind if isinstance(error, CallError) else type(error).__name__, message=str(error))
