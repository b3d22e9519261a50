"""`ragtrial analyse --live` and `ragtrial plan` on a log that was written as the service writes it."""

import json
from concurrent.futures import wait
from pathlib import Path

import jsonschema
import numpy as np
import pytest

from commands import ragtrial_command
from material import write_beir_folder, write_experiment
from ragtrial.db.live_reader import LiveReader
from ragtrial.db.live_recorder import LiveRecorder
from ragtrial.domain.live import Assignment
from ragtrial.domain.live_trial import Outage, Team, Thumb
from ragtrial.domain.score import Score
from ragtrial.formats.experiment import ExperimentFile, load_experiment, sql_url
from ragtrial.report.live_json import SCHEMA
from ragtrial.splitting import Split, initial_state
from ragtrial.suite.live_analysis import analyse_live, guardrail_tables, live_content, live_setting
from ragtrial.suite.serving_beside import alarms
from unit.db.live_samples import DAY, START, Clock, answered, assigned, failed, live_trial, signal, vote

N_UNITS = 420
PLAN = {
    "mode": "split",
    "units_planned": 300,
    "metrics": {
        "primary": {"name": "nDCG@10", "min_effect": 0.02},
        "secondary": ["citation_clicked"],
        "guardrails": [{"name": "failed", "max_increase": 0.1}, {"name": "latency_ms", "max_relative_increase": 0.5}],
        "exploratory": ["thumbs_up"],
    },
}


def write(folder: Path, *, live: dict[str, object] = PLAN) -> Path:
    data = write_beir_folder(folder / "data", n_passages=20, n_queries=5)
    return write_experiment(folder / "e.yaml", data, live=live)


def fill(file: ExperimentFile, *, effect: float = 0.15, n_units: int = N_UNITS) -> None:
    """Three queries of each unit within ten days; custom's nDCG is higher by `effect`; one query in fifty fails."""
    rng, experiment = np.random.default_rng(3), file.experiment
    with LiveRecorder(sql_url(file), experiment, clock=Clock(START), max_pending=50_000) as recorder:
        state, done = initial_state(experiment), []
        for number in range(n_units):
            unit = f"user{number}"
            assignment = assigned(experiment, unit, state)
            level, came = rng.normal(0.5, 0.1), START + 10 * DAY * number / n_units
            for query in range(3):
                name, made = f"t{number}-{query}", failed(assignment.arm) if rng.random() < 0.02 else answered(assignment.arm)
                at = came + 60 * query
                done.append(
                    recorder.log(
                        live_trial(name, unit, assignment.arm, made=made, assignment=assignment, at=at, waited_ms=rng.gamma(9, 10))
                    )
                )
                if made.failure is None:
                    value = float(np.clip(level + effect * (assignment.arm == "custom") + rng.normal(0, 0.1), 0, 1))
                    done.append(recorder.score(name, [Score(metric="nDCG@10", value=value, scorer="retrieval/1")]))
                if rng.random() < 0.1:
                    thumb: Thumb = "up" if rng.random() < 0.6 else "down"
                    done.append(recorder.vote(vote(name, f"v{name}", thumb, at=at + 5)))
                    done.append(recorder.signal(signal(name, f"s{name}", "citation_clicked", at=at + 5)))
        done.append(recorder.log(live_trial("nobody", None, at=START + 5)))
        wait(done, 120)
        assert [future.exception() for future in done if future.exception()] == []
        recorder.outage(Outage(start=START, end=START + 9, refused=3, unlogged=0, reason="the database was locked"))


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = write(tmp_path_factory.mktemp("live"))
    fill(load_experiment(path))
    return path


def test_the_verdict_stands_last_in_the_terminal_and_the_exit_code_says_it(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "150")
    done = ragtrial_command("analyse", str(path), "--live")
    assert done.code == 0, done.out + done.err
    assert done.out.rstrip().splitlines()[-1].endswith("switch to it.")
    assert "the planned 300 were there on" in done.out
    assert "1 trials: without a unit" in done.out


def test_json_is_as_the_schema_says_and_holds_the_same_verdict_in_every_form(path: Path, tmp_path: Path) -> None:
    done = ragtrial_command("analyse", str(path), "--live", "--json")
    found = json.loads(done.out)
    jsonschema.validate(found, json.loads(SCHEMA.read_text()))
    assert found["verdict"]["decision"] == "adopt custom"
    assert found["metrics"][0]["effect"]["planned"]["n_units"] == 300
    assert found["metrics"][0]["effect"]["running"]["n_units"] == N_UNITS
    page = tmp_path / "live.html"
    assert ragtrial_command("analyse", str(path), "--live", "--output", str(page)).code == 0
    assert "Adopt custom" in page.read_text()
    assert "<script" not in page.read_text()
    assert ragtrial_command("analyse", str(path), "--live", "--format", "md").out.startswith("## Adopt custom")


def test_the_format_of_a_file_follows_from_its_suffix(path: Path, tmp_path: Path) -> None:
    begins = {"x.md": "## Adopt custom", "x.json": "{", "x.HTML": "<!doctype html>"}
    for name, beginning in begins.items():
        assert ragtrial_command("analyse", str(path), "--live", "-o", str(tmp_path / name)).code == 0
        assert (tmp_path / name).read_text().lower().startswith(beginning.lower())


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("-o", "x.pdf"), "give one of .md, .json, .html"),
        (("-o", "x"), "give one of .md, .json, .html"),
        (("-o", "x.md", "--format", "html"), "is md, but --format is html"),
        (("-o", "x.html", "--json"), "is html, but --format is json"),
        (("-o", "nowhere/x.md"), "there is no folder"),
    ],
)
def test_an_output_that_can_not_be_is_refused_and_nothing_is_made(
    path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, options: tuple[str, ...], said: str
) -> None:
    monkeypatch.chdir(tmp_path)
    done = ragtrial_command("analyse", str(path), "--live", *options)
    assert done.code == 2
    assert said in done.err + done.out
    assert list(tmp_path.iterdir()) == []


def test_the_planned_verdict_does_not_move_with_what_comes_after_it(path: Path) -> None:
    file = load_experiment(path)
    with LiveReader(sql_url(file)) as reader:
        setting = live_setting(file.experiment, reader)
        full = analyse_live(file, reader)
        live_id = reader.live_id(file.experiment)
        at = reader.exposed_at(live_id, 300)
    assert at is not None
    assert setting.clock.planned_at == pytest.approx(at)
    assert full.primary.effect is not None
    assert full.primary.effect.planned is not None
    frozen = setting.frozen["nDCG@10"]
    assert frozen.control.counts.size + frozen.treatment.counts.size == 300  # type: ignore[union-attr]  # a split
    assert full.primary.effect.planned != full.primary.effect.running


def test_the_last_look_over_time_is_the_present_effect(path: Path) -> None:
    file = load_experiment(path)
    with LiveReader(sql_url(file)) as reader:
        content = live_content(file, reader)
    last, effect = content.analysis.looks[-1], content.primary.effect
    assert effect is not None
    assert (last.estimate, last.low, last.high) == pytest.approx((effect.running.estimate, effect.running.low, effect.running.high))
    assert sum(last.units) == content.analysis.progress.n_units
    assert [look.n_units for look in content.analysis.looks] == sorted(look.n_units for look in content.analysis.looks)


def test_the_automatic_stop_reads_the_guardrails_tables_alone(path: Path) -> None:
    file = load_experiment(path)
    with LiveReader(sql_url(file)) as reader:
        tables = guardrail_tables(file.experiment, reader, reader.live_id(file.experiment))
    assert set(tables) == {"failed", "latency_ms"}


def test_a_plan_is_read_from_the_log_and_says_what_to_write(path: Path) -> None:
    done = ragtrial_command("plan", str(path), "--json")
    found = json.loads(done.out)
    assert found["spread"]["source"] == "live data"
    assert found["units_planned"] < found["units_running"]
    assert [week["weeks"] for week in found["weeks"]] == [1, 2, 3, 4, 6, 8, 12]
    text = ragtrial_command("plan", str(path)).out
    said = " ".join(text.split())
    assert "This experiment already runs with live.units_planned: 300; leave it" in said
    assert f"For the next experiment (another name): live.units_planned: {found['units_planned']}" in said
    assert "Write into the experiment file" not in said
    printed = said.partition("(--sd ")[2].partition(")")[0]
    again = json.loads(ragtrial_command("plan", str(path), "--sd", printed, "--json").out)
    assert [again[name] for name in ("units_planned", "units_running", "units_half")] == [
        found[name] for name in ("units_planned", "units_running", "units_half")
    ]


def test_a_plan_without_data_takes_what_is_given_and_says_what_it_assumed(tmp_path: Path) -> None:
    path = write(tmp_path)
    found = json.loads(ragtrial_command("plan", str(path), "--sd", "0.2", "--units-per-day", "100", "--json").out)
    # 4 * 0.2^2 a unit; (z(0.98) + z(0.8))^2 * 0.16 / 0.02^2 = (2.0537 + 0.8416)^2 * 400 = 3,353 units, rounded up.
    assert found["units_planned"] == 3400
    assert found["days_planned"] == 34
    text = " ".join(ragtrial_command("plan", str(path), "--sd", "0.2").out.split())
    assert "(--sd 0.2)" in text
    assert "Write into the experiment file: live.units_planned: 3400" in text
    assert "seen, not adopted" in text
    # A rate of 0.2 spreads by sqrt(0.2 * 0.8) = 0.4.
    rate = json.loads(ragtrial_command("plan", str(path), "--baseline", "0.2", "--json").out)
    assert rate["unit_sd"] == pytest.approx(0.4)
    assert rate["units_planned"] == json.loads(ragtrial_command("plan", str(path), "--sd", "0.4", "--json").out)["units_planned"]
    assumed = json.loads(ragtrial_command("plan", str(path), "--json").out)
    assert assumed["spread"]["source"] == "assumed"
    assert assumed["days_planned"] is None


def test_misuse_is_told_in_one_line(path: Path, tmp_path: Path) -> None:
    assert "--live" in ragtrial_command("analyse", str(path), "--format", "html").err
    assert ragtrial_command("analyse", str(path), "--live", "--evaluation", "x").code == 2
    never = write(tmp_path)
    done = ragtrial_command("analyse", str(never), "--live")
    assert done.code == 2
    offline = write_experiment(tmp_path / "offline.yaml", tmp_path / "data")
    assert "no section 'live'" in ragtrial_command("analyse", str(offline), "--live").err
    changed = path.parent / "changed.yaml"
    changed.write_text(path.read_text().replace("units_planned: 300", "units_planned: 301"))
    assert "another plan" in ragtrial_command("analyse", str(changed), "--live").err
    assert ragtrial_command("plan", str(path), "--sd", "0").code == 2


def test_units_keep_their_arm_and_all_of_them_are_counted(path: Path) -> None:
    file = load_experiment(path)
    split, state = Split.of(file.experiment), initial_state(file.experiment)
    arms = [split.assign(f"user{number}", state).arm for number in range(N_UNITS)]
    with LiveReader(sql_url(file)) as reader:
        analysis = analyse_live(file, reader)
    units = next(found for found in analysis.sample_ratios if found.level == "units")
    assert units.counts == (arms.count("baseline"), arms.count("custom"))


def within(folder: Path, mode: str, primary: str) -> ExperimentFile:
    """150 units with one query each in a mode where both arms answer; custom wins two of three."""
    plan = {"mode": mode, "metrics": {"primary": {"name": primary, "min_effect": 0.05}}}
    file = load_experiment(write(folder, live=plan))
    with LiveRecorder(sql_url(file), file.experiment, clock=Clock(START), max_pending=5_000) as recorder:
        done = []
        for number in range(150):
            at, unit = START + 60 * number, f"user{number}"
            won = number % 3 != 0
            if mode == "shadow":
                served, silent = f"t{number}", f"s{number}"
                twins = (live_trial(served, unit, "baseline", at=at), live_trial(silent, unit, "custom", request_id=served, at=at))
                done.append(recorder.log(*twins))
                for name, value in ((served, 0.5), (silent, 0.5 + (0.3 if won else -0.1))):
                    done.append(recorder.score(name, [Score(metric="nDCG@10", value=value, scorer="retrieval/1")]))
                continue
            assignment = Assignment(unit=None, arm="interleaved", reason="split", bucket=1, propensity=1.0, version=1)
            made = answered("interleaved", cited=("p1",) if won else ("p3",))
            teams: dict[str, Team] = {"p3": "control", "p1": "treatment"}
            done.append(recorder.log(live_trial(f"t{number}", unit, "interleaved", made=made, assignment=assignment, at=at, teams=teams)))
        wait(done, 60)
        assert [future.exception() for future in done if future.exception()] == []
    return file


def test_shadow_mode_compares_silent_answers_with_served_ones(tmp_path: Path) -> None:
    file = within(tmp_path, "shadow", "nDCG@10")
    with LiveReader(sql_url(file)) as reader:
        found = analyse_live(file, reader)
    assert found.primary.effect is not None
    assert found.primary.effect.running.estimate == pytest.approx((0.3 * 100 - 0.1 * 50) / 150)
    assert found.verdict.decision == "adopt custom"
    assert (found.progress.n_units, found.progress.n_trials) == (150, 150)
    assert found.looks[-1].estimate == pytest.approx(found.primary.effect.running.estimate)
    assert ragtrial_command("analyse", str(file.path), "--live", "--json").code == 0
    assert ragtrial_command("plan", str(file.path), "--json").code == 0


def test_interleaved_mode_counts_whose_passages_were_cited(tmp_path: Path) -> None:
    file = within(tmp_path, "interleaved", "preference")
    with LiveReader(sql_url(file)) as reader:
        found = analyse_live(file, reader)
        assert alarms(file.experiment, reader, reader.live_id(file.experiment)) == ()
    assert found.preferred is not None
    assert (found.preferred.units_for_treatment, found.preferred.units_for_control) == (100, 50)
    assert found.primary.effect is not None
    assert found.primary.effect.running.estimate == pytest.approx(50 / 150)
    assert ragtrial_command("analyse", str(file.path), "--live").out.count("units prefer custom") == 1
