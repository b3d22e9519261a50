"""Delivery of alerts: an HTTP POST of JSON, tried again, and once where the receiver says 2xx.

The standard library sends it: this runs where no optional package is installed, and one request an hour needs no pool of connections.
"""

import hashlib
import hmac
import json
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from email.message import Message
from http.client import HTTPException
from typing import IO, Any
from urllib.parse import urlsplit

from ragtrial import __version__
from ragtrial.db.monitoring import MonitorStore
from ragtrial.domain.addresses import why_refused
from ragtrial.domain.monitor import Alert
from ragtrial.errors import InputError

TIMEOUT_S = 5.0
WAITS_S = (1.0, 4.0)
"""Between tries of one delivery; what fails then is tried again at the next look."""

SIGNATURE = "X-Ragtrial-Signature"


def checked_url(url: str) -> str:
    """A URL that messages can be sent to.

    Raises:
        InputError: It is not http or https, or names no host. The message does not quote it: it may be a secret.
    """
    try:
        parts = urlsplit(url)
    except ValueError:
        parts = urlsplit("")
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise InputError("the webhook is no URL that a message can be sent to: give http://HOST/PATH or https://HOST/PATH")
    refused = why_refused(url, resolve=True)
    if refused is not None:
        raise InputError(f"nothing is sent to the webhook: {refused}")
    return url


def body_of(alert: Alert) -> bytes:
    """The message as it is sent; `id` is the same whenever it is sent again, and `text` is what chat programs show."""
    fields = {
        "id": alert.alert_id,
        "experiment": alert.experiment,
        "signal": alert.signal,
        "change": alert.change,
        "at": datetime.fromtimestamp(alert.at, UTC).isoformat(timespec="seconds"),
        "look": alert.look,
        "effect": alert.effect,
        "low": alert.low,
        "high": alert.high,
        "text": alert.sentence,
    }
    return json.dumps(fields, ensure_ascii=False).encode()


def signature(body: bytes, secret: str) -> str:
    """`sha256=` and the HMAC-SHA256 of the body, hexadecimal."""
    return f"sha256={hmac.new(secret.encode(), body, hashlib.sha256).hexdigest()}"


def post(
    alert: Alert,
    url: str,
    *,
    secret: str | None = None,
    timeout_s: float = TIMEOUT_S,
    waits_s: Sequence[float] = WAITS_S,
    sleep: Callable[[float], None] = time.sleep,
) -> str | None:
    """Send a message; None where the receiver said 2xx, or else why it was not delivered.

    Time-outs, refused connections, 408, 429 and 5xx are tried again; another 4xx is not, and no redirection is followed.

    Args:
        alert: What to send.
        url: Where.
        secret: To sign it with.
        timeout_s: Of each try.
        waits_s: Between tries.
        sleep: Waits.
    """
    problem: str | None = None
    for wait in (0.0, *waits_s):
        if wait:
            sleep(wait)
        problem, again = _try(alert, url, secret, timeout_s)
        if problem is None or not again:
            break
    return problem


def deliver(store: MonitorStore, experiment: str, url: str, *, send: Callable[[Alert], str | None]) -> int:
    """Send what waits, oldest first, until one can't be delivered; how many were.

    Each message is claimed in the database before it is sent and marked afterwards. Only where the process dies between the receiver's
    2xx and that mark is it sent twice, with the same `id`.

    Args:
        store: Where alerts wait.
        experiment: Whose.
        url: Checked before anything is claimed.
        send: `post` with its settings.

    Raises:
        InputError: The URL is none.
        StoreError: The database can't be read or written.
    """
    checked_url(url)
    sent = 0
    while (alert := store.claim(experiment, for_s=60.0)) is not None:
        problem = send(alert)
        store.delivered(alert.alert_id or 0, problem=problem)
        if problem is not None:
            break
        sent += 1
    return sent


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    def redirect_request(self, req: urllib.request.Request, fp: IO[bytes], code: int, msg: str, headers: Any, newurl: str) -> None:
        del req, fp, code, msg, headers, newurl


_opener = urllib.request.build_opener(_NoRedirect)


def _try(alert: Alert, url: str, secret: str | None, timeout_s: float) -> tuple[str | None, bool]:
    """Why it failed, if it did, and whether it is worth trying again."""
    body = body_of(alert)
    headers = {"Content-Type": "application/json", "User-Agent": f"ragtrial/{__version__}", "Idempotency-Key": f"alert-{alert.alert_id}"}
    if secret is not None:
        headers[SIGNATURE] = signature(body, secret)
    request = urllib.request.Request(url, data=body, headers=headers, method="POST")  # noqa: S310  # checked_url allows http(s) only
    try:
        with _opener.open(request, timeout=timeout_s):
            return None, False
    except urllib.error.HTTPError as error:
        error.close()
        return f"the receiver said {error.code}{_phrase(error.headers)}", error.code in (408, 429) or error.code >= 500
    except (OSError, HTTPException) as error:
        reason = getattr(error, "reason", None) or error
        return f"the receiver is out of reach ({type(reason).__name__})", True


def _phrase(headers: Message | None) -> str:
    return ", and where it has moved to is not followed" if headers is not None and headers.get("Location") else ""
