"""The page that compares the arms: every metric, slices, where the lift comes from, and what is missing, in words."""

import dataclasses
import re
from collections.abc import Callable
from pathlib import Path

import pytest

from board_pages import SmallBoard, app_test, html_of, small_board
from ragtrial.domain.metric import metric_named
from ragtrial.domain.verdict import Comparison
from ragtrial.report import anatomy_words, findings
from ragtrial.report.summary import Summary
from unit.dashboards.boards import changed, concluded, execute, serve, with_two_tags
from unit.report import live_samples
from unit.report.test_effects import MANY


@pytest.fixture
def board(tmp_path: Path) -> SmallBoard:
    return small_board(tmp_path)


def words_of(said: str) -> str:
    """What a page says, without the pictures themselves."""
    return re.sub(r'src="[^"]*"', "", said)


def altered(change: Callable[[Summary], dict[str, object]]) -> Callable[[Summary], Summary]:
    """A change of parts of the analysis."""
    return lambda content: dataclasses.replace(content, analysis=dataclasses.replace(content.analysis, **change(content)))  # type: ignore[arg-type]


def test_the_page_says_what_the_report_says(board: SmallBoard, monkeypatch: pytest.MonkeyPatch) -> None:
    content = concluded(board)
    test = app_test(monkeypatch, board.url, "compare")
    assert not test.exception
    assert not test.error
    said = html_of(test)
    alpha = content.experiment.analysis.alpha
    assert findings.quality(content.analysis.comparisons, alpha=alpha) in said
    assert findings.win_loss(content) in said
    assert anatomy_words.lift(content.anatomy, treatment="custom") in said
    assert anatomy_words.recall(content.anatomy.recall_curves, baseline="baseline", custom="custom") in said
    assert anatomy_words.overlap(content.anatomy.overlaps) in said
    for alternative in (
        "Differences with 95% intervals: nDCG@10, decides",
        "Recall by depth: baseline R@1",
        "Passages that both arms have in common",
    ):
        assert alternative in said
    assert "hold together (Bonferroni, Dunn 1961)" in said


def test_tables_hold_every_metric_and_every_slice_with_their_n(board: SmallBoard, monkeypatch: pytest.MonkeyPatch) -> None:
    content = concluded(board)
    test = app_test(monkeypatch, board.url, "compare")
    metrics, slices, lengths = (each.value for each in test.dataframe)
    assert set(metrics["metric"]) == {c.metric.name for c in content.analysis.comparisons}
    assert {"difference", "low", "high", "low, together", "high, together", "adjusted p", "scored", "of"} <= set(metrics.columns)
    assert len(slices) == len(content.analysis.slices)
    assert len(lengths) == len(content.anatomy.lengths)
    found = findings.slices(content.analysis.slices, alpha=content.experiment.analysis.alpha, higher_is_better=True)
    assert f'<h2 class="rt-part">{found}</h2>' in html_of(test), "as the report counts them"
    assert (slices["n"] > 0).all()
    assert "adjusted p" in slices.columns


def test_a_tag_in_the_address_leaves_only_its_slices(board: SmallBoard, monkeypatch: pytest.MonkeyPatch) -> None:
    test = app_test(monkeypatch, changed(board, with_two_tags).url, "compare", tag="topic")
    slices = test.dataframe[1].value
    assert set(slices["tag"]) == {"topic"}
    test.pills(key="tag").set_value("every tag").run()
    assert set(test.dataframe[1].value["tag"]) == {"topic", "source"}
    test.pills(key="tag").set_value("topic").run()
    assert test.query_params["tag"] == "topic"


def test_a_tag_that_there_is_not_shows_every_tag(board: SmallBoard, monkeypatch: pytest.MonkeyPatch) -> None:
    test = app_test(monkeypatch, changed(board, with_two_tags).url, "compare", tag="colour")
    assert not test.exception
    assert not test.error
    assert test.pills(key="tag").value == "every tag"


def test_forty_metrics_are_folded_by_role_and_drawn_by_unit(board: SmallBoard, monkeypatch: pytest.MonkeyPatch) -> None:
    def many(content: Summary) -> dict[str, object]:
        known = {c.metric.name for c in content.analysis.comparisons}
        model = content.primary
        more = [
            dataclasses.replace(model, metric=metric_named(name), role="exploratory", p_adjusted=None) for name in MANY if name not in known
        ]
        return {"comparisons": (*content.analysis.comparisons, *more)}

    changed(board, altered(many))
    test = app_test(monkeypatch, board.url, "compare")
    assert not test.exception
    assert not test.error
    folded = next(each for each in test.expander if "exploratory metrics" in each.label)
    n = int(folded.label.split()[0])
    assert n >= 40 - 8
    assert "P@20" not in words_of(html_of(test))  # it is in the table, and not drawn before it is asked for
    opened = app_test(monkeypatch, board.url, "compare", exploratory="true")
    assert not opened.exception
    said = words_of(html_of(opened))
    assert "P@20" in said
    assert "Retrieval, shares of 0 to 1" in said
    assert "Milliseconds" in said
    assert "+0.0000 ms" not in said


def lost(content: Summary) -> dict[str, object]:
    """Custom has no data at all."""

    def without(c: Comparison) -> Comparison:
        empty = dataclasses.replace(c.custom, mean=None, n_scored=0)
        return dataclasses.replace(
            c,
            custom=empty,
            effect=None,
            no_effect="no query has a value in both arms",
            n_scored=0,
            wins=0,
            ties=0,
            losses=0,
            p_adjusted=None,
        )

    return {"comparisons": tuple(map(without, content.analysis.comparisons)), "slices": ()}


def test_one_arm_without_data_is_said_in_words(board: SmallBoard, monkeypatch: pytest.MonkeyPatch) -> None:
    def change(content: Summary) -> Summary:
        curves = tuple(each for each in content.anatomy.recall_curves if each.arm != "custom")
        cells = tuple(
            dataclasses.replace(
                cell, n=0, n_scored=0, better=0, equal=0, worse=0, mean=None, low=None, high=None, reason="custom has no answer"
            )
            for cell in content.anatomy.lift
        )
        anatomy = dataclasses.replace(content.anatomy, recall_curves=curves, overlaps=(), lift=cells, gains=(), n_gains=0, lengths=())
        return dataclasses.replace(altered(lost)(content), anatomy=anatomy)

    test = app_test(monkeypatch, changed(board, change).url, "compare")
    assert not test.exception
    assert not test.error
    said = words_of(html_of(test))
    assert "no query has a value in both arms" in said
    assert "Recall could not be measured" in said
    assert "No query has a ranking in both arms" in said
    assert "No answers were scored in both arms: custom has no answer" in said
    assert "No slices: the queries have no tags" in said
    assert "nan" not in said.lower()
    assert any("No planned metric could be compared" in each.value for each in test.info)


def test_slices_that_are_too_small_are_listed_and_not_drawn(board: SmallBoard, monkeypatch: pytest.MonkeyPatch) -> None:
    def change(content: Summary) -> Summary:
        small = tuple(
            dataclasses.replace(each, effect=None, no_effect="fewer than 10 queries", p_adjusted=None) for each in content.analysis.slices
        )
        content = dataclasses.replace(content, anatomy=dataclasses.replace(content.anatomy, lengths=()))
        return altered(lambda _: {"slices": small})(content)

    test = app_test(monkeypatch, changed(board, change).url, "compare")
    assert not test.exception
    assert "No slice could be tested" in html_of(test)
    assert any("None of these slices has enough queries" in each.value for each in test.info)
    assert set(test.dataframe[1].value["why not compared"]) == {"fewer than 10 queries"}


def test_a_plan_that_corrects_nothing_is_said(board: SmallBoard, monkeypatch: pytest.MonkeyPatch) -> None:
    execute(board, "UPDATE experiments SET plan = json_set(plan, '$.analysis.correction', 'none')")
    said = html_of(app_test(monkeypatch, board.url, "compare"))
    assert "Nothing is adjusted for their number." in said
    assert "Bonferroni" not in said


def test_an_evaluation_that_is_not_concluded_points_to_the_verdict(board: SmallBoard, monkeypatch: pytest.MonkeyPatch) -> None:
    execute(board, "DELETE FROM conclusions")
    test = app_test(monkeypatch, board.url, "compare")
    assert not test.exception
    assert "Not worked out yet" in html_of(test)


def test_a_live_experiment_is_compared_by_its_own_intervals(board: SmallBoard, monkeypatch: pytest.MonkeyPatch) -> None:
    live_id = serve(board, live_samples.build())
    test = app_test(monkeypatch, board.url, "compare", live=str(live_id))
    assert not test.exception
    assert not test.error
    said = words_of(html_of(test))
    assert "nDCG@10 gets better by" in said
    assert "96% planned-size" in said
    assert "99% always-valid" in said
    assert "an evaluation has them" in said
    assert set(test.dataframe[0].value["metric"]) >= {"nDCG@10", "latency_ms", "copied"}


def test_a_live_experiment_of_few_units_says_why_nothing_is_compared(board: SmallBoard, monkeypatch: pytest.MonkeyPatch) -> None:
    live_id = serve(board, live_samples.build(n=60, units_planned=4_000, reached=False))
    test = app_test(monkeypatch, board.url, "compare", live=str(live_id))
    assert not test.exception
    assert not test.error
    assert "an interval needs at least 100 in each arm" in html_of(test)
    waiting = serve(board, None)
    assert "Not worked out yet" in html_of(app_test(monkeypatch, board.url, "compare", live=str(waiting)))


def test_the_page_is_made_of_parts_that_fail_alone(board: SmallBoard, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object, **__: object) -> None:
        raise RuntimeError("it is broken: secret detail")

    lap = anatomy_words.overlap(concluded(board).anatomy.overlaps)
    monkeypatch.setattr(anatomy_words, "lift", broken)
    test = app_test(monkeypatch, board.url, "compare")
    assert not test.exception
    assert any("Where the lift in the answers comes from can't be shown" in error.value for error in test.error)
    assert not any("secret detail" in error.value for error in test.error)
    assert lap in html_of(test)


def test_the_database_is_only_read(board: SmallBoard, monkeypatch: pytest.MonkeyPatch) -> None:
    path = Path(board.url.removeprefix("sqlite:///"))
    before = path.read_bytes()
    app_test(monkeypatch, board.url, "compare")
    app_test(monkeypatch, board.url)
    assert path.read_bytes() == before
