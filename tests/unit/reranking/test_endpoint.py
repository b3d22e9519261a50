"""Rerankers behind HTTP: what is sent, what is read, and what each fault becomes."""

import time
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

from ragtrial.errors import ModelError, RerankError
from ragtrial.reranking.endpoint import EndpointReranker, Shape
from ragtrial.reranking.overlap import OverlapReranker
from servers import rerank_server
from servers.rerank_server import Reply, RerankServer

ASKED = [("crane power", ["the crane", "shore power for the crane", "tariff"]), ("tariff", ["tariff", "gate"])]


@pytest.fixture
def server() -> Iterator[RerankServer]:
    with rerank_server.running() as found:
        yield found


def client(server: RerankServer, shape: Shape = "cohere-compatible", **settings: Any) -> EndpointReranker:
    return EndpointReranker("m", shape=shape, base_url=server.base_url, **{"api_key": None, "max_retries": 0, **settings})


@pytest.mark.parametrize("shape", ["cohere-compatible", "tei"])
def test_scores_come_back_in_the_order_of_the_passages(server: RerankServer, shape: Shape) -> None:
    with client(server, shape, api_key="secret") as reranker:
        found = reranker.score(ASKED)
    for row, right in zip(found, OverlapReranker("x").score(ASKED), strict=True):
        np.testing.assert_allclose(row, right, atol=1e-7)
    sent = next(request for request in server.requests if request["query"] == "crane power")
    if shape == "tei":
        assert sent == {"query": "crane power", "texts": list(ASKED[0][1]), "raw_scores": True, "truncate": True}
    else:
        assert sent == {"query": "crane power", "model": "m", "documents": list(ASKED[0][1]), "top_n": 3}
    assert set(server.keys) == {"Bearer secret"}


def test_a_server_that_takes_few_passages_is_asked_in_parts(server: RerankServer) -> None:
    many = [f"word{n} crane" for n in range(70)]
    with client(server, "tei") as reranker:
        (scores,) = reranker.score([("word9", many)])
    assert sorted(len(request["texts"]) for request in server.requests) == [1, 6, 32, 32]
    assert int(np.argmax(scores)) == 9


@pytest.mark.parametrize(
    ("reply", "said"),
    [
        (Reply(status=401, body={"message": "no key"}), "status 401"),
        (Reply(status=500, body={}), "status 500"),
        (Reply(raw=b"<html>"), "its answer can't be read"),
        (Reply(body=[]), "of the passages 0 to 2 it scored none"),
        (Reply(body={"data": []}), "not that of a cohere-compatible endpoint"),
        (Reply(body={"results": [{"index": 0, "score": 1}]}), "not that of a cohere-compatible endpoint"),
        (Reply(body={"results": [{"index": 0, "relevance_score": 1.0}]}), "of the passages 0 to 2 it scored 0"),
        (Reply(body={"results": [{"index": n + 1, "relevance_score": 1.0} for n in range(3)]}), "of the passages 0 to 2 it scored 1, 2, 3"),
        (Reply(body={"results": [{"index": n, "relevance_score": float("nan")} for n in range(3)]}), "not finite"),
        (Reply(after_s=1.5, body={}), "no answer in time"),
    ],
)
def test_every_fault_is_an_error_that_says_what_happened_and_where(server: RerankServer, reply: Reply, said: str) -> None:
    with client(server, timeout_s=1.0) as reranker:
        server.script = lambda _request, _right: reply
        with pytest.raises(RerankError, match=said) as found:
            reranker.score(ASKED[:1])
        assert "crane" not in str(found.value), "a message never holds what a user asked"
    assert server.base_url in str(found.value) or "not finite" in said


def test_a_moment_of_too_many_requests_is_waited_for(server: RerankServer) -> None:
    with client(server, max_retries=3) as reranker:
        refusals = [Reply(status=429, body={}, headers={"Retry-After": "0.01"})] * 2
        server.script = lambda _request, _right: refusals.pop() if refusals else None
        assert reranker.score(ASKED[1:])[0].tolist() == [1.0, 0.0]


def test_an_endpoint_that_gives_no_answer_is_left_alone_for_a_moment_where_users_wait(server: RerankServer) -> None:
    with client(server, timeout_s=0.6, hold_off_s=0.6) as reranker:
        server.script = lambda _request, _right: Reply(after_s=0.9, body={})
        with pytest.raises(RerankError, match="no answer in time"):
            reranker.score(ASKED[1:])
        asked = len(server.requests)
        with pytest.raises(RerankError, match="not asked, because it gave no answer a moment ago"):
            reranker.score(ASKED[1:])
        assert len(server.requests) == asked
        server.script = None
        time.sleep(0.65)
        assert reranker.score(ASKED[1:])[0].tolist() == [1.0, 0.0]


def test_an_endpoint_that_is_not_there_is_found_at_the_start() -> None:
    with pytest.raises(ModelError, match=r"reranker 'm' at 'http://127.0.0.1:9/v1': no connection"):
        EndpointReranker("m", shape="tei", base_url="http://127.0.0.1:9/v1", api_key=None, max_retries=0)
