"""Any bytes that a parser is given are a value, or are refused in our own words: never another exception, never something half-written.

Atheris looks deeper with the same functions (`make fuzz`); this is what can be afforded at every change.
"""

import json
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fuzz.targets import TARGETS

CORPUS = Path(__file__).resolve().parent.parent / "fuzz" / "corpus"

JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(10**20), 10**20) | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=6), inner, max_size=3),
    max_leaves=8,
)
_SPECIAL = st.sampled_from(
    [
        b"\0",
        b"\xff",
        b"\xef\xbb\xbf",
        b"\xff\xfe",
        b"\r",
        b"\n",
        b'"',
        b"{",
        b"[",
        b"- ",
        b": ",
        b"&a ",
        b"*a",
        b"!!",
        b"\\ud800",
        b"1e999",
        b"NaN",
    ]
)


@st.composite
def spliced(draw: st.DrawFn, inputs: list[bytes]) -> bytes:
    """A kept input with a part cut out, and something else in its place."""
    data = draw(st.sampled_from(inputs))
    start = draw(st.integers(0, len(data)))
    end = draw(st.integers(start, min(len(data), start + 40)))
    return data[:start] + draw(_SPECIAL | st.binary(max_size=12) | JSON.map(lambda value: json.dumps(value).encode())) + data[end:]


@pytest.mark.parametrize("name", TARGETS)
def test_any_bytes_are_a_value_or_are_refused(name):
    kept = [path.read_bytes() for path in sorted((CORPUS / name).glob("seed-*"))]

    @settings(max_examples=40, deadline=None, database=None, suppress_health_check=list(HealthCheck))
    @given(st.binary(max_size=80) | spliced(kept) | JSON.map(lambda value: f"{json.dumps(value)}\n".encode()))
    def check(data: bytes) -> None:
        TARGETS[name](data)

    check()


@pytest.mark.parametrize("name", ["experiment", "policy", "verdict", "bodies", "units", "completion"])
@settings(max_examples=60, deadline=None)
@given(data=st.text(max_size=60))
def test_any_text_is_a_value_or_is_refused(name, data):
    TARGETS[name](data.encode("utf-8", "replace"))
