"""Logs as one JSON object a line: what happened and to which trial, never what was asked, answered, or used as a key."""

import json
import logging
import traceback
from datetime import UTC, datetime
from typing import Any

log = logging.getLogger("ragtrial.api")

_KNOWN = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "color_message", "taskName"}


class JsonLines(logging.Formatter):
    """A record as a line of JSON.

    Of an exception it keeps the class and where it was raised. Its message may quote what a user typed, so it is kept at level DEBUG only.
    """

    def format(self, record: logging.LogRecord) -> str:
        """One line."""
        line: dict[str, Any] = {
            "at": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        }
        line |= {name: value for name, value in vars(record).items() if name not in _KNOWN and value is not None}
        if record.exc_info and record.exc_info[1] is not None:
            line |= exception_of(record.exc_info[1], with_message=logging.getLogger("ragtrial").isEnabledFor(logging.DEBUG))
        return json.dumps(line, ensure_ascii=True, default=str)


def exception_of(error: BaseException, *, with_message: bool) -> dict[str, Any]:
    """An exception for the log: its class, the places it came through, and its message where that is wanted."""
    frames = [f"{frame.filename}:{frame.lineno} {frame.name}" for frame in traceback.extract_tb(error.__traceback__)]
    found: dict[str, Any] = {"exception": type(error).__name__, "frames": frames[-12:]}
    return {**found, "exception_message": str(error)} if with_message else found


def log_configuration(level: str) -> dict[str, Any]:
    """What `logging.config.dictConfig` takes: everything on standard error, as JSON lines.

    Args:
        level: debug, info, warning or error, of ragtrial and uvicorn; other packages are heard from `warning` on.
    """
    return {
        "version": 1,
        "disable_existing_loggers": False,
        "formatters": {"json": {"()": JsonLines}},
        "handlers": {"stderr": {"class": "logging.StreamHandler", "formatter": "json", "stream": "ext://sys.stderr"}},
        "root": {"level": "WARNING", "handlers": ["stderr"]},
        "loggers": {"ragtrial": {"level": level.upper()}, "uvicorn": {"level": level.upper()}},
    }
