"""What every retriever of another library must keep, on the real classes of LangChain and LlamaIndex."""

from collections.abc import Iterator

import pytest

from foreign_pipelines import CALLS, CORPUS_ENV
from material import write_beir_folder
from ragtrial.chunking import cut
from ragtrial.domain.corpus import Corpus
from ragtrial.domain.experiment import ChunkingSpec
from ragtrial.domain.gold import Query
from ragtrial.domain.retriever import RetrieverSpec
from ragtrial.domain.trial import Failure, Ranking
from ragtrial.errors import InputError, RetrieverError
from ragtrial.foreign.retriever import ForeignAnswers, ForeignRetriever
from ragtrial.formats.beir import load_beir
from ragtrial.pipeline import Pipeline

KINDS = {
    "langchain": {"provider": "langchain", "object": "foreign_pipelines:langchain_retriever"},
    "langchain-key": {"provider": "langchain", "object": "foreign_pipelines:langchain_retriever", "id_key": "source"},
    "langchain-batch": {"provider": "langchain", "object": "foreign_pipelines:langchain_retriever", "call": "batch"},
    "langchain-async": {"provider": "langchain", "object": "foreign_pipelines:langchain_retriever", "call": "async"},
    "langchain-chain": {"provider": "langchain", "object": "foreign_pipelines:langchain_chain", "input_key": "input"},
    "llama-index": {"provider": "llama-index", "object": "foreign_pipelines:llama_retriever"},
    "llama-index-async": {"provider": "llama-index", "object": "foreign_pipelines:llama_retriever", "call": "async"},
    "llama-index-engine": {"provider": "llama-index", "object": "foreign_pipelines:llama_engine"},
    "function-by-text": {"provider": "foreign_pipelines:by_text", "match_by": "text"},
    "async-function": {"provider": "foreign_pipelines:asked_async"},
}


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Corpus]:
    folder = write_beir_folder(tmp_path_factory.mktemp("corpus") / "data", n_passages=40, n_queries=8)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(CORPUS_ENV, str(folder))
        yield cut(load_beir(folder).documents, ChunkingSpec(), "data")


@pytest.fixture(scope="module", params=list(KINDS))
def retriever(request: pytest.FixtureRequest, corpus: Corpus) -> Iterator[ForeignRetriever]:
    with ForeignRetriever(RetrieverSpec(version="1", **KINDS[request.param]), corpus) as found:
        yield found


def queries(*texts: str) -> list[Query]:
    return [Query(query_id=f"q{number}", text=text) for number, text in enumerate(texts)]


def test_each_query_gets_passages_of_the_corpus_best_first_in_the_order_of_the_queries(retriever: ForeignRetriever, corpus: Corpus) -> None:
    asked = queries(*(corpus.passages[number].content for number in (7, 0, 31)))
    found = retriever.retrieve(asked, top_k=5)
    assert [hits[0].passage_id for hits in found.hits] == ["p7", "p0", "p31"]
    for query, hits in zip(asked, found.hits, strict=True):
        assert len(Ranking(query_id=query.query_id, hits=hits).passage_ids) == 5
        assert all(hit.passage_id in corpus.by_id for hit in hits)
        mapped = retriever.mapped_of(query.query_id)
        assert mapped is not None
        assert mapped.unmapped_share == 0
    assert found.search_ms > 0
    assert found.rerank_ms is None


def test_a_query_gets_the_same_alone_and_fewer_passages_are_the_beginning_of_more(retriever: ForeignRetriever, corpus: Corpus) -> None:
    asked = queries("anchor and ballast", corpus.passages[3].content)
    together = retriever.retrieve(asked, top_k=10)
    for number, query in enumerate(asked):
        assert retriever.retrieve([query], top_k=10).hits[0] == together.hits[number]
        assert retriever.retrieve([query], top_k=3).hits[0] == together.hits[number][:3]
    assert retriever.retrieve([], top_k=3).hits == ()


def moody(corpus: Corpus, **more: object) -> ForeignRetriever:
    given = {"provider": "langchain", "object": "foreign_pipelines:moody", "version": "1", **more}
    return ForeignRetriever(RetrieverSpec(**given), corpus)  # type: ignore[arg-type]


@pytest.mark.parametrize("call", ["one", "batch", "async"])
def test_what_fails_fails_alone_is_counted_by_its_class_and_the_others_are_not_asked_again(corpus: Corpus, call: str) -> None:
    CALLS.clear()
    with moody(corpus, call=call) as retriever:
        pipeline = Pipeline(arm="own", retriever=retriever, generator=None, passages=corpus.by_id, top_k=5, context_passages=2)
        found = pipeline.retrieve(queries("good", "please raise", "fine"))
    assert [type(each) for each in found] == [Ranking, Failure, Ranking]
    failure = found[1]
    assert isinstance(failure, Failure)
    assert (failure.stage, failure.kind) == ("search", "ConnectionError")
    assert "the vector store is away" in failure.message
    assert sorted(CALLS) == ["fine", "good"]


def test_a_query_that_takes_too_long_is_a_counted_failure_and_the_next_one_is_answered(corpus: Corpus) -> None:
    with moody(corpus, timeout_s=0.5) as retriever:
        with pytest.raises(RetrieverError, match="timeout") as caught:
            retriever.retrieve(queries("sleep"), top_k=3)
        assert caught.value.kind == "timeout"
        assert retriever.retrieve(queries("good"), top_k=3).hits == ((),)  # its documents are of another corpus
        mapped = retriever.mapped_of("q0")
    assert mapped is not None
    assert (mapped.n_unmapped, mapped.unmapped_share) == (3, 1.0)


def test_a_return_value_that_is_no_list_of_hits_is_a_failure(corpus: Corpus) -> None:
    with (
        ForeignRetriever(RetrieverSpec(provider="foreign_pipelines:returns_nonsense", version="1"), corpus) as retriever,
        pytest.raises(RetrieverError, match="a int: expected a list") as caught,
    ):
        retriever.retrieve(queries("x"), top_k=3)
    assert caught.value.kind == "malformed"


@pytest.mark.parametrize("kind", ["langchain-chain", "llama-index-engine"])
def test_a_chain_that_answers_is_asked_once_for_both(corpus: Corpus, kind: str) -> None:
    with ForeignRetriever(RetrieverSpec(version="7", **KINDS[kind]), corpus) as retriever:
        (query,) = queries(corpus.passages[5].content)
        retriever.retrieve([query], top_k=3)
        answer = ForeignAnswers(retriever).generate(query, [])
    assert answer.generator == f"{KINDS[kind]['object']}/7"
    assert answer.text
    if kind == "langchain-chain":
        assert answer.text == corpus.passages[5].content.split(". ")[1]


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"provider": "langchain", "object": "no_such_module_anywhere:x"}, "PYTHONPATH"),
        ({"provider": "langchain", "object": "foreign_pipelines:no_such_name"}, "can't be imported"),
        ({"provider": "langchain", "object": "foreign_pipelines:not_a_retriever"}, "without invoke"),
        ({"provider": "langchain", "object": "foreign_pipelines:langchain_store"}, "as_retriever"),
        ({"provider": "llama-index", "object": "foreign_pipelines:llama_index"}, "without query or retrieve"),
        ({"provider": "foreign_pipelines:by_text", "call": "async"}, "no async form"),
        ({"provider": "foreign_pipelines:CALLS"}, "can't be called"),
    ],
)
def test_an_object_that_cannot_be_asked_is_refused_before_anything_is(corpus: Corpus, given: dict[str, str], said: str) -> None:
    with pytest.raises(InputError, match=said):
        ForeignRetriever(RetrieverSpec(version="1", **given), corpus)  # type: ignore[arg-type]


def test_the_file_that_the_object_is_named_in_is_known_by_its_content(corpus: Corpus) -> None:
    with moody(corpus) as retriever:
        assert len(retriever.code) == 12
        assert retriever.identity.dimension == 0
        assert str(retriever.identity) == "foreign_pipelines:moody@1"
