"""No setting makes this program a messenger to what hands out credentials, and no redirection makes it one."""

import http.server
import threading
from contextlib import contextmanager

import pytest

from ragtrial.domain.addresses import why_refused
from ragtrial.domain.generation import GenerationSpec, JudgeSpec
from ragtrial.embedding.openai_compatible import OpenAICompatibleEmbedder
from ragtrial.errors import InputError, ModelError
from ragtrial.monitoring.webhook import checked_url

METADATA = [
    "http://169.254.169.254/latest/meta-data/",
    "http://169.254.170.2/v2/credentials",
    "http://2852039166/",  # the same address as one number, in hexadecimal, in octal, and with parts left out
    "http://0xA9FEA9FE/",
    "http://0251.0376.0251.0376/",
    "http://169.16689662/",
    "http://[::ffff:169.254.169.254]/",
    "http://[fe80::1%25eth0]/",
    "http://[fd00:ec2::254]/",
    "http://169。254。169。254/",
    "http://\uff11\uff16\uff19.254.169.254/",
    "http://[2002:a9fe:a9fe::1]/",
    "http://[64:ff9b::a9fe:a9fe]/",
    "http://[::169.254.169.254]/",
    "http://100.100.100.200/",
    "http://metadata.google.internal/computeMetadata/v1/",
    "http://METADATA.google.internal./",
    "http://0.0.0.0/",
    "http://[::]:80/",
    "http://224.0.0.1/",
    "file:///etc/passwd",
    "gopher://x/",
    "http://",
    "http://x\r\nHost: y/",
    "http://[broken/",
    "http://x:99999999/",
]
FINE = [
    "http://localhost:8000/v1",
    "http://127.0.0.1:11434/v1",
    "https://api.openai.com/v1",
    "http://10.1.2.3/v1",
    "http://[::1]:8000/v1",
    "https://1password.example/v1",
]


@pytest.mark.parametrize("url", METADATA)
def test_an_address_that_hands_out_credentials_is_refused_however_it_is_spelled(url):
    assert why_refused(url) is not None
    for spec in (lambda: GenerationSpec(provider="openai-compatible", model="m", base_url=url), lambda: JudgeSpec(model="m", base_url=url)):
        with pytest.raises(ValueError, match="base_url"):
            spec()
    with pytest.raises(InputError):
        checked_url(url)
    with pytest.raises(ModelError):
        OpenAICompatibleEmbedder("m", base_url=url, api_key=None, max_retries=0)


@pytest.mark.parametrize("url", FINE)
def test_servers_of_ones_own_are_reached(url):
    assert why_refused(url) is None


def test_a_name_that_means_such_an_address_is_refused_where_names_are_looked_up(monkeypatch):
    import socket

    monkeypatch.setattr(socket, "getaddrinfo", lambda *_a, **_k: [(2, 1, 6, "", ("169.254.169.254", 80))])  # DNS is not ours to change
    assert why_refused("http://innocent.example/", resolve=True) is not None
    with pytest.raises(InputError, match="credentials"):
        checked_url("http://innocent.example/hook")


@contextmanager
def served(answer):
    """A server on loopback; what it was asked for."""
    seen = []

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_POST(self):
            seen.append((self.path, self.headers.get("Authorization")))
            self.rfile.read(int(self.headers.get("Content-Length", 0)))
            answer(self)

        do_GET = do_POST  # noqa: N815 - the name that http.server asks for

        def log_message(self, *_):
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}", seen
    finally:
        server.shutdown()
        server.server_close()


def _redirecting_to(url):
    def answer(handler):
        handler.send_response(307)
        handler.send_header("Location", f"{url}/stolen")
        handler.send_header("Content-Length", "0")
        handler.end_headers()

    return answer


def _empty(handler):
    handler.send_response(200)
    handler.send_header("Content-Length", "2")
    handler.end_headers()
    handler.wfile.write(b"{}")


def test_neither_passages_nor_the_key_follow_a_redirection():
    import asyncio

    from ragtrial.llm.chat import ChatRequest, Endpoint, Sampling
    from ragtrial.llm.client import AttemptError, ChatClient
    from ragtrial.llm.prices import read_prices

    with served(_empty) as (thief, stolen), served(_redirecting_to(thief)) as (url, seen):
        with pytest.raises(ModelError, match="307"):
            OpenAICompatibleEmbedder("m", base_url=f"{url}/v1", api_key="sk-secret", max_retries=0)

        async def ask():
            endpoint = Endpoint(base_url=f"{url}/v1", model="m", api_key="sk-secret")
            client = ChatClient(endpoint, read_prices(), timeout_s=10, connections=1, sending=lambda: None, notify=lambda _: None)
            try:
                await client.attempt(ChatRequest(endpoint=endpoint, system="s", user="u", prompt="p/1", sampling=Sampling(max_tokens=5)))
            finally:
                await client.close()

        with pytest.raises(AttemptError, match="307"):
            asyncio.run(ask())
    assert [path for path, _ in seen] == ["/v1/embeddings", "/v1/chat/completions"]
    assert stolen == []
