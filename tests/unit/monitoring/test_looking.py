"""Looks at a real log: what drifts is found, what doesn't is not, and too few queries never alarm."""

import dataclasses
import json
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from commands import ragtrial_command
from material import WORDS
from ragtrial.db.monitoring import MonitorStore
from ragtrial.domain.monitor import MonitorSpec
from ragtrial.errors import InputError
from ragtrial.formats.experiment import load_experiment
from ragtrial.settings import read_settings
from ragtrial.suite.monitoring import LookOptions, exit_code, last_report, look
from ragtrial.suite.preparing import prepare
from unit.monitoring.watched import MONITOR, NEW_WORDS, of, watched, write_queries


def test_traffic_that_stays_as_it_is_raises_nothing_and_every_signal_says_what_it_knows(tmp_path: Path) -> None:
    log = watched(tmp_path, window=500, reference_queries=500)
    log.serve(1000)
    found = look(log.path)
    assert found.raised == ()
    assert exit_code(found) == 0
    assert {name for name, signal in of(found).items() if signal.effect is not None} == {
        *("query_embedding", "query_length", "in_gold", "new_terms"),
        *(f"{kind} of {arm}" for kind in ("similarity", "abstained", "unanswered") for arm in ("baseline", "custom")),
    }
    assert of(found)["new_terms"].effect == 0.0  # everyone uses the same forty words
    assert {name for name in of(found) if name.startswith("unanswered")} == {"unanswered of baseline", "unanswered of custom"}
    assert of(found)["thumbs_up of custom"].reason == "too few: 0 of the 100 needed in the reference"
    assert of(found)["document_embedding"].reason == "no passage is new"


def test_a_window_of_20_queries_says_too_few_and_never_alarms_however_strange_they_are(tmp_path: Path) -> None:
    log = watched(tmp_path)
    log.serve(200)
    for _ in range(4):  # 20 in all
        log.serve(5, words=NEW_WORDS, abstain=1.0)
        found = look(log.path)
        assert found.raised == ()
        assert found.look == 0
        assert {signal.state for signal in found.signals} == {"too few"}
    assert of(found)["query_embedding"].reason == "too few: 20 of the 100 needed in the window"
    assert of(found)["new_terms"].reason == "too few: 20 of the 100 needed in the window"
    assert ragtrial_command("monitor", log.path, "--quiet").code == 0


def test_before_the_reference_is_full_nothing_is_compared(tmp_path: Path) -> None:
    log = watched(tmp_path)
    log.serve(150)
    found = look(log.path)
    assert of(found)["query_embedding"].reason == "too few: 150 of the 200 queries that the reference takes"
    assert found.look == 0


def test_another_subject_is_raised_at_the_second_look_and_cleared_when_it_is_over(tmp_path: Path) -> None:
    log = watched(tmp_path, clear_looks=2)
    log.serve(400)
    assert look(log.path).raised == ()
    log.serve(200, words=NEW_WORDS)
    first = look(log.path)
    assert first.raised == ()
    assert of(first)["query_embedding"].above == 1
    again = look(log.path)  # the same data are no second look
    assert (again.fresh, again.look, again.raised) == (False, first.look, ())
    log.serve(1, words=NEW_WORDS)
    second = look(log.path)
    assert {change.signal for change in second.changes} == {"query_embedding", "new_terms"} == {signal.name for signal in second.raised}
    assert {change.change for change in second.changes} == {"raised"}
    assert of(second)["new_terms"].mean == pytest.approx(0.815, abs=0.01)  # all but the topic, each word of a query once
    log.serve(1, words=NEW_WORDS)
    third = look(log.path)
    assert third.changes == ()
    assert len(third.raised) == 2
    changes = []
    for _ in range(3):
        log.serve(200)
        changes.append({(change.signal, change.change) for change in look(log.path).changes})
    assert changes[1] == {("query_embedding", "cleared"), ("new_terms", "cleared")}
    assert changes[0] == changes[2] == set()


def test_what_the_arms_do_is_told_by_arm(tmp_path: Path) -> None:
    log = watched(tmp_path, window=600, reference_queries=600)
    log.serve(600)
    log.vote(1, 600, up=0.8)
    log.serve(600, abstain=0.6)
    log.vote(601, 1200, up=0.3)
    found = of(look(log.path))
    for arm in ("baseline", "custom"):
        assert found[f"abstained of {arm}"].above == found[f"thumbs_up of {arm}"].above == 1
        assert (found[f"abstained of {arm}"].effect or 0) > 0 > (found[f"thumbs_up of {arm}"].effect or 0)
        assert found[f"similarity of {arm}"].above == 0
        assert found[f"similarity of {arm}"].effect is not None


def test_a_restart_repeats_no_alarm(tmp_path: Path) -> None:
    log = watched(tmp_path)
    log.serve(200)
    for _ in range(2):
        log.serve(200, words=NEW_WORDS)
        before = look(log.path)
    assert before.changes
    for _ in range(3):  # each with nothing but the database
        log.serve(1, words=NEW_WORDS)
        found = look(log.path)
        assert found.changes == ()
        assert {signal.name for signal in found.raised} == {signal.name for signal in before.raised}
    stored = last_report(prepare(log.path, settings=read_settings()))
    assert stored is not None
    assert stored.raised == found.raised


def test_queries_kept_as_a_hash_are_counted_and_tell_nothing_of_their_words(tmp_path: Path) -> None:
    log = watched(tmp_path)
    log.serve(200)
    log.serve(130, stored="hash")
    log.serve(70)
    found = look(log.path)
    assert found.left_out == {"queries of the window of which only the hash is kept": 130}
    assert of(found)["query_embedding"].reason == "too few: 70 of the 100 needed in the window"
    assert of(found)["in_gold"].n == 200


def test_testers_are_not_looked_at(tmp_path: Path) -> None:
    log = watched(tmp_path)
    log.serve(400)
    log.serve(300, words=NEW_WORDS, reason="override")
    log.serve(1)
    assert of(look(log.path))["query_embedding"].above == 0


def test_one_heavy_user_is_no_drift_of_all(tmp_path: Path) -> None:
    log = watched(tmp_path)
    log.serve(200)
    log.serve(200, words=NEW_WORDS, users=2)
    found = of(look(log.path))["query_embedding"]
    assert (found.state, found.reason) == ("too few", "a few users or documents make up most of it")


def test_the_gold_queries_can_be_the_reference(tmp_path: Path) -> None:
    log = watched(tmp_path, reference="gold")
    log.serve(200, words=NEW_WORDS)
    found = of(look(log.path))
    assert (found["query_embedding"].n_reference, found["query_embedding"].above) == (120, 1)
    assert found["unanswered of custom"].effect is None  # gold queries were not answered by anybody


def test_a_kept_window_is_a_reference_by_its_name(tmp_path: Path) -> None:
    log = watched(tmp_path)
    log.serve(200)
    log.serve(200, words=NEW_WORDS)
    look(log.path, options=LookOptions(keep_reference="after-v2"))
    log.serve(200, words=NEW_WORDS)
    spec = load_experiment(log.path).experiment.monitor
    assert spec is not None
    since = look(log.path, options=LookOptions(spec=dataclasses.replace(spec, reference="after-v2")))
    assert of(since)["query_embedding"].above == 0
    assert of(look(log.path))["query_embedding"].above == 2
    with pytest.raises(InputError, match=r"there is no reference 'v3' of experiment 'small': there are first, gold, after-v2"):
        look(log.path, options=LookOptions(spec=dataclasses.replace(spec, reference="v3")))


def test_new_documents_are_compared_with_those_that_were_there(tmp_path: Path) -> None:
    log = watched(tmp_path)
    log.serve(1)
    assert of(look(log.path))["document_embedding"].reason == "no passage is new"
    corpus = tmp_path / "data" / "corpus.jsonl"
    fresh = [{"_id": f"n{i}", "title": "model", "text": " ".join(log.chance.choices(NEW_WORDS, k=12))} for i in range(150)]
    with corpus.open("a") as file:
        file.writelines(json.dumps(each) + "\n" for each in fresh)
    found = of(look(log.path))["document_embedding"]
    assert (found.n, found.n_reference, found.above) == (150, 150, 1)
    assert found.low is not None
    assert found.low > 0.1


def test_a_folder_of_documents_is_compared_with_the_corpus(tmp_path: Path) -> None:
    log = watched(tmp_path)
    folder = tmp_path / "incoming"
    folder.mkdir()
    options = LookOptions(documents=folder)
    with pytest.raises(InputError, match="holds no file"):
        look(log.path, options=options)
    for number in range(118):
        (folder / f"{number}.md").write_text(" ".join(log.chance.choices(WORDS, k=27)))
    tickets = [{"id": f"T{i}", "subject": "late", "description": " ".join(log.chance.choices(WORDS, k=27))} for i in range(2)]
    (folder / "tickets.json").write_text(json.dumps(tickets))
    (folder / "picture.png").write_bytes(b"\x89PNG")
    report = look(log.path, options=options)
    assert of(report)["document_embedding"].n == 120
    assert [n for reason, n in report.left_out.items() if "'incoming' that are not read" in reason] == [1]


def test_a_dry_run_fixes_no_reference(tmp_path: Path) -> None:
    """The corpus grows after it: what came is new to the first look that counts only if the dry run had kept the smaller one."""
    log = watched(tmp_path)
    dry = LookOptions(remember=False)
    assert of(look(log.path, options=dry))["document_embedding"].n_reference == 150
    corpus = next(tmp_path.rglob("corpus.jsonl"))
    with corpus.open("a") as file:
        file.writelines(json.dumps({"_id": f"n{i}", "title": "", "text": f"new {i}"}) + "\n" for i in range(50))
    assert of(look(log.path))["document_embedding"].n_reference == 200
    with pytest.raises(InputError, match="give one of them"):
        look(log.path, options=LookOptions(remember=False, keep_reference="v2"))


def test_a_file_of_queries_does_as_well_and_the_command_ends_with_1_while_an_alert_stands(tmp_path: Path) -> None:
    log, path = watched(tmp_path, webhook=None), tmp_path / "asked.jsonl"
    write_queries(path, log, 400, WORDS)
    arguments = ("monitor", log.path, "--queries", path)
    assert ragtrial_command(*arguments, "--quiet").code == 0
    write_queries(path, log, 200, NEW_WORDS, begin=400)
    assert ragtrial_command(*arguments, "--dry-run", "--quiet").code == 0
    assert ragtrial_command(*arguments, "--quiet").code == 0
    write_queries(path, log, 1, NEW_WORDS, begin=600)
    done = ragtrial_command(*arguments, "--json")
    assert done.code == 1
    document = json.loads(done.out)
    assert {each["name"] for each in document["signals"] if each["state"] == "raised"} == {"query_embedding", "new_terms"}
    assert document["look"] == 3


def test_watching_outlives_a_file_that_is_half_written_and_ends_when_it_is_asked_to(tmp_path: Path) -> None:
    log, path = watched(tmp_path, webhook=None), tmp_path / "asked.jsonl"
    write_queries(path, log, 300, WORDS)
    whole = path.read_text()
    command = [sys.executable, "-c", "from ragtrial.cli.main import main; main()", "monitor", str(log.path), "--queries", str(path)]
    with subprocess.Popen([*command, "--watch", "0.2s", "--json"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        assert json.loads(process.stdout.readline())["look"] == 1
        path.write_text(whole + '{"text": "hal')
        assert "error:" in process.stderr.readline()
        path.write_text(whole)
        process.stdout.readline()
        assert process.poll() is None
        process.send_signal(signal.SIGTERM)
        process.communicate(timeout=60)
        assert process.returncode == 0


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--live",), "was never served"),
        (("--since", "yesterday"), "--since is 'yesterday': give a date or time"),
        (("--watch", "often"), "--watch is 'often': give e.g. 1h"),
        (("--webhook", "ftp://somewhere"), "the webhook is no URL"),
        (("--webhook", "env:RAGTRIAL_TEST_NOT_SET"), "this environment variable is not set"),
        (("--keep-reference", "v2"), "there is no window of the live log"),
    ],
)
def test_bad_input_ends_with_2(tmp_path: Path, arguments: tuple[str, ...], message: str) -> None:
    done = ragtrial_command("monitor", watched(tmp_path).path, *arguments)
    assert done.code == 2
    assert message in done.err


def test_broken_lines_of_queries_are_listed_together(tmp_path: Path) -> None:
    path = tmp_path / "asked.jsonl"
    path.write_text('{"text": "", "at": 1}\n{"text": "x", "at": "soon"}\n{"text": "x", "at": 1, "user": 7}\nnothing\n')
    done = ragtrial_command("monitor", watched(tmp_path).path, "--queries", path)
    assert done.code == 2
    for line, field in ((1, ": text: is"), (2, ": at: is 'soon': expected a time"), (3, ": user: is the number 7"), (4, "broken JSON")):
        assert f"{path}:{line}" in done.err
        assert field in done.err


def test_what_is_wrong_on_every_line_is_said_once_with_its_lines(tmp_path: Path) -> None:
    path = tmp_path / "asked.jsonl"
    path.write_text('{"text": "x"}\n' * 20 + '{"text": "x", "at": null}\n')
    done = ragtrial_command("monitor", watched(tmp_path).path, "--queries", path)
    assert done.code == 2
    assert done.err.count(str(path)) == 2
    expected = "expected a time like 2026-11-01T08:00:00Z, or seconds since 1970"
    assert f"{path}: at: is missing: {expected} (20 times, on lines 1, 2, 3, 4, 5 and 15 more)" in done.err
    assert f"{path}:21: at: is nothing (null): {expected}" in done.err


def test_one_look_at_a_file_says_how_many_it_takes_to_raise_an_alert(tmp_path: Path) -> None:
    log, path = watched(tmp_path), tmp_path / "asked.jsonl"
    write_queries(path, log, 200, WORDS)
    write_queries(path, log, 200, NEW_WORDS, begin=200)
    arguments = ("monitor", log.path, "--queries", path)
    first = ragtrial_command(*arguments)
    assert first.code == 0
    assert "rising  what queries are about" in first.out
    assert "note: this look alone can't raise an alert, which takes 2 looks in a row with new queries" in first.out
    assert "monitor.raise_looks to 1" in first.out
    write_queries(path, log, 1, NEW_WORDS, begin=400)
    second = ragtrial_command(*arguments)
    assert (second.code, "note:" in second.out) == (1, False)


def test_an_alert_of_a_model_that_is_gone_is_cleared_once_and_that_of_another_reference_stays(tmp_path: Path) -> None:
    log, path = watched(tmp_path), tmp_path / "asked.jsonl"
    of_file, by_gold = (LookOptions(spec=MonitorSpec(**MONITOR, reference=name), queries=path) for name in ("first", "gold"))
    write_queries(path, log, 200, WORDS)
    for begin in (200, 400):
        write_queries(path, log, 200, NEW_WORDS, begin=begin)
        raised = [{each.signal for each in look(log.path, options=options).changes} for options in (of_file, by_gold)]
    assert raised[0] == {"query_embedding", "new_terms", "query_length"}
    assert "query_embedding" in raised[1]
    file = log.path.read_text()
    log.path.write_text(file.replace("model: a\n", "model: another\n"))
    found = look(log.path, options=of_file)
    assert {(each.signal, each.change) for each in found.changes} == {(signal, "cleared") for signal in raised[0]}
    assert f"{found.changes[0].signal} is no longer measured as it was" in found.changes[0].sentence
    assert look(log.path, options=of_file).changes == ()
    with MonitorStore(log.url) as store:
        assert {each.alert.signal for each in store.standing(log.name)} == raised[1]
    log.path.write_text(file)  # the old model again: what was cleared does not stand, and is raised anew where it holds
    back = look(log.path, options=of_file)
    assert (back.raised, exit_code(back)) == ((), 0)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"clear_below": 0.3}, "cleared below a lower level"),
        ({"embedding_clear_below": 0.1}, "embedding_raise_above is 0.1"),
        ({"window": 60}, "nothing could ever be judged"),
        ({"fewest": 20}, "monitor.fewest is 20: give at least 50"),
        ({"signals": ["colour"]}, "signals names 'colour'"),
        ({"webhook": "somewhere"}, "webhook must begin with"),
    ],
)
def test_a_plan_that_can_not_work_is_refused(given: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        MonitorSpec(**given)  # type: ignore[arg-type]  # wrong on purpose


def test_the_section_changes_neither_plan() -> None:
    from unit import live_logs

    plain = live_logs.experiment()
    other = dataclasses.replace(plain, monitor=MonitorSpec(window=300))
    assert (plain.plan_digest(), plain.live_digest()) == (other.plan_digest(), other.live_digest())
