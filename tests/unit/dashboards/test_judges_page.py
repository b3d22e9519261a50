"""The page of judges: what people and the judge itself tell of it, and what it says where nothing is known."""

from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from board_pages import app_test, html_of, visiting_as
from judged_log import ARMS, EVALUATION, METRIC, experiment, truth, write
from ragtrial.db.reader import Reader
from ragtrial.db.recorder import Recorder
from ragtrial.domain.label import Label
from ragtrial.report import judge_words
from ragtrial.suite import labelling
from ragtrial.suite.concluding import conclude_into

if TYPE_CHECKING:
    from streamlit.testing.v1 import AppTest

BESIDE_PEOPLE = ("agreement with people", "people and judge", "bias by arm", "corrected difference", "more labels")
BESIDE_ITSELF = ("noise", "twice as many", "changed its mind")


@pytest.fixture
def url(tmp_path: Path) -> str:
    return f"sqlite:///{tmp_path / 'log.db'}"


def label_some(url: str, n: int, labeller: str = "ann") -> None:
    with Reader(url) as reader:
        queue = labelling.open_queue(reader, EVALUATION, METRIC)
    for item in queue.items[:n]:
        labelling.record(url, queue, item.item_id, truth(item.answer), labeller=labeller, role="tester")


def charts_of(test: "AppTest") -> set[str]:
    """Those that can be downloaded; each has a text alternative."""
    keys = {str(button.proto.id) for button in test.get("download_button")}
    found = {name for name in (*BESIDE_PEOPLE, *BESIDE_ITSELF) if any(f"SVG {name}" in key for key in keys)}
    assert html_of(test).count("<img ") >= len(found)
    assert 'alt=""' not in html_of(test)
    return found


def judged(url: str, *, labels: int = 50) -> None:
    write(url)
    if labels:
        label_some(url, labels)
    conclude_into(url, EVALUATION)


def test_a_labelled_judge_is_shown_beside_people_and_beside_itself(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    judged(url)
    test = app_test(monkeypatch, url, "judges", evaluation=EVALUATION)
    assert not test.exception
    assert not test.error
    said = html_of(test)
    assert "<h1>The judge agrees with people on " in said
    assert ARMS[1] in said
    assert charts_of(test) == {*BESIDE_PEOPLE, *BESIDE_ITSELF}
    assert f"No value of {METRIC} for none of {ARMS[0]} and 1 of " in said
    assert "calls to LLMs" in said
    tables = [list(frame.value.columns) for frame in test.dataframe]
    assert any("reason" in columns for columns in tables)
    assert any("cost in USD" in columns for columns in tables)


def test_labels_of_another_judge_and_those_that_came_by_themselves_are_said(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    write(url)
    stale = [
        Label(
            evaluation_id=EVALUATION, arm=ARMS[0], query_id=f"q{row}", metric=METRIC, word="wrong", value=0.0,
            scorer="judge/1 gpt-4.1-mini 99999999", selection="random", labeller="ann",
        )
        for row in range(4)
    ]  # fmt: skip
    with Recorder(url) as recorder:
        recorder.add_labels(stale)
    conclude_into(url, EVALUATION)
    said = html_of(app_test(monkeypatch, url, "judges", evaluation=EVALUATION))
    assert "4 labels of this evaluation are stale: the judge&#x27;s model was" in said
    assert "Nobody has compared the judge with people" in said


def test_labels_that_came_in_since_are_said_and_not_mixed_in(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    judged(url, labels=45)
    before = html_of(app_test(monkeypatch, url, "judges", evaluation=EVALUATION))
    assert "came in since" not in before
    label_some(url, 6, labeller="bob")
    after = html_of(app_test(monkeypatch, url, "judges", evaluation=EVALUATION))
    assert "came in since this was concluded" in after
    assert after.partition("<h1>")[2].partition("</h1>")[0] == before.partition("<h1>")[2].partition("</h1>")[0]


def test_a_judge_that_nobody_checked_is_shown_by_itself_with_the_way_to_check_it(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    judged(url, labels=0)
    test = app_test(monkeypatch, url, "judges", evaluation=EVALUATION)
    assert not test.exception
    said = html_of(test)
    assert "Nobody has compared the judge with people" in said
    assert said.count("Not known yet") == 3
    assert charts_of(test) == set(BESIDE_ITSELF)
    assert "Forty labelled answers, drawn at random" in said


def test_the_address_says_which_metric(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    judged(url, labels=0)
    test = app_test(monkeypatch, url, "judges", evaluation=EVALUATION, metric="judge_groundedness")
    assert "judge_groundedness, judged by" in html_of(test)


def test_without_a_judge_it_says_so_and_what_to_do(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    write(url, plan=experiment(judges=()))
    conclude_into(url, EVALUATION)
    test = app_test(monkeypatch, url, "judges", evaluation=EVALUATION)
    assert not test.exception
    assert "No LLM judged these answers" in html_of(test)
    assert "--dry-run" in " ".join(each.value for each in test.code)


@pytest.mark.parametrize(("finished", "found"), [(True, "It is being worked out"), (False, "It is not finished")])
def test_before_there_is_a_conclusion_it_says_what_it_waits_for(
    url: str, monkeypatch: pytest.MonkeyPatch, finished: bool, found: str
) -> None:
    write(url, n_queries=10, finished=finished)
    test = app_test(monkeypatch, url, "judges", evaluation=EVALUATION)
    assert not test.exception
    assert found in html_of(test)


def test_an_empty_database_says_what_to_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    url = f"sqlite:///{tmp_path / 'empty.db'}"
    with Recorder(url):
        pass
    test = app_test(monkeypatch, url, "judges")
    assert not test.exception
    assert "ragtrial demo" in " ".join(each.value for each in test.code)


def test_what_fails_is_said_and_the_rest_of_the_page_stands(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    judged(url, labels=0)

    def broken(*_: object, **__: object) -> None:
        raise RuntimeError("secret detail")

    monkeypatch.setattr(judge_words, "wavering", broken)
    test = app_test(monkeypatch, url, "judges", evaluation=EVALUATION)
    assert not test.exception
    (error,) = test.error
    assert error.value.startswith("The judge beside itself can't be shown")
    assert "secret" not in error.value
    assert "calls to LLMs" in html_of(test)


def test_a_tester_is_refused_the_results(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    judged(url, labels=0)
    visiting_as(monkeypatch, url, "tester")
    test = app_test(monkeypatch, url, "judges", no_auth=False, evaluation=EVALUATION)
    assert not test.exception
    said = html_of(test) + " ".join(each.value for each in test.warning) + " ".join(each.value for each in test.error)
    assert "judged by" not in said
    assert METRIC not in said
