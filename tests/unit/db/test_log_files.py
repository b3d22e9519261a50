"""A live log out to files and in again, on both databases."""

import json
from pathlib import Path

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from ragtrial.db.live_reader import LiveReader
from ragtrial.db.recorder import Recorder
from ragtrial.errors import InputError
from ragtrial.formats.experiment import load_experiment
from ragtrial.splitting import pseudonym
from ragtrial.suite.log_exporting import export_log
from ragtrial.suite.log_importing import import_log
from unit.db import samples

HERE = Path(__file__).resolve().parents[3]
N = 600


def _file(tmp_path: Path, url: str) -> Path:
    """The live demo's plan on the database of the test."""
    text = (HERE / "experiments" / "live-demo.yaml").read_text(encoding="utf-8")
    text = text.replace("path: ../seeds", f"path: {HERE / 'seeds'}")
    path = tmp_path / "live.yaml"
    path.write_text(f"{text}\nstores: {{sql: {json.dumps(url)}}}\n", encoding="utf-8")
    return path


def _trials(n: int = N) -> dict[str, list]:
    return {
        "trial_id": [f"t{i}" for i in range(n)],
        "user": [f"u{i % 300}" for i in range(n)],
        "arm": ["custom" if i % 2 else "baseline" for i in range(n)],
        "at": [1_800_000_000.0 + 60 * i for i in range(n)],
        "waited_ms": [10.0 + i % 7 for i in range(n)],
        "query_text": [f'what "opens" gate {i}?' if i % 50 else "" for i in range(n)],
        "answer_text": ["a token, of course" if i % 9 else None for i in range(n)],
        "finish_reason": ["stop" if i % 9 else None for i in range(n)],
        "failure_stage": [None if i % 9 else "search" for i in range(n)],
        "hits": ['[["p1",0.5]]' if i % 9 else None for i in range(n)],
        "n_hits": [1 if i % 9 else None for i in range(n)],
    }


def _parquet(tmp_path: Path, name: str, columns: dict[str, list]) -> Path:
    path = tmp_path / f"{name}.parquet"
    pq.write_table(pa.table(columns), path)
    return path


def test_a_log_from_files_is_analysed_as_one_that_was_served(url: str, tmp_path: Path) -> None:
    path = _file(tmp_path, url)
    scores = tmp_path / "scores.jsonl"
    lines = [
        {"trial_id": f"t{i}", "metric": "nDCG@10", "value": 0.25 + 0.5 * (i % 2), "scorer": "s/1", "at": 1.8e9} for i in range(1, N, 3)
    ]
    lines.append({"trial_id": "t3", "metric": "nDCG@10", "unscored": "not in the gold set", "scorer": "s/1", "at": 1.8e9})
    scores.write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")
    votes = {
        "trial_id": ["t1", "t2", "t2"],
        "key": ["a", "b", "c"],
        "thumb": ["up", "up", "down"],
        "at": [1.8e9 + 100.0, 1.8e9 + 200, 1.9e9],
    }
    places = {
        "trials": [_parquet(tmp_path, "trials", _trials())],
        "scores": [scores],
        "votes": [_parquet(tmp_path, "votes", votes)],
    }
    found = import_log(path, places)
    assert (found.rows, found.repeated) == ({"trials": N, "scores": len(lines), "votes": 3}, {"scores": 0, "votes": 0})
    again = import_log(path, {"scores": [scores], "votes": places["votes"]})
    assert (again.rows, again.repeated) == ({"scores": 0, "votes": 0}, {"scores": len(lines), "votes": 3})
    experiment = load_experiment(path).experiment
    with LiveReader(url) as reader:
        table = reader.split_scores(found.live_id, "nDCG@10", experiment=experiment)
        # by hand: trials 1, 4, 7, ... are scored, odd ones in the treatment; every ninth failed, and has no value whatever was scored
        custom = [i for i in range(1, N, 3) if i % 2 and i % 9]
        baseline = [i for i in range(1, N, 3) if not i % 2 and i % 9]
        assert (table.treatment.totals.sum(), table.treatment.counts.sum()) == (0.75 * len(custom), len(custom))
        assert (table.control.totals.sum(), table.control.counts.sum()) == (0.25 * len(baseline), len(baseline))
        counts = {count.arm: (count.up, count.down, count.late) for count in reader.votes(found.live_id)}
        assert counts == {"custom": (1, 0, 0), "baseline": (1, 0, 1)}  # the vote after three years is late
        trial = reader.trial("t50")
        assert trial is not None
        assert (trial.unit, trial.query.text) == (pseudonym("u50"), "")


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"arm": ["nobody"] * N}, r"trials.parquet:1: arm: is 'nobody': the experiment has baseline, custom"),
        ({"waited_ms": [1.0] * 7 + [float("nan")] * (N - 7)}, r"trials.parquet:8: waited_ms: nan is not finite"),
        ({"hits": ["["] * N}, r"hits: '\[' is no JSON text"),
        ({"reason": ["because"] * N}, r"reason: 'because' is none of split"),
        ({"version": [7] * N}, r"version: is 7: the experiment has 1"),
        ({"surprise": [1] * N}, r"surprise: is no column of trials"),
        ({"at": None}, r"at: is missing: trials need it"),
        ({"trial_id": ["t1"] * N}, r"nothing was imported: .*(trial_id|uq_live_trials)"),
        ({"failure_stage": ["search"] * N}, r"nothing was imported: "),  # an answer and a failure
    ],
)
def test_what_the_log_may_not_hold_is_refused_with_its_place_and_nothing_is_imported(
    url: str, tmp_path: Path, change: dict[str, list | None], said: str
) -> None:
    path = _file(tmp_path, url)
    columns = {name: values for name, values in {**_trials(), **change}.items() if values is not None}
    with pytest.raises(InputError, match=said):
        import_log(path, {"trials": [_parquet(tmp_path, "trials", columns)]})
    with LiveReader(url) as reader:
        assert reader.recent(1) == ()


def test_scores_of_trials_that_are_not_there_are_refused(sqlite_url: str, tmp_path: Path) -> None:
    scores = {"trial_id": ["nobody"], "metric": ["nDCG@10"], "value": [0.5], "scorer": ["s"], "at": [1.8e9]}
    with pytest.raises(InputError, match=r"1 rows name trials that the log of this experiment does not hold, 'nobody' first"):
        import_log(_file(tmp_path, sqlite_url), {"scores": [_parquet(tmp_path, "scores", scores)]})


def test_an_export_read_by_duckdb_has_the_same_sums_and_can_be_imported_again(url: str, tmp_path: Path) -> None:
    path = _file(tmp_path, url)
    scores = {"trial_id": ["t1", "t2", "t3"], "metric": ["nDCG@10"] * 3, "value": [0.5, None, 0.25], "unscored": [None, "no gold", None]}
    scores |= {"scorer": ["s"] * 3, "at": [1.8e9] * 3}
    votes = {"trial_id": ["t1", "t2"], "key": ["a", "b"], "thumb": ["up", "down"], "at": [1.8e9 + 100.0, 1.8e9 + 200]}
    signals = {"trial_id": ["t1"], "key": ["s"], "signal": ["copied"], "at": [1.8e9 + 100.0]}
    trials = _trials()
    trials["at"] = [1_800_000_000.0 + 400 * i for i in range(N)]  # three days
    given = {"trials": trials, "scores": scores, "votes": votes, "signals": signals}
    import_log(path, {name: [_parquet(tmp_path, name, columns)] for name, columns in given.items()})
    out = tmp_path / "out"
    done = export_log(path, out)
    assert done.rows == {"trials": N, "scores": 3, "votes": 2, "signals": 1}
    with duckdb.connect() as duck:

        def ask(table: str, what: str) -> tuple:
            found = duck.execute(f"SELECT {what} FROM read_parquet('{out}/{table}/**/*.parquet', hive_partitioning = true)").fetchone()  # noqa: S608
            assert found is not None
            return found

        assert ask("trials", "count(*), sum(waited_ms), count(DISTINCT date), any_value(experiment)") == (
            N,
            sum(trials["waited_ms"]),
            len({int(at // 86_400) for at in trials["at"]}),
            "portwright-live",
        )
        assert ask("trials", 'count(*) FILTER (WHERE epoch(date::TIMESTAMP) <= "at" AND "at" < epoch(date::TIMESTAMP) + 86400)') == (N,)
        assert ask("scores", "count(*), sum(value), count(unscored)") == (3, 0.75, 1)
        assert ask("trials", "bool_and(unit NOT LIKE 'u%')") == (True,)  # what was pseudonymised stays so
    assert export_log(path, out, resume=True).kept == done.files
    bare = tmp_path / "bare"
    export_log(path, bare, texts=False)
    assert pq.read_table(bare / "trials", columns=["query_text", "answer_text"]).column("query_text").null_count == N
    assert not [found for found in out.rglob("*") if found.name.endswith(".tmp")]

    again = f"sqlite:///{tmp_path / 'again.db'}"
    second = tmp_path / "second"
    second.mkdir()
    import_log(_file(second, again), {name: [out / name] for name in given})
    with LiveReader(url) as old, LiveReader(again) as new:
        for trial_id in ("t0", "t1", "t9", "t50"):
            assert old.trial(trial_id) == new.trial(trial_id)
            assert old.scores_of(trial_id) == new.scores_of(trial_id)
            assert old.votes_of(trial_id) == new.votes_of(trial_id)


def test_evaluations_are_exported_with_their_scores(sqlite_url: str, tmp_path: Path) -> None:
    with Recorder(sqlite_url, clock=samples.clock) as recorder:
        plan = {"experiment": samples.EXPERIMENT, "gold": samples.GOLD, "n_trials_planned": 7, "passages": samples.PASSAGES[:3]}
        recorder.open_evaluation(samples.evaluation(), **plan)
        recorder.append("e1", [(one, samples.scores_of(one)) for one in samples.EVERY_KIND], samples.PASSAGES)
    path = _file(tmp_path, sqlite_url)
    done = export_log(path, tmp_path / "out", everything=True)
    trials = pq.read_table(tmp_path / "out" / "offline_trials")
    assert done.rows["offline_trials"] == trials.num_rows
    assert set(trials["arm"].to_pylist()) == {one.arm for one in samples.EVERY_KIND}
