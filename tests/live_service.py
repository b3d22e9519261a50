"""The real live service in a test's own process: hashing embedders, Milvus Lite, SQLite, HTTP."""

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import httpx
from fastapi import FastAPI

from material import write_beir_folder, write_experiment
from over_http import running, until_ready
from ragtrial.api.app import ApiOptions, create_app
from ragtrial.api.factory import key_finder
from ragtrial.db.keys import KeyStore
from ragtrial.domain.access import Role, Scope
from ragtrial.formats.experiment import load_experiment, sql_url
from ragtrial.settings import read_settings
from ragtrial.suite.live_analysis import analysis_json
from ragtrial.suite.serving import live_service

PEPPER = "of the tests"
LIVE = {
    "metrics": {"primary": {"name": "copied", "min_effect": 0.02}, "guardrails": [{"name": "failed", "max_increase": 0.05}]},
    "solicit": 0.5,
}


def live_experiment(folder: Path, *, stores: Mapping[str, str] | None = None, **live: object) -> Path:
    """A live experiment on a small corpus; `live` replaces keys of its live section. The service indexes it when it starts."""
    data = write_beir_folder(folder / "data", n_passages=60, n_queries=20)
    return write_experiment(folder / "live.yaml", data, live={**LIVE, **live}, stores=dict(stores or {}))


def make_key(path: Path, role: Role, *, scopes: Sequence[Scope] | None = None, **settings: Any) -> str:
    """A key of the experiment's database."""
    limited = None if scopes is None else frozenset(scopes)
    with KeyStore(sql_url(load_experiment(path))) as store:
        return store.create(f"a {role}", role, pepper=PEPPER, limited_to=limited, **settings)


@dataclass(frozen=True, kw_only=True)
class Live:
    """A running service.

    Attributes:
        path: The experiment file.
        app: The application.
        url: Its root address.
        keys: One key of each role.
    """

    path: Path
    app: FastAPI
    url: str
    keys: Mapping[str, str]

    def client(self, role: str | None, **settings: Any) -> httpx.Client:
        """A client with the key of a role, or none."""
        headers = {} if role is None else {"Authorization": f"Bearer {self.keys[role]}"}
        return httpx.Client(base_url=self.url, headers=headers, timeout=30, **settings)


@contextlib.contextmanager
def live(path: Path, *, analyse: Any = None, **options: Any) -> Iterator[Live]:
    """Serve an indexed experiment, with a key of each role."""
    file, settings = load_experiment(path), read_settings({"RAGTRIAL_KEY_PEPPER": PEPPER})
    roles: tuple[Role, ...] = ("viewer", "tester", "operator", "admin")
    keys = {role: make_key(path, role) for role in roles}
    finder = key_finder(file, settings)
    analyse = analyse or partial(analysis_json, file)
    app = create_app(live_service(file, settings), finder, sql_url=sql_url(file), analyse=analyse, options=ApiOptions(**options))
    with running(app) as url:
        until_ready(url)
        yield Live(path=path, app=app, url=url, keys=keys)
