"""The page of queries and one query's page: what they show, to whom, and what an operator can make of it."""

import re
import sqlite3
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import numpy as np
import pytest
from streamlit.testing.v1 import AppTest

import odd_queries
from board_pages import SmallBoard, app_test, html_of, small_board, visiting_as
from odd_queries import ARABIC, LONG, MARKUP, UNBROKEN, odd_board
from ragtrial.db.board_reader import BoardReader
from ragtrial.db.live_board_reader import LiveBoardReader
from ragtrial.db.live_recorder import LiveRecorder
from ragtrial.db.reader import Reader
from ragtrial.db.recorder import Recorder
from ragtrial.domain.curation import Curation
from ragtrial.domain.gold import GoldSet
from ragtrial.domain.live_trial import Vote
from ragtrial_board.query_reading import asked_live, without_texts
from ragtrial_board.stores import Stores
from unit.db import samples


@pytest.fixture
def small(tmp_path: Path) -> SmallBoard:
    return small_board(tmp_path)


@pytest.fixture
def odd(tmp_path: Path) -> str:
    return odd_board(tmp_path).url


@pytest.fixture
def evaluation_id(small: SmallBoard) -> str:
    with Reader(small.url) as reader:
        return reader.evaluations()[0].evaluation_id


def links(test: AppTest) -> list[dict[str, str]]:
    """Where the rows of a table lead, as parameters."""
    addresses = re.findall(r'class="q-link" href="([^"]+)"', html_of(test))
    return [{name: values[0] for name, values in parse_qs(urlsplit(each.replace("&amp;", "&")).query).items()} for each in addresses]


def third_page(monkeypatch: pytest.MonkeyPatch, url: str) -> AppTest:
    """Rows 21 to 30 of all queries."""
    test = app_test(monkeypatch, url, "query")
    for name, value in {"view": "all", "size": "10", "page": "3"}.items():
        test.query_params[name] = value
    return test.switch_page("pages/queries.py").run()


def title(test: AppTest) -> str:
    found = re.search(r"<h1>(.*?)</h1>", html_of(test))
    assert found is not None, html_of(test)
    return found[1]


def curations(url: str, experiment: str) -> tuple[Curation, ...]:
    with BoardReader(url) as board:
        return board.curations(experiment, history=True)


def test_the_title_says_how_many_queries_that_the_baseline_misses_custom_finds(
    small: SmallBoard, evaluation_id: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with BoardReader(small.url) as board:
        rows = board.outcomes(evaluation_id, limit=1000).rows
    missed = [row for row in rows if row.relevant and not row.baseline_found]
    found = sum(bool(row.custom_found) for row in missed)
    test = app_test(monkeypatch, small.url, "queries")
    assert not test.exception
    assert title(test) == f"Custom finds a relevant passage in {found} of {len(missed)} queries that the baseline misses"


@pytest.mark.parametrize("view", ["largest wins", "largest losses", "custom failures", "unjudged passages", "all"])
def test_the_view_filter_and_page_of_the_address_are_what_the_database_was_asked_for(
    small: SmallBoard, evaluation_id: str, monkeypatch: pytest.MonkeyPatch, view: str
) -> None:
    with BoardReader(small.url) as board:
        tag = next(iter(board.tags(evaluation_id)["topic"]))
        wanted = board.outcomes(evaluation_id, view=view, limit=10)  # type: ignore[arg-type]  # one of the views
        tagged = board.outcomes(evaluation_id, view=view, tag=("topic", tag), limit=10)  # type: ignore[arg-type]
    test = app_test(monkeypatch, small.url, "queries", view=view, size="10")
    assert [link["query"] for link in links(test)] == [row.query_id for row in wanted.rows]
    test = app_test(monkeypatch, small.url, "queries", view=view, size="10", tag=f"topic: {tag}")
    assert [link["query"] for link in links(test)] == [row.query_id for row in tagged.rows]
    assert all(link["tag"] == f"topic: {tag}" and link["view"] == view for link in links(test))


def test_a_page_further_down_begins_where_the_one_before_ended(
    small: SmallBoard, evaluation_id: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with BoardReader(small.url) as board:
        wanted = board.outcomes(evaluation_id, limit=10, offset=20).rows
    test = third_page(monkeypatch, small.url)
    assert [(link["query"], link["at"]) for link in links(test)] == [(row.query_id, str(20 + n)) for n, row in enumerate(wanted)]
    assert "21 to 30 of 120 queries" in [caption.value for caption in test.caption]


def test_another_view_begins_at_its_first_page(small: SmallBoard, monkeypatch: pytest.MonkeyPatch) -> None:
    test = third_page(monkeypatch, small.url)
    test.button_group(key="view").set_value("largest wins").run()
    assert not test.exception
    assert links(test)[0]["at"] == "0"
    assert links(test)[0]["view"] == "largest wins"


def test_searching_in_queries_finds_words_and_says_where_there_are_none(small: SmallBoard, monkeypatch: pytest.MonkeyPatch) -> None:
    test = app_test(monkeypatch, small.url, "queries", view="all", text="ANCHOR")
    shown = re.findall(r'class="q-link"[^>]*>([^<]*)</a>', html_of(test))
    assert shown
    assert all("anchor" in text for text in shown)
    test = app_test(monkeypatch, small.url, "queries", view="all", text="no query says this")
    assert links(test) == []
    assert "No query of this kind passes the filter." in html_of(test)
    assert title(test) == "0 queries were asked, of those that hold “no query says this”"


def test_what_was_not_concluded_yet_says_how_far_it_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    url = f"sqlite:///{tmp_path / 'log.db'}"
    with Recorder(url) as recorder:
        recorder.open_evaluation(samples.evaluation(), experiment=samples.EXPERIMENT, gold=samples.GOLD, n_trials_planned=9)
        recorder.append("e1", [(trial, ()) for trial in samples.EVERY_KIND], samples.PASSAGES)
    test = app_test(monkeypatch, url, "queries")
    assert not test.exception
    assert title(test) == "7 of 9 (78%) trials are in the log"
    test = app_test(monkeypatch, url, "query", evaluation="e1", query="q2")
    assert not test.exception
    assert "Both arms rank a relevant passage" not in html_of(test)  # 2nd and 1st
    assert "What opens the gate?" in html_of(test)


def test_one_query_shows_both_rankings_what_is_relevant_and_where_the_other_arm_has_it(odd: str, monkeypatch: pytest.MonkeyPatch) -> None:
    test = app_test(monkeypatch, odd, "query", evaluation=odd_queries.EVALUATION, query="arabic")
    assert not test.exception
    shown = html_of(test)
    assert title(test) == "Custom finds 1 of 2 relevant passages, the baseline none"
    gold = re.search(r'<li [^>]*id="custom-1" class="q-passage q-gold">(.*?)</li>', shown, re.DOTALL)
    assert gold is not None
    assert "★</span> relevant, grade 1" in gold[1]
    assert "not in baseline" in gold[1]
    assert "cited in the answer" in gold[1]
    assert re.search(r'id="baseline-1".*?href="#custom-3">also 3rd in custom</a>', shown, re.DOTALL)
    assert re.search(r'id="custom-2".*?href="#baseline-3">also 3rd in baseline</a>', shown, re.DOTALL)
    assert "found by neither arm" in shown
    assert "found by custom only" in shown


def test_scores_have_their_n_and_their_reasons(odd: str, monkeypatch: pytest.MonkeyPatch) -> None:
    test = app_test(monkeypatch, odd, "query", evaluation=odd_queries.EVALUATION, query="markup")
    scores = test.dataframe[0].value.set_index("metric")
    assert list(scores.index) == ["nDCG@10", "answer_f1", "judge_correctness", "latency_ms"]
    assert scores.loc["nDCG@10", ["baseline", "custom", "bm25", "custom minus baseline", "n"]].tolist() == [
        0.25,
        0.75,
        0.5,
        0.5,
        "1 of 1 / 1 of 1",
    ]
    assert scores["custom"].dtype == float, "numbers sort as numbers, and leave as numbers"
    assert np.isnan(scores.loc["answer_f1", "custom"])
    assert scores.loc["answer_f1", "why no value"] == "no reference answer"
    assert scores.loc["answer_f1", "n"] == "0 of 1 / 0 of 1"
    assert scores.loc["judge_correctness", "judgments"] == "2 / 2"


@pytest.mark.parametrize(("query", "text"), [("long", LONG), ("arabic", ARABIC), ("unbroken", UNBROKEN), ("markup", MARKUP)])
def test_texts_of_others_are_shown_as_they_are(odd: str, monkeypatch: pytest.MonkeyPatch, query: str, text: str) -> None:
    import html

    test = app_test(monkeypatch, odd, "query", evaluation=odd_queries.EVALUATION, query=query)
    assert not test.exception
    assert html.escape(text, quote=True) in html_of(test)
    written = " ".join([html_of(test), *(each.value for each in test.markdown), *(each.value for each in test.caption)])
    assert "<script>window" not in written
    assert "<img src=x" not in written
    assert "</details><h1>" not in written
    assert all(MARKUP[:20] not in each.value for each in (*test.markdown, *test.caption, *test.subheader))


@pytest.mark.parametrize(
    ("query", "said"),
    [
        ("failed", "Custom failed on this query"),
        ("empty", "Neither arm finds any of the 2 relevant passages"),
        ("open", "Nothing is judged relevant for this query"),
    ],
)
def test_a_failure_an_empty_ranking_and_an_unjudged_query_are_said(
    odd: str, monkeypatch: pytest.MonkeyPatch, query: str, said: str
) -> None:
    test = app_test(monkeypatch, odd, "query", evaluation=odd_queries.EVALUATION, query=query)
    assert not test.exception
    assert title(test) == said
    shown = html_of(test)
    assert ("failed at search" in shown) == (query == "failed")
    assert ("Nothing was retrieved." in shown) == (query == "empty")
    assert ("abstained" in shown) == (query == "empty")


def test_the_neighbours_are_those_of_the_view_that_was_open(small: SmallBoard, evaluation_id: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with BoardReader(small.url) as board:
        rows = board.outcomes(evaluation_id, view="largest wins", limit=5).rows
    at = {"evaluation": evaluation_id, "view": "largest wins"}
    test = app_test(monkeypatch, small.url, "query", query=rows[2].query_id, at="2", **at)
    found = {
        link.proto.label: parse_qs(link.proto.query_string)["query"][0]
        for link in test.get("page_link")
        if "query=" in link.proto.query_string
    }
    assert found == {"← Previous": rows[1].query_id, "Next →": rows[3].query_id}
    first = app_test(monkeypatch, small.url, "query", query=rows[0].query_id, at="0", **at)
    labels = [link.proto.label for link in first.get("page_link")]
    assert "← Previous" not in labels
    assert {"All of “largest wins”", "Next →"} <= set(labels)


def back_to_the_list(test: AppTest) -> dict[str, str]:
    """What the way back to the table leads to."""
    (found,) = [
        link.proto.query_string
        for link in test.get("page_link")
        if link.proto.label.startswith("All ") and "query=" not in link.proto.label
    ]
    return {name: values[0] for name, values in parse_qs(found).items()}


def test_the_way_back_leads_to_the_page_of_the_list_that_holds_the_query(
    small: SmallBoard, evaluation_id: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    row = links(third_page(monkeypatch, small.url))[-1]
    test = app_test(monkeypatch, small.url, "query", **row)
    assert back_to_the_list(test) == {"evaluation": evaluation_id, "view": "all", "size": "10", "page": "3"}
    assert "All queries" in [link.proto.label for link in test.get("page_link")]
    (following,) = [link.proto.query_string for link in test.get("page_link") if link.proto.label == "Next →"]
    later = app_test(monkeypatch, small.url, "query", **{name: values[0] for name, values in parse_qs(following).items()})
    assert back_to_the_list(later)["page"] == "4"


def test_the_page_shows_its_rows_and_a_download_is_said_to_hold_them_all(small: SmallBoard, monkeypatch: pytest.MonkeyPatch) -> None:
    closed = third_page(monkeypatch, small.url)
    assert len(closed.dataframe) == 0, "nothing is read for what is folded away"
    test = app_test(monkeypatch, small.url, "queries", view="all", size="10", table="true")
    assert len(test.dataframe[0].value) == 10
    assert "1 to 10 of 120 queries; a download holds all of them." in html_of(test)


def test_live_trials_are_paged_in_both_directions_and_another_view_begins_at_its_newest(odd: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def towards(test: AppTest, label: str) -> AppTest:
        (query,) = [link.proto.query_string for link in test.get("page_link") if link.proto.label == label]
        return app_test(monkeypatch, odd, "queries", **{name: values[0] for name, values in parse_qs(query).items()})

    with LiveBoardReader(odd) as board:
        numbers = [row.number for row in board.trials(1, view="latest").rows]
        last_but = board.trials(1, view="latest", limit=4).next
    first = app_test(monkeypatch, odd, "queries", live="1", size="10", before=str(last_but))
    assert [link["n"] for link in links(first)] == [str(number) for number in numbers[4:]][:10]
    newest = app_test(monkeypatch, odd, "queries", live="1", size="10")
    assert {"Newer", "Newest"}.isdisjoint(link.proto.label for link in newest.get("page_link"))
    older = towards(newest, "Older")
    assert [link["n"] for link in links(older)] == [str(number) for number in numbers[10:]]
    assert links(towards(older, "Newer")) == links(newest)
    trial = app_test(monkeypatch, odd, "query", **links(older)[0])
    assert back_to_the_list(trial)["before"] == older.query_params["before"][0]
    older.button_group(key="trials").set_value("thumbs down").run()
    assert "before" not in older.query_params
    assert [link["trial"] for link in links(older)] == ["t-arabic"]


@pytest.mark.parametrize("before", ["99999999999999999999", "0.x", "", "900.", "²"])
def test_a_place_in_the_live_list_that_is_none_is_passed_over(odd: str, monkeypatch: pytest.MonkeyPatch, before: str) -> None:
    test = app_test(monkeypatch, odd, "queries", live="1", before=before)
    assert not test.exception
    assert not test.error


@pytest.mark.parametrize("kind", ["evaluation", "live"])
def test_an_address_writes_no_markdown_on_the_page(odd: str, monkeypatch: pytest.MonkeyPatch, kind: str) -> None:
    test = app_test(monkeypatch, odd, "queries", **{kind: "**bold** [link](http://evil.example) ![i](http://evil.example/i.png)"})
    (said,) = [warning.value for warning in test.warning]
    assert "**" not in said
    assert "\\[link\\](http\\:\u2060//evil.example)" in said


@pytest.mark.parametrize(
    "params",
    [
        {},
        {"query": "q1"},
        {"evaluation": "none", "query": "q1"},
        {"evaluation": odd_queries.EVALUATION, "query": "none"},
        {"trial": "none"},
    ],
)
def test_an_address_that_leads_nowhere_says_so_plainly(odd: str, monkeypatch: pytest.MonkeyPatch, params: dict[str, str]) -> None:
    test = app_test(monkeypatch, odd, "query", **params)
    assert not test.exception
    assert not test.error
    assert re.search(r"Which query\?|There is no such query", html_of(test))


def test_an_operator_adds_a_judgment_and_takes_it_back(odd: str, monkeypatch: pytest.MonkeyPatch) -> None:
    test = app_test(monkeypatch, odd, "query", evaluation=odd_queries.EVALUATION, query="markup")
    assert test.button_group(key="curation kind").options == ["Gold set: a judgment"]  # a gold query is never trained on
    test.selectbox(key="curation passage").set_value("p-plain")
    test.button_group(key="curation grade").set_value(2)
    test.text_input(key="curation note").set_value("it **says** so")
    test.button(key="curation add").click().run()
    assert not test.exception
    assert "Kept as number 1" in html_of(test)
    (made,) = curations(odd, odd_queries.NAME)
    assert (made.kind, made.grade, made.passage_id, made.query_id, made.actor, made.note) == (
        "judgment",
        2,
        "p-plain",
        "markup",
        "no-auth",
        "it **says** so",
    )
    assert "chosen: judgment with grade 2, by no-auth" in html_of(test)
    assert test.text_input(key="curation note").value == ""
    test.button(key="take back 1").click().run()
    assert not test.exception
    assert [each.takes_back for each in curations(odd, odd_queries.NAME)] == [None, 1]
    assert "chosen: judgment" not in html_of(test)


def test_what_has_to_be_confirmed_is_written_only_when_it_is(odd: str, monkeypatch: pytest.MonkeyPatch) -> None:
    test = app_test(monkeypatch, odd, "query", evaluation=odd_queries.EVALUATION, query="markup")
    test.selectbox(key="curation passage").set_value("p-long")
    test.button(key="curation add").click().run()
    assert "the gold set judges this passage with grade 0" in html_of(test)
    assert curations(odd, odd_queries.NAME) == ()
    test.button_group(key="curation grade").set_value(3).run()
    assert "the gold set judges this passage" not in html_of(test)  # another choice is looked at anew
    test.button(key="curation add").click().run()
    test.button(key="curation confirm").click().run()
    assert not test.exception
    assert [(each.passage_id, each.grade) for each in curations(odd, odd_queries.NAME)] == [("p-long", 3)]


def test_whoever_lost_the_right_since_the_page_was_drawn_writes_nothing(odd: str, monkeypatch: pytest.MonkeyPatch) -> None:
    visiting_as(monkeypatch, odd, "operator")
    at = {"evaluation": odd_queries.EVALUATION, "query": "markup"}
    test = app_test(monkeypatch, odd, "query", no_auth=False, **at)
    test.selectbox(key="curation passage").set_value("p-plain")
    test.button(key="curation add").click().run()
    test.selectbox(key="curation passage").set_value("p-long").run()
    visiting_as(monkeypatch, odd, "viewer")
    for press in ("curation add", "take back 1"):
        again = test.button(key=press).click().run()
        assert not again.exception
        assert "&#x27;a viewer&#x27; is a viewer and may not choose" in html_of(again)
        assert [each.curation_id for each in curations(odd, odd_queries.NAME)] == [1]
        visiting_as(monkeypatch, odd, "operator")
        test = app_test(monkeypatch, odd, "query", no_auth=False, **at)
        test.selectbox(key="curation passage").set_value("p-long")
        test.button(key="curation add").click().run()
        visiting_as(monkeypatch, odd, "viewer")
    test.button(key="curation confirm").click().run()
    assert [each.curation_id for each in curations(odd, odd_queries.NAME)] == [1]


def test_a_choice_is_examined_once_and_of_the_gold_set_only_its_query_is_read(odd: str, monkeypatch: pytest.MonkeyPatch) -> None:
    test = app_test(monkeypatch, odd, "query", evaluation=odd_queries.EVALUATION, query="markup")
    test.selectbox(key="curation passage").set_value("p-plain")
    asked: list[object] = []
    read = Reader.gold

    def gold(reader: Reader, evaluation_id: str, query_ids: object = None) -> GoldSet:
        asked.append(query_ids)
        return read(reader, evaluation_id, query_ids)  # type: ignore[arg-type]  # as it was called

    monkeypatch.setattr(Reader, "gold", gold)
    test.button(key="curation add").click().run()
    assert "Kept as number 1" in html_of(test)
    assert asked == [["markup"], ["markup"]]  # for the choice, and for the page


def test_a_live_query_becomes_a_pair_but_not_where_it_is_gold(odd: str, monkeypatch: pytest.MonkeyPatch) -> None:
    test = app_test(monkeypatch, odd, "query", trial="t-failed")
    test.button_group(key="curation kind").set_value("pair").run()
    test.selectbox(key="curation passage").set_value("p-long")
    test.button(key="curation add").click().run()
    assert not test.exception
    assert [(each.kind, each.trial_id, each.passage_id) for each in curations(odd, odd_queries.NAME)] == [("pair", "t-failed", "p-long")]
    gold = app_test(monkeypatch, odd, "query", trial="t-long")
    assert gold.button_group(key="curation kind").options == ["Gold set: a judgment"]


@pytest.mark.parametrize(
    ("trial", "passage", "reason"),
    [
        ("t-arabic", "p-plain", "its query is nearly a gold query"),
        ("t-failed", "p-arabic", "its passage is relevant in the gold set"),
    ],
)
def test_a_pair_that_would_leak_is_refused_with_the_reason(
    odd: str, monkeypatch: pytest.MonkeyPatch, trial: str, passage: str, reason: str
) -> None:
    test = app_test(monkeypatch, odd, "query", trial=trial)
    test.button_group(key="curation kind").set_value("pair").run()
    test.selectbox(key="curation passage").set_value(passage)
    test.button(key="curation add").click().run()
    assert not test.exception
    assert reason in html_of(test)
    assert curations(odd, odd_queries.NAME) == ()


def test_a_viewer_reads_results_gets_no_controls_and_no_text_of_users(odd: str, monkeypatch: pytest.MonkeyPatch) -> None:
    visiting_as(monkeypatch, odd, "viewer")
    offline = app_test(monkeypatch, odd, "query", no_auth=False, evaluation=odd_queries.EVALUATION, query="arabic")
    assert not offline.exception
    assert title(offline) == "Custom finds 1 of 2 relevant passages, the baseline none"
    assert [button.key for button in offline.button if "curation" in str(button.key) or "take back" in str(button.key)] == []
    live = app_test(monkeypatch, odd, "query", no_auth=False, trial="t-arabic")
    assert not live.exception
    assert "hidden from your role" in html_of(live)
    everything = html_of(live) + " ".join(frame.value.to_csv() for frame in live.dataframe)
    assert ARABIC not in everything
    table = app_test(monkeypatch, odd, "queries", no_auth=False, live="1")
    assert not table.exception
    everything = html_of(table) + " ".join(frame.value.to_csv() for frame in table.dataframe)
    assert ARABIC not in everything
    assert "Donau" not in everything
    assert everything.count("hidden from your role") >= 13


def test_a_viewer_reads_no_note_on_a_live_query_and_no_tag_that_somebody_typed(odd: str, monkeypatch: pytest.MonkeyPatch) -> None:
    tags = ("wrong source", "my neighbour Zoe")
    with LiveRecorder(odd, odd_queries.experiment(), clock=lambda: odd_queries.START + 990) as recorder:
        recorder.vote(Vote(trial_id="t-long", key="k9", thumb="down", tags=tags, at=odd_queries.START + 990)).result(10)
    test = app_test(monkeypatch, odd, "query", trial="t-long")
    test.selectbox(key="curation passage").set_value("p-plain")
    test.text_input(key="curation note").set_value("Zoe asks")
    test.button(key="curation add").click().run()
    assert "Zoe asks" in html_of(test)
    assert "my neighbour Zoe" in html_of(test)
    visiting_as(monkeypatch, odd, "viewer")
    for at in ({"trial": "t-long"}, {"evaluation": odd_queries.EVALUATION, "query": "long"}):
        shown = html_of(app_test(monkeypatch, odd, "query", no_auth=False, **at))
        assert "judgment with grade 1" in shown
        assert "Zoe" not in shown
        assert ("wrong source" in shown) == ("trial" in at)


def test_an_asked_query_without_its_texts_holds_none(odd: str) -> None:
    asked = asked_live(Stores(url=odd), "t-long")
    assert asked is not None
    assert LONG in repr(asked)
    assert LONG not in repr(without_texts(asked))


def test_an_operator_reads_live_queries_votes_and_comments_with_their_history(odd: str, monkeypatch: pytest.MonkeyPatch) -> None:
    test = app_test(monkeypatch, odd, "query", trial="t-markup")
    assert not test.exception
    shown = html_of(test)
    assert shown.index("thumb down") < shown.index("thumb up") < shown.index("copied the answer")
    assert "wrong source" in shown
    assert test.code[0].value == "t-markup"
    assert "3 of 4 passages are in both lists" in title(test)


@pytest.mark.parametrize(
    ("view", "trials"),
    [("thumbs down", ["t-arabic"]), ("commented", ["t-arabic"]), ("abstained", ["t-empty"]), ("failures", ["t-failed"])],
)
def test_the_views_of_live_traffic_lead_to_its_trials(odd: str, monkeypatch: pytest.MonkeyPatch, view: str, trials: list[str]) -> None:
    test = app_test(monkeypatch, odd, "queries", live="1", trials=view)
    assert not test.exception
    served = {_twin(each): each for each in trials}
    assert [served.get(link["trial"], link["trial"]) for link in links(test)] == trials


def test_a_query_of_an_evaluation_can_be_read_where_one_part_of_it_fails(odd: str, monkeypatch: pytest.MonkeyPatch) -> None:
    place = odd.removeprefix("sqlite:///")
    with sqlite3.connect(place) as connection:
        connection.execute("DROP TABLE curations")
    test = app_test(monkeypatch, odd, "query", evaluation=odd_queries.EVALUATION, query="markup")
    assert not test.exception
    assert any("can't be shown" in error.value for error in test.error)
    assert "Answers" in [each.value for each in test.subheader]
    assert len(test.dataframe) >= 2


@pytest.mark.parametrize(("place", "table"), [("queries", "query_outcomes"), ("query", "hits")])
def test_a_page_whose_rows_can_not_be_read_says_so_and_stands(odd: str, monkeypatch: pytest.MonkeyPatch, place: str, table: str) -> None:
    with sqlite3.connect(odd.removeprefix("sqlite:///")) as connection:
        connection.execute(f"DROP TABLE {table}")
    test = app_test(monkeypatch, odd, place, evaluation=odd_queries.EVALUATION, query="markup")
    assert not test.exception
    assert [error.value for error in test.error if f"no such table: {table}" in error.value.replace("\\", "")]


def _twin(trial_id: str) -> str:
    from ragtrial.serving.asking import twin_id

    return twin_id(trial_id)
