"""Prompts as files: their version, their places, and what is refused."""

from pathlib import Path

import pytest

from ragtrial.errors import InputError
from ragtrial.llm.prompt import Prompt, bundled_prompt, read_prompt

TEXT = "Instructions.\n---\nPassages: {{passages}}\nQuestion: {{query}}\n"


def written(folder: Path, text: str) -> Path:
    path = folder / "mine.md"
    path.write_text(text, encoding="utf-8")
    return path


def test_the_bundled_prompt_has_its_name_and_a_digest_of_its_text():
    prompt = bundled_prompt("ragtrial.generation", "answer-1")
    name, _, digest = prompt.version.partition("/")
    assert (name, len(digest)) == ("answer-1", 8)
    assert {"{{passages}}", "{{query}}"} <= set(prompt.template.split())


def test_a_name_that_is_not_there_is_refused_with_those_that_are():
    with pytest.raises(InputError, match=r"no prompt 'answer-99': there are answer-1"):
        bundled_prompt("ragtrial.generation", "answer-99")


def test_any_change_of_the_text_or_the_name_is_another_version():
    one = Prompt(name="a", system="s", template="t")
    others = [
        Prompt(name="b", system="s", template="t"),
        Prompt(name="a", system="s ", template="t"),
        Prompt(name="a", system="s", template="t2"),
    ]
    assert len({each.version for each in (one, *others)}) == 4


@pytest.mark.parametrize("mark", ["", "\ufeff"], ids=["plain", "with a byte order mark"])
def test_a_prompt_of_the_users_own_is_read(tmp_path: Path, mark: str):
    prompt = read_prompt(written(tmp_path, mark + TEXT.replace("\n", "\r\n")), places=("passages", "query"))
    assert (prompt.name, prompt.system) == ("mine", "Instructions.")
    assert prompt.template == "Passages: {{passages}}\nQuestion: {{query}}"


def test_what_looks_like_a_place_in_a_value_stays_text():
    prompt = Prompt(name="a", system="s", template="{{passages}} | {{query}}")
    assert prompt.fill({"passages": "see {{query}} \\1", "query": "why {{passages}}?"}) == "see {{query}} \\1 | why {{passages}}?"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("no line", "a line '---'"),
        ("\n---\n{{passages}} {{query}}", "a line '---'"),
        ("only\n---\n", "a line '---'"),
        ("s\n---\n{{passages}}", r"needs \{\{passages\}\}, \{\{query\}\}"),
        ("s\n---\n{{passages}} {{query}} {{arm}}", "no other places"),
        ("s\n---\nnone", "it has none"),
    ],
)
def test_a_file_that_is_no_such_prompt_is_refused(tmp_path: Path, text: str, said: str):
    with pytest.raises(InputError, match=said):
        read_prompt(written(tmp_path, text), places=("passages", "query"))


def test_a_file_that_can_not_be_read_is_refused(tmp_path: Path):
    (tmp_path / "bytes.md").write_bytes(b"\xff\xfe\xff")
    for name in ("none.md", "bytes.md"):
        with pytest.raises(InputError, match="can't be read"):
            read_prompt(tmp_path / name, places=())
