"""The self-test as a whole: the control, each fault, A/A runs, and what came of all that."""

import contextlib
import json
import logging
import multiprocessing
import os
import signal
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import asdict, dataclass, field
from pathlib import Path
from statistics import fmean
from typing import TextIO

from ragtrial import __version__
from ragtrial.contracts import Progress, no_progress
from ragtrial.domain.selftest import N_RATES, SELF_TEST_LEVEL, ControlFound, Design, FaultInfo, NullRuns, Rate, SelfTest, Tried
from ragtrial.errors import InputError, SetupError
from ragtrial.formats.experiment import load_experiment
from ragtrial.settings import Settings
from ragtrial.stats.binary import clopper_pearson, least_excess
from ragtrial.suite.selftest.driving import Look
from ragtrial.suite.selftest.live_faults import LIVE_FAULTS, Known, drive_control, try_live
from ragtrial.suite.selftest.material import gather, live_trials
from ragtrial.suite.selftest.null_runs import LOOKS, Chunk, NullRun, chunks_of, run_chunk
from ragtrial.suite.selftest.offline_faults import OFFLINE_FAULTS, try_offline
from ragtrial.suite.selftest.world import World, world

PEEKING = FaultInfo(
    name="peeking",
    planted="somebody looks at every step of an A/A, and would stop at the first p < alpha",
    guard="always-valid intervals, and one planned look",
)
FAULTS = (*(fault.info for fault in LIVE_FAULTS), *(fault.info for fault in OFFLINE_FAULTS), PEEKING)
"""Every fault, in the order in which they are tried."""

DEFAULT_AA_RUNS = 200
"""Enough that who peeks is found out in most self-tests."""
LEVEL = 0.05
"""1 less the coverage of the intervals that are shown."""
_CHUNK = 5
_FORM = 2
_DESIGNS: tuple[Design, ...] = ("live", "paired")


@dataclass(frozen=True, slots=True, kw_only=True)
class SelfTestPlan:
    """What is tried.

    Attributes:
        only: Names of faults; empty: all.
        aa_runs: A/A runs of each design; 0: none.
        aa_file: Where each A/A run is kept, and taken from: a later run with the same seed, alpha and stores goes on. None: nowhere.
        processes: That do A/A runs side by side; None: one for each core, at most four.
        seed: Where every random step comes from.

    Raises:
        InputError: There is no such fault, or a number that can't be.
    """

    only: tuple[str, ...] = ()
    aa_runs: int = DEFAULT_AA_RUNS
    aa_file: Path | None = None
    processes: int | None = None
    seed: int = 7

    def __post_init__(self) -> None:
        known = [info.name for info in FAULTS]
        strange = [name for name in self.only if name not in known]
        if strange:
            raise InputError(f"--only {strange[0]!r}: there is no such fault; give {', '.join(known)}")
        if self.aa_runs < 0 or (self.processes is not None and self.processes < 1) or self.seed < 0:
            raise InputError("--aa-runs and --seed are 0 or more, --processes at least 1")
        if "peeking" in self.only and not self.aa_runs:
            raise InputError("--only peeking needs A/A runs: give --aa-runs")

    def wants(self, name: str) -> bool:
        """Whether this fault is tried."""
        return not self.only or name in self.only


def self_test(experiment: Path | None, plan: SelfTestPlan, settings: Settings, *, progress: Progress = no_progress) -> SelfTest:
    """Plant each fault into a simulated experiment, and see what catches it.

    Args:
        experiment: On whose stores, in scratch collections and a scratch database; None: SQLite and Milvus Lite in a temporary folder.
        plan: What is tried.
        settings: The environment.
        progress: Told how far it is.

    Raises:
        RagtrialError: A store is out of reach, or the file is faulty. Nothing stays behind.
    """
    begin = time.monotonic()
    file = None if experiment is None else load_experiment(experiment, settings)
    with world(file, settings, seed=plan.seed) as made, _quiet():
        return _tested(made, plan, _Kept.read(plan, alpha=made.alpha, stores=made.shown), progress, begin)


def _tested(made: World, plan: SelfTestPlan, done: "_Kept", progress: Progress, begin: float) -> SelfTest:
    wanted = [info for info in FAULTS if plan.wants(info.name)]
    advance = progress("faults planted, the control first", 1 + len(wanted))
    control, live_id, known = _control(made)
    advance(1)
    tried: list[Tried] = []
    for live in (fault for fault in LIVE_FAULTS if plan.wants(fault.info.name)):
        tried.append(try_live(made, live, known))
        advance(1)
    for offline in (fault for fault in OFFLINE_FAULTS if plan.wants(fault.info.name)):
        tried.append(try_offline(made, offline))
        advance(1)
    null_runs: tuple[NullRuns, ...] = ()
    if plan.aa_runs and plan.wants("peeking"):
        since = time.monotonic()
        null_runs = _null_runs(made, plan, done, gather(made, live_id), progress)
        tried.append(_peeking(next(each for each in null_runs if each.design == "live"), time.monotonic() - since))
        advance(1)
    return SelfTest(
        seed=plan.seed,
        stores=made.shown,
        tried=tuple(tried),
        control=control,
        null_runs=null_runs,
        seconds=time.monotonic() - begin,
    )


def _control(made: World) -> tuple[ControlFound, int, Known]:
    """The experiment without a fault, its number, and what it has shown."""
    begin, waited, easy = time.monotonic(), list[float](), list[str]()

    def inspect(look: Look) -> None:
        waited.extend(trial.waited_ms for trial, _ in live_trials(look.reader, look.live_id)[1])
        easy.append(max((pair for pairs in look.told.scores.values() for pair in pairs), key=lambda pair: (pair[1], pair[0]))[0])

    driven = drive_control(made, inspect)
    if driven.last is None or not waited:
        raise SetupError("the simulated experiment has no queries: please report this")
    gold = made.prepared(made.folder / "control.yaml").gold
    analysis = driven.last.analysis
    alarms = [f"{name} after {n:,} queries: {sentence}" for name, (n, sentence) in driven.found.items()]
    alarms += [f"{check.name}: {check.detail}" for check in analysis.checks if check.state == "fail"]
    if driven.last.traffic.stopped:
        alarms.append(f"stopped by {driven.last.traffic.actor}: {driven.last.traffic.reason}")
    found = ControlFound(
        asked=driven.n,
        looks=driven.n_looks,
        alarms=tuple(alarms),
        sentence=analysis.verdict.sentence,
        seconds=time.monotonic() - begin,
    )
    known = Known(easy=next(query.text for query in gold.queries if query.query_id == easy[-1]), waited_s=fmean(waited) / 1000)
    return found, driven.last.live_id, known


def _null_runs(made: World, plan: SelfTestPlan, done: "_Kept", material: Path, progress: Progress) -> tuple[NullRuns, ...]:
    """The A/A runs that are not done yet, in processes of their own; then all of them, summed up."""
    missing = {design: [number for number in range(plan.aa_runs) if (design, number) not in done.runs] for design in _DESIGNS}
    processes = plan.processes or min(4, os.cpu_count() or 1)
    size = max(1, min(_CHUNK, -(-plan.aa_runs // processes)))
    chunks = [
        chunk
        for design in _DESIGNS
        for chunk in chunks_of(
            design,
            missing[design],
            seed=plan.seed,
            material=material,
            beside=made.beside,
            token=made.token,
            folder=made.folder,
            size=size,
        )
    ]
    advance = progress("A/A runs of the whole chain", len(_DESIGNS) * plan.aa_runs)
    advance(sum(plan.aa_runs - len(numbers) for numbers in missing.values()))
    with done.appending() as keep:
        for runs in _done(chunks, processes):
            keep(runs)
            advance(len(runs))
    return tuple(_summed(design, [done.runs[design, number] for number in range(plan.aa_runs)], made.alpha) for design in _DESIGNS)


def _done(chunks: Sequence[Chunk], processes: int) -> Iterator[tuple[NullRun, ...]]:
    """Each chunk's runs as they come."""
    if processes == 1 or len(chunks) < 2:
        yield from map(run_chunk, chunks)
        return
    # spawned and not forked: this process has threads of Milvus and SQL, which a fork would copy in the middle of what they do
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(processes, mp_context=context, initializer=_alone) as pool:
        waiting = [pool.submit(run_chunk, chunk) for chunk in chunks]
        try:
            for each in as_completed(waiting):
                yield each.result()
        finally:
            for each in waiting:
                each.cancel()


def _alone() -> None:
    """A process among several: no more than one thread in numerical libraries, and Ctrl-C is the parent's affair."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    logging.getLogger("ragtrial").setLevel(logging.ERROR)


def _summed(design: Design, runs: Sequence[NullRun], alpha: float) -> NullRuns:
    def rate(name: str) -> Rate:
        n = sum(getattr(run, name) for run in runs)
        share = clopper_pearson(n, len(runs), alpha=LEVEL)
        fails_from = least_excess(len(runs), alpha, alpha=SELF_TEST_LEVEL / N_RATES)
        return Rate(n=n, of=len(runs), low=share.low, high=share.high, fails_from=fails_from)

    return NullRuns(
        design=design,
        looks=LOOKS[design],
        verdicts=rate("verdict"),
        refused=rate("refused"),
        stopped=rate("stopped") if design == "live" else None,
        naive=rate("naive"),
        alpha=alpha,
    )


def _peeking(live: NullRuns, seconds: float) -> Tried:
    """Caught where looking at every step decides no more often than the plan allows, and a test for one look is shown to do so.

    Few runs show neither: where who peeks with a test for one look would pass the same test, nothing can be told.
    """
    n, verdicts, naive = live.verdicts.of, live.verdicts, live.naive
    sentence = (
        f"{verdicts.n:,} false verdicts in {n:,} A/A runs with {live.looks} looks each ({verdicts.low:.1%} to {verdicts.high:.1%}; "
        f"{live.alpha:.0%} are allowed); p < {live.alpha:g} of a test for one look would have been found in {naive.n:,}"
    )
    told, kept = not (verdicts.ok and naive.ok), verdicts.ok and not naive.ok
    if not told:
        sentence = f"too few A/A runs to tell, give more (--aa-runs {2 * max(n, DEFAULT_AA_RUNS)}): {sentence}, and shows from {naive.fails_from:,} on"
    return Tried(
        fault=PEEKING,
        sentence=sentence if kept else None,
        after=n if kept else None,
        asked=n,
        counted="runs",
        also="" if kept else sentence,
        told=told,
        seconds=seconds,
    )


@dataclass(kw_only=True)
class _Kept:
    """A/A runs that were done before, and a file that they are kept in.

    A line that was being written when the process was killed is left out, and its runs are done again.
    """

    head: str
    path: Path | None = None
    runs: dict[tuple[Design, int], NullRun] = field(default_factory=dict)

    @classmethod
    def read(cls, plan: SelfTestPlan, *, alpha: float, stores: tuple[str, str]) -> "_Kept":
        """What the plan's file holds.

        Args:
            plan: Names the file.
            alpha: Of the runs to come; those of another one have other verdicts.
            stores: Where they run, as `World.shown`.

        Raises:
            InputError: It holds runs of another seed, alpha, version or other stores, or is no such file.
        """
        head = json.dumps({"form": _FORM, "seed": plan.seed, "alpha": alpha, "stores": list(stores), "ragtrial": __version__})
        kept = cls(head=head, path=plan.aa_file)
        if plan.aa_file is None or not plan.aa_file.exists() or not plan.aa_file.stat().st_size:
            return kept
        first, *lines = plan.aa_file.read_text(encoding="utf-8", errors="replace").splitlines()
        if first != head:
            raise InputError(f"--aa-file {str(plan.aa_file)!r} holds other runs ({first[:200]}) than these ({head}): give another file")
        for line in lines:
            with contextlib.suppress(ValueError, TypeError):
                run = NullRun(**json.loads(line))
                kept.runs[run.design, run.run] = run
        return kept

    @contextlib.contextmanager
    def appending(self) -> Iterator[Callable[[Sequence[NullRun]], None]]:
        """How runs are kept: in memory, and in the file where there is one."""
        with contextlib.ExitStack() as stack:
            out: TextIO | None = None
            if self.path is not None:
                try:
                    out = stack.enter_context(self.path.open("a", encoding="utf-8"))
                except OSError as error:
                    raise InputError(f"--aa-file {str(self.path)!r} can't be written: {error.strerror}") from error
                out.write("\n" if self.runs else f"{self.head}\n")

            def keep(runs: Sequence[NullRun]) -> None:
                for run in runs:
                    self.runs[run.design, run.run] = run
                if out is not None:
                    out.writelines(f"{json.dumps(asdict(run))}\n" for run in runs)
                    out.flush()

            yield keep


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """What the service logs of faults that are meant is no news."""
    logger = logging.getLogger("ragtrial.serving")
    level = logger.level
    logger.setLevel(logging.CRITICAL)
    try:
        yield
    finally:
        logger.setLevel(level)
