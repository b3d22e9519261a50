"""Two processes on one store: one of them waits or is told, and neither spoils what the other writes."""

import contextlib
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

from commands import ragtrial_command

HOLDS = """
import sys
from ragtrial.index.milvus import MilvusIndex
index = MilvusIndex(sys.argv[1])
print("open", flush=True)
sys.stdin.readline()
index.close()
"""


@contextlib.contextmanager
def held(store: Path, repository: Path) -> Iterator[None]:
    """A Milvus Lite store that another process has opened."""
    environment = os.environ | {"PYTHONPATH": str(repository / "platform")}
    command = [sys.executable, "-c", HOLDS, str(store)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "open\n"
        try:
            yield
        finally:
            holder.communicate("done\n")


def test_whoever_opens_a_milvus_lite_store_that_another_process_has_open_is_told_and_nothing_is_begun(
    folder: Path, repository: Path
) -> None:
    path, log = folder / "experiment.yaml", folder / ".ragtrial" / "ragtrial.db"
    before = log.read_bytes()
    with held(folder / ".ragtrial" / "milvus.db", repository):
        for command in (["index"], ["evaluate", "--output", str(folder / "new")]):
            done = ragtrial_command(command[0], path, *command[1:], "--quiet")
            assert done.code == 2, done
            assert "is open in another process: wait for it, stop it, or give another path" in done.err
    assert log.read_bytes() == before
    assert not (folder / "new" / "report.json").exists()
    assert ragtrial_command("index", path, "--quiet").code == 0
