"""Alerts that outlive the plan they were raised under, or the looks that could clear them."""

import asyncio
import json
from pathlib import Path

import pytest

from commands import ragtrial_command
from material import WORDS
from ragtrial.db.monitoring import MonitorStore
from ragtrial.serving.counting import ServingCounts
from ragtrial.settings import read_settings
from ragtrial.suite.monitoring import LookOptions, exit_code, last_report, look
from ragtrial.suite.preparing import prepare
from ragtrial.suite.serving_monitor import _show
from unit.monitoring.receiver import receiving
from unit.monitoring.watched import NEW_WORDS, Watched, of, watched, write_queries


def drifted(folder: Path, **monitor: object) -> Watched:
    """A log whose alerts of what queries are about, and of their words, stand."""
    log = watched(folder, **monitor)
    log.serve(200)
    for _ in range(2):
        log.serve(200, words=NEW_WORDS)
        found = look(log.path)
    assert {signal.name for signal in found.raised} == {"query_embedding", "new_terms"}
    return log


def standing_of(log: Watched) -> set[str]:
    with MonitorStore(log.url) as store:
        return {each.alert.signal for each in store.standing(log.name)}


def test_a_look_under_a_plan_that_is_not_served_yet_clears_nothing_and_says_what_stands(tmp_path: Path) -> None:
    log = drifted(tmp_path)
    corpus = tmp_path / "data" / "corpus.jsonl"
    log.path.write_text(log.path.read_text().replace("min_effect: 0.02", "min_effect: 0.03"))
    both = {"query_embedding", "new_terms"}
    for grown in (False, True):  # then it measures documents, and no query still
        if grown:
            fresh = [{"_id": f"n{i}", "title": "", "text": " ".join(log.chance.choices(NEW_WORDS, k=12))} for i in range(150)]
            with corpus.open("a") as file:
                file.writelines(json.dumps(each) + "\n" for each in fresh)
        found = look(log.path)
        assert (found.source, found.look, found.changes) == ("the corpus alone", int(grown), ())
        assert {alert.signal for alert in found.earlier} == standing_of(log) == both
        assert exit_code(found) == 1
        stored = last_report(prepare(log.path, settings=read_settings()))
        assert stored is not None
        assert {alert.signal for alert in stored.earlier} == both
        counts = ServingCounts(log.name)
        asyncio.run(_show(prepare(log.path, settings=read_settings()), counts))
        assert [counts.value("ragtrial_drift_alert", signal=signal) for signal in sorted(both)] == [1.0, 1.0]
    done = ragtrial_command("monitor", log.path, "--quiet")
    assert done.code == 1
    assert done.out.count("under an earlier plan or model, and not measured since") == 2


def test_what_a_new_plan_has_measured_itself_takes_the_place_of_the_earlier_alert(tmp_path: Path) -> None:
    log = drifted(tmp_path)
    log.path.write_text(log.path.read_text().replace("min_effect: 0.02", "min_effect: 0.03"))
    log.serve(250, words=NEW_WORDS)  # 50 in the window: too few
    assert look(log.path).changes == ()
    assert standing_of(log) == {"query_embedding", "new_terms"}
    log.serve(50, words=NEW_WORDS)
    found = look(log.path)
    assert {(each.signal, each.change) for each in found.changes} == {(signal, "cleared") for signal in ("query_embedding", "new_terms")}
    assert found.changes[0].sentence.endswith("; it is compared with the first 200 queries now")
    assert (found.earlier, exit_code(found)) == ((), 0)


def test_a_kept_reference_outlives_a_change_of_the_live_plan_and_what_still_drifts_is_raised_anew(tmp_path: Path) -> None:
    log = watched(tmp_path)
    log.serve(400)
    look(log.path, options=LookOptions(keep_reference="before"))
    file = log.path.read_text().replace("monitor:\n", "monitor:\n  reference: before\n")
    log.path.write_text(file)
    for _ in range(2):
        log.serve(200, words=NEW_WORDS)
        raised = {signal.name for signal in look(log.path).raised}
    assert raised == {"query_embedding", "new_terms"}
    log.path.write_text(file.replace("min_effect: 0.02", "min_effect: 0.03"))
    changes = []
    for _ in range(2):
        log.serve(200, words=NEW_WORDS)
        found = look(log.path)
        changes.append({(each.signal, each.change) for each in found.changes})
    assert changes == [{(signal, "cleared") for signal in raised}, {(signal, "raised") for signal in raised}]
    assert of(found)["query_embedding"].n_reference == 200
    for name in ("in_gold", "abstained of custom"):
        assert of(found)[name].reason == "reference 'before' was kept under an earlier live plan, whose arms and gold set are others"


def test_an_alert_of_an_arm_that_is_gone_is_cleared_once_the_new_arms_are_looked_at(tmp_path: Path) -> None:
    log = watched(tmp_path, window=600, reference_queries=600)
    log.serve(600)
    for n in (600, 1):
        log.serve(n, abstain=0.6)
        raised = {signal.name for signal in look(log.path).raised}
    assert raised == {"abstained of baseline", "abstained of custom"}
    log.path.write_text(log.path.read_text().replace("name: custom", "name: tuned"))
    assert look(log.path).changes == ()  # not served: which arms there are is not known
    assert standing_of(log) == raised
    log.serve(1200)
    assert {each.signal for each in look(log.path).changes} >= {"abstained of custom"}


def test_a_folder_of_documents_is_the_same_from_wherever_the_command_is_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    log = watched(tmp_path)
    folder = tmp_path / "incoming"
    folder.mkdir()
    for number in range(118):
        (folder / f"{number}.md").write_text(" ".join(log.chance.choices(WORDS, k=27)))
    monkeypatch.chdir(tmp_path)
    near = look(log.path, options=LookOptions(documents=Path("incoming")))
    far = look(log.path, options=LookOptions(documents=folder))
    assert (near.series, near.asked) == (far.series, far.asked)
    assert (near.fresh, far.fresh) == (True, False)


def test_an_alert_of_a_look_that_never_comes_again_is_closed_by_hand_with_who_and_why(tmp_path: Path) -> None:
    log, path = drifted(tmp_path), tmp_path / "old.jsonl"
    write_queries(path, log, 200, WORDS)
    for begin in (200, 400):
        write_queries(path, log, 200, [f"{word} {word}" for word in NEW_WORDS], begin=begin)
        look(log.path, options=LookOptions(queries=path))
    path.unlink()
    with MonitorStore(log.url) as store:
        old = [each.alert for each in store.standing(log.name) if not each.planned]
    assert {each.signal for each in old} == {"query_embedding", "new_terms", "query_length"}
    assert ragtrial_command("monitor", log.path, "--close", "query_length").err.count("--close needs --reason") == 1
    close = ("monitor", log.path, "--reason", "a file of last year", "--by", "ana", "--close")
    several = ragtrial_command(*close, "new_terms")
    assert several.code == 2
    number = next(each.alert_id for each in old if each.signal == "new_terms")
    assert "2 alerts of that signal stand, so give a number: " in several.err
    assert f"{number} is new_terms of old.jsonl, 600 queries compared with the first 200 queries of the file" in several.err
    for which, name in (("query_length", "query_length"), (number, "new_terms")):
        done = ragtrial_command(*close, which)
        assert (done.code, done.out.strip()) == (0, f"small: {name} was closed by ana: a file of last year")
    with MonitorStore(log.url) as store:
        assert [(each.alert.signal, each.planned) for each in store.standing(log.name)] == [
            ("query_embedding", True),
            ("new_terms", True),
            ("query_embedding", False),
        ]
        newest = store.alerts(log.name)[0]
    assert (newest.change, newest.signal, newest.effect) == ("cleared", "new_terms", None)
    assert "no such alert stands for experiment 'small': " in ragtrial_command(*close, "thumbs_up").err
    assert "looks at nothing" in ragtrial_command(*close, "new_terms", "--queries", path).err
    assert "give them with --close" in ragtrial_command("monitor", log.path, "--reason", "why").err


def test_what_is_closed_by_hand_is_sent_and_raised_anew_where_it_goes_on(tmp_path: Path) -> None:
    log = drifted(tmp_path)
    with receiving() as receiver:
        close = ("monitor", log.path, "--close", "new_terms", "--reason", "a campaign", "--by", "ana", "--webhook", receiver.url)
        assert ragtrial_command(*close).code == 0
    assert [(each["signal"], each["change"]) for each in receiver.bodies][-1] == ("new_terms", "cleared")
    assert receiver.bodies[-1]["text"] == "small: new_terms was closed by ana: a campaign"
    changes = []
    for _ in range(2):
        log.serve(1, words=NEW_WORDS)
        changes.append({(each.signal, each.change) for each in look(log.path).changes})
    assert changes == [set(), {("new_terms", "raised")}]
