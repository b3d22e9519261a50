"""What is kept, found again, listed and removed; several processes; sizes; damage."""

import json
import subprocess
import sys
import zlib
from pathlib import Path
from typing import Any

import lmdb
import pytest

from ragtrial.errors import StoreError
from ragtrial.llm.cache import CallCache
from ragtrial.llm.chat import ChatRequest, Completion
from scripted_llm import Reply, ScriptedLlm, user_text
from unit.llm.asking import KEY, SCHEMA, ask, items

URL = "http://somewhere/v1"


def completion_of(request: ChatRequest, text: str = "yes") -> Completion:
    return Completion(
        key=request.key,
        text=text,
        model="m",
        prompt_tokens=3,
        cached_tokens=1,
        completion_tokens=2,
        cost_usd=0.5,
        elapsed_ms=7.5,
        attempts=2,
    )


def test_a_completion_comes_back_as_it_was_and_says_that_it_was_not_paid_now(cache: CallCache):
    request = ask(URL, "四十箱 🙂 \x00", schema=SCHEMA, purpose="judge_correctness")
    cache.put([(request, completion_of(request, "ünï\u2028"))])
    entry = cache.entry(request.key)
    assert entry is not None
    assert entry.completion == Completion(
        **{
            name: getattr(completion_of(request, "ünï\u2028"), name)
            for name in Completion.__slots__
            if name not in ("from_cache", "made_at")
        },
        from_cache=True,
        made_at=entry.stored_at,
    )
    assert (entry.purpose, entry.request["user"], entry.request["schema"]) == ("judge_correctness", "四十箱 🙂 \x00", SCHEMA)
    assert entry.n_bytes > 0
    assert cache.get("f" * 64) is None


CHANGES: list[dict[str, Any]] = [
    {"user": "other"},
    {"repetition": 1},
    {"schema": SCHEMA},
    {"endpoint": {"model": "other"}},
    {"endpoint": {"base_url": "http://elsewhere/v1"}},
    {"sampling": {"max_tokens": 51}},
    {"sampling": {"max_tokens": 50, "temperature": None}},
    {"sampling": {"max_tokens": 50, "seed": 1}},
    {"sampling": {"max_tokens": 50, "stop": ("x",)}},
]


@pytest.mark.parametrize("change", CHANGES, ids=str)
def test_whatever_may_change_the_answer_changes_the_key(change: dict[str, Any]):
    assert ask(URL, **{"user": "plain", **change}).key != ask(URL, "plain").key


def test_neither_the_key_of_the_account_nor_the_purpose_changes_the_key():
    same = ask(URL, purpose="other", endpoint={"api_key": "sk-another-one", "base_url": URL + "/"})
    assert same.key == ask(URL).key
    assert KEY not in json.dumps(dict(ask(URL).content))


def test_a_response_format_matters_only_where_there_is_a_schema():
    fixed = {"endpoint": {"response_format": "json_object"}}
    assert ask(URL, **fixed).key == ask(URL).key
    assert ask(URL, schema=SCHEMA, **fixed).key != ask(URL, schema=SCHEMA).key


def test_all_is_listed_and_what_is_removed_is_gone(cache: CallCache):
    requests = items(URL, 700)  # more than one reading takes
    cache.put([(request, completion_of(request)) for request in requests])
    listed = [entry.completion.key for entry in cache.entries()]
    assert listed == sorted(request.key for request in requests)
    assert cache.remove([*listed[:100], "f" * 64]) == 100
    assert len(list(cache.entries())) == 600


def test_entries_can_be_removed_while_they_are_listed(cache: CallCache):
    cache.put([(request, completion_of(request)) for request in items(URL, 300)])
    assert sum(cache.remove([entry.completion.key]) for entry in cache.entries()) == 300
    assert list(cache.entries()) == []


def test_it_grows_when_it_is_full(tmp_path: Path):
    import random

    noise = random.Random(1)
    requests = items(URL, 300)
    with CallCache(tmp_path, first_map_bytes=1 << 16) as cache:
        for request in requests:
            cache.put([(request, completion_of(request, "".join(chr(noise.randrange(0x4E00, 0x9FFF)) for _ in range(1000))))])
        assert sum(len(entry.completion.text) for entry in cache.entries()) == 300_000
        assert cache.remove([request.key for request in requests]) == 300


OTHER = """
import sys
from pathlib import Path
from ragtrial.llm.cache import CallCache
from unit.llm.asking import items
from unit.llm.test_cache import URL, completion_of
with CallCache(Path(sys.argv[1]), first_map_bytes=1 << 16) as cache:
    for request in items(URL, 400):
        cache.put([(request, completion_of(request, request.key * 40))])
"""


def elsewhere(code: str, *arguments: str, repository: Path) -> subprocess.Popen[bytes]:
    paths = [str(repository / "platform"), str(repository / "tests")]
    return subprocess.Popen([sys.executable, "-c", f"import sys; sys.path[:0] = {paths!r}\n{code}", *arguments])


def test_what_another_process_added_and_enlarged_is_seen_listed_and_removed(tmp_path: Path, repository: Path):
    with CallCache(tmp_path, first_map_bytes=1 << 16) as listing, CallCache(tmp_path / "apart") as _:
        assert elsewhere(OTHER, str(tmp_path), repository=repository).wait() == 0
        assert len(list(listing.entries())) == 400
        assert listing.get(ask(URL, "item 399").key) is not None
        assert listing.remove([ask(URL, "item 399").key]) == 1


TWO_GATES = """
import sys
from pathlib import Path
from ragtrial.llm.cache import CallCache
from unit.llm.asking import items, quick
with CallCache(Path(sys.argv[2])) as cache, quick(cache) as gate:
    outcomes = gate.complete(items(sys.argv[1], 150))
assert [outcome.text for outcome in outcomes] == [f"answer to item {n}" for n in range(150)]
"""


def test_two_processes_share_one_cache(tmp_path: Path, repository: Path, server: ScriptedLlm):
    server.script = lambda asked, _number: Reply(text=f"answer to {user_text(asked)}", delay_s=0.01)
    running = [elsewhere(TWO_GATES, server.url, str(tmp_path), repository=repository) for _ in range(2)]
    assert [process.wait() for process in running] == [0, 0]
    with CallCache(tmp_path) as cache:
        assert len(list(cache.entries())) == 150
    assert elsewhere(TWO_GATES, server.url, str(tmp_path), repository=repository).wait() == 0
    assert 150 <= len(server.requests) <= 300


@pytest.mark.parametrize("value", [b"no zlib", zlib.compress(b"no json"), zlib.compress(b"[]"), zlib.compress(b'{"form": 99}')])
def test_a_damaged_entry_or_one_of_another_version_says_what_to_do(tmp_path: Path, value: bytes):
    with lmdb.open(str(tmp_path)) as environment, environment.begin(write=True) as transaction:
        transaction.put(b"key", value)
    with CallCache(tmp_path) as cache:
        with pytest.raises(StoreError, match="Move it away; what it held will be paid for again"):
            cache.get("key")
        with pytest.raises(StoreError, match="damaged"):
            list(cache.entries())


def test_a_folder_that_is_a_file_is_refused_with_its_name(tmp_path: Path):
    (tmp_path / "file").write_text("")
    with pytest.raises(StoreError, match=r"file'.*give a writable folder in stores\.calls"):
        CallCache(tmp_path / "file")
