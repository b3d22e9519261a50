"""The page of the labelling queue: what one person does, key by key, and what is in SQL then."""

import html
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from board_pages import app_test, html_of, visiting_as
from judged_log import ARABIC, ARMS, EVALUATION, GROUNDED, HOSTILE, METRIC, RATIONALE, experiment, write
from ragtrial.db.reader import Reader
from ragtrial.errors import StoreError
from ragtrial.suite import labelling
from ragtrial.suite.concluding import conclude_into
from ragtrial_board import judge_parts

if TYPE_CHECKING:
    from streamlit.testing.v1 import AppTest
    from streamlit.testing.v1.element_tree import Button


@pytest.fixture
def url(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setattr(judge_parts, "LEAST_SECONDS", 0.0)
    found = f"sqlite:///{tmp_path / 'log.db'}"
    write(found)
    return found


def opened(monkeypatch: pytest.MonkeyPatch, url: str, **params: str) -> "AppTest":
    test = app_test(monkeypatch, url, "labelling", **{"evaluation": EVALUATION, "metric": METRIC, **params})
    assert not test.exception
    return test


def button(test: "AppTest", name: str) -> "Button":
    (found,) = [each for each in test.button if each.label == name]
    return found


def press(test: "AppTest", name: str) -> None:
    button(test, name).click().run()
    assert not test.exception


def asked(test: "AppTest") -> str:
    """The id of the item on the screen."""
    (skip,) = [each.key for each in test.button if each.label == "Skip"]
    return str(skip).removeprefix("skip ")


def items(url: str, metric: str = METRIC) -> list[str]:
    with Reader(url) as reader:
        return [item.item_id for item in labelling.open_queue(reader, EVALUATION, metric).items]


def said(url: str, labeller: str, metric: str = METRIC) -> dict[str, str]:
    with Reader(url) as reader:
        queue = labelling.open_queue(reader, EVALUATION, metric)
        return {item_id: each.word for item_id, each in labelling.standing(queue, reader, labeller).said.items()}


def rows(url: str) -> int:
    with Reader(url) as reader:
        return reader.counts()["labels"]


def test_a_word_is_recorded_said_to_be_saved_and_the_next_answer_comes(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    test, order = opened(monkeypatch, url, labeller="ann"), items(url)
    assert asked(test) == order[0]
    assert "Saved" not in html_of(test)
    press(test, "Partly")
    assert said(url, "ann") == {order[0]: "partly"}
    assert "Saved: partly" in html_of(test)
    assert asked(test) == order[1]
    press(test, "Wrong")
    assert list(said(url, "ann")) == order[:2]


def test_once_the_evaluation_is_concluded_the_page_reads_no_scores(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    order = items(url)
    conclude_into(url, EVALUATION)
    with monkeypatch.context() as patch:
        patch.delattr(Reader, "scores")
        test = opened(monkeypatch, url, labeller="ann")
        assert asked(test) == order[0]
        press(test, "Correct")
        assert asked(test) == order[1]
    assert said(url, "ann") == {order[0]: "correct"}


def test_the_words_have_the_keys_1_to_4(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    test = opened(monkeypatch, url)
    keys = {each.label: each.proto.shortcut for each in test.button}
    assert {name: keys[name] for name in ("Correct", "Partly", "Wrong", "Abstained")} == {
        "Correct": "1",
        "Partly": "2",
        "Wrong": "3",
        "Abstained": "4",
    }
    assert (keys["Skip"], keys["Undo"]) == ("s", "u")


def test_another_session_goes_on_where_the_last_one_was_and_another_person_begins_at_the_beginning(
    url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    test, order = opened(monkeypatch, url, labeller="ann"), items(url)
    press(test, "Correct")
    press(test, "Correct")
    assert asked(opened(monkeypatch, url, labeller="ann")) == order[2]
    assert asked(opened(monkeypatch, url, labeller="bob")) == order[0]


def test_undo_goes_back_and_the_new_word_takes_the_place_of_the_old_one(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    test, order = opened(monkeypatch, url, labeller="ann"), items(url)
    assert button(test, "Undo").disabled
    for word in ("Correct", "Correct", "Wrong"):
        press(test, word)
    press(test, "Undo")
    assert asked(test) == order[2]
    assert "You said <b>wrong</b>" in html_of(test)
    press(test, "Undo")
    assert asked(test) == order[1]
    press(test, "Abstained")
    assert said(url, "ann") == {order[0]: "correct", order[2]: "wrong", order[1]: "abstained"}
    assert asked(test) == order[3]


def test_going_on_from_undo_changes_nothing(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    test, order = opened(monkeypatch, url, labeller="ann"), items(url)
    press(test, "Correct")
    before = rows(url)
    press(test, "Undo")
    press(test, "Skip")
    assert (asked(test), rows(url)) == (order[1], before)


def test_what_is_skipped_comes_again_when_it_is_wanted_and_in_another_session(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    test, order = opened(monkeypatch, url, labeller="ann"), items(url)
    press(test, "Skip")
    assert (asked(test), rows(url)) == (order[1], 0)
    assert "1 skipped" in html_of(test)
    assert asked(opened(monkeypatch, url, labeller="ann")) == order[0]


def test_at_the_end_skipped_answers_are_offered_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(judge_parts, "LEAST_SECONDS", 0.0)
    small = f"sqlite:///{tmp_path / 'small.db'}"
    write(small, n_queries=1)
    test = opened(monkeypatch, small)
    (only,) = items(small)
    press(test, "Skip")
    assert "Only skipped answers are left" in html_of(test)
    press(test, "Show them again")
    assert asked(test) == only
    press(test, "Wrong")
    assert "You have labelled everything that was drawn" in html_of(test)


def test_a_note_is_kept_with_the_word(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    test = opened(monkeypatch, url, labeller="ann")
    (note,) = [each for each in test.text_input if each.label == "Note"]
    note.input("one hour late").run()
    assert rows(url) == 0, "a note alone is no label"
    press(test, "Wrong")
    with Reader(url) as reader:
        assert {label.note for label in reader.labels("handbook")} == {"one hour late"}
    (note,) = [each for each in test.text_input if each.label == "Note"]
    assert note.value == "", "the next answer has a note of its own"


def test_a_key_that_comes_before_anybody_can_have_read_is_not_counted(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(judge_parts, "LEAST_SECONDS", 3600.0)
    test = opened(monkeypatch, url, labeller="ann")
    first = asked(test)
    press(test, "Wrong")
    assert (rows(url), asked(test)) == (0, first)
    assert "Not counted" in html_of(test)


def test_what_is_not_saved_is_said_and_asked_again(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuses(*_: object, **__: object) -> bool:
        raise StoreError("the database is locked")

    test = opened(monkeypatch, url, labeller="ann")
    first = asked(test)
    with monkeypatch.context() as broken:
        broken.setattr(labelling, "record", refuses)
        press(test, "Wrong")
    assert "Not saved: the database is locked" in html_of(test)
    assert "Saved: " not in html_of(test)
    assert asked(test) == first


@pytest.mark.parametrize("metric", [METRIC, GROUNDED])
def test_neither_arm_nor_judge_shows_on_the_page(url: str, monkeypatch: pytest.MonkeyPatch, metric: str) -> None:
    test = opened(monkeypatch, url, metric=metric)
    for _ in range(3):
        shown = html_of(test) + " ".join(str(each.key) for each in test.button)
        assert not [told for told in (*ARMS, RATIONALE) if told in shown]
        press(test, "Partly")


def test_passages_stand_beside_the_answer_where_groundedness_is_asked(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    assert "What it had read: 1 passage<" in html_of(opened(monkeypatch, url, metric=GROUNDED))
    by_reference = html_of(opened(monkeypatch, url))
    assert "What it had read" not in by_reference
    assert "At six, says rule" in by_reference


def test_texts_are_shown_as_they_are(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    test = opened(monkeypatch, url, labeller="ann")
    seen = []
    for _ in items(url):
        seen.append(html_of(test))
        if any(html.escape(HOSTILE) in page for page in seen) and any(ARABIC in page for page in seen):
            break
        press(test, "Partly")
    whole = "".join(seen)
    assert HOSTILE not in whole
    assert html.escape(HOSTILE) in whole
    assert f'dir="auto">{ARABIC}' in whole


def test_a_tester_labels_under_their_own_name_and_sees_no_way_to_results(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    visiting_as(monkeypatch, url, "tester")
    test = app_test(monkeypatch, url, "labelling", no_auth=False, evaluation=EVALUATION, metric=METRIC)
    assert not test.exception
    assert not [each for each in test.text_input if each.label == "Your name"]
    press(test, "Correct")
    assert said(url, "a tester") == {items(url)[0]: "correct"}
    assert "What the labels say of the judge" not in html_of(test)


def test_a_word_is_recorded_for_whoever_looks_when_the_key_is_pressed(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    visiting_as(monkeypatch, url, "tester")
    test = app_test(monkeypatch, url, "labelling", no_auth=False, evaluation=EVALUATION, metric=METRIC)
    visiting_as(monkeypatch, url, "operator")
    press(test, "Correct")
    assert (said(url, "a tester"), list(said(url, "a operator"))) == ({}, items(url)[:1])
    visiting_as(monkeypatch, url, "viewer")
    button(test, "Wrong").click().run()
    assert rows(url) == 1


def test_a_viewer_is_refused(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    visiting_as(monkeypatch, url, "viewer")
    test = app_test(monkeypatch, url, "labelling", no_auth=False, evaluation=EVALUATION, metric=METRIC)
    assert not test.exception
    assert not [each for each in test.button if each.label == "Correct"]
    assert "Question" not in html_of(test)


def test_without_a_judge_or_before_the_end_there_is_nothing_to_label(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    url = f"sqlite:///{tmp_path / 'log.db'}"
    write(url, n_queries=8, finished=False)
    write(url, n_queries=8, plan=experiment("unjudged", judges=()), evaluation_id="unjudged-1")
    assert "The evaluation is in progress" in html_of(opened(monkeypatch, url))
    assert "There is nothing to label here" in html_of(app_test(monkeypatch, url, "labelling", evaluation="unjudged-1"))
