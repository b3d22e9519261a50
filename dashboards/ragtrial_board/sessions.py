"""Sessions of those who came by an API key: a signed cookie that names the key, and nothing that opens anything by itself."""

import hashlib
import secrets
import time
from dataclasses import dataclass

from itsdangerous import BadSignature, URLSafeTimedSerializer

LASTS_S = 12 * 3600

_SALT = "ragtrial dashboard session"
_MOST_ENDED = 10_000


def cookie_name(url: str) -> str:
    """The cookie's name: browsers send cookies to every port of a host, so that two dashboards on one need two names."""
    return f"ragtrial_session_{hashlib.sha256(url.encode()).hexdigest()[:8]}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Session:
    """Somebody who was let in by a key.

    Attributes:
        key: The key's prefix.
        name: The session's own name.
    """

    key: str
    name: str


class Sessions:
    """Signs cookies, reads them, and remembers those that were ended.

    Args:
        secret: What they are signed with.
    """

    def __init__(self, secret: str) -> None:
        self._serializer = URLSafeTimedSerializer(secret, salt=_SALT)
        self._ended: dict[str, float] = {}

    def begin(self, key: str) -> str:
        """The cookie's value for whoever holds the key with this prefix."""
        return str(self._serializer.dumps([key, secrets.token_hex(8)]))

    def read(self, value: str | None) -> Session | None:
        """The session of a cookie; None where there is none, it was tampered with, is too old, or was ended."""
        if not value:
            return None
        try:
            key, name = self._serializer.loads(value, max_age=LASTS_S)
        except (BadSignature, ValueError, TypeError):
            return None
        return None if name in self._ended else Session(key=str(key), name=str(name))

    def end(self, session: Session) -> None:
        """Refuse the session from now on, also where a page of it is still open."""
        now = time.monotonic()
        if len(self._ended) >= _MOST_ENDED:
            self._ended = {name: at for name, at in self._ended.items() if now - at < LASTS_S}
        self._ended[session.name] = now
