"""JSON out of what models really write."""

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ragtrial.llm.structured import json_object, without_thoughts

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(), lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner), max_leaves=10
)


@pytest.mark.parametrize(
    "text",
    [
        '{"a": {"b": 1}}',
        '  \n{"a": {"b": 1}}\n',
        '```json\n{"a": {"b": 1}}\n```',
        '```\n{"a": {"b": 1}}```',
        'Sure! Here it is: {"a": {"b": 1}}. Anything else?',
        'The set {x, y} means {"a": {"b": 1}}',
        '{"a": {"b": 1}} {"a": 2}',
        '<think>\nmaybe {"a": 0}\n</think>\n\n{"a": {"b": 1}}',
    ],
)
def test_the_first_whole_object_is_found(text: str):
    assert json_object(text) == {"a": {"b": 1}}


@pytest.mark.parametrize(
    "text",
    [
        "",
        "no",
        "[1, 2]",
        '"text"',
        '{"a": "cut',
        "{'a': 1}",
        '{"a": 1,}',
        "{" * 5000,
        '{"a":' * 100_000,
        '<think>{"a": 1}',
        "{}}{" * 9 and "}{",
    ],
)
def test_where_there_is_none_there_is_none(text: str):
    assert json_object(text) is None


def test_a_cut_object_is_not_mended_from_its_inner_parts_of_words():
    assert json_object('{"rationale": "because", "verdict": "corr') is None


@settings(max_examples=40, deadline=None)
@given(st.dictionaries(st.text(), VALUES), st.text(alphabet=st.characters(exclude_characters="{<")), st.booleans())
def test_any_object_comes_back_from_among_words(value: dict[str, object], words: str, ascii_only: bool):
    assert json_object(words + json.dumps(value, ensure_ascii=ascii_only) + words) == value


@given(st.text())
def test_it_never_raises(text: str):
    json_object(text)
    json_object('{"a": ' + text)


def test_thoughts_are_cut_only_where_the_text_begins_with_them():
    assert without_thoughts("<think>so</think> Yes.").strip() == "Yes."
    assert without_thoughts("  <thinking>so\nand so</thinking>Yes.") == "Yes."
    assert without_thoughts("The tag <think>x</think> is used.") == "The tag <think>x</think> is used."
