"""How each step of ragtrial grows with its load, on this machine, and what it grows by.

Each (step, size) is measured in a process of its own, beside its peer where it has one, and added to a file; the same command goes on
with what is missing. In the end: a table of times relative to the smallest size, the fitted exponent with its interval, what bounds it,
and a plot. No absolute time is claimed. All data are made up from a seed (see synthetic.py and ../growth_sql.py).

    python experiments/benchmarks/growth                                   # all of it: hours, and some 25 GiB
    python experiments/benchmarks/growth --sizes 1000,10000 --steps log,analyse
    python experiments/benchmarks/growth --report --docs docs/growth.md    # measures nothing
"""

import argparse
import contextlib
import dataclasses
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[3] / "tests"))
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from growth import docs, plan, postgres, results
from growth.plan import STEPS, Given
from ragtrial.errors import RagtrialError
from servers import milvus_server, postgres_server

REPOSITORY = Path(__file__).resolve().parents[3]
WORKER = Path(__file__).with_name("worker.py")
SPARE = 1.2
MILVUS, POSTGRES = ("index", "store-hnsw", "store-ivf", "evaluate"), ("evaluate", "log", "import", "analyse", "dashboard")
REPEATED = 10_000
_DIE_WITH_PARENT = "import ctypes, os, signal, sys; ctypes.CDLL(None).prctl(1, signal.SIGKILL); os.execv(sys.argv[1], sys.argv[1:])"
"""A worker doesn't outlive a run that is killed (PR_SET_PDEATHSIG), and its Milvus doesn't outlive the worker."""


def parsed(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    """What was asked for; ends the program with 2 where that is nothing that there is."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter, prog="growth")
    parser.add_argument(
        "--sizes", default=",".join(map(str, plan.SIZES)), help="separated by commas; each step leaves out what is too large for it"
    )
    parser.add_argument("--steps", default=",".join(plan.started()), help="separated by commas [default: all]")
    parser.add_argument("--out", type=Path, default=REPOSITORY / ".ragtrial" / "growth.jsonl", help="measurements, one JSON line each")
    parser.add_argument("--picture", type=Path, default=None, help="SVG or PNG to write; default: both, beside --out")
    parser.add_argument("--repeats", type=int, default=3, help=f"of sizes up to {REPEATED:,}; larger ones are measured once [default: 3]")
    parser.add_argument(
        "--scratch", type=Path, default=Path(tempfile.gettempdir()) / f"ragtrial-growth-{os.getuid()}", help="removed at the end"
    )
    parser.add_argument("--without-peers", action="store_true")
    parser.add_argument("--report", action="store_true", help="measure nothing; print and draw what is there")
    parser.add_argument(
        "--docs", type=Path, default=None, help="a page whose part between <!-- growth --> and <!-- /growth --> is written anew"
    )
    given = parser.parse_args(arguments)
    try:
        given.sizes = sorted({int(size.replace("_", "")) for size in given.sizes.split(",")})
    except ValueError:
        parser.error(f"--sizes {given.sizes!r}: give numbers separated by commas")
    given.steps = [step.strip() for step in given.steps.split(",")]
    unknown = sorted(set(given.steps) - set(plan.started()))
    if unknown:
        parser.error(f"--steps: {unknown[0]!r} is none: choose from {', '.join(plan.started())}")
    if given.sizes[0] < 1 or given.repeats < 1:
        parser.error("sizes and --repeats are at least 1")
    return given


def able(steps: list[str]) -> list[str]:
    """The steps whose servers are installed; says which are left out."""
    found = []
    for step in steps:
        why = (milvus_server.why_not() if step in MILVUS else None) or (postgres_server.why_not() if step in POSTGRES else None)
        if why:
            print(f"{step} is left out: {why}", flush=True)
        else:
            found.append(step)
    return found


def to_do(steps: list[str], sizes: list[int], repeats: int, done: list[results.Measured]) -> list[tuple[str, int, int]]:
    """What is still to be measured, in its order: by size, those that work on the filled database last."""
    there = {(each.step, each.size, each.repeat) for each in done}
    ordered = sorted(steps, key=lambda step: STEPS[step].database)
    wanted = [
        (step, size, repeat)
        for size in sizes
        for step in ordered
        if size <= STEPS[step].most
        for repeat in range(repeats if size <= REPEATED else 1)
    ]
    return [each for each in wanted if each not in there]


def require_disk(scratch: Path, missing: list[tuple[str, int, int]]) -> None:
    """Say what is needed, and end with 2 where that is not there."""
    needed = int(SPARE * max((plan.disk_needed([step], [size]) for step, size, _ in missing), default=0))
    there = next(folder for folder in (scratch, *scratch.parents) if folder.exists())
    free = shutil.disk_usage(there).free + (plan.disk_bytes(scratch) if scratch.exists() else 0)
    print(f"up to {needed / plan.GIB:.1f} GiB of disk are needed in {scratch}; {free / plan.GIB:.1f} GiB are free", flush=True)
    if needed > free:
        print("error: that is not enough: give smaller --sizes, fewer --steps, or another --scratch", file=sys.stderr)
        raise SystemExit(2)


def measure(given: Given, folder: Path) -> list[results.Measured]:
    """In a process of its own, which ends with this one."""
    shutil.rmtree(given.scratch, ignore_errors=True)
    given.scratch.mkdir(parents=True)
    found = folder / "found.json"
    told = json.dumps({**dataclasses.asdict(given), "scratch": str(given.scratch)})
    command = [sys.executable, str(WORKER), told, str(found)]
    if sys.platform == "linux":
        command = [sys.executable, "-c", _DIE_WITH_PARENT, *command]
    said = folder / "worker.log"
    with said.open("wb") as out, subprocess.Popen(command, stdout=out, stderr=out) as process:
        try:
            process.wait()
        finally:
            process.kill()
            shutil.rmtree(given.scratch, ignore_errors=True)
    if process.returncode:
        print(said.read_text(errors="replace")[-6_000:], file=sys.stderr)
        raise SystemExit(f"{given.step} at {given.size:,} ended with {process.returncode}; what was measured before is kept")
    return [results.Measured(**each) for each in json.loads(found.read_bytes())]


@contextlib.contextmanager
def workplace(scratch: Path) -> Iterator[Path]:
    """The scratch folder, removed at the end; of a run that was cut short it stays, so that what took long to fill is found again."""
    scratch.mkdir(parents=True, exist_ok=True)
    if scratch.stat().st_uid != os.getuid():
        raise SystemExit(f"error: {scratch} belongs to somebody else: give another --scratch")
    try:
        yield scratch
    except BaseException:
        print(f"{scratch} stays for the same command to go on with; remove it otherwise", file=sys.stderr)
        raise
    shutil.rmtree(scratch, ignore_errors=True)


def run(given: argparse.Namespace) -> None:
    """Measure what is missing."""
    done = results.read(given.out)
    results.require_one_machine(given.out, done)
    missing = to_do(able(given.steps), given.sizes, given.repeats, done)
    if not missing:
        print("everything is measured", flush=True)
        return
    require_disk(given.scratch, missing)
    with workplace(given.scratch) as scratch, contextlib.ExitStack() as stack:
        url = stack.enter_context(postgres.server(scratch / "postgres")) if any(step in POSTGRES for step, _, _ in missing) else ""
        for place, (step, size, repeat) in enumerate(missing, start=1):
            print(f"[{place} of {len(missing)}] {step} at {size:,}, repeat {repeat + 1}", flush=True)
            peer = not given.without_peers and 0 < size <= STEPS[step].peer_most
            asked = Given(step=step, size=size, repeat=repeat, with_peer=peer, scratch=scratch / "work", postgres=url)
            results.append(given.out, measure(asked, scratch))
            if STEPS[step].database and not any(later[1] == size and STEPS[later[0]].database for later in missing[place:]):
                postgres.drop_filled(url, size)


def main() -> None:
    """Measure, print, draw."""
    given = parsed()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    try:
        if not given.report:
            with results.only_writer(given.out):
                run(given)
        found = results.read(given.out)
        if not found:
            print(f"nothing is measured in {given.out} yet")
            return
        from growth import report  # with Altair, which measuring doesn't need

        pictures = [given.picture] if given.picture else [given.out.with_suffix(suffix) for suffix in (".svg", ".png")]
        drawn = [str(picture) for picture in pictures if report.draw(found, picture)]
        print(report.table(found))
        print(f"\n{' and '.join(drawn) or 'no picture (of one size)'} written; measured on {found[0].machine}")
        if given.docs is not None:
            docs.into_docs(given.docs, "growth", report.markdown(found))
    except RagtrialError as error:
        print(f"error: {error}", file=sys.stderr)
        raise SystemExit(2) from error


if __name__ == "__main__":
    main()
