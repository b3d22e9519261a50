"""The growth benchmark: its fit, its arithmetic on paper, and a run that is killed and goes on."""

import json
import math
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from ragtrial.errors import InputError
from servers import postgres_server

REPOSITORY = Path(__file__).resolve().parents[2]
GROWTH = REPOSITORY / "experiments" / "benchmarks" / "growth"
sys.path.append(str(GROWTH.parent))

from growth import docs, fitting, paper, plan, results  # type: ignore[import-not-found]  # noqa: E402


def test_the_fit_recovers_a_known_exponent_and_its_interval_holds_it_as_often_as_it_says() -> None:
    rng, sizes, held = np.random.default_rng(1), [10**n for n in range(3, 8)], 0
    exact = fitting.fit((size, 3e-4 * size**0.8) for size in sizes)
    assert exact.exponent == pytest.approx(0.8)
    assert exact.at(10**6) == pytest.approx(3e-4 * 10**4.8)
    for _ in range(400):
        found = fitting.fit((size, size**0.8 * math.exp(rng.normal(0, 0.1))) for size in sizes)
        held += found.low <= 0.8 <= found.high
    assert 0.92 <= held / 400 <= 0.98  # 0.95 +- 2.75 standard errors


def test_repeats_of_a_size_count_once_and_two_sizes_have_no_interval() -> None:
    found = fitting.fit([(10, 1.0), (10, 1.0), (10, 99.0), (1000, 10.0)])  # the median of the first three is 1
    assert found.exponent == pytest.approx(0.5)
    assert found.low is None
    assert fitting.fit([(10, 1.0), (10, 2.0)]) is None


def test_the_paper_computes_what_its_formulae_say() -> None:
    x = paper.changed(
        paper.inputs(),
        [
            *("passages=1e6", "arms=2", "dimension=128", "text_bytes=1000", "replicas=2", "texts_in_memory=1", "swap=1"),
            *(
                "embed_per_core_s=100",
                "embed_within_h=2",
                "core_hour=0.1",
                "queries_per_s=100",
                "call_cpu_ms=1",
                "busy=0.5",
                "node_cores=4",
            ),
            *(
                "segment_gib=0.5",
                "measured_segment_gib=0.5",
                "search_cpu_ms=3",
                "search_passages=1048576",
                "search_exponent=0",
                "node_gib=4",
            ),
            *("logged_share=0.5", "retention_days=10", "trial_bytes=1000", "wal_factor=2", "request_cpu_ms=20", "api_cores=2"),
            *("ivf_cpu_ms=64", "ivf_nlist=128", "ivf_nprobe=8", "gib_hour=0.01", "nvme_gib_month=0.1", "object_gib_month=0.02"),
        ],
    )
    found = {line.formula.partition(" = ")[0]: line.value for line in paper.lines(x)}
    assert found["cpu_h"] == pytest.approx(2e6 / 100 / 3600)
    assert found["cpu_cores"] == 3  # 5.56 core hours in 2
    assert found["segments"] == 1  # 512 MB of vectors, of 2^29 bytes: 1,048,576 passages
    assert found["hnsw_ms"] == pytest.approx(1 + 3)
    assert found["hnsw_cores"] == 1  # 100 queries of 4 ms are 0.4 cores, half busy: 0.8
    assert found["ivf_ms"] == pytest.approx(1 + 64 * 8 / 128)  # a sixteenth of a million codes
    assert found["rows_day"] == 50 * 86_400
    assert found["log_tib"] == pytest.approx(50 * 86_400 * 10 * 1000 * 2 / 2**40)
    assert found["serve_cores"] == 4  # 100 x 20 ms = 2 cores, half busy
    assert found["api_replicas"] == 2
    hnsw = next(store for store in paper.stores(x) if store.name == "HNSW")
    # a vector: 4 x 128 + links 4 (2 x 16 + 16 / 15) + 12 = 656.27 bytes, and 1,000 of text; 2 arms x 2 replicas and 2 for the swap; x 1.2 / 0.9
    assert hnsw.memory == pytest.approx(1e6 * (656.2667 + 1000) * 6 * 4 / 3, rel=1e-6)
    assert hnsw.local == 0  # texts are in memory
    assert hnsw.objects == pytest.approx(2 * 1e6 * (512 + 1000 + 656.2667), rel=1e-6)
    assert hnsw.nodes == 4  # 12.34 GiB on nodes of 4
    assert hnsw.month == pytest.approx(730 * 4 * (4 * 0.01 + 4 * 0.1) + hnsw.objects / 2**30 * 0.02)


def test_what_is_measured_takes_the_place_of_an_assumption_and_says_so() -> None:
    run = [
        results.Measured(step="log", size=size, repeat=0, seconds=1.0, detail={"trials_per_s": float(size)}, machine="m")
        for size in (10, 100)
    ]
    found = paper.from_run(paper.inputs(), run)
    assert (found["log_per_s"].value, found["log_per_s"].kind) == (100.0, "measured")
    assert found["request_cpu_ms"] == paper.inputs()["request_cpu_ms"]


@pytest.mark.parametrize("told", ["passages=0", "passages=many", "passages=inf", "pasages=1", "busy=-1"])
def test_an_input_that_is_none_is_refused(told: str) -> None:
    with pytest.raises(InputError, match="--set"):
        paper.changed(paper.inputs(), [told])


def test_a_line_that_a_kill_left_unfinished_is_cut_off_and_another_machine_is_refused(tmp_path: Path) -> None:
    path, one = tmp_path / "growth.jsonl", results.Measured(step="log", size=10, repeat=0, seconds=1.0, machine="another")
    results.append(path, [one])
    with path.open("ab") as file:
        file.write(b'{"step": "lo')
    assert results.read(path) == [one]
    results.append(path, [results.Measured(step="log", size=20, repeat=0, seconds=2.0, machine="another")])
    assert [each.size for each in results.read(path)] == [10, 20]
    with pytest.raises(InputError, match="was measured on another"):
        results.require_one_machine(path, results.read(path))


def test_a_page_without_the_marks_is_refused_and_one_with_them_keeps_the_rest(tmp_path: Path) -> None:
    page = tmp_path / "growth.md"
    page.write_text("before\n<!-- growth -->\nold\n<!-- /growth -->\nafter\n", encoding="utf-8")
    docs.into_docs(page, "growth", r"new \1")
    assert page.read_text(encoding="utf-8") == "before\n<!-- growth -->\nnew \\1\n<!-- /growth -->\nafter\n"
    with pytest.raises(InputError, match="paper"):
        docs.into_docs(page, "paper", "new")


def test_the_disk_for_ten_million_trials_is_said_by_the_larger_of_what_stands_side_by_side() -> None:
    analyse, log = plan.STEPS["analyse"], plan.STEPS["log"]
    assert plan.disk_needed(["analyse", "log"], [10_000_000]) == analyse.fixed_disk + 10_000_000 * analyse.disk  # log ends at 100,000
    assert plan.disk_needed(["log"], [1_000, 100_000]) == log.fixed_disk + 100_000 * log.disk


@pytest.fixture
def short() -> Iterator[Path]:
    """A folder with a short path that holds nothing else, for the server's socket and its user."""
    with tempfile.TemporaryDirectory(prefix="rtg-") as folder:
        yield Path(folder)


@pytest.mark.skipif(postgres_server.why_not() is not None, reason=str(postgres_server.why_not()))
def test_a_run_that_is_killed_goes_on_with_what_is_missing_and_cleans_up(short: Path) -> None:
    out, scratch = short / "growth.jsonl", short / "scratch"
    command = [
        sys.executable,
        str(GROWTH),
        "--steps",
        "log",
        "--repeats",
        "1",
        "--without-peers",
        "--out",
        str(out),
        "--scratch",
        str(scratch),
    ]
    killed = subprocess.Popen([*command, "--sizes", "32,64,100000"], stdout=subprocess.DEVNULL)
    end = time.monotonic() + 120
    while len(results.read(out)) < 1 and time.monotonic() < end and killed.poll() is None:
        time.sleep(0.02)
    killed.send_signal(signal.SIGKILL)
    killed.wait()
    before = results.read(out)
    assert [(each.step, each.size) for each in before] == [("log", 32)]
    assert scratch.exists()
    ended = subprocess.run([*command, "--sizes", "32,64"], check=False, capture_output=True, text=True, timeout=120)
    assert ended.returncode == 0, ended.stderr
    assert "log at 64" in ended.stdout
    assert "log at 32" not in ended.stdout
    after = results.read(out)
    assert [each.size for each in after] == [32, 64]
    assert after[0] == before[0]
    assert not scratch.exists()
    assert "two sizes" in ended.stdout
    assert out.with_suffix(".svg").read_text(encoding="utf-8").startswith("<svg")
    assert json.loads(out.read_text(encoding="utf-8").splitlines()[1])["size"] == 64


def test_too_little_disk_is_refused_before_anything_is_started(short: Path) -> None:
    asked = ["growth", "--steps", "analyse", "--sizes", "10000000", "--out", f"{short}/o.jsonl", "--scratch", f"{short}/s"]
    source = (
        f"import runpy, shutil, sys; sys.argv = {asked!r}; shutil.disk_usage = lambda _: type('Usage', (), {{'free': 10}})(); "
        f"runpy.run_path({str(GROWTH / '__main__.py')!r}, run_name='__main__')"
    )
    ended = subprocess.run([sys.executable, "-c", source], check=False, capture_output=True, text=True, timeout=60)
    assert ended.returncode == 2
    assert "that is not enough" in ended.stderr
    assert "GiB of disk are needed" in ended.stdout
