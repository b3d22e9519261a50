"""The drift monitor beside a service: it looks now and then, in a process of its own that gives way to the answers."""

import asyncio
import contextlib
import logging
import os
import sys
from pathlib import Path

from ragtrial.errors import SetupError
from ragtrial.serving.counting import ServingCounts
from ragtrial.serving.service import LiveService
from ragtrial.suite.leading import leadership
from ragtrial.suite.monitoring import last_report
from ragtrial.suite.preparing import Prepared

logger = logging.getLogger("ragtrial.serving")

FIRST_S = 60.0
"""After the start, at most: the first minute is for whoever waits for the service."""

_REFRESH_S = 15.0
_LONGEST_S = 1_800.0
_CODE = "import sys; from pathlib import Path; from ragtrial.suite.monitoring import look_alone; look_alone(Path(sys.argv[1]))"


async def monitor_beside(prepared: Prepared, service: LiveService) -> None:
    """Look every so often where the experiment has a section `monitor`, in one of the workers; show what was found in all of them.

    A look reads thousands of rows, embeds some hundred texts and computes for seconds. A thread would do that between the answers, with one
    interpreter and one torch for both; so it is a process, with low priority, one thread and its own model, and its memory is
    free again afterwards. Vectors stay in the cache, so that it embeds only what is new.

    A look that fails is counted, said, and tried again when the next one is due.
    """
    spec = prepared.experiment.monitor
    if spec is None:
        return
    every_s = spec.every_minutes * 60.0
    lead = leadership(prepared.file, f"monitor-{prepared.experiment.name}")
    try:
        due = asyncio.get_running_loop().time() + min(FIRST_S, every_s)
        while True:
            now = asyncio.get_running_loop().time()
            try:
                if now >= due:
                    due = now + every_s
                    if await asyncio.to_thread(lead.won):
                        await _look(prepared.file.path)
                await _show(prepared, service.counts)
            except SetupError as error:
                service.counts.failed("monitor")
                logger.warning("%s", error)
            await asyncio.sleep(max(0.1, min(_REFRESH_S, due - asyncio.get_running_loop().time())))
    finally:
        lead.release()


async def _look(path: Path) -> None:
    environment = {**os.environ, "RAGTRIAL_TORCH_THREADS": "1", "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", _CODE, str(path)),
        env=environment,
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        _, said = await asyncio.wait_for(process.communicate(), _LONGEST_S)
    except TimeoutError as error:
        raise SetupError(f"a look of the drift monitor took longer than {_LONGEST_S:.0f} s and was ended") from error
    finally:
        if process.returncode is None:  # the service closes, or it took too long
            with contextlib.suppress(ProcessLookupError):
                process.kill()
            await process.wait()
    if process.returncode:
        last = said.decode(errors="replace").strip().rpartition("\n")[2]
        raise SetupError(f"a look of the drift monitor failed: {last[:500]}")


async def _show(prepared: Prepared, counts: ServingCounts) -> None:
    """The last look, whichever process made it, for Prometheus."""
    found = await asyncio.to_thread(last_report, prepared)
    if found is not None:
        earlier = {alert.signal for alert in found.earlier}  # of a plan before this one: they stand until this one has measured as much
        effects = dict.fromkeys(earlier) | {signal.name: signal.effect for signal in found.signals}
        counts.drifted(effects, raised=earlier | {signal.name for signal in found.raised}, look=found.look, at=found.at)
