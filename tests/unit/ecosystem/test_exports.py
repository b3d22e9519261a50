"""Evaluations in MLflow and Weights & Biases, and live experiments as files for GrowthBook and Statsig."""

import csv
import dataclasses
import json
import re
from collections import Counter
from pathlib import Path
from typing import Any

import duckdb
import pyarrow.parquet as pq
import pytest
import yaml

from commands import ragtrial_command
from ragtrial.db.live_reader import LiveReader
from ragtrial.domain.experiment import StoresSpec
from ragtrial.domain.metric import metric_named
from ragtrial.errors import InputError
from ragtrial.formats.table_files import Column, write_table
from ragtrial.report.content import ReportContent
from ragtrial.report.json_report import as_json, report_dict
from ragtrial.report.junit import as_junit
from ragtrial.report.markdown import as_markdown
from ragtrial.report.parquet import write_parquet
from ragtrial.report.run_record import RunRecord, files_to_send, record_of
from ragtrial.suite import export_live as exporting
from ragtrial.suite.export_mlflow import to_mlflow
from ragtrial.suite.export_wandb import to_wandb
from unit import live_logs
from unit.db.live_samples import START
from unit.report import samples


@pytest.fixture(scope="module")
def content() -> ReportContent:
    return samples.build()


@pytest.fixture(scope="module")
def record(content: ReportContent) -> RunRecord:
    return record_of(content, started_ms=1_800_000_000_000, finished_ms=1_800_000_060_000)


@pytest.fixture(scope="module")
def artefact(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("reports") / "report.json"
    path.write_text('{"format": "ragtrial-report/1"}')
    return path


def test_the_record_has_every_difference_with_its_interval_and_no_stand_in_number(content: ReportContent, record: RunRecord) -> None:
    report = report_dict(content)
    timed = {row["name"]: row for row in report["latency"]["metrics"]}
    for row in (timed.get(each["name"], each) for each in report["metrics"]):
        for end, key in (("estimate", "difference"), ("low", "low"), ("high", "high")):
            assert record.metrics.get(f"{row['name']}/{key}") == row["difference"][end]
    lacking = [row["name"] for row in report["metrics"] if row["difference"]["estimate"] is None and row["unit"] != "ms"]
    assert lacking  # cost_usd of extractive answers
    assert all(record.tags[f"not_compared.{name}"] for name in lacking)


def test_what_leaves_without_asking_holds_no_text(tmp_path: Path, content: ReportContent) -> None:
    reports, made = tmp_path / "reports", tmp_path / "made"
    reports.mkdir()
    made.mkdir()
    (reports / "report.json").write_text(as_json(content))
    (reports / "report.md").write_text(as_markdown(content))
    (reports / "junit.xml").write_bytes(as_junit(content))
    (reports / "report.html").write_text("every text")
    write_parquet(reports / "trials.parquet", content)
    sent = files_to_send(reports, made, with_texts=False)
    assert sorted(path.name for path in sent) == ["junit.xml", "report.json", "report.md", "trials.parquet"]
    texts = [trial.answer.text for trial in content.trials if trial.answer is not None and trial.answer.text]
    texts += [example.query.text for example in (*content.wins, *content.losses)]
    told = "".join(path.read_text() for path in sent if path.suffix != ".parquet")
    assert not [text for text in texts if text in told]
    table = pq.read_table(next(path for path in sent if path.suffix == ".parquet"))
    assert not {"answer", "failure_message"} & set(table.column_names)
    assert table.num_rows == len(content.trials)
    assert "report.html" in {path.name for path in files_to_send(reports, made, with_texts=True)}


def test_mlflow_has_one_run_with_a_nested_one_for_each_line(
    tmp_path: Path, record: RunRecord, artefact: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from mlflow.tracking import MlflowClient

    monkeypatch.chdir(tmp_path)  # MLflow puts artefacts of a local database beside it
    uri = f"sqlite:///{tmp_path / 'mlflow.db'}"
    run_id, is_new = to_mlflow(record, [artefact], tracking_uri=uri)
    assert is_new
    assert to_mlflow(record, [artefact], tracking_uri=uri) == (run_id, False)
    client = MlflowClient(tracking_uri=uri)
    experiment = client.get_experiment_by_name(record.experiment)
    runs = client.search_runs([experiment.experiment_id])
    assert len(runs) == 1 + len(record.lines)
    parent = client.get_run(run_id)
    effect = parent.data.metrics
    assert effect["nDCG_at_10/difference"] == record.metrics["nDCG@10/difference"]
    assert (effect["nDCG_at_10/low"], effect["nDCG_at_10/high"]) == (record.metrics["nDCG@10/low"], record.metrics["nDCG@10/high"])
    assert parent.data.params["plan_digest"] == record.params["plan_digest"]
    assert parent.data.params["treatment.custom.model"].startswith("portwright-minilm@")
    assert parent.data.tags["ragtrial.decision"] == "adopt custom"
    assert [found.dataset.digest for found in parent.inputs.dataset_inputs] == [record.report["data"]["gold_fingerprint"][:36]]
    assert [file.path for file in client.list_artifacts(run_id)] == ["report.json"]
    assert (parent.info.start_time, parent.info.end_time) == (record.started_ms, record.finished_ms)
    children = {run.info.run_name: run for run in runs if run.data.tags.get("mlflow.parentRunId") == run_id}
    assert set(children) == {line.name for line in record.lines}
    means = {name: children[name].data.metrics["nDCG_at_10"] for name in ("baseline", "custom")}
    assert means["custom"] - means["baseline"] == pytest.approx(effect["nDCG_at_10/difference"])

    # Cut off half-way, the next export begins anew; concluded otherwise, the older run says what took its place.
    half = client.create_run(experiment.experiment_id, tags={"ragtrial.evaluation_id": record.evaluation_id})
    other = RunRecord(**{**{name: getattr(record, name) for name in RunRecord.__slots__}, "result": "another"})
    later, is_new = to_mlflow(other, [], tracking_uri=uri)
    assert is_new
    assert client.get_run(half.info.run_id).info.lifecycle_stage == "deleted"
    assert client.get_run(run_id).data.tags["ragtrial.superseded_by"] == later


def test_wandb_writes_a_run_offline_once_and_nothing_of_the_machine(
    tmp_path: Path, record: RunRecord, artefact: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from wandb.sdk.lib.service.service_connection import ServiceConnection

    # wandb's own process hears of the end late, as on a busy machine: it then has all of the run in its memory for 15 seconds.
    monkeypatch.setattr(ServiceConnection, "inform_finish", lambda *_args, **_named: None)
    folder, is_new = to_wandb(record, [artefact], project="p", folder=tmp_path, online=False)
    assert is_new
    assert to_wandb(record, [artefact], project="p", folder=tmp_path, online=False) == (folder, False)
    assert folder.name.startswith("offline-run-")
    told = b"".join(path.read_bytes() for path in folder.glob("run-*.wandb"))  # what `wandb sync` sends
    assert all(part in told for part in (b"nDCG@10/difference", b"adopt custom", record.params["plan_digest"].encode()))
    tables = {path.name.split("_")[0]: json.loads(path.read_text()) for path in folder.rglob("*.table.json")}
    assert set(tables) == {"comparisons", "lines", "checks"}
    rows = {row[0]: dict(zip(tables["comparisons"]["columns"], row, strict=True)) for row in tables["comparisons"]["data"]}
    assert rows["nDCG@10"]["low"] == record.metrics["nDCG@10/low"]
    assert rows["cost_usd"]["difference"] is None
    assert rows["cost_usd"]["reason"]
    assert (folder / "files" / "report.json").read_bytes() == artefact.read_bytes()
    assert not {path.name for path in folder.rglob("*")} & {"wandb-metadata.json", "requirements.txt", "output.log"}


@pytest.fixture(scope="module")
def live(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A live experiment in mode split, as its file and its log."""
    folder = tmp_path_factory.mktemp("live")
    return served(folder, "split")


def served(folder: Path, mode: Any) -> Path:
    plan = live_logs.experiment(mode)
    (folder / ".ragtrial").mkdir()
    live_logs.fill(f"sqlite:///{folder / '.ragtrial' / 'ragtrial.db'}", plan, n_units=80)
    path = folder / "handbook.yaml"
    path.write_text(yaml.safe_dump(json.loads(json.dumps(dataclasses.asdict(dataclasses.replace(plan, stores=StoresSpec()))))))
    return path


@pytest.fixture(scope="module")
def growthbook(live: Path) -> Path:
    folder = live.parent / "growthbook"
    exporting.export_live(live, "growthbook", folder, datasource="ds_1", assignment_query="q_1")
    return folder


def rows_of(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def log_of(live: Path) -> tuple[LiveReader, int]:
    reader = LiveReader(f"sqlite:///{live.parent / '.ragtrial' / 'ragtrial.db'}")
    return reader, reader.experiments()[0].live_id


def test_sums_and_counts_are_those_of_the_analysis(live: Path, growthbook: Path) -> None:
    plan = live_logs.experiment("split")
    reader, live_id = log_of(live)
    loaded = duckdb.connect()
    loaded.execute(f"CREATE TABLE ragtrial_exposures AS FROM read_parquet('{growthbook / 'exposures.parquet'}')")
    loaded.execute(f"CREATE TABLE ragtrial_scores AS FROM read_parquet('{growthbook / 'scores.parquet'}')")
    queries = [part.split("\n", 1)[1].strip().rstrip(";") for part in re.split(r"\n\n(?=--)", (growthbook / "growthbook.sql").read_text())]
    assert plan.live is not None
    with reader:
        exposure = reader.exposure(live_id, experiment=plan)
        loaded.execute(f"CREATE VIEW assigned AS {queries[0]}")
        loaded.execute(f"CREATE VIEW facts AS {queries[1]}")
        units = dict(loaded.execute("SELECT variation_id, COUNT(DISTINCT user_id) FROM assigned GROUP BY 1").fetchall())
        assert (units["baseline"], units["custom"]) == tuple(exposure.units.sum(axis=0))
        assert exposure.in_both == 0
        for name in plan.live.metrics.names:
            scores = reader.split_scores(live_id, name, experiment=plan)
            for arm, sums in (("baseline", scores.control), ("custom", scores.treatment)):
                wanted = "SELECT COALESCE(SUM(value), 0), COUNT(*) FROM facts JOIN assigned USING (user_id) WHERE metric = ? AND variation_id = ?"
                total, n = loaded.execute(wanted, [name, arm]).fetchone() or (None, None)
                assert n == sums.counts.sum(), (name, arm)
                assert total == pytest.approx(sums.totals.sum()), (name, arm)


def test_no_event_is_before_its_units_exposure(growthbook: Path) -> None:
    first = {row["user_id"]: row["timestamp"] for row in rows_of(growthbook / "exposures.csv")}
    assert all(row["timestamp"] >= first[row["user_id"]] for row in rows_of(growthbook / "scores.csv"))


def test_csv_and_parquet_say_the_same(growthbook: Path) -> None:
    for name in ("exposures", "scores"):
        table = pq.read_table(growthbook / f"{name}.parquet").to_pylist()
        text = rows_of(growthbook / f"{name}.csv")
        assert len(table) == len(text) > 0
        assert [row["user_id"] for row in table] == [row["user_id"] for row in text]
        assert [row["timestamp"].strftime("%Y-%m-%d %H:%M:%S.%f") for row in table] == [row["timestamp"] for row in text]
    assert [row["value"] for row in table] == [float(row["value"]) for row in text]


def test_units_leave_as_pseudonyms_and_no_text_leaves(live: Path, growthbook: Path) -> None:
    assert all(re.fullmatch(r"[0-9a-f]{32}", row["user_id"]) for row in rows_of(growthbook / "exposures.csv"))
    told = b"".join(path.read_bytes() for path in growthbook.iterdir() if path.suffix != ".parquet").decode()
    reader, live_id = log_of(live)
    with reader:
        trials = reader.recent(live_id, limit=20)
    texts = {text for trial in trials for text in (trial.query.text, trial.trial.answer and trial.trial.answer.text) if text}
    assert texts
    assert not [text for text in texts if text in told]


def test_what_is_left_out_is_counted_with_its_reason(live: Path, growthbook: Path) -> None:
    manifest = json.loads((growthbook / "manifest.json").read_text())
    counts = manifest["rows"]
    reader, live_id = log_of(live)
    with reader:
        scores = reader.split_scores(live_id, "nDCG@10", experiment=live_logs.experiment("split"))
    assert counts["left_out"]["nDCG@10"] == {"baseline": dict(scores.control.unscored), "custom": dict(scores.treatment.unscored)}
    assert counts["values"] == Counter(row["metric"] for row in rows_of(growthbook / "scores.csv"))


def test_the_bodies_for_growthbooks_api_have_what_it_documents(growthbook: Path) -> None:
    facts = json.loads((growthbook / "growthbook-facts.json").read_text())
    experiment = json.loads((growthbook / "growthbook-experiment.json").read_text())
    assert set(facts) == {"factTables", "factTableFilters", "factMetrics"}
    table = facts["factTables"][0]
    assert {"name", "datasource", "userIdTypes", "sql"} <= set(table["data"])
    assert table["data"]["datasource"] == experiment["datasourceId"] == "ds_1"
    filters = {each["id"]: each["data"]["value"] for each in facts["factTableFilters"]}
    ids = set()
    for metric in facts["factMetrics"]:
        assert re.fullmatch(r"fact__[-a-zA-Z0-9_]+", metric["id"])
        ids.add(metric["id"])
        data = metric["data"]
        assert (data["metricType"], data["numerator"]["factTableId"], data["denominator"]["column"]) == ("ratio", table["id"], "$$count")
        name = filters[data["numerator"]["filters"][0]].removeprefix("metric = '").removesuffix("'")
        assert data["inverse"] is not metric_named(name).higher_is_better
    assert {*experiment["metrics"], *experiment["secondaryMetrics"], *experiment["guardrailMetrics"]} == ids
    assert [each["key"] for each in experiment["variations"]] == ["baseline", "custom"]
    assert sum(each["weight"] for each in experiment["phases"][0]["trafficSplit"]) == pytest.approx(1)
    assert experiment["phases"][0]["dateStarted"] == "2027-01-15T08:00:00Z"  # START


def test_statsig_gets_whole_seconds_and_values_as_text(live: Path, tmp_path: Path) -> None:
    done = ragtrial_command("export", live, "--to", "statsig", "--output", tmp_path, "--json")
    assert done.code == 0, done.err
    told = json.loads(done.out)
    exposures, events = rows_of(tmp_path / "exposures.csv"), rows_of(tmp_path / "events.csv")
    assert (len(exposures), len(events)) == (told["n_exposures"], sum(told["n_values"].values()))
    assert list(exposures[0]) == ["unit_id", "timestamp", "occurred_at", "experiment_id", "group_id"]
    assert list(events[0]) == ["unit_id", "timestamp", "occurred_at", "experiment_id", "event_name", "event_value", "value"]
    assert all(START <= int(row["timestamp"]) < START + 4 * 86_400 for row in events)
    assert all(len(row["event_name"]) < 128 for row in events)
    assert str(pq.read_schema(tmp_path / "events.parquet").field("event_value").type) == "string"
    with duckdb.connect() as warehouse:  # Warehouse Native: what is named as its time can be cast to a timestamp, and sums are of numbers
        for table in ("exposures", "events"):
            warehouse.execute(f"CREATE TABLE ragtrial_statsig_{table} AS FROM '{tmp_path / table}.parquet'")
        for query in (tmp_path / "statsig.sql").read_text().split(";")[:2]:
            assert "Timestamp: occurred_at." in query
            when = warehouse.execute(query).fetchall()[0][1]
            assert START <= when.timestamp() < START + 4 * 86_400
            assert warehouse.execute(f"SELECT min(CAST(occurred_at AS TIMESTAMP)) FROM ({query})").fetchone() is not None  # noqa: S608 - our own file
        sums = warehouse.execute(f"SELECT event_name, SUM(value), COUNT(*) FROM ({query}) GROUP BY 1").fetchall()  # noqa: S608 - our own file
    assert {name: n for name, _, n in sums} == {name: n for name, n in told["n_values"].items() if n}
    assert sum(total for _, total, _ in sums) == pytest.approx(sum(float(row["event_value"]) for row in events))
    metrics = {row["name"]: row for row in json.loads((tmp_path / "statsig-metrics.json").read_text())}
    assert metrics["nDCG@10"]["role"] == "primary"
    assert metrics["latency_ms"]["direction"] == "decrease"


def test_the_same_export_gives_the_same_bytes(live: Path, growthbook: Path, tmp_path: Path) -> None:
    exporting.export_live(live, "growthbook", tmp_path, datasource="ds_1", assignment_query="q_1")
    for path in growthbook.iterdir():
        assert (tmp_path / path.name).read_bytes() == path.read_bytes(), path.name
    assert not list(tmp_path.glob(".export-*"))


@pytest.mark.parametrize("mode", ["shadow", "interleaved"])
def test_users_who_saw_both_arms_are_no_experiment_of_users(tmp_path: Path, mode: str) -> None:
    with pytest.raises(InputError, match="only mode split can be exported"):
        exporting.export_live(served(tmp_path, mode), "statsig", tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_no_text_is_a_formula_to_a_spreadsheet_and_a_negative_number_stays_one(tmp_path: Path) -> None:
    columns = [Column(name="arm", kind="text"), Column(name="value", kind="number")]
    assert write_table(tmp_path, "t", columns, [[("=HYPERLINK(1)", -0.5), ("@x", 1e-300)]]) == 2
    assert (tmp_path / "t.csv").read_text() == "arm,value\n'=HYPERLINK(1),-0.5\n'@x,1e-300\n"
    assert pq.read_table(tmp_path / "t.parquet").to_pylist()[0] == {"arm": "=HYPERLINK(1)", "value": -0.5}


def test_an_experiment_that_never_ran_is_told_how_to_run_it(tmp_path: Path, live: Path) -> None:
    done = ragtrial_command("export", live, "--to", "mlflow", "--tracking-uri", f"sqlite:///{tmp_path / 'm.db'}")
    assert done.code == 2
    assert "run ragtrial evaluate first" in done.err
