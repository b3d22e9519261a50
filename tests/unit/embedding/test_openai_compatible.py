"""The endpoint embedder against a real server that misbehaves as told."""

import copy
from collections.abc import Callable, Iterator

import numpy as np
import pytest

from ragtrial.embedding.hashing import HashingEmbedder
from ragtrial.embedding.openai_compatible import OpenAICompatibleEmbedder
from ragtrial.errors import ModelError
from servers import embedding_server
from servers.embedding_server import Body, EmbeddingServer, Reply

TEXTS = ["berth plan", "yard block", "gate portal"]


@pytest.fixture
def server() -> Iterator[EmbeddingServer]:
    with embedding_server.running() as server:
        yield server


@pytest.fixture
def embedder(server: EmbeddingServer) -> Iterator[OpenAICompatibleEmbedder]:
    with OpenAICompatibleEmbedder("test", base_url=server.base_url, api_key="secret") as embedder:
        server.requests.clear()
        yield embedder


def changed(change: Callable[[Body], object]) -> embedding_server.Script:
    """The right answer after `change` was done to it."""

    def script(request: Body, right: Body) -> Reply:
        body = copy.deepcopy(right)
        change(body)
        return Reply(body=body)

    return script


def test_a_rate_limit_is_waited_for_and_the_answer_taken(server: EmbeddingServer, embedder: OpenAICompatibleEmbedder) -> None:
    server.script = [
        lambda *_: Reply(body={"error": {"message": "slow down"}}, status=429, headers={"Retry-After": "0.05"}),
        lambda *_: Reply(body={"error": {"message": "restarting"}}, status=503, headers={"Retry-After": "0.05"}),
    ]
    vectors = embedder.embed(TEXTS, kind="query")
    np.testing.assert_allclose(vectors, HashingEmbedder(model="test", dimension=8).embed(TEXTS, kind="query"), atol=1e-6)
    assert len(server.requests) == 3


def test_vectors_are_put_in_order_by_their_index(server: EmbeddingServer, embedder: OpenAICompatibleEmbedder) -> None:
    server.script = [changed(lambda body: body["data"].reverse())]
    expected = HashingEmbedder(model="test", dimension=8).embed(TEXTS, kind="query")
    np.testing.assert_allclose(embedder.embed(TEXTS, kind="query"), expected, atol=1e-6)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda body: body["data"].pop(), "returned 2 vectors for 3 texts"),
        (lambda body: body["data"].clear(), "0 vectors for 3 texts|No embedding data"),
        (lambda body: [item.update(index=0) for item in body["data"]], r"vectors with the indexes \[0, 0, 0\] for 3 texts"),
        (
            lambda body: [item.update(embedding=item["embedding"][:5]) for item in body["data"]],
            r"shape \(3, 5\) for 3 texts, expected \(3, 8\)",
        ),
        (lambda body: body["data"][1]["embedding"].pop(), "test"),
        (lambda body: body["data"][1]["embedding"].__setitem__(0, float("nan")), "length nan for text 1 of 3"),
        (lambda body: body["data"][1]["embedding"].__setitem__(0, float("inf")), "length inf for text 1 of 3"),
        (lambda body: body["data"][1].update(embedding=[0.0] * 8), "length 0.0 for text 1 of 3"),
        (lambda body: body["data"][1].update(embedding=None), "test"),
        (lambda body: body["data"][1].update(embedding="AACAPwAAAAA="), "test"),
        (lambda body: body["data"][1]["embedding"].__setitem__(0, "x"), "test"),
        (lambda body: body.pop("data"), "test"),
        (lambda body: body.update(data="no list"), "test"),
    ],
)
def test_a_wrong_answer_is_an_error_and_never_a_vector(
    server: EmbeddingServer, embedder: OpenAICompatibleEmbedder, change: Callable[[Body], object], message: str
) -> None:
    server.script = [changed(change)]
    with pytest.raises(ModelError, match=message):
        embedder.embed(TEXTS, kind="query")


@pytest.mark.parametrize("raw", [b"<html>\n<body>proxy</body></html>", b"[1, 2]", b"{", b"", b"null", b'"text"'])
def test_an_answer_that_is_no_embedding_object_is_an_error(server: EmbeddingServer, embedder: OpenAICompatibleEmbedder, raw: bytes) -> None:
    server.script = [lambda *_: Reply(body={}, raw=raw)]
    with pytest.raises(ModelError, match="test"):
        embedder.embed(TEXTS, kind="query")


def test_a_page_of_html_does_not_fill_the_screen(server: EmbeddingServer, embedder: OpenAICompatibleEmbedder) -> None:
    page = b"<html>" + b"<p>proxy</p>\n" * 1000
    server.script = [lambda *_: Reply(body={}, raw=page, headers={"Content-Type": "text/html"}, status=404)]
    with pytest.raises(ModelError) as raised:
        embedder.embed(TEXTS, kind="query")
    assert len(str(raised.value)) < 600


def test_a_refused_key_names_the_endpoint_and_is_not_retried(server: EmbeddingServer) -> None:
    server.script = [lambda *_: Reply(body={"error": {"message": "Incorrect API key provided"}}, status=401)]
    with pytest.raises(ModelError, match=rf"{server.base_url}.*401.*Incorrect API key"):
        OpenAICompatibleEmbedder("test", base_url=server.base_url, api_key="wrong")
    assert len(server.requests) == 1


def test_an_endpoint_that_is_not_there_is_named(server: EmbeddingServer) -> None:
    server.shutdown()
    server.server_close()
    with pytest.raises(ModelError, match=f"embedding endpoint '{server.base_url}'"):
        OpenAICompatibleEmbedder("test", base_url=server.base_url, api_key=None, timeout_s=5, max_retries=0)


def test_texts_go_in_batches_with_prompts_and_the_key(server: EmbeddingServer) -> None:
    with OpenAICompatibleEmbedder(
        "test", base_url=server.base_url, api_key="secret", query_prompt="query: ", passage_prompt="passage: ", batch_size=2
    ) as embedder:
        server.requests.clear()
        embedder.embed(TEXTS, kind="query")
        embedder.embed(TEXTS[:1], kind="passage")
    assert [request["input"] for request in server.requests] == [
        ["query: berth plan", "query: yard block"],
        ["query: gate portal"],
        ["passage: berth plan"],
    ]
    assert {request["encoding_format"] for request in server.requests} == {"float"}
    assert set(server.keys) == {"Bearer secret"}


def test_dimensions_are_asked_for_and_checked(server: EmbeddingServer) -> None:
    with OpenAICompatibleEmbedder("test", base_url=server.base_url, api_key=None, dimensions=16) as embedder:
        assert embedder.identity.dimension == 16
        assert embedder.embed(TEXTS, kind="query").shape == (3, 16)
    server.script = [changed(lambda body: [item.update(embedding=[1.0] * 8) for item in body["data"]])]
    with pytest.raises(ModelError, match=r"shape \(1, 8\) for 1 texts, expected \(1, 16\)"):
        OpenAICompatibleEmbedder("test", base_url=server.base_url, api_key=None, dimensions=16)


def test_another_address_model_prompt_or_length_is_another_identity(server: EmbeddingServer) -> None:
    def key(model: str = "test", base_url: str = server.base_url, **more: object) -> str:
        with OpenAICompatibleEmbedder(model, base_url=base_url, api_key=None, **more) as embedder:  # type: ignore[arg-type]
            return embedder.identity.key

    other = server.base_url.replace("127.0.0.1", "localhost")
    keys = [key(), key("other"), key(base_url=other), key(query_prompt="q: "), key(passage_prompt="p: "), key(dimensions=16)]
    assert len(set(keys)) == len(keys)
    assert key() == keys[0]
