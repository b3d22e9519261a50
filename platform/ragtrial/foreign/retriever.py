"""A pipeline of somebody else's as a `contracts.Retriever`, and as a `contracts.Generator` where it answers too."""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Self

from ragtrial.contracts import Retrieved
from ragtrial.domain.corpus import Corpus, Passage
from ragtrial.domain.gold import Query
from ragtrial.domain.model import ModelIdentity
from ragtrial.domain.retriever import RetrieverSpec
from ragtrial.domain.trial import Answer
from ragtrial.errors import CallError, RetrieverError
from ragtrial.foreign.known import Acquaintance, Mapped
from ragtrial.foreign.objects import Callee, Outcome, code_of, waited
from ragtrial.foreign.reading import Found, read_result
from ragtrial.foreign.worker import Worker

_SAID = 300


@dataclass(frozen=True, slots=True)
class _Result:
    """What one query came to."""

    mapped: Mapped
    answer: str | None


class ForeignRetriever:
    """Asks the user's own pipeline, and knows what it finds again in the corpus.

    A batch in which one query fails is raised as a whole, as `contracts.Retriever` wants it; when the queries are then asked one by one,
    those that were answered are not asked again.

    Args:
        spec: Which pipeline, and how it is asked.
        corpus: The gold set's.

    Raises:
        InputError: The object can't be imported, made or called.
        MissingExtraError: Its library is not installed.
    """

    def __init__(self, spec: RetrieverSpec, corpus: Corpus) -> None:
        self.spec = spec
        self.known = Acquaintance(corpus, spec.match_by)
        self._worker = Worker()
        self._callee = self._worker.call(lambda: Callee(spec), timeout_s=None)
        self.code = code_of(spec)
        self._kept: dict[str, _Result | RetrieverError] = {}
        self._last: dict[str, _Result] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Let the thread end that the pipeline runs on."""
        self._worker.close()

    @property
    def identity(self) -> ModelIdentity:
        """Its import path and declared version, which is all that can be known; no vectors of it are."""
        return ModelIdentity(name=self.spec.path, revision=self.spec.version, dimension=0)

    def embed_ahead(self, queries: Sequence[Query], *, progress: Callable[[int], None]) -> None:
        """Nothing: the pipeline embeds by itself, where it does."""
        progress(len(queries))

    def retrieve(self, queries: Sequence[Query], *, top_k: int) -> Retrieved:
        """See `contracts.Retriever`; all the time is `search_ms`, for nobody sees into it.

        Raises:
            RetrieverError: The pipeline raised, took too long, or returned what are no hits.
        """
        start = time.perf_counter()
        todo = [query for query in queries if query.query_id not in self._kept]
        results = dict(zip((query.query_id for query in todo), self._asked([query.text for query in todo], top_k), strict=True))
        for query in queries:
            if query.query_id not in results:
                results[query.query_id] = self._kept.pop(query.query_id)
        search_ms = (time.perf_counter() - start) * 1000
        found = {name: result for name, result in results.items() if isinstance(result, _Result)}
        self._last.update(found)
        failure = next((result for result in results.values() if isinstance(result, RetrieverError)), None)
        if failure is not None:
            self._kept = results if len(queries) > 1 else self._kept
            raise failure
        return Retrieved(hits=tuple(found[query.query_id].mapped.hits for query in queries), embed_ms=0.0, search_ms=search_ms)

    def look(self, queries: Sequence[Query], *, top_k: int) -> tuple[tuple[Mapped, str | None] | RetrieverError, ...]:
        """What each query comes to, failures in their places; asked before an evaluation, to see what is wrong with the set-up."""
        results = self._asked([query.text for query in queries], top_k)
        return tuple((each.mapped, each.answer) if isinstance(each, _Result) else each for each in results)

    def mapped_of(self, query_id: str) -> Mapped | None:
        """What of the query's last hits is in the corpus; None where it was not asked, or failed."""
        found = self._last.get(query_id)
        return None if found is None else found.mapped

    def answer_of(self, query_id: str) -> str | None:
        """What the pipeline said when the query was last asked; None where it doesn't answer."""
        found = self._last.get(query_id)
        return None if found is None else found.answer

    def _asked(self, texts: Sequence[str], top_k: int) -> list[_Result | RetrieverError]:
        return [self._result(outcome, top_k) for outcome in self._outcomes(texts)]

    def _outcomes(self, texts: Sequence[str]) -> list[Outcome]:
        if len(texts) > 1 and self._callee.several:
            rounds = -(-len(texts) // self.spec.concurrency)
            whole = self._called(lambda: self._callee.ask_all(texts), timeout_s=self.spec.timeout_s * rounds + 1)
            if not isinstance(whole, BaseException):
                return list(whole)
        return [self._called(lambda text=text: self._callee.ask(text), timeout_s=self.spec.timeout_s) for text in texts]  # type: ignore[misc]  # a lambda's default has no type

    def _called(self, work: Callable[[], Outcome], *, timeout_s: float) -> Outcome:
        try:
            return self._worker.call(work, timeout_s=timeout_s)
        except Exception as error:  # noqa: BLE001 - the user's own code may raise whatever it likes; it is counted by its class
            return error

    def _result(self, outcome: Outcome, top_k: int) -> _Result | RetrieverError:
        kind = waited(outcome)
        if kind is not None:
            return RetrieverError(kind, f"retriever {self.spec.path!r}: {kind}: {str(outcome)[:_SAID]}")
        try:
            found: Found = read_result(outcome, self.spec)
        except (TypeError, AttributeError) as error:
            return RetrieverError("malformed", f"retriever {self.spec.path!r} returned {error}")
        return _Result(self.known.mapped(found.hits, top_k=top_k), found.answer)


class ForeignAnswers:
    """The answers of a pipeline that retrieves and answers in one go; it is asked once, by the retriever.

    Args:
        retriever: That was asked.
    """

    def __init__(self, retriever: ForeignRetriever) -> None:
        self._retriever = retriever

    @property
    def version(self) -> str:
        """As declared."""
        return f"{self._retriever.spec.path}/{self._retriever.spec.version}"

    @property
    def settings(self) -> Mapping[str, str]:
        """Nobody knows them; `suite.foreign_arms` says so in the certificate."""
        return {}

    def generate(self, query: Query, passages: Sequence[Passage]) -> Answer:
        """See `contracts.Generator`; a blank answer is an abstention. Nothing is known of what it cites.

        Raises:
            CallError: The pipeline gave no answer.
        """
        del passages  # the pipeline has read what it found itself
        text = self._retriever.answer_of(query.query_id)
        if text is None:
            raise CallError("no_answer", f"{self._retriever.spec.path!r} returned hits and no answer")
        return Answer(text=text.strip(), finish_reason="stop" if text.strip() else "abstained", generator=self.version)
