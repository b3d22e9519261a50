"""What the benchmarks share: the data they run on, alternating runs, and ratios with their spread."""

import os
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path

os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")

REPOSITORY = Path(__file__).resolve().parents[2]
DATA = REPOSITORY / "data"


def data_set(name: str) -> Path:
    """The folder of a public data set; ends the program with a message where it is absent."""
    folder = DATA / name
    if not folder.is_dir():
        sys.exit(f"skipped: the data set {name!r} is not at {folder} (it is not part of the project; docs/measured.md says what it is)")
    return folder


def timed(work: Callable[[], object]) -> float:
    """Wall-clock seconds."""
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def ratios(ours: Callable[[], object], peer: Callable[[], object], *, repeats: int) -> list[float]:
    """Ours over the peer's seconds, measured in turn, who is first alternating."""
    found = []
    for repeat in range(repeats):
        if repeat % 2:
            theirs, own = timed(peer), timed(ours)
        else:
            own, theirs = timed(ours), timed(peer)
        found.append(own / theirs)
        print(f"  run {repeat + 1}: ours {own:.2f} s, peer {theirs:.2f} s, ratio {own / theirs:.3f}", flush=True)
    return found


def say(name: str, values: list[float], *, at_most: float) -> None:
    """The ratio and its goal."""
    middle = statistics.median(values)
    print(f"{name}: median ratio {middle:.3f} (from {min(values):.3f} to {max(values):.3f}; goal: at most {at_most})")
