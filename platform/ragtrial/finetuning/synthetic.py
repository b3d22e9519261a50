"""Queries that an LLM writes from passages, and the filters that they have to pass.

The way of InPars (Bonifacio et al. 2022, arXiv 2202.05144) and Promptagator (Dai et al. 2022, arXiv 2209.11755): a query is written from the
passage, and kept only where a retriever finds the passage for it again (round-trip consistency, section 3.2 of the latter). A judge
then looks at what is left, because a retriever finds by words what does not answer.
"""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from ragtrial.contracts import Embedder, Progress, no_progress
from ragtrial.domain.corpus import Passage
from ragtrial.domain.pair import Pair
from ragtrial.finetuning.gathering import Gathered
from ragtrial.finetuning.leakage import near_duplicates, normalise
from ragtrial.index.exact import exact_search
from ragtrial.llm.chat import CallFailure, ChatRequest, Completion, Endpoint, Sampling
from ragtrial.llm.gate import Gate
from ragtrial.llm.prompt import Prompt, bundled_prompt
from ragtrial.llm.structured import keepable
from ragtrial.scoring.fencing import fence
from ragtrial.scoring.verdicts import closed_object, read_object, read_text

NO_QUERY = "passages from which the model wrote no query"
CALL_FAILED = "passages whose call failed ({})"
COPIED = "the query stands in the passage word for word"
TOO_LONG = "the query has more than {} characters"
SPEAKS_OF_IT = "the query speaks of the passage"
REPEATED = "nearly the same query was written before"
NOT_FOUND = "the baseline does not find the passage among the first {}"
NOT_ANSWERED = "the judge: the passage does not answer it"
NOT_SPECIFIC = "the judge: it can't be understood by itself"
NOT_JUDGED = "the judge's call failed ({})"

WRITING, CHECKING = "synthetic_query", "synthetic_check"
"""Purposes of the calls, in costs and cache."""

_LONGEST = 400
_SPEAKS = ("the passage", "this passage", "the text above", "the given text", "the document above", "according to the")
_WRITTEN = closed_object({"queries": {"type": "array", "items": {"type": "string"}}})
_CHECKED = closed_object({"rationale": {"type": "string"}, "answerable": {"type": "boolean"}, "specific": {"type": "boolean"}})


@dataclass(frozen=True, kw_only=True)
class Asked:
    """Who is asked, and how.

    Attributes:
        endpoint: Server and model.
        sampling: Temperature, seed, length.
    """

    endpoint: Endpoint
    sampling: Sampling


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """How synthetic queries are made.

    Attributes:
        writer: Who writes them.
        judge: Who checks them; None: nobody.
        per_passage: Most queries of a passage.
        round_trip: A query stays where the baseline finds its passage among so many; 0: all stay.

    Raises:
        ValueError: A number below 1 (`round_trip`: below 0).
    """

    writer: Asked
    judge: Asked | None
    per_passage: int = 3
    round_trip: int = 20

    def __post_init__(self) -> None:
        if self.per_passage < 1 or self.round_trip < 0:
            raise ValueError(f"{self.per_passage} queries a passage, round trip {self.round_trip}: give at least 1, and at least 0")


def writing_prompt() -> Prompt:
    """What queries are written with."""
    return bundled_prompt("ragtrial.finetuning", "queries-1")


def checking_prompt() -> Prompt:
    """What queries are checked with."""
    return bundled_prompt("ragtrial.finetuning", "query-check-1")


def synthetic_pairs(
    passages: Sequence[Passage],
    corpus: Sequence[Passage],
    recipe: Recipe,
    *,
    gate: Gate,
    embedder: Embedder | None,
    progress: Progress = no_progress,
) -> Gathered:
    """Queries for passages, with what each filter dropped.

    The filters follow each other from free to dear: the text itself, near-duplicates, the round trip, the judge. Where a judge's call fails
    its query is dropped, and counted apart.

    Args:
        passages: To write queries for.
        corpus: What the round trip searches; holds `passages`.
        recipe: Who is asked, and what is kept.
        gate: What every call goes through; its cache makes an interrupted run go on without paying twice.
        embedder: The baseline of the round trip; may be None where there is none.
        progress: Told of passages written for, texts embedded, and queries judged.

    Raises:
        StoppedError: The gate stopped the run; what was answered is in its cache.
        ModelError: A text can't be embedded.
    """
    left_out: Counter[str] = Counter()
    written = _written(passages, recipe, gate, left_out, progress)
    fit = [pair for pair in written if not _refused(pair, left_out)]
    repeated = near_duplicates([pair.query for pair in fit])
    left_out[REPEATED] += len(repeated)
    fresh = [pair for place, pair in enumerate(fit) if place not in repeated]
    found = fresh if not recipe.round_trip or embedder is None else _found_again(fresh, corpus, embedder, recipe, left_out, progress)
    kept = found if recipe.judge is None else _answered(found, recipe.judge, gate, left_out, progress)
    facts = {"passages asked about": len(passages), "queries written": len(written)}
    return Gathered(pairs=tuple(kept), left_out={reason: n for reason, n in left_out.items() if n}, facts=facts)


def read_queries(text: str) -> tuple[str, ...]:
    """The queries that a model wrote, cleaned and not blank; may be none.

    Raises:
        ValueError: No object with a list of texts.
    """
    queries = read_object(text, required=("queries",))["queries"]
    if not isinstance(queries, list):
        raise ValueError("'queries' is no list")  # noqa: TRY004  # of the text, not of our types
    read = (" ".join(keepable(read_text(query, name="query")).split()) for query in queries)
    return tuple(query for query in read if query)


def read_check(text: str) -> tuple[bool, bool]:
    """Whether the passage answers the query, and whether the query is specific.

    Raises:
        ValueError: No object with both verdicts.
    """
    found = read_object(text, required=("answerable", "specific"))
    answerable, specific = found["answerable"], found["specific"]
    if not isinstance(answerable, bool) or not isinstance(specific, bool):
        raise ValueError("a verdict is neither true nor false")  # noqa: TRY004
    return answerable, specific


def _written(passages: Sequence[Passage], recipe: Recipe, gate: Gate, left_out: Counter[str], progress: Progress) -> list[Pair]:
    prompt = writing_prompt()
    requests = [_to_write(passage, recipe, prompt) for passage in passages]
    outcomes = gate.complete(requests, accept=read_queries, progress=progress("write queries", len(requests))) if requests else ()
    pairs: list[Pair] = []
    for passage, outcome in zip(passages, outcomes, strict=True):
        if isinstance(outcome, CallFailure):
            left_out[CALL_FAILED.format(outcome.kind)] += 1
            continue
        queries = read_queries(outcome.text)[: recipe.per_passage]
        left_out[NO_QUERY] += not queries
        pairs += _pairs(passage, queries, outcome, prompt)
    return pairs


def _to_write(passage: Passage, recipe: Recipe, prompt: Prompt) -> ChatRequest:
    fenced = fence([("PASSAGE", passage.content)])
    values = {"code": fenced.code, "passage": fenced.blocks[0], "n": str(recipe.per_passage)}
    return _request(recipe.writer, prompt, values, _WRITTEN, WRITING)


def _request(asked: Asked, prompt: Prompt, values: Mapping[str, str], schema: Mapping[str, object], purpose: str) -> ChatRequest:
    return ChatRequest(
        endpoint=asked.endpoint,
        system=prompt.system,
        user=prompt.fill(values),
        prompt=prompt.version,
        sampling=asked.sampling,
        schema=schema,
        purpose=purpose,
    )


def _pairs(passage: Passage, queries: Sequence[str], completion: Completion, prompt: Prompt) -> Iterator[Pair]:
    for query in queries:
        yield Pair(
            query=query,
            passage=passage.content,
            passage_id=passage.passage_id,
            document_id=passage.document_id,
            source=passage.document_id,
            origin="synthetic",
            provenance={
                "model": completion.model,
                "prompt": prompt.version,
                "call": completion.key[:16],
                "passed": ["text", "near-duplicates"],
            },
        )


def _refused(pair: Pair, left_out: Counter[str]) -> bool:
    """Whether the query's own text speaks against it, which is counted."""
    query = normalise(pair.query)
    if len(pair.query) > _LONGEST:
        left_out[TOO_LONG.format(_LONGEST)] += 1
    elif any(each in query for each in _SPEAKS):
        left_out[SPEAKS_OF_IT] += 1
    elif len(query.split()) > 2 and query in normalise(pair.passage):  # names and terms may stand in it
        left_out[COPIED] += 1
    else:
        return False
    return True


def _found_again(
    pairs: Sequence[Pair], corpus: Sequence[Passage], embedder: Embedder, recipe: Recipe, left_out: Counter[str], progress: Progress
) -> list[Pair]:
    """The pairs whose passage, or one of the same text, the baseline finds among the first ones."""
    texts: dict[str, str] = {}
    for passage in corpus:
        texts.setdefault(normalise(passage.content), passage.content)
    advance = progress("embed passages and queries for the round trip", len(texts) + len(pairs))
    matrix = embedder.embed(list(texts.values()), kind="passage", progress=advance)
    vectors = embedder.embed([pair.query for pair in pairs], kind="query", progress=advance)
    kept = []
    for pair, hits in zip(pairs, exact_search(matrix, list(texts), vectors, recipe.round_trip), strict=True):
        own = normalise(pair.passage)
        rank = next((rank for rank, hit in enumerate(hits, 1) if hit.passage_id == own), None)
        if rank is None:
            left_out[NOT_FOUND.format(recipe.round_trip)] += 1
        else:
            kept.append(_passed(pair, "round trip", rank=rank, baseline=str(embedder.identity)))
    return kept


def _answered(pairs: Sequence[Pair], judge: Asked, gate: Gate, left_out: Counter[str], progress: Progress) -> list[Pair]:
    """The pairs of which the judge says that the passage answers the query, and that the query is specific."""
    prompt = checking_prompt()
    requests = []
    for pair in pairs:
        fenced = fence([("QUERY", pair.query), ("PASSAGE", pair.passage)])
        values = {"code": fenced.code, "query": fenced.blocks[0], "passage": fenced.blocks[1]}
        requests.append(_request(judge, prompt, values, _CHECKED, CHECKING))
    outcomes = gate.complete(requests, accept=read_check, progress=progress("judge queries", len(requests))) if requests else ()
    kept = []
    for pair, outcome in zip(pairs, outcomes, strict=True):
        if isinstance(outcome, CallFailure):
            left_out[NOT_JUDGED.format(outcome.kind)] += 1
            continue
        answerable, specific = read_check(outcome.text)
        if not answerable:
            left_out[NOT_ANSWERED] += 1
        elif not specific:
            left_out[NOT_SPECIFIC] += 1
        else:
            kept.append(_passed(pair, "judge", judge=outcome.model, judge_prompt=prompt.version))
    return kept


def _passed(pair: Pair, filter_name: str, **more: object) -> Pair:
    before = pair.provenance["passed"]
    passed = [*(before if isinstance(before, list) else ()), filter_name]
    return replace(pair, provenance={**pair.provenance, "passed": passed, **more})
