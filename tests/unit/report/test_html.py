"""The page: what must be in it, and what must never be."""

import dataclasses
import re
from html.parser import HTMLParser
from pathlib import Path

import pytest
import yaml

from ragtrial.domain.trial import Answer
from ragtrial.formats.experiment import load_experiment
from ragtrial.report.content import ReportContent
from ragtrial.report.html import SNIPPET, _plan, _snippet, as_html
from unit.report import samples


class _Page(HTMLParser):
    """Elements, attributes and visible text."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.attributes: list[tuple[str, str | None]] = []
        self.text = ""
        self._hidden = 0
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += attrs
        self._hidden += tag == "style"

    def handle_endtag(self, tag: str) -> None:
        self._hidden -= tag == "style"

    def handle_data(self, data: str) -> None:
        if not self._hidden:
            self.text += data


@pytest.fixture(scope="module")
def page(content: ReportContent) -> _Page:
    return _Page(as_html(content))


def test_it_begins_with_the_decision_and_the_sentence(page: _Page, content: ReportContent) -> None:
    assert content.analysis.verdict.sentence in page.text
    assert page.text.index("Adopt custom") < page.text.index("How large is the gain?") < page.text.index("Health checks\n  7 of")


def test_nothing_in_it_loads_or_runs_anything(page: _Page) -> None:
    assert not {"script", "iframe", "object", "embed", "img", "form", "video", "audio"} & set(page.tags)
    outside = [value for name, value in page.attributes if name in ("src", "href", "xlink:href", "action", "srcset", "data")]
    assert all(value is not None and value.startswith(("#", "data:,")) for value in outside)
    assert not any(name.startswith("on") for name, _ in page.attributes)


def test_text_that_looks_like_markup_is_shown_as_text(page: _Page) -> None:
    assert samples.SCRIPT in page.text
    assert samples.IMAGE in page.text
    assert 'customs <b>&</b> "excise"' in page.text


def test_right_to_left_and_very_long_queries_are_whole(page: _Page) -> None:
    assert samples.ARABIC in page.text
    assert samples.LONG in page.text
    assert ("dir", "auto") in page.attributes


def test_every_part_is_there(page: _Page) -> None:
    ids = {value for name, value in page.attributes if name == "id"}
    parts = {"verdict", "checks", "metrics", "effects", "queries", "slices", "answers", "examples", "latency", "cost", "excluded", "method"}
    assert parts <= ids
    assert page.tags.count("svg") == 2 * 7
    assert {value for name, value in page.attributes if name == "href" and value and value.startswith("#")} == {
        f"#{part}" for part in parts
    }


def test_no_id_stands_twice(page: _Page) -> None:
    ids = [value for name, value in page.attributes if name == "id"]
    assert len(ids) == len(set(ids))


def test_extractive_answers_are_never_called_anything_else(page: _Page) -> None:
    assert "this is not an LLM's accuracy" in page.text
    assert "Extractive answer (extractive/1)" in page.text
    assert "The floor is 0.1036" in page.text


def test_an_llms_answers_are_not_called_extractive(content: ReportContent) -> None:
    made = samples.Sample(n=110, same=False, parity=True, repetitions=1, guardrail=0.25, lift=0.45)
    answer = Answer(text="Seven days.", generator="openai-compatible/1")
    made.trials = tuple(dataclasses.replace(t, answer=answer) if t.answer else t for t in made.trials)
    text = _Page(as_html(made.content())).text
    assert "xtractive" not in re.sub(r"provider: extractive", "", text)
    assert "cost not reported" in text


def test_a_refused_verdict_warns_before_its_numbers() -> None:
    text = _Page(as_html(samples.build(parity=False, n=120))).text
    assert text.index("must not be decided by") < text.index("How large is the gain?")
    assert "retrieval.top_k: '10' / '5'" in text


def test_without_a_difference_there_is_a_reason_and_no_interval() -> None:
    page = _Page(as_html(samples.build(same=True, n=120)))
    assert "Not known" in page.text
    assert "without variance there is no interval" in page.text
    assert "Both arms do the same on every query" in page.text
    assert "nan" not in page.text.lower().split()


def test_an_experiment_without_answers_has_no_part_about_them() -> None:
    made = samples.Sample(n=110, same=False, parity=True, repetitions=1, guardrail=0.25, lift=0.45)
    content = made.content()
    trials = tuple(dataclasses.replace(t, answer=None) for t in content.trials)
    page = _Page(as_html(dataclasses.replace(content, trials=trials, generators=())))
    assert ("id", "answers") not in page.attributes
    assert "Answers were not made" in re.sub(r"\s+", " ", page.text)


def test_the_plan_in_it_can_be_run_again(content: ReportContent, tmp_path: Path) -> None:
    path = tmp_path / "again.yaml"
    path.write_text(_plan(content), encoding="utf-8")
    again = load_experiment(path).experiment
    assert again.plan_digest() == content.experiment.plan_digest()
    assert "stores" not in yaml.safe_load(_plan(content))


def test_no_secret_gets_into_it(content: ReportContent, page: _Page) -> None:
    endpoint = dataclasses.replace(content.experiment.control.embedding, base_url="http://ann:hunter2@models.example/v1")
    arm = dataclasses.replace(content.experiment.control, embedding=endpoint)
    experiment = dataclasses.replace(content.experiment, arms=(arm, content.experiment.treatment))
    shown = as_html(dataclasses.replace(content, experiment=experiment))
    assert "models.example/v1" in shown
    assert "hunter2" not in shown
    assert "ann:secret" not in page.text


def test_a_snippet_ends_at_a_word() -> None:
    text = "word " * 200
    shown, cut = _snippet(text)
    assert cut
    assert len(shown) <= SNIPPET
    assert shown.endswith("word")
    assert _snippet("short") == ("short", False)
