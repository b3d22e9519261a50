"""Time and memory of the sign-flip test and the bootstrap interval, beside the usual ways to compute them.

Every way runs in a fresh Python process on the same simulated differences (half of them 0, the rest bounded, as those of nDCG are). Its
libraries are imported before the clock starts; memory is the growth of the process's peak over what it held at that moment.

    python experiments/benchmarks/bench_statistics.py
    python experiments/benchmarks/bench_statistics.py --queries 2000 --ways ragtrial scipy
"""

import argparse
import json
import os
import resource
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "platform"))

Values = NDArray[np.float64]
SECONDS_ALLOWED, MEGABYTES_ALLOWED = 1.5, 200.0


class Outcome(NamedTuple):
    """What both methods gave, so that one sees that the ways agree."""

    p_value: float
    low: float
    high: float


def example_differences(n: int) -> Values:
    """nDCG-like differences: half exactly 0, the rest in [-1, 1], of mean about 0.003."""
    rng = np.random.default_rng(20_240_607)
    return np.where(rng.random(n) < 0.5, 0.0, np.clip(rng.gamma(2.0, 0.15, n) * rng.choice([-1.0, 1.0], n) + 0.006, -1.0, 1.0))


def prepare_ragtrial() -> Callable[[Values, int], Outcome]:
    """The functions that the analysis calls."""
    from ragtrial.stats.bootstrap import bootstrap_mean
    from ragtrial.stats.permutation import sign_flip

    def run(differences: Values, resamples: int) -> Outcome:
        p_value = sign_flip(differences, resamples=resamples, rng=np.random.default_rng(1)).p_value
        low, high = bootstrap_mean(differences, alpha=0.05, resamples=resamples, rng=np.random.default_rng(2))
        return Outcome(p_value, low, high)

    return run


def prepare_matrix() -> Callable[[Values, int], Outcome]:
    """All resamples as one matrix, as evaluation libraries and notebooks often do."""

    def run(differences: Values, resamples: int) -> Outcome:
        rng, shape = np.random.default_rng(1), (resamples, differences.size)
        flipped = (rng.choice([-1, 1], size=shape) * differences).mean(axis=1)
        p_value = (1 + np.count_nonzero(np.abs(flipped) >= abs(differences.mean()))) / (resamples + 1)
        means = differences[rng.integers(0, differences.size, size=shape)].mean(axis=1)
        return Outcome(p_value, *np.quantile(means, [0.025, 0.975]))

    return run


def prepare_loop() -> Callable[[Values, int], Outcome]:
    """One resample at a time in a Python loop."""

    def run(differences: Values, resamples: int) -> Outcome:
        rng, n = np.random.default_rng(1), differences.size
        flipped = np.array([(differences * rng.choice([-1, 1], size=n)).mean() for _ in range(resamples)])
        p_value = (1 + np.count_nonzero(np.abs(flipped) >= abs(differences.mean()))) / (resamples + 1)
        means = [rng.choice(differences, size=n).mean() for _ in range(resamples)]
        return Outcome(p_value, *np.quantile(means, [0.025, 0.975]))

    return run


def prepare_scipy() -> Callable[[Values, int], Outcome]:
    """scipy.stats.permutation_test and scipy.stats.bootstrap, vectorised, 100 resamples at once."""
    from scipy import stats

    def run(differences: Values, resamples: int) -> Outcome:
        options = {"n_resamples": resamples, "batch": 100, "vectorized": True}
        test = stats.permutation_test((differences,), np.mean, permutation_type="samples", rng=np.random.default_rng(1), **options)
        resampled = stats.bootstrap((differences,), np.mean, method="percentile", rng=np.random.default_rng(2), **options)
        return Outcome(float(test.pvalue), *resampled.confidence_interval)

    return run


WAYS: dict[str, Callable[[], Callable[[Values, int], Outcome]]] = {
    "ragtrial": prepare_ragtrial,
    "loop": prepare_loop,
    "matrix": prepare_matrix,
    "scipy": prepare_scipy,
}


def memory_kib(field: str) -> int:
    """A field of this process's memory account (`VmRSS` now, `VmHWM` at its peak) in KiB; the peak from rusage where there is no /proc."""
    status = Path("/proc/self/status")
    if not status.is_file():
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // (1024 if sys.platform == "darwin" else 1)
    return next(int(line.split()[1]) for line in status.read_text().splitlines() if line.startswith(f"{field}:"))


def measure(way: str, n: int, resamples: int) -> dict[str, float]:
    """Seconds, growth of the peak in MB, and the outcome, of one way in this process."""
    run, differences = WAYS[way](), example_differences(n)
    before = memory_kib("VmRSS")
    start = time.perf_counter()
    outcome = run(differences, resamples)
    seconds = time.perf_counter() - start
    return {"seconds": seconds, "megabytes": (memory_kib("VmHWM") - before) * 1024 / 1e6, **outcome._asdict()}


def measure_apart(way: str, n: int, resamples: int, repeats: int) -> dict[str, float]:
    """The fastest of some fresh processes, with the largest memory of them."""
    command = [sys.executable, __file__, "--queries", str(n), "--resamples", str(resamples), "--in-this-process", way]
    environment = {**os.environ, "OMP_NUM_THREADS": os.environ.get("OMP_NUM_THREADS", "1")}
    runs = [json.loads(subprocess.run(command, check=True, capture_output=True, env=environment).stdout) for _ in range(repeats)]
    return {**min(runs, key=lambda run: run["seconds"]), "megabytes": max(run["megabytes"] for run in runs)}


def print_table(results: dict[str, dict[str, float]], n: int, resamples: int) -> None:
    """The ways, one a row, with their ratios to ragtrial's."""
    ours = results["ragtrial"]
    print(f"sign-flip p and percentile bootstrap interval: {resamples:,} resamples of {n:,} queries\n")
    print(f"{'way':10}{'seconds':>9}{'times ours':>12}{'peak + MB':>11}{'times ours':>12}{'p':>10}   95 % interval")
    for way, run in results.items():
        print(
            f"{way:10}{run['seconds']:9.2f}{run['seconds'] / ours['seconds']:12.1f}{run['megabytes']:11.0f}"
            f"{run['megabytes'] / ours['megabytes']:12.1f}{run['p_value']:10.4f}   [{run['low']:+.5f}, {run['high']:+.5f}]"
        )


def main() -> int:
    """Measures, prints, and returns 1 where ragtrial is over its limits."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--queries", type=int, default=10_000, help="queries, each with one difference (default 10,000)")
    parser.add_argument("--resamples", type=int, default=10_000, help="resamples of each method (default 10,000)")
    parser.add_argument("--repeats", type=int, default=1, help="fresh processes for each way, the fastest counts (default 1)")
    parser.add_argument("--ways", nargs="+", choices=list(WAYS), default=list(WAYS), help="which ways to run; 'matrix' needs 1.6 GB")
    parser.add_argument("--in-this-process", choices=list(WAYS), help="measure one way here and print JSON")
    arguments = parser.parse_args()
    if arguments.in_this_process:
        print(json.dumps(measure(arguments.in_this_process, arguments.queries, arguments.resamples)))
        return 0
    ways = ["ragtrial", *(way for way in arguments.ways if way != "ragtrial")]
    results = {way: measure_apart(way, arguments.queries, arguments.resamples, arguments.repeats) for way in ways}
    print_table(results, arguments.queries, arguments.resamples)
    ours = results["ragtrial"]
    held = ours["seconds"] < SECONDS_ALLOWED and ours["megabytes"] < MEGABYTES_ALLOWED
    print(f"\nlimits for ragtrial at 10,000 x 10,000: {SECONDS_ALLOWED} s and {MEGABYTES_ALLOWED:.0f} MB: {'held' if held else 'MISSED'}")
    return 0 if held else 1


if __name__ == "__main__":
    sys.exit(main())
