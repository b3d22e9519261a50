"""The self-test itself: each planted fault is caught by its guard and by nothing else, and nothing stays behind."""

import dataclasses
import json
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import yaml
from pymilvus import MilvusClient
from scipy import stats

from commands import ragtrial_command
from material import write_beir_folder, write_experiment
from ragtrial.analysis import live as live_analysis
from ragtrial.analysis import live_health
from ragtrial.analysis.live_deciding import Decided
from ragtrial.db.live_reader import LiveReader
from ragtrial.domain.selftest import ControlFound, FaultInfo, NullRuns, SelfTest, Tried
from ragtrial.domain.verdict import Check, Verdict
from ragtrial.errors import InputError, StoreError
from ragtrial.index import milvus
from ragtrial.report.selftest_files import as_selftest_html, as_selftest_markdown
from ragtrial.report.selftest_words import rows
from ragtrial.settings import read_settings
from ragtrial.stats.binary import clopper_pearson, least_excess
from ragtrial.suite.gold_leaks import Gold
from ragtrial.suite.live_analysis import analyse_live
from ragtrial.suite.selftest import driving, offline_faults, running
from ragtrial.suite.selftest.driving import Look, drive
from ragtrial.suite.selftest.live_faults import DETECTORS, LIVE_FAULTS, Known, drive_control, try_live
from ragtrial.suite.selftest.null_runs import NullRun
from ragtrial.suite.selftest.offline_faults import OFFLINE_FAULTS, try_offline
from ragtrial.suite.selftest.running import FAULTS, SelfTestPlan
from ragtrial.suite.selftest.world import World, world
from servers import milvus_server

LIVE = {fault.info.name: fault for fault in LIVE_FAULTS}
OFFLINE = {fault.info.name: fault for fault in OFFLINE_FAULTS}
AT_ONCE = 100
TABLES = ("evaluations", "trials", "scores")


@pytest.fixture(scope="module")
def made() -> Iterator[World]:
    with world(None, read_settings({}), seed=7) as found:
        yield found


@pytest.fixture(scope="module")
def easy(made: World) -> Known:
    """What a control would have shown; a machine that runs all tests at once waits long."""
    return Known(easy=made.prepared(made.experiment("easy", live={})).gold.queries[0].text, waited_s=0.15)


def fine(name: str) -> Callable[..., Check]:
    return lambda *_: Check(name=name, state="pass", detail="nobody looked")


def no_checks(*_: object) -> list[Check]:
    return []


ANALYSIS_GUARDS = {
    "lost-exposures": (live_analysis, "sample_ratios", lambda _setting: ()),
    "two-arms": (live_health, "_arms_check", no_checks),
    "other-k": (live_health, "_parity", fine("parity")),
    "moved-split": (live_health, "_allocation", no_checks),
    "clock-jump": (live_health, "_clock", fine("clock")),
    "missing-scores": (live_health, "_missing", no_checks),
    "heavy-user": (live_analysis, "decide_live", lambda *_: Decided(Verdict(decision="adopt custom", sentence="", reasons=()))),
    "duplicate-votes": (
        LiveReader,
        "votes",
        lambda reader, live_id, real=LiveReader.votes: tuple(dataclasses.replace(each, up=5 * each.up) for each in real(reader, live_id)),
    ),
}
"""What looks at the log, and the same that looks away: tried on one log, so that the guard alone makes the difference."""


@pytest.mark.slow
@pytest.mark.parametrize("name", ANALYSIS_GUARDS)
def test_a_fault_is_caught_from_the_log_by_its_guard_and_by_nothing_else(
    name: str, made: World, easy: Known, monkeypatch: pytest.MonkeyPatch
) -> None:
    fault, without = LIVE[name], list[str | None]()

    def look_away(look: Look) -> None:
        with monkeypatch.context() as off:
            off.setattr(*ANALYSIS_GUARDS[name])
            analysis = analyse_live(look.file, look.reader, pictures=False)
            without.append(fault.detect(dataclasses.replace(look, analysis=analysis)))

    found = drive(made, name, fault.injection(made, easy), {name: fault.detect}, inspect=look_away)
    after, sentence = found.found[name]
    assert after <= driving.QUERIES
    assert len(sentence) > 20
    assert without == [None]


def unchecked(name: str, vectors: np.ndarray, **_: object) -> np.ndarray:
    del name
    return np.nan_to_num(np.asarray(vectors, dtype=np.float32))


@pytest.mark.slow
@pytest.mark.parametrize("name", ["slow-arm", "failing-arm", "nan-embedder"])
def test_a_bad_arm_is_stopped_by_the_guardrails_and_goes_on_without_them(
    name: str, made: World, easy: Known, monkeypatch: pytest.MonkeyPatch
) -> None:
    caught = try_live(made, LIVE[name], easy)
    assert caught.sentence is not None
    assert caught.sentence.startswith("stopped by guardrail: ")
    if name == "nan-embedder":
        monkeypatch.setattr(milvus, "check_vectors", unchecked)
    else:
        monkeypatch.setattr(driving, "alarms", lambda *_: ())
    monkeypatch.setattr(driving, "QUERIES", caught.after)
    renamed = dataclasses.replace(LIVE[name], info=dataclasses.replace(LIVE[name].info, name=f"{name}-unguarded"))
    assert not try_live(made, renamed, easy).caught


def test_an_index_of_another_model_is_refused_at_the_start(made: World, easy: Known, monkeypatch: pytest.MonkeyPatch) -> None:
    caught = try_live(made, LIVE["wrong-index"], easy)
    assert caught.after == 0
    assert "holds vectors of" in str(caught.sentence)
    with monkeypatch.context() as away:
        away.setattr(driving, "live_service", lambda *_, **__: (_ for _ in ()).throw(StoreError("Milvus is out of reach")))
        with pytest.raises(StoreError, match="out of reach"):  # another error is no catch
            try_live(made, LIVE["wrong-index"], easy)
    monkeypatch.setattr(milvus, "check_model", lambda *_, **__: None)
    monkeypatch.setattr(driving, "QUERIES", AT_ONCE)
    assert not try_live(made, LIVE["wrong-index"], easy).caught


def test_scores_that_were_lost_are_scored_again(made: World, easy: Known, monkeypatch: pytest.MonkeyPatch) -> None:
    caught = try_live(made, LIVE["lost-scores"], easy)
    assert caught.after == AT_ONCE
    assert "100 of 100 trials are scored" in str(caught.sentence)
    given, real = set[str](), LiveReader.unscored

    def once(reader: LiveReader, live_id: int, metrics: list[str], *, limit: int) -> object:
        """As where what was handed out counts as done."""
        found = [trial for trial in real(reader, live_id, metrics, limit=1000) if trial.trial_id not in given][:limit]
        given.update(trial.trial_id for trial in found)
        return tuple(found)

    monkeypatch.setattr(LiveReader, "unscored", once)
    monkeypatch.setattr(driving, "QUERIES", AT_ONCE)
    renamed = dataclasses.replace(LIVE["lost-scores"], info=FaultInfo(name="lost-for-good", planted="", guard=""))
    assert not try_live(made, renamed, easy).caught


@pytest.fixture(scope="module")
def controlled(made: World) -> ControlFound:
    """The control's log, which offline faults look at."""
    looks: list[Look] = []
    with pytest.MonkeyPatch.context() as short:
        short.setattr(driving, "QUERIES", 2 * AT_ONCE)
        driven = drive_control(made, looks.append)
    return ControlFound(asked=driven.n, looks=driven.n_looks, alarms=tuple(driven.found), sentence="", seconds=0.0)


def test_every_guard_is_silent_without_a_fault(controlled: ControlFound) -> None:
    assert (controlled.asked, controlled.looks, controlled.alarms) == (200, 2, ())
    assert set(DETECTORS) == set(LIVE)


OFFLINE_GUARDS = {
    "judge-style": [("ragtrial.analysis.analysing.calibration_checks", lambda *_: ())],
    "leaked-query": [(Gold, "leaks", lambda *_, **__: {})],
    "stale-roll-up": [(offline_faults, "as_of", lambda *_, **__: "1,200 trials")],
    "changed-plan": [(offline_faults, "changed_plan", lambda _file: None), (LiveReader, "live_id", lambda *_: 1)],
}


@pytest.mark.usefixtures("controlled")
@pytest.mark.parametrize("name", OFFLINE_GUARDS)
def test_a_fault_beside_the_traffic_is_caught_and_not_without_its_guard(name: str, made: World, monkeypatch: pytest.MonkeyPatch) -> None:
    assert try_offline(made, OFFLINE[name]).caught
    (made.folder / "labels.csv").unlink(missing_ok=True)
    for patch in OFFLINE_GUARDS[name]:
        monkeypatch.setattr(*patch)
    assert not try_offline(made, OFFLINE[name]).caught


def test_an_exact_interval_is_scipys() -> None:
    for n, of in ((0, 40), (3, 40), (41, 1000), (40, 40)):
        ours, theirs = clopper_pearson(n, of, alpha=0.05), stats.binomtest(n, of).proportion_ci(0.95, method="exact")
        assert (ours.low, ours.high) == pytest.approx((theirs.low, theirs.high))


def null_runs(false: int, *, peeked: int = 19, of: int = 160) -> NullRuns:
    runs = [NullRun(design="live", run=number, verdict=number < false, naive=number < peeked) for number in range(of)]
    return running._summed("live", runs, 0.05)


def found_with(**changes: object) -> SelfTest:
    info = FaultInfo(name="slow-arm", planted="an arm is slow", guard="guardrail")
    tried = Tried(fault=info, sentence="stopped by <b>guardrail</b> | now", after=300, asked=300, seconds=1.0)
    control = ControlFound(asked=1200, looks=12, alarms=(), sentence="Undecided.", seconds=2.0)
    given = {"seed": 7, "stores": ("SQLite", "Milvus Lite"), "tried": (tried,), "control": control, "null_runs": (), "seconds": 3.0}
    return SelfTest(**{**given, **changes})  # type: ignore[arg-type]  # forwarded by keyword


def test_false_verdicts_beyond_what_is_allowed_are_not_in_order() -> None:
    # 1 % shared by 5 rates: of 160 runs 18 have p = 0.0012 under a rate of 5 %, 17 have 0.0029
    assert [stats.binomtest(n, 160, 0.05, alternative="greater").pvalue < 0.002 for n in (17, 18)] == [False, True]
    assert found_with(null_runs=(null_runs(17),)).missed == ()
    assert found_with(null_runs=(null_runs(18),)).missed == ("A/A (live)",)
    assert running._peeking(null_runs(17), 1.0).caught
    assert not running._peeking(null_runs(18), 1.0).caught


def test_a_self_test_is_wrong_about_its_rates_no_more_often_than_it_says() -> None:
    for of in (2, 40, 200, 1000):
        limit = null_runs(0, of=of).verdicts.fails_from
        assert 5 * stats.binom.sf(limit - 1, of, 0.05) <= 0.01 < 5 * stats.binom.sf(limit - 2, of, 0.05)
    assert (least_excess(3, 0.05, alpha=1e-5), least_excess(0, 0.05, alpha=0.01), least_excess(3, 1.0, alpha=0.01)) == (4, 1, 4)
    assert "at most 1% of self-tests fail" in as_selftest_markdown(found_with(null_runs=(null_runs(0),))).replace("\\", "")


def test_few_runs_do_not_tell_whether_peeking_is_caught() -> None:
    # of 40 runs 8 show more than 5 %; who peeks would have been found in 7 of them, which is no more than chance
    few = running._peeking(null_runs(0, peeked=7, of=40), 1.0)
    found = found_with(tried=(few,))
    assert (few.caught, few.told, found.missed, found.untold) == (False, False, (), ("peeking",))
    assert "Caught: 0 of 1" in (said := as_selftest_markdown(found))
    assert "Too little was asked to tell of: peeking" in said
    assert "--aa-runs 400" in said.replace("\\", "")
    assert running._peeking(null_runs(0, peeked=8, of=40), 1.0).caught


def test_what_is_raised_without_a_fault_is_not_in_order() -> None:
    loud = ControlFound(asked=1200, looks=12, alarms=("clock: wrong",), sentence="", seconds=1.0)
    found = found_with(control=loud)
    assert found.missed == ("control",)
    assert "NOTHING MAY BE RAISED: clock: wrong" in rows(found)[-1]


def test_reports_take_nothing_for_markup() -> None:
    found = found_with(null_runs=(null_runs(3),))
    html, markdown = as_selftest_html(found), as_selftest_markdown(found)
    assert "&lt;b&gt;guardrail" in html
    assert "<b>guardrail" not in html
    assert r"\<b\>guardrail\</b\> \| now" in markdown
    assert "3 (1.9% [" in html


def test_runs_are_kept_and_gone_on_with(tmp_path: Path) -> None:
    path = tmp_path / "aa.jsonl"
    plan, here = SelfTestPlan(aa_file=path), {"alpha": 0.05, "stores": ("SQLite", "Milvus Lite")}
    kept = running._Kept.read(plan, **here)
    runs = [NullRun(design="live", run=number, naive=number == 1) for number in range(3)]
    with kept.appending() as keep:
        keep(runs)
    path.write_text(path.read_text()[:-30])  # killed in the middle of the last line
    again = running._Kept.read(plan, **here)
    assert list(again.runs.values()) == runs[:2]
    with again.appending() as keep:
        keep(runs[2:])
    assert list(running._Kept.read(plan, **here).runs.values()) == runs
    other = {"seed": SelfTestPlan(aa_file=path, seed=8)}, {"alpha": 0.1}, {"stores": ("PostgreSQL at db", "Milvus Lite")}
    for changed in other:
        with pytest.raises(InputError, match="holds other runs"):
            running._Kept.read(changed.pop("seed", plan), **{**here, **changed})


def test_a_fault_that_is_none_is_refused_with_those_that_are() -> None:
    done = ragtrial_command("selftest", "--only", "gremlins")
    assert done.code == 2
    assert "there is no such fault; give lost-exposures, two-arms" in done.err
    assert ragtrial_command("selftest", "--output", "report.pdf").code == 2


def test_the_faults_are_listed() -> None:
    listed = json.loads(ragtrial_command("selftest", "--list", "--json").out)
    assert [each["name"] for each in listed] == [info.name for info in FAULTS]
    assert {"lost-exposures", "duplicate-votes", "slow-arm", "judge-style", "leaked-query", "wrong-index", "stale-roll-up"} <= {
        each["name"] for each in listed
    }


@pytest.fixture
def short(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(driving, "QUERIES", AT_ONCE)


@pytest.fixture
def mine(tmp_path: Path) -> Path:
    """An experiment that was evaluated before: its stores hold something."""
    path = write_experiment(tmp_path / "mine.yaml", write_beir_folder(tmp_path / "data", n_passages=20, n_queries=12))
    assert ragtrial_command("evaluate", path, "--quiet").code in (0, 1)
    return path


def contents(folder: Path) -> dict[str, bytes]:
    """Every file; what SQLite's readers make of their own accord is not data."""
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


@pytest.mark.usefixtures("short")
def test_the_users_files_are_as_they_were_and_the_json_says_what_was_found(mine: Path) -> None:
    before = contents(mine.parent)
    done = ragtrial_command("selftest", mine, "--only", "other-k", "--only", "leaked-query", "--json")
    assert done.code == 0, done.out + done.err
    found = json.loads(done.out)
    assert (found["ok"], found["missed"], found["stores"]) == (True, [], ["SQLite", "Milvus Lite"])
    assert [(each["fault"]["name"], each["caught"], each["after"]) for each in found["tried"]] == [
        ("other-k", True, 100),
        ("leaked-query", True, 36),
    ]
    assert {"sentence", "asked", "counted", "also", "seconds"} <= set(found["tried"][0])
    assert found["control"]["alarms"] == []
    assert contents(mine.parent) == before


@pytest.mark.usefixtures("short")
def test_a_guard_that_is_off_is_reported_and_fails(mine: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(live_health, "_parity", fine("parity"))
    report = mine.parent / "report.md"
    done = ragtrial_command("selftest", mine, "--only", "other-k", "--quiet", "-o", report)
    assert (done.code, done.out.strip()) == (1, "Not in order: other-k.")
    assert "NOT CAUGHT by parity certificate" in report.read_text()


@pytest.mark.usefixtures("short")
def test_an_interrupted_test_leaves_nothing_behind(mine: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    before = contents(mine.parent)
    monkeypatch.setattr(running, "try_live", interrupted)
    assert ragtrial_command("selftest", mine, "--only", "other-k", "--quiet").code == 130
    assert contents(mine.parent) == before


@pytest.mark.usefixtures("short")
def test_folders_that_were_not_there_are_not_there_afterwards(tmp_path: Path) -> None:
    path = write_experiment(tmp_path / "new.yaml", write_beir_folder(tmp_path / "data", n_passages=20, n_queries=12))
    before = contents(tmp_path)
    assert ragtrial_command("selftest", path, "--only", "leaked-query", "--quiet").code == 0
    assert contents(tmp_path) == before
    assert not (tmp_path / ".ragtrial").exists()


@pytest.mark.usefixtures("short")
def test_stores_that_the_environment_names_get_scratch_stores_too(mine: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    monkeypatch.setenv("RAGTRIAL_STORES_SQL", f"sqlite:///{elsewhere / 'theirs.db'}")
    monkeypatch.setenv("RAGTRIAL_STORES_MILVUS", str(elsewhere / "theirs.db"))
    assert ragtrial_command("selftest", mine, "--only", "leaked-query", "--quiet").code == 0
    assert not list(elsewhere.iterdir())


@pytest.mark.slow
@pytest.mark.usefixtures("short")
def test_servers_hold_afterwards_what_they_held_before(postgres: str, postgres_url: str, tmp_path: Path) -> None:
    import psycopg

    reason = milvus_server.why_not()
    if reason is not None:
        pytest.skip(reason)
    folder = tmp_path / "milvus"
    folder.mkdir()
    path = write_experiment(tmp_path / "mine.yaml", write_beir_folder(tmp_path / "data", n_passages=20, n_queries=12))
    with milvus_server.running(folder) as address:
        content = yaml.safe_load(path.read_text())
        path.write_text(yaml.safe_dump({**content, "stores": {"milvus": address, "sql": postgres_url}}, sort_keys=False))
        assert ragtrial_command("evaluate", path, "--quiet").code in (0, 1)

        def held() -> tuple[object, ...]:
            client = MilvusClient(uri=address)
            names = sorted(client.list_collections())
            aliases = [sorted(client.list_aliases(name)["aliases"]) for name in names]
            client.close()
            with psycopg.connect(postgres.replace("+psycopg", "")) as connection:
                databases = sorted(row[0] for row in connection.execute("SELECT datname FROM pg_database"))
            with psycopg.connect(postgres_url.replace("+psycopg", "")) as connection:
                rows = [connection.execute(f"SELECT count(*) FROM {table}").fetchone() for table in TABLES]  # noqa: S608 - our own
            return names, aliases, databases, rows

        before = held()
        assert before[0], "the user's own collections are there"
        done = ragtrial_command("selftest", path, "--only", "duplicate-votes", "--only", "peeking", "--aa-runs", "2", "--json")
        assert done.code == 0, done.out + done.err
        assert json.loads(done.out)["stores"][0].startswith("PostgreSQL")
        assert held() == before
