"""A live log out to files and in again, on both databases."""

import json
import math
import re
from pathlib import Path

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from sqlalchemy import delete, insert

from ragtrial.db.engine import open_engine
from ragtrial.db.live_erasing import erasing
from ragtrial.db.live_models import LiveTrialRow
from ragtrial.db.live_reader import LiveReader
from ragtrial.db.recorder import Recorder
from ragtrial.db.unit_models import RetentionRow
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


def _at(row: int, name: str, value: object) -> dict[str, list]:
    """The trials with another value in one row (from 1)."""
    columns = _trials()
    values = columns.get(name, [None] * N)
    return {**columns, name: [*values[: row - 1], value, *values[row:]]}


WRONG: list[tuple[dict[str, list], str]] = [
    (_at(1, "arm", "nobody"), r"trials.parquet:1: arm: is 'nobody': the experiment has baseline, custom"),
    (_at(8, "waited_ms", math.nan), r"trials.parquet:8: waited_ms: nan is not finite"),
    (_at(3, "waited_ms", -1.0), r"trials.parquet:3: waited_ms: -1.0 is negative: give 0 or more"),
    (_at(3, "cost_usd", -0.1), r"trials.parquet:3: cost_usd: -0.1 is negative"),
    (_at(5, "at", -5.0), r"trials.parquet:5: at: -5.0 is no moment in seconds since 1970"),
    (
        _at(6, "at", 1_800_000_000_000.0),
        r"trials.parquet:6: at: 1800000000000.0 is no moment in seconds .*of milliseconds, give a thousandth",
    ),
    (_at(4, "prompt_tokens", 3_000_000_000), r"trials.parquet:4: prompt_tokens: 3000000000 is no count: give a whole number from 0 to"),
    (_at(4, "prompt_tokens", -3), r"trials.parquet:4: prompt_tokens: -3 is no count"),
    (_at(9, "bucket", 10_000), r"trials.parquet:9: bucket: 10000 is no bucket"),
    (_at(2, "propensity", 0.0), r"trials.parquet:2: propensity: 0.0 is no chance"),
    (_at(7, "hits", "["), r"trials.parquet:7: hits: '\[' is no JSON text"),
    (_at(7, "hits", '{"p1": 0.5}'), r"trials.parquet:7: hits: .* is no JSON text: give \[\[passage_id, similarity\], ...\], best first"),
    (_at(7, "hits", '[["p1", 0.5], ["p2", 0.9]]'), r"trials.parquet:7: hits: .* best first"),
    (_at(7, "n_hits", 3), r"trials.parquet:7: n_hits: is not how many `hits` there are"),
    (_at(2, "reason", "because"), r"trials.parquet:2: reason: 'because' is none of split"),
    (_at(2, "finish_reason", "tired"), r"trials.parquet:2: finish_reason: 'tired' is none of stop, abstained, length"),
    (_at(2, "version", 7), r"trials.parquet:2: version: is 7: the experiment has 1"),
    (_at(600, "trial_id", "t17"), r"trials.parquet:600: trial_id: is 't17', as further up: give each trial once"),
    (_at(2, "failure_stage", "search"), r"trials.parquet:2: finish_reason: stands beside failure_stage"),
    (_at(2, "finish_reason", None), r"trials.parquet:2: answer_text: and finish_reason have a value together"),
    (_at(2, "answer_text", " "), r"trials.parquet:2: answer_text: is empty exactly where finish_reason is 'abstained'"),
    (_at(11, "user", None), r"trials.parquet:11: unit: has no value, nor has user"),
    ({**_at(11, "unit", "ann@example.org"), "user": []}, r"trials.parquet:1: unit: has no value"),
    ({**_trials(), "surprise": [1] * N}, r"surprise: is no column of trials"),
    ({**_trials(), "at": []}, r"at: is missing: trials need it"),
]


def test_what_the_log_may_not_hold_is_refused_with_file_row_and_column_and_nothing_is_imported(sqlite_url: str, tmp_path: Path) -> None:
    path = _file(tmp_path, sqlite_url)
    for columns, said in WRONG:
        given = {name: values for name, values in columns.items() if values}
        with pytest.raises(InputError, match=said):
            import_log(path, {"trials": [_parquet(tmp_path, "trials", given)]})
    with LiveReader(sqlite_url) as reader:
        assert reader.recent(1) == ()


def test_texts_that_are_no_unicode_and_numbers_that_are_too_large_for_json_are_refused_with_their_row(
    tmp_path: Path, sqlite_url: str
) -> None:
    path, place = _file(tmp_path, sqlite_url), tmp_path / "trials.parquet"
    texts = [text.encode() for text in _trials()["query_text"]]
    texts[40] = b"what opens \xed\xa0\x80?"  # half of a surrogate pair, as some writers put it into their files
    whole = pa.Array.from_buffers(pa.string(), N, pa.array(texts, pa.binary()).buffers())
    pq.write_table(pa.table({**_trials(), "query_text": whole}), place)
    with pytest.raises(InputError, match=r"trials.parquet:41: query_text: is no Unicode text"):
        import_log(path, {"trials": [place]})
    lines = [json.dumps({name: values[row] for name, values in _trials().items() if values[row] is not None}) for row in range(1, N)] * 12
    for field, value, said in (
        ("at", "1e999", "Number too big to be stored in double"),
        ("n_hits", "99999999999999999999", "."),
        ("query_text", r'"\ud800"', "The surrogate pair in string is invalid"),
        ("waited_ms", '"x"', "Column(/waited_ms) changed from number to string"),
    ):
        row = {**json.loads(lines[5006]), field: "HERE"}
        place = tmp_path / "lines.jsonl"
        place.write_text("\n".join([*lines[:5006], json.dumps(row).replace('"HERE"', value), *lines[5007:]]), encoding="utf-8")
        with pytest.raises(InputError, match=rf"lines.jsonl:5007: .*{re.escape(said) if len(said) > 1 else said}"):
            import_log(path, {"trials": [place]})


def test_a_trial_that_is_in_the_log_already_is_named_with_its_row(url: str, tmp_path: Path) -> None:
    path = _file(tmp_path, url)
    import_log(path, {"trials": [_parquet(tmp_path, "first", _trials(20))]})
    more = {name: values[10:] for name, values in _trials(40).items()}
    more["trial_id"] = [f"n{place}" if place != 3 else "t7" for place in range(30)]
    with pytest.raises(
        InputError, match=r"nothing was imported: .*more.parquet:4: trial_id: 't7' is in the log already, or in an earlier row"
    ):
        import_log(path, {"trials": [_parquet(tmp_path, "more", more)]})
    with LiveReader(url) as reader:
        assert reader.trial("n0") is None


def test_of_two_votes_in_one_file_the_later_row_counts(url: str, tmp_path: Path) -> None:
    path = _file(tmp_path, url)
    ids = [f"t{place}" for place in range(200, 0, -1)]
    votes = {"trial_id": ids * 2, "key": ["a"] * 200 + ["b"] * 200, "thumb": ["up"] * 200 + ["down"] * 200, "at": [1.8e9 + 100.0] * 400}
    found = import_log(path, {"trials": [_parquet(tmp_path, "trials", _trials())], "votes": [_parquet(tmp_path, "votes", votes)]})
    with LiveReader(url) as reader:
        assert sum(count.up for count in reader.votes(found.live_id)) == 0
        assert [one.thumb for one in reader.votes_of("t77")] == ["up", "down"]


@pytest.mark.parametrize(
    ("table", "row", "said"),
    [
        ("scores", {"value": [0.5, 0.5], "unscored": [None, "no gold"]}, r"scores.parquet:2: value: or unscored: a number, or the reason"),
        ("scores", {"value": [None, 0.5], "unscored": ["", None]}, r"scores.parquet:1: unscored: is empty"),
        ("scores", {"value": [0.5, math.inf]}, r"scores.parquet:2: value: inf is not finite"),
        (
            "scores",
            {"value": [0.5, 0.5], "trial_id": ["t1", "nobody"]},
            r"scores.parquet:2: trial_id: is 'nobody', which the log .* does not hold",
        ),
        ("votes", {"thumb": ["up", "sideways"]}, r"votes.parquet:2: thumb: 'sideways' is none of up, down, withdrawn"),
        ("votes", {"thumb": ["up", "up"], "tags": ["[]", "[1]"]}, r"votes.parquet:2: tags: '\[1\]' is no JSON text: give \[word, ...\]"),
        ("votes", {"thumb": ["up", "up"], "at": [1.8e9, 1.8e12]}, r"votes.parquet:2: at: 1800000000000.0 is no moment"),
    ],
)
def test_what_is_said_of_trials_is_refused_with_file_row_and_column(
    sqlite_url: str, tmp_path: Path, table: str, row: dict[str, list], said: str
) -> None:
    path = _file(tmp_path, sqlite_url)
    own = {"metric": ["nDCG@10"] * 2, "scorer": ["s"] * 2} if table == "scores" else {"key": ["a", "b"]}
    columns = {"trial_id": ["t1", "t2"], "at": [1.8e9] * 2, **own, **row}
    places = {"trials": [_parquet(tmp_path, "trials", _trials(9))], table: [_parquet(tmp_path, table, columns)]}
    with pytest.raises(InputError, match=said):
        import_log(path, places)  # type: ignore[arg-type]  # one of the tables
    with LiveReader(sqlite_url) as reader:
        assert reader.recent(1) == ()


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


def test_days_of_which_everything_was_erased_leave_the_export_and_what_retention_removed_stays_there(url: str, tmp_path: Path) -> None:
    path, out = _file(tmp_path, url), tmp_path / "out"
    trials = {name: values[:6] for name, values in _trials(6).items()}
    trials |= {"user": ["ann", "ann", "bob", "bob", "cid", "cid"], "at": [1_500_000_000.0 + 86_400 * (place // 2) for place in range(6)]}
    live_id = import_log(path, {"trials": [_parquet(tmp_path, "trials", trials)]}).live_id
    assert export_log(path, out).files == 3
    engine = open_engine(url)
    with engine.begin() as connection:  # of the first day, as retention does it
        row = {
            "live_id": live_id,
            "kept_from": 1_500_076_800.0,
            "trials": 2,
            "scores": 0,
            "votes": 0,
            "signals": 0,
            "actor": "a",
            "at": 1.6e9,
        }
        connection.execute(insert(RetentionRow), row)
        connection.execute(delete(LiveTrialRow).where(LiveTrialRow.unit == pseudonym("ann")))
    engine.dispose()
    with erasing(url) as eraser:
        eraser.forget_unit("bob", actor="a")
    done = export_log(path, out)
    assert (done.rows, done.files, done.removed) == ({"trials": 2}, 1, 1)
    assert sorted(each.name for each in (out / "trials" / "experiment=portwright-live").iterdir()) == ["date=2017-07-14", "date=2017-07-16"]


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
