"""The page of a live experiment: what it says in each state, who sees controls, and what they do. No browser."""

import dataclasses
import html
import re
import sqlite3
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from board_pages import app_test, html_of, small_board, visiting_as
from ragtrial.analysis.live import analyse_tables
from ragtrial.analysis.side_by_side import preferences_found
from ragtrial.db.live_board_reader import StoredSnapshot
from ragtrial.db.live_reader import LiveReader
from ragtrial.db.live_recorder import LiveRecorder
from ragtrial.db.roll_up import RollUp
from ragtrial.db.traffic import TrafficStore
from ragtrial.domain.access import Role
from ragtrial.domain.live import Assignment
from ragtrial.report import live_verdict_words
from ragtrial.report.live_content import LiveContent
from ragtrial.report.live_summary import SNAPSHOT_FORM, GuardrailLook, LiveSummary, as_document
from ragtrial_board.live_votes import votes_row
from unit.db.live_samples import live_trial
from unit.live_parts import DAY, START, experiment, setting, within
from unit.report.live_samples import build, interleaved

if TYPE_CHECKING:
    from streamlit.testing.v1 import AppTest

Made = Callable[..., str]

OUTSIDE = Assignment(unit=None, arm="baseline", reason="outside", bucket=9, version=1)
TRIALS = (*(live_trial(f"t{n}", f"u{n}", "baseline" if n % 2 else "custom", at=START + n * DAY) for n in range(8)),)


@pytest.fixture
def log_with(tmp_path: Path) -> Made:
    """Makes the log of a live experiment that has come to `content`; its URL."""

    def make(
        content: LiveContent,
        *,
        changes: Sequence[dict[str, Any]] = (),
        problem: str | None = None,
        snapshot: bool = True,
        trials: Sequence[Any] = TRIALS,
    ) -> str:
        url = f"sqlite:///{tmp_path / 'log.db'}"
        with LiveRecorder(url, content.experiment, clock=lambda: START) as recorder:
            if trials:
                recorder.log(*trials).result(10)
        with TrafficStore(url, clock=lambda: START + DAY) as store:
            for version, change in enumerate(changes, 1):
                store.change(1, expected_version=version, **change)
        with RollUp(url) as rolling:
            rolling.roll(1)
            if snapshot:
                document = None if problem else as_document(summary_of(content))
                rolling.store_snapshot(1, snapshot_with(document=document, problem=problem))
        return url

    return make


def snapshot_with(*, document: dict[str, Any] | None, problem: str | None = None, form: int = SNAPSHOT_FORM) -> StoredSnapshot:
    """A snapshot that was made 40 seconds ago."""
    return StoredSnapshot(form=form, made_at=time.time() - 40, took_s=0.1, version=1, document=document, problem=problem)


def summary_of(content: LiveContent) -> LiveSummary:
    """With looks of each guardrail that was tested, and some comparisons side by side."""
    looks = {
        planned.name: tuple(
            GuardrailLook(at=START + day * DAY, estimate=found.estimate, low=found.low - 1 / day, high=found.high + 1 / day)
            for day in range(1, 6)
        )
        for planned, comparison in content.guardrails
        if (found := comparison.guardrail) is not None
    }
    given = {field.name: getattr(content, field.name) for field in dataclasses.fields(content)}
    people = np.array([[1.0, 4.0], [0.0, 3.0], [2.0, 1.0]])
    preferences = preferences_found(people, alpha=0.05, both=4, neither=2, withdrawn=1, open_=3)
    return LiveSummary(**given, guardrail_looks=looks, preferences=preferences)


def said_by(test: "AppTest") -> str:
    """All words of the page, without their marks."""
    assert not test.exception
    shown = re.sub(r"<style>.*?</style>", " ", html_of(test), flags=re.DOTALL)
    return re.sub(r"\s+", " ", html.unescape(re.sub(r"<[^>]+>", " ", shown)))


def click(test: "AppTest", key: str) -> "AppTest":
    """The button whose key begins so."""
    return next(button for button in test.button if str(button.key).startswith(key)).click().run()


def test_the_page_says_what_the_live_report_says_and_of_when_that_is(log_with: Made, monkeypatch: pytest.MonkeyPatch) -> None:
    test = app_test(monkeypatch, log_with(build()), "live")
    said = said_by(test)
    assert not test.error
    assert "Custom is better for users, and nothing that is guarded got worse than is tolerated: switch to it." in said
    assert re.search(r"as of \d\d:\d\d:\d\d UTC, 4\d s ago, from 2,000 units, 6,068 trials", said)
    assert "100% of the units take part, 50% of them get custom (version 1, by plan)" in said
    assert "Nothing is shown to have become worse than is tolerated" in said
    assert "The arms got what was planned for them" in said
    assert "The planned number of units was there on 2027-01-23 08:00 UTC" in said
    assert "Custom's answer was preferred 8 times, the baseline's 3 times" in said
    drawn = re.findall(r'alt="([^"]*)"', html_of(test))
    for chart in ("Trials over time", "Difference in nDCG@10 over time", "Guardrail failed over time", "Treatment", "nothing yet"):
        assert any(chart in each for each in drawn) == (chart != "nothing yet"), chart


def test_why_looking_is_allowed_is_said_with_both_intervals_counted(log_with: Made, monkeypatch: pytest.MonkeyPatch) -> None:
    said = said_by(app_test(monkeypatch, log_with(build()), "live"))
    assert "The band covers the true difference at all moments together" in said
    found = re.search(r"it excludes 0 at (\d+) of 18 looks. Thin dashed lines: an interval for one look; they exclude 0 at (\d+).", said)
    assert found is not None
    assert int(found[1]) < int(found[2]), "a single look claims more"


def test_a_guardrail_that_stopped_it_is_named_with_its_numbers_and_the_moment(log_with: Made, monkeypatch: pytest.MonkeyPatch) -> None:
    reason = "thumbs_down: thumbs_down is worse than its margin: 9.23 points worse, at least 7.23 (tolerated: 3.00)"
    url = log_with(build(down=0.12), changes=[{"actor": "guardrail", "reason": reason, "stopped": True}])
    test = app_test(monkeypatch, url, "live")
    said = said_by(test)
    assert "Stopped by guardrail: everyone gets the baseline" in said
    assert "Since 2027-01-16 08:00:00 UTC" in said
    assert reason in said
    assert "1 guardrail broken: custom made something worse than is tolerated" in said
    assert "Stopped: no answer comes at this traffic" not in said, "the planned number of units was there before"
    assert [str(button.key) for button in test.button if "steer" in str(button.key)] == ["steer start"]


def test_too_few_units_say_so_and_show_no_number(log_with: Made, monkeypatch: pytest.MonkeyPatch) -> None:
    said = said_by(app_test(monkeypatch, log_with(build(reached=False, n=60)), "live"))
    assert "Too early to say anything. Look again in about" in said
    assert "How large is the gain? Not known nDCG@10: 60 and 60 units in the arms have a value so far" in said
    assert "No interval" in said


def test_an_arm_without_data_is_named(log_with: Made, monkeypatch: pytest.MonkeyPatch) -> None:
    content = build(reached=False, n=60, lost=60)
    said = said_by(app_test(monkeypatch, log_with(content, trials=TRIALS[1::2]), "live"))
    assert "no unit saw custom yet" in said
    assert "Trials that count: baseline 4." in said


def test_modes_without_a_split_use_other_words(log_with: Made, monkeypatch: pytest.MonkeyPatch) -> None:
    said = said_by(app_test(monkeypatch, log_with(interleaved(), trials=()), "live"))
    assert "Custom's passages are preferred" in said
    assert "100% of the units take part (version 1, by plan)" in said
    assert "units prefer custom" in said
    assert "get custom" not in said


def test_shadow_calls_its_silent_arm_silent(log_with: Made, monkeypatch: pytest.MonkeyPatch) -> None:
    plan = experiment(mode="shadow")
    rng = np.random.default_rng(3)
    analysis = analyse_tables(setting(plan, {"nDCG@10": within(rng, "nDCG@10", 300, difference=0.1)}))
    twins = [live_trial("t1", "ann"), live_trial("t1s", "ann", "custom", request_id="t1")]
    test = app_test(monkeypatch, log_with(LiveContent(experiment=plan, analysis=analysis, made_at=START), trials=twins), "live")
    said = said_by(test)
    assert "Trials that count: baseline 1; custom, silent 1." in said
    assert "Custom's answers score better (no user saw them)" in said


@pytest.mark.parametrize("problem", ["no unit has a scored trial yet <b>"])
def test_a_log_that_can_not_be_concluded_says_why_and_shows_its_traffic(
    log_with: Made, monkeypatch: pytest.MonkeyPatch, problem: str
) -> None:
    test = app_test(monkeypatch, log_with(build(), problem=problem), "live")
    assert "There is no verdict yet" in said_by(test)
    assert "no unit has a scored trial yet &lt;b&gt;" in html_of(test)
    assert "8 trials in all" in said_by(test)


def test_a_log_that_was_never_summed_up_says_what_to_run(log_with: Made, monkeypatch: pytest.MonkeyPatch) -> None:
    test = app_test(monkeypatch, log_with(build(), snapshot=False), "live")
    assert "The log was not summed up yet" in said_by(test)
    assert "ragtrial roll-up" in " ".join(each.value for each in test.code)
    assert "100% of the units take part" in said_by(test)


def test_a_summary_of_another_version_is_not_read(log_with: Made, monkeypatch: pytest.MonkeyPatch) -> None:
    url = log_with(build(), snapshot=False)
    with RollUp(url) as rolling:
        rolling.store_snapshot(1, snapshot_with(document={"form": "of tomorrow"}, form=SNAPSHOT_FORM + 1))
    assert "The stored summary has another form" in said_by(app_test(monkeypatch, url, "live"))


def test_a_summary_that_can_not_be_read_fails_alone(log_with: Made, monkeypatch: pytest.MonkeyPatch) -> None:
    url = log_with(build())
    with sqlite3.connect(url.removeprefix("sqlite:///")) as connection:
        connection.execute("UPDATE live_snapshots SET document = '{\"analysis\": 3}'")
    test = app_test(monkeypatch, url, "live")
    said = said_by(test)
    failed = " ".join(each.value.replace("\\", "") for each in test.error)
    assert "The verdict can't be shown: the stored summary of live experiment 1 can't be read" in failed
    assert "100% of the units take part" in said, "the traffic is read apart"
    assert "What still holds" in " ".join(each.value for each in test.caption)
    assert any(str(button.key) == "steer stop" for button in test.button), "and can be stopped"


def test_votes_that_must_not_be_compared_are_struck_out(log_with: Made, monkeypatch: pytest.MonkeyPatch) -> None:
    test = app_test(monkeypatch, log_with(build()), "live")
    assert "<s>+7.4 points</s><small>not to be read</small>" in html_of(test)
    assert "Taken back: 2 with the baseline, 1 with custom. Too late to count: 1 and 3." in said_by(test)
    assert "Users of one arm rate more often: only answers that asked for a rating can be compared" in said_by(test)


def test_thumbs_leave_as_numbers_without_what_must_not_be_read() -> None:
    rows = {each.solicited: votes_row(each) for each in build().analysis.votes}
    assert rows[False]["difference in thumbs up"] is None, "users of one arm rate more often"
    assert isinstance(rows[False]["difference in rating, low"], float)
    assert isinstance(rows[True]["difference in thumbs up"], float)
    assert rows[True].keys() == rows[False].keys()


def test_the_facts_are_those_of_the_verdict(log_with: Made, monkeypatch: pytest.MonkeyPatch) -> None:
    content = summary_of(build())
    said = said_by(app_test(monkeypatch, log_with(build()), "live"))
    for card in (live_verdict_words.gain(content), live_verdict_words.sure(content)):
        assert f"{card.ask} {card.big} {' '.join(card.lines)}" in said


def test_where_a_check_fails_no_sureness_is_shown(log_with: Made, monkeypatch: pytest.MonkeyPatch) -> None:
    assert "How sure is it? Not to be read" in said_by(app_test(monkeypatch, log_with(build(lost=300)), "live"))


def test_tables_hold_numbers_and_what_is_open_stands_in_the_address(log_with: Made, monkeypatch: pytest.MonkeyPatch) -> None:
    test = app_test(monkeypatch, log_with(build()), "live", metrics="true")
    assert not test.exception
    metrics = next(each.value for each in test.dataframe if "difference" in each.value.columns)
    assert all(metrics[name].dtype == float for name in ("baseline", "custom", "difference", "low", "high"))
    history = next(each.value for each in test.dataframe if "units that take part" in each.value.columns)
    assert history["units that take part"].tolist() == [1.0]
    assert next(each for each in test.expander if each.label.startswith("All ")).proto.expanded
    assert not next(each for each in test.expander if each.label.startswith("History")).proto.expanded
    keys = {str(button.proto.id) for button in test.get("download_button")}
    for key in ("thumbs", "guardrails", "health checks"):
        assert any(each.endswith(f"csv {key}") for each in keys), key


@pytest.mark.parametrize(
    ("apart_s", "said"), [(DAY, "40 trials in all, at most 1 in a day"), (DAY / 24, "40 trials in all, at most 1 in an hour")]
)
def test_the_busiest_stretch_is_said_as_people_say_it(log_with: Made, monkeypatch: pytest.MonkeyPatch, apart_s: float, said: str) -> None:
    trials = [live_trial(f"d{n}", f"u{n}", "baseline", at=START + n * apart_s) for n in range(40)]
    assert said in said_by(app_test(monkeypatch, log_with(build(), trials=trials, snapshot=False), "live"))


def test_what_does_not_count_is_counted_by_reason(log_with: Made, monkeypatch: pytest.MonkeyPatch) -> None:
    outside = [live_trial(f"o{n}", f"o{n}", at=START + n, assignment=OUTSIDE) for n in range(3)]
    test = app_test(monkeypatch, log_with(build(), trials=[*TRIALS, *outside]), "live")
    assert "Left out: 3 of 11 (27%)." in said_by(test)
    assert "Left out by reason: outside 3" in [each.label for each in test.expander]
    assert [list(each.value["reason"]) for each in test.dataframe if "reason" in each.value and "share" in each.value] == [["outside"]]


@pytest.mark.parametrize(("role", "controls", "audit"), [("viewer", False, False), ("operator", True, False), ("admin", True, True)])
def test_who_may_not_change_traffic_has_no_controls_and_only_admins_read_the_audit_log(
    log_with: Made, monkeypatch: pytest.MonkeyPatch, role: Role, controls: bool, audit: bool
) -> None:
    url = log_with(build())
    visiting_as(monkeypatch, url, role)
    test = app_test(monkeypatch, url, "live", no_auth=False)
    assert any("steer" in str(button.key) for button in test.button) == controls
    assert ("Audit log" in said_by(test)) == audit


def test_an_operator_changes_the_share_after_reading_what_it_does(log_with: Made, monkeypatch: pytest.MonkeyPatch) -> None:
    url = log_with(build())
    visiting_as(monkeypatch, url, "operator")
    test = click(app_test(monkeypatch, url, "live", no_auth=False), "steer share")
    assert "Nothing changes." in said_by(test)
    share = next(each for each in test.number_input if "Deciding" in str(each.key))
    test = share.set_value(25.0).run()
    assert "75% of the units leave" in said_by(test)
    test = click(test, "do share")
    assert "Say why: a change without a reason is not made." in said_by(test)
    test = click(test.text_area[0].set_value("too many complaints").run(), "do share")
    said = said_by(test)
    assert "Done: 25% of the units take part, 50% of them get custom (version 2, by a operator). It is version 2." in said
    assert "25% of the units take part" in said
    with LiveReader(url) as reader:
        assert (reader.traffic(1).share, reader.traffic(1).actor, reader.traffic(1).reason) == (0.25, "a operator", "too many complaints")
        assert reader.audit_log(1)[0].detail["reason"] == "too many complaints"


@pytest.mark.parametrize("share", [1 / 3, 0.00004])
def test_starting_again_leaves_a_share_as_it_was_that_the_box_shows_rounded(
    log_with: Made, monkeypatch: pytest.MonkeyPatch, share: float
) -> None:
    url = log_with(build())
    with TrafficStore(url) as store:
        store.change(1, expected_version=1, actor="ann", reason="slowly", share=share, stopped=True)
    test = click(app_test(monkeypatch, url, "live"), "steer start")
    test = click(test.text_area[0].set_value("mended").run(), "do start")
    assert "Done" in said_by(test)
    with LiveReader(url) as reader:
        assert (reader.traffic(1).share, reader.traffic(1).stopped) == (share, False)


def test_a_change_that_somebody_else_has_made_meanwhile_is_said_and_nothing_done(log_with: Made, monkeypatch: pytest.MonkeyPatch) -> None:
    url = log_with(build())
    test = click(app_test(monkeypatch, url, "live"), "steer stop")
    assert "Everyone gets the baseline from the next query on, within a second; nobody gets custom." in said_by(test)
    with TrafficStore(url) as store:
        store.change(1, expected_version=1, actor="bob <i>", reason="other plans", share=0.5)
    test = click(test.text_area[0].set_value("it burns").run(), "do stop")
    assert "Nothing was done: bob &lt;i&gt; has changed the traffic meanwhile. 50% of the units take part" in html_of(test)
    with LiveReader(url) as reader:
        assert (reader.traffic(1).version, reader.traffic(1).stopped) == (2, False)
    assert "Done" not in said_by(click(test, "leave"))


def test_a_plan_that_was_followed_by_another_warns_that_no_service_may_listen(log_with: Made, monkeypatch: pytest.MonkeyPatch) -> None:
    url = log_with(build())
    assert "Another plan" not in said_by(app_test(monkeypatch, url, "live", live="1"))
    with LiveRecorder(url, build(units_planned=2_400, reached=False, n=60).experiment):
        pass
    assert "Another plan of 'live' was served later (number 2)" in said_by(app_test(monkeypatch, url, "live", live="1"))


def test_whoever_has_lost_the_right_while_deciding_is_refused(log_with: Made, monkeypatch: pytest.MonkeyPatch) -> None:
    url = log_with(build())
    visiting_as(monkeypatch, url, "operator")
    test = click(app_test(monkeypatch, url, "live", no_auth=False), "steer stop")
    test = test.text_area[0].set_value("it burns").run()
    visiting_as(monkeypatch, url, "viewer")
    test = click(test, "do stop") if any(str(button.key).startswith("do stop") for button in test.button) else test.run()
    with LiveReader(url) as reader:
        assert reader.traffic(1).version == 1
    assert "Done" not in said_by(test)


def test_the_planner_answers_what_if(log_with: Made, monkeypatch: pytest.MonkeyPatch) -> None:
    test = app_test(monkeypatch, log_with(build(reached=False, n=400, effect=0.02)), "live")
    said = said_by(test)
    assert "The planned verdict comes in about 13 days at this traffic" in said

    def units() -> int:
        found = re.search(r"One verdict at a planned number ([\d,]+) units From now, in about (\d+) days", said_by(test))
        assert found is not None
        return int(found[1].replace(",", ""))

    small = units()
    test = test.number_input(key="gain_1").set_value(0.02).run()
    assert units() < small / 3, "units go with the square of the gain"
    days = re.search(r"From now, in about (\d+) days", said_by(test))
    test = test.number_input(key="share_1").set_value(50.0).run()
    halved = re.search(r"From now, in about (\d+) days", said_by(test))
    assert days is not None
    assert halved is not None
    assert abs(int(halved[1]) - 2 * int(days[1])) <= 1
    test = test.number_input(key="newcomers_1").set_value(0.0).run()
    assert "How many units come a day is not known: give a number above." in said_by(test)


def test_what_an_operator_wrote_is_shown_as_it_is(log_with: Made, monkeypatch: pytest.MonkeyPatch) -> None:
    reason = "<img src=x onerror=alert(1)> **bold** ![x](http://example.org/x.png)"
    test = app_test(monkeypatch, log_with(build(), changes=[{"actor": "ann", "reason": reason, "share": 0.5}]), "live")
    assert "&lt;img src=x onerror=alert(1)&gt; **bold** ![x](http://example.org/x.png)" in html_of(test)
    assert not [each for each in test.markdown if "example.org" in each.value]


def test_a_database_without_live_experiments_says_what_to_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    test = app_test(monkeypatch, small_board(tmp_path).url, "live")
    assert "Nothing was served yet" in said_by(test)
    assert "ragtrial live-demo" in " ".join(each.value for each in test.code)
