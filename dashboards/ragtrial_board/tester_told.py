"""What `ragtrial tester` tells its page, through the environment: JSON in `RAGTRIAL_TESTER`."""

import json
import time
from dataclasses import dataclass
from functools import lru_cache

import httpx

from ragtrial.settings import read_settings
from ragtrial_board.asking import Service, Trouble
from ragtrial_board.told import LOOPBACK_NAMES

VARIABLE = "RAGTRIAL_TESTER"

_BELIEVED_S = 5.0


@dataclass(frozen=True, slots=True, kw_only=True)
class TesterTold:
    """What the tester's page is shown over.

    Attributes:
        service: Root address of the service.
        host: The address that the page's server listens on.
        port: Its port.
    """

    service: str = "http://127.0.0.1:8000"
    host: str = "127.0.0.1"
    port: int = 8502


def tester_told() -> TesterTold:
    """What this process was told."""
    return _told(read_settings().environment.get(VARIABLE) or "{}")


@lru_cache(maxsize=8)
def _told(text: str) -> TesterTold:
    return TesterTold(**json.loads(text))


def service_for(key: str) -> Service:
    """The service, with this key."""
    return Service(_client(tester_told().service), key)


def asks_for_no_key() -> bool:
    """Whether the service lets everyone in (`ragtrial serve --no-auth`); it may block. What it said holds for a few seconds."""
    return _open(int(time.monotonic() / _BELIEVED_S))


@lru_cache(maxsize=2)
def _open(when: int) -> bool:
    del when
    try:
        service_for("").check()
    except Trouble:
        return False
    return True


@lru_cache(maxsize=2)
def _client(url: str) -> httpx.Client:
    return httpx.Client(base_url=url, trust_env=httpx.URL(url).host not in LOOPBACK_NAMES)  # proxies get no keys for this machine
