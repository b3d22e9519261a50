"""Dates as files write them."""

import contextlib
import re
from datetime import UTC, date, datetime
from email.utils import parsedate_to_datetime

_ISO = re.compile(r"(\d{4})[-/.](\d{1,2})[-/.](\d{1,2})(?!\d)")
_SECONDS = re.compile(r"\d{9,10}(\.\d+)?|\d{12,13}")
_YEARS = range(1900, 2200)


def day_of(value: object, *, date_format: str | None = None) -> str | None:
    """The day as `YYYY-MM-DD`, or None where it can't be told.

    Known are ISO 8601, also with slashes or dots or a time behind it, RFC 2822, and seconds or milliseconds since 1970. What could be
    read as two days (03/04/2024) is not guessed.

    Args:
        value: A text, a number, or a date as YAML reads them.
        date_format: For Python's strptime; then nothing else is known.
    """
    if isinstance(value, date):
        return f"{value:%Y-%m-%d}"
    text = str(value).strip() if isinstance(value, str | int | float) and not isinstance(value, bool) else ""
    found = None
    with contextlib.suppress(ValueError, OverflowError, OSError):
        if date_format is not None:
            found = datetime.strptime(text, date_format)  # noqa: DTZ007 - the day as it was written
        elif match := _ISO.match(text):
            found = datetime(int(match[1]), int(match[2]), int(match[3]))  # noqa: DTZ001 - likewise
        elif _SECONDS.fullmatch(text):
            found = datetime.fromtimestamp(float(text) / (1000 if len(text.split(".")[0]) > 10 else 1), tz=UTC)
        elif text:
            found = parsedate_to_datetime(text)
    return f"{found:%Y-%m-%d}" if found is not None and found.year in _YEARS else None
