"""How long a server asks to wait, out of the headers of its response."""

import math
from collections.abc import Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime


def retry_after(headers: Mapping[str, str]) -> float | None:
    """Seconds that the server asks to wait: `retry-after-ms`, or `Retry-After` in seconds or as a date (RFC 9110, section 10.2.3)."""
    precise = _number(headers.get("retry-after-ms"))
    if precise is not None:
        return precise / 1000
    given = headers.get("retry-after")
    seconds = _number(given)
    if seconds is not None or given is None:
        return seconds
    try:
        moment = parsedate_to_datetime(given)
        moment = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
        return max(0.0, (moment - datetime.now(UTC)).total_seconds())
    except (ValueError, OverflowError):
        return None


def hold(headers: Mapping[str, str]) -> float:
    """Seconds until the quota is there again, where the headers say that none is left; 0 where there is some."""
    used_up = [what for what in ("requests", "tokens") if _number(headers.get(f"x-ratelimit-remaining-{what}")) == 0]
    return max((_duration(headers.get(f"x-ratelimit-reset-{what}")) or 0.0 for what in used_up), default=0.0)


def _number(text: str | None) -> float | None:
    try:
        value = float(text) if text is not None else None
    except ValueError:
        return None
    return value if value is not None and math.isfinite(value) and value >= 0 else None


def _duration(text: str | None) -> float | None:
    """Seconds of `1.5`, `20ms`, `1s` or `6m12s`, as providers write the time until a reset."""
    if text is None or _number(text) is not None:
        return _number(text)
    total, number, units = 0.0, "", {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0}
    rest = text.strip()
    while rest:
        digits = len(rest) - len(rest.lstrip("0123456789."))
        number, rest = rest[:digits], rest[digits:]
        unit = next((unit for unit in units if rest.startswith(unit)), None)
        value = _number(number)
        if value is None or unit is None:
            return None
        total, rest = total + value * units[unit], rest[len(unit) :]
    return total
