"""Who has signed in with a key: their browser holds a random name, and this process alone knows what it stands for."""

import hashlib
import secrets
import threading
import time
from functools import lru_cache

LASTS_S = 12 * 3600

_MOST = 10_000


def cookie_name(url: str) -> str:
    """The cookie's name: browsers send cookies to every port of a host, so that two dashboards on one need two names."""
    return f"ragtrial_session_{hashlib.sha256(url.encode()).hexdigest()[:8]}"


class Sessions:
    """What a key opened, in this process's memory alone: what was ended stays so, and all end with the process. Threads may share it."""

    def __init__(self) -> None:
        self._held: dict[str, tuple[float, str]] = {}
        self._lock = threading.Lock()

    def begin(self, key: str) -> str:
        """Keep a key, or what names one; the name under which it is found again."""
        name, now = secrets.token_urlsafe(32), time.monotonic()
        with self._lock:
            if len(self._held) >= _MOST:
                self._held = {name: held for name, held in self._held.items() if now - held[0] < LASTS_S}
            self._held[name] = (now, key)
        return name

    def key(self, name: str | None) -> str | None:
        """What was kept under this name; None where there is nothing, it was ended, or it was kept for long enough."""
        with self._lock:
            at, key = self._held.get(name or "", (0.0, None))
        return key if key is not None and time.monotonic() - at < LASTS_S else None

    def end(self, name: str | None) -> None:
        """Forget it, also where a page of it is still open."""
        with self._lock:
            self._held.pop(name or "", None)


@lru_cache(maxsize=1)
def sessions() -> Sessions:
    """The sessions of this process."""
    return Sessions()
