"""The verdict page: every way in which an evaluation or a live experiment can stand, from a real database."""

import dataclasses
import html
import re
from pathlib import Path

import pytest

from board_pages import SmallBoard, app_test, html_of, small_board
from ragtrial.db.conclusions import store_problem
from ragtrial.db.reader import Reader
from ragtrial.domain.verdict import Check
from ragtrial.report import verdict_words
from ragtrial.report.summary import CONCLUSION_FORM, Summary
from unit.dashboards.boards import changed, concluded, evaluation_id, execute, serve, store, with_decision
from unit.report import live_samples


@pytest.fixture
def board(tmp_path: Path) -> SmallBoard:
    return small_board(tmp_path)


def test_the_first_page_shows_the_verdict_of_the_newest_evaluation(board: SmallBoard, monkeypatch: pytest.MonkeyPatch) -> None:
    content = concluded(board)
    test = app_test(monkeypatch, board.url)
    assert not test.exception
    assert not test.error
    said = html_of(test)
    assert content.analysis.verdict.sentence.replace("&", "&amp;").replace("<", "&lt;") in said
    for card in (verdict_words.gain(content), verdict_words.sure(content), verdict_words.cost(content)):
        assert card.ask in said
        assert card.big.replace(">", "&gt;").replace("<", "&lt;") in said
    assert test.query_params["evaluation"] == content.evaluation.evaluation_id
    for name in ("Only the embedding differs", "Every query was scored", "Gold set kept out of training", "latency_ms"):
        assert name in said


@pytest.mark.parametrize(
    ("decision", "n_more", "headline", "sign", "next_step"),
    [
        ("adopt custom", None, "Adopt custom", "✓", "live traffic"),
        ("keep baseline", None, "Keep baseline", "●", "Look at the largest losses, query by query"),
        ("undecided", 140, "Undecided", "?", "Collect about 140 more queries, and evaluate them as a new experiment."),
        ("too few", 60, "Too few queries", "?", "Add about 60 more queries to the gold set, and evaluate again."),
        ("refused", None, "No verdict", "✕", "Mend what the health checks found"),
    ],
)
def test_each_decision_has_its_word_its_sign_and_its_next_step(
    board: SmallBoard, monkeypatch: pytest.MonkeyPatch, decision: str, n_more: int | None, headline: str, sign: str, next_step: str
) -> None:
    def change(content: Summary) -> Summary:
        checks = tuple(dataclasses.replace(check, state="pass") for check in content.analysis.checks)
        return with_decision(decision, n_more=n_more)(
            dataclasses.replace(content, analysis=dataclasses.replace(content.analysis, checks=checks))
        )

    test = app_test(monkeypatch, changed(board, change).url)
    assert not test.exception
    said = html_of(test)
    assert f'<span class="rt-sign" aria-hidden="true">{sign}</span>{headline}</h1>' in said
    assert next_step in said
    assert ("must not be decided by" in said) == (decision == "refused")


def test_a_refused_verdict_shows_no_probability_and_names_the_check(board: SmallBoard, monkeypatch: pytest.MonkeyPatch) -> None:
    leak = Check(name="leakage", state="fail", detail="3 gold queries are among the training texts")

    def change(content: Summary) -> Summary:
        return with_decision("refused")(dataclasses.replace(content, analysis=dataclasses.replace(content.analysis, checks=(leak,))))

    said = html_of(app_test(monkeypatch, changed(board, change).url))
    assert "Not to be read" in said
    assert "flat prior" not in said
    assert "Fix the leakage" in said
    assert "3 gold queries are among the training texts" in said


def test_without_an_effect_the_page_says_why(board: SmallBoard, monkeypatch: pytest.MonkeyPatch) -> None:
    def change(content: Summary) -> Summary:
        primary = dataclasses.replace(content.primary, effect=None, no_effect="every query got the same difference")
        comparisons = (primary, *content.analysis.comparisons[1:])
        return with_decision("undecided")(
            dataclasses.replace(content, analysis=dataclasses.replace(content.analysis, comparisons=comparisons))
        )

    test = app_test(monkeypatch, changed(board, change).url)
    assert not test.exception
    assert not test.error
    said = html_of(test)
    assert "Not known" in said
    assert "No interval" in said
    assert "every query got the same difference" in said


def test_one_arm_without_data_leaves_a_page_with_reasons(board: SmallBoard, monkeypatch: pytest.MonkeyPatch) -> None:
    def change(content: Summary) -> Summary:
        empty = dataclasses.replace(content.primary.custom, mean=None, n_scored=0)
        lost = [
            dataclasses.replace(
                c, custom=empty, effect=None, no_effect="no query has a value in both arms", n_scored=0, wins=0, ties=0, losses=0
            )
            for c in content.analysis.comparisons
        ]
        latency = [
            dataclasses.replace(row, quantiles=None, reason="nothing was timed", sample_ms=()) if row.arm == content.treatment else row
            for row in content.latency
        ]
        analysis = dataclasses.replace(content.analysis, comparisons=tuple(lost))
        return with_decision("refused")(dataclasses.replace(content, analysis=analysis, latency=tuple(latency)))

    test = app_test(monkeypatch, changed(board, change).url)
    assert not test.exception
    assert not test.error
    said = html_of(test)
    assert "no query has a value in both arms" in said
    assert "Latency was not measured: nothing was timed." in said
    assert not re.search(r"\bnan\b", re.sub(r'src="[^"]*"', "", said), flags=re.IGNORECASE)


def test_money_that_nobody_reported_is_not_zero(board: SmallBoard, monkeypatch: pytest.MonkeyPatch) -> None:
    def change(content: Summary) -> Summary:
        return dataclasses.replace(content, generators=("openai/gpt",))

    said = html_of(app_test(monkeypatch, changed(board, change).url))
    assert "money not known: no cost was reported" in said
    assert "0.00 USD" not in said


def test_an_evaluation_in_progress_shows_how_far_it_is_and_no_verdict(board: SmallBoard, monkeypatch: pytest.MonkeyPatch) -> None:
    execute(
        board,
        "DELETE FROM evaluation_events WHERE kind = 'finished'",
        "DELETE FROM conclusions",
        "DELETE FROM query_outcomes",
        "DELETE FROM scores WHERE trial_id IN (SELECT id FROM trials WHERE arm = 'bm25')",
        "DELETE FROM hits WHERE trial_id IN (SELECT id FROM trials WHERE arm = 'bm25')",
        "DELETE FROM trials WHERE arm = 'bm25'",
    )
    test = app_test(monkeypatch, board.url)
    assert not test.exception
    said = html_of(test)
    with Reader(board.url) as reader:
        planned = reader.n_trials_planned(evaluation_id(board))
    assert f"In progress: {planned - 120:,} of {planned:,} trials" in said
    assert f'<progress max="{planned}" value="{planned - 120}"' in said
    assert "numbers of a part would be read too early" in said
    assert "How large is the gain?" not in said
    assert "no verdict yet" in said  # in the list


def test_a_finished_evaluation_waits_for_its_conclusion_and_then_shows_it(board: SmallBoard, monkeypatch: pytest.MonkeyPatch) -> None:
    content = concluded(board)
    execute(board, "DELETE FROM conclusions")
    test = app_test(monkeypatch, board.url)
    assert "Finished, being concluded" in html_of(test)
    assert "ragtrial roll-up" in html_of(test)
    store(board, content)
    test.run()
    assert content.analysis.verdict.sentence[:40] in html_of(test)


def test_an_evaluation_that_cant_be_concluded_says_why_and_not_that_it_will_be(board: SmallBoard, monkeypatch: pytest.MonkeyPatch) -> None:
    store_problem(board.url, evaluation_id(board), form=CONCLUSION_FORM, made_at=3.0, problem="there is no metric 'x'")
    test = app_test(monkeypatch, board.url)
    assert not test.exception
    said = html.unescape(html_of(test))
    assert "Finished, can't be concluded" in said
    assert said.count("there is no metric") == 2  # on top and in the list
    assert "being worked out" not in said
    for page in ("compare", "cost", "judges", "queries"):
        said = html_of(app_test(monkeypatch, board.url, page))
        assert "there is no metric" in said, page
        assert "being worked out" not in said, page


def test_a_conclusion_of_another_form_is_no_verdict(board: SmallBoard, monkeypatch: pytest.MonkeyPatch) -> None:
    execute(board, "UPDATE conclusions SET form = 999999")
    said = html_of(app_test(monkeypatch, board.url))
    assert "Finished, being concluded" in said


def test_a_conclusion_that_cant_be_read_is_said_and_the_list_stays(board: SmallBoard, monkeypatch: pytest.MonkeyPatch) -> None:
    execute(board, "UPDATE conclusions SET document = json_set(document, '$.analysis.verdict.decision', 'ship it')")
    test = app_test(monkeypatch, board.url)
    assert not test.exception
    assert any("can't be read" in error.value for error in test.error)


def test_the_address_says_which_evaluation(board: SmallBoard, monkeypatch: pytest.MonkeyPatch) -> None:
    test = app_test(monkeypatch, board.url, evaluation="not-there")
    assert any("There is no evaluation 'not-there'" in warning.value for warning in test.warning)
    known = evaluation_id(board)
    assert app_test(monkeypatch, board.url, evaluation=known).query_params["evaluation"] == known


def test_statistics_stand_one_click_behind_with_their_place_in_the_address(board: SmallBoard, monkeypatch: pytest.MonkeyPatch) -> None:
    test = app_test(monkeypatch, board.url, statistics="true")
    assert not test.exception
    said = html_of(test)
    assert "Standard error, degrees of freedom" in said
    assert "p, sign flips" in said


def test_every_list_of_the_page_can_be_downloaded(board: SmallBoard, monkeypatch: pytest.MonkeyPatch) -> None:
    test = app_test(monkeypatch, board.url)
    keys = {str(button.proto.id) for button in test.get("download_button")}
    for key in ("experiments", "statistics", "guardrails", "health checks"):
        assert any(each.endswith(f"csv {key}") for each in keys), key
        assert any(each.endswith(f"parquet {key}") for each in keys), key


# Live


def test_a_running_live_experiment_shows_an_interval_and_no_probability(board: SmallBoard, monkeypatch: pytest.MonkeyPatch) -> None:
    live_id = serve(board, live_samples.build(effect=0.001, n=500, units_planned=4_000, reached=False))
    test = app_test(monkeypatch, board.url, live=str(live_id))
    assert not test.exception
    assert not test.error
    said = html_of(test)
    assert "Undecided</h1>" in said
    assert "99% always-valid interval" in said
    assert "A probability is given once, at the planned 4,000 units" in said
    assert "flat prior" not in said
    assert "Leave it running for about" in said
    assert test.query_params["live"] == str(live_id)
    assert "evaluation" not in test.query_params


def test_a_live_experiment_at_its_planned_size_shows_a_probability_and_its_guardrails(
    board: SmallBoard, monkeypatch: pytest.MonkeyPatch
) -> None:
    live_id = serve(board, live_samples.build())
    said = html_of(app_test(monkeypatch, board.url, live=str(live_id)))
    assert "probability that custom is better (flat prior)" in said
    for name in ("failed", "latency_ms", "thumbs_down", "abstained"):
        assert name in said
    assert "The arms got the planned share of units" in said


def test_a_lost_split_refuses_the_verdict(board: SmallBoard, monkeypatch: pytest.MonkeyPatch) -> None:
    live_id = serve(board, live_samples.build(lost=300))
    said = html_of(app_test(monkeypatch, board.url, live=str(live_id)))
    assert "No verdict</h1>" in said
    assert "Not to be read" in said
    assert "Find out where units are lost or assigned wrongly" in said


def test_a_live_experiment_of_few_units_says_how_many_it_needs(board: SmallBoard, monkeypatch: pytest.MonkeyPatch) -> None:
    live_id = serve(board, live_samples.build(n=60, units_planned=4_000, reached=False))
    test = app_test(monkeypatch, board.url, live=str(live_id))
    assert not test.exception
    said = html_of(test)
    assert "Too few units</h1>" in said
    assert "an interval needs at least 100 in each arm" in said


def test_one_that_was_not_analysed_yet_or_cant_be_says_so(board: SmallBoard, monkeypatch: pytest.MonkeyPatch) -> None:
    live_id = serve(board, None)
    said = html_of(app_test(monkeypatch, board.url, live=str(live_id)))
    assert "It was not analysed yet." in said
    assert "ragtrial roll-up" in said
    serve(board, None, problem="there is no metric 'nDCG@11'")
    said = html_of(app_test(monkeypatch, board.url, live=str(live_id)))
    assert "It can&#x27;t be analysed: there is no metric &#x27;nDCG@11&#x27;" in said


def test_evaluations_and_live_experiments_stand_in_one_list_each_with_its_address(
    board: SmallBoard, monkeypatch: pytest.MonkeyPatch
) -> None:
    live_id = serve(board, live_samples.build())
    known = evaluation_id(board)
    test = app_test(monkeypatch, board.url)
    said = html_of(test)
    assert f'href="/?live={live_id}"' in said
    assert f'href="/?evaluation={known}"' in said
    assert said.count("shown above") == 1
    assert "Live experiment" in [str(option.content) for option in test.get("button_group")[0].proto.options]


def test_the_switch_moves_from_the_evaluation_to_the_live_experiment(board: SmallBoard, monkeypatch: pytest.MonkeyPatch) -> None:
    live_id = serve(board, live_samples.build())
    test = app_test(monkeypatch, board.url)
    assert "evaluation" in test.query_params
    test.get("button_group")[0].set_value("live").run()
    assert test.query_params["live"] == str(live_id)
    assert "evaluation" not in test.query_params
    assert "probability that custom is better" in html_of(test)
