"""Files: all or the old ones, and every trial with its scores or the reason why there are none."""

import math
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
from junitparser import JUnitXml

from ragtrial.errors import SetupError
from ragtrial.report.content import ReportContent
from ragtrial.report.files import write_reports
from ragtrial.report.junit import as_junit
from unit.report import samples

NAMES = {"report.html", "report.json", "report.md", "junit.xml", "trials.parquet"}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory, content: ReportContent) -> Path:
    made = tmp_path_factory.mktemp("reports") / "deep" / "down"
    paths = write_reports(made, content)
    assert paths == {name: made / name for name in NAMES}
    return made


def test_every_report_is_there_and_nothing_else(folder: Path) -> None:
    assert {path.name for path in folder.iterdir()} == NAMES
    assert all(path.stat().st_mode & 0o044 == 0o044 for path in folder.iterdir())


def test_files_of_others_in_the_folder_stay(tmp_path: Path, content: ReportContent) -> None:
    (tmp_path / "baseline.run").write_text("mine")
    (tmp_path / "report.md").write_text("old")
    write_reports(tmp_path, content)
    assert (tmp_path / "baseline.run").read_text() == "mine"
    assert (tmp_path / "report.md").read_text(encoding="utf-8").startswith("## Adopt custom")


def _unwritable(tmp_path: Path) -> Iterator[Path]:
    taken = tmp_path / "a file"
    taken.write_text("mine")
    yield taken
    yield taken / "below"
    yield Path("/proc/ragtrial-reports")
    if os.geteuid() != 0:  # root writes anywhere
        closed = tmp_path / "closed"
        closed.mkdir(mode=0o500)
        yield closed


def test_a_folder_that_cannot_be_written_is_a_setup_error_that_names_it(tmp_path: Path, content: ReportContent) -> None:
    for folder in _unwritable(tmp_path):
        with pytest.raises(SetupError, match="give a folder that can be written to") as caught:
            write_reports(folder, content)
        assert repr(str(folder)) in str(caught.value)


def test_a_full_disk_leaves_the_old_reports_and_no_half_of_the_new(tmp_path: Path, content: ReportContent) -> None:
    resource = pytest.importorskip("resource")
    old = {name: f"old {name}" for name in NAMES}
    for name, text in old.items():
        (tmp_path / name).write_text(text)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    before = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (40_000, hard))  # report.html is larger: its write fails as on a full disk
    try:
        with pytest.raises(SetupError):
            write_reports(tmp_path, content)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        signal.signal(signal.SIGXFSZ, before)
    assert {path.name: path.read_text() for path in tmp_path.iterdir()} == old


def test_every_trial_is_a_row_with_its_scores_or_their_reasons(folder: Path, content: ReportContent) -> None:
    rows: list[dict[str, Any]] = pq.read_table(folder / "trials.parquet").to_pylist()
    assert [(row["arm"], row["query_id"], row["repetition"]) for row in rows] == [(t.arm, t.query_id, t.repetition) for t in content.trials]
    for name, table in content.tables.items():
        assert all((row[name] is None) == (row[f"{name} unscored"] is not None) for row in rows)
        mine = [row[name] for row in rows if row["arm"] == "custom" and row[name] is not None]
        values = table.per_query("custom")
        assert math.fsum(mine) == pytest.approx(float(np.nansum(values)))
    dropped = next(row for row in rows if row["arm"] == "custom" and row["query_id"] == "q040")
    assert (dropped["nDCG@10"], dropped["answer_f1"], dropped["answer_f1 unscored"]) == (0.0, None, "failed: search")
    assert (dropped["failure_kind"], dropped["passage_ids"], dropped["timing.embed_ms"]) == ("StoreError", None, None)
    floor = next(row for row in rows if row["arm"] == "shuffled-context")
    assert (floor["nDCG@10"], floor["nDCG@10 unscored"]) == (None, "not scored for this line")


def test_repetitions_keep_their_own_scores(tmp_path: Path) -> None:
    content = samples.build(n=110, repetitions=2)
    write_reports(tmp_path, content)
    rows = pq.read_table(tmp_path / "trials.parquet").to_pylist()
    timed = [row for row in rows if row["arm"] == "custom" and row["latency_ms"] is not None]
    assert {row["repetition"] for row in timed} == {0}
    assert all(
        row["latency_ms"] == pytest.approx(row["timing.embed_ms"] + row["timing.search_ms"] + row["timing.generate_ms"]) for row in timed
    )


def test_ci_sees_a_case_for_the_gate_each_guardrail_and_each_check(folder: Path, content: ReportContent) -> None:
    cases = [case for suite in JUnitXml.fromfile(str(folder / "junit.xml")) for case in suite]
    names = ["gate: adopt", "latency_ms", *(check.name for check in content.analysis.checks)]
    assert [case.name for case in cases] == names
    assert all(case.is_passed for case in cases)


def test_ci_sees_what_fails_and_what_is_not_known(tmp_path: Path) -> None:
    for options, failed, skipped in (
        ({"parity": False, "n": 120}, {"gate: adopt", "parity"}, set()),
        ({"guardrail": 0.005, "lift": 0.0}, {"gate: adopt", "latency_ms"}, set()),
        ({"same": True, "n": 120}, {"gate: adopt"}, set()),
    ):
        made = samples.build(**options)  # type: ignore[arg-type]  # forwarded by keyword
        path = tmp_path / "junit.xml"
        path.write_bytes(as_junit(made))
        cases = [case for suite in JUnitXml.fromfile(str(path)) for case in suite]
        assert {case.name for case in cases if case.is_failure} == failed
        assert {case.name for case in cases if case.is_skipped} == skipped


def test_importing_the_reports_pulls_in_nothing_heavy() -> None:
    heavy = "{'altair', 'vl_convert', 'pyarrow', 'pandas', 'jinja2'}"
    code = f"import sys; import ragtrial.report.files, ragtrial.report.terminal; print(sorted({heavy} & set(sys.modules)))"
    path = os.pathsep.join(sys.path)
    found = subprocess.run([sys.executable, "-c", code], env={**os.environ, "PYTHONPATH": path}, capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "[]"
