"""The `ragtrial` command run inside the test's own process: the same entry point, without seconds of imports each time."""

import contextlib
import io
import sys
from dataclasses import dataclass
from pathlib import Path

import ragtrial.cli.main


@dataclass(frozen=True, kw_only=True)
class Done:
    """What a command left."""

    code: int
    out: str
    err: str


def ragtrial_command(*arguments: str | Path) -> Done:
    """Run `ragtrial ARGUMENTS`; an exception that is not the end of the program is a bug and passes through."""
    out, err = io.StringIO(), io.StringIO()
    before = sys.argv
    sys.argv = ["ragtrial", *map(str, arguments)]
    code = 0
    try:
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            ragtrial.cli.main.main()
    except SystemExit as stop:
        code = int(stop.code or 0)
    finally:
        sys.argv = before
    return Done(code=code, out=out.getvalue(), err=err.getvalue())
