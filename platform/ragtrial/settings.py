"""The environment, read here and nowhere else."""

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from ragtrial.errors import InputError, SetupError

STORES = ("milvus", "sql", "vectors", "calls", "registry")
"""The places in an experiment's `stores` that `RAGTRIAL_STORES_<NAME>` takes the place of."""

_STORE = "RAGTRIAL_STORES_"
_FILE = "_FILE"
SQL_PASSWORD = "RAGTRIAL_SQL_PASSWORD"  # noqa: S105 - the name of the variable
"""The password of `stores.sql`, so that its URL can stand in a file that everyone reads."""

SQL_READ = "RAGTRIAL_SQL_READ"
"""The URL of a read replica of `stores.sql` (PostgreSQL), for live analyses and the dashboard."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Given:
    """A value of the environment.

    Attributes:
        value: What it says; it may be a secret, so it is in no `repr`.
        origin: The variable that holds it, or the one that names its file.
    """

    value: str = field(repr=False)
    origin: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Confinement:
    """How far experiment files and policies may reach that come from somebody else; SECURITY.md says what of.

    Attributes:
        roots: `RAGTRIAL_CONFINE_TO`, the folders that they may use, absolute; as in PATH, `:` stands between them (`;` on Windows).
        hosts: `RAGTRIAL_ALLOWED_HOSTS`, those that they may speak to, in small letters; commas stand between them. Empty: none.
        secrets: `RAGTRIAL_ALLOWED_SECRETS`, the variables that they may name beside the defaults; commas stand between them.
    """

    roots: tuple[Path, ...]
    hosts: frozenset[str] = frozenset()
    secrets: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """What the environment decides.

    Each secret, and each of the stores, can be given as a variable or as a file: `X_FILE` holds the path of a file with the value of
    `X`, as Docker and Kubernetes hand secrets over. A file that is empty counts as none, as an empty variable does.

    Attributes:
        environment: The variables that experiment files may name for secrets (`api_key_env`, `milvus_token_env`).
        registry: `RAGTRIAL_REGISTRY`, the model registry of commands that take no experiment file.
        torch_threads: `RAGTRIAL_TORCH_THREADS`, threads of one forward pass; None leaves torch's own choice.
        key_pepper: `RAGTRIAL_KEY_PEPPER`, what digests of API keys are made with; None: the file `key-pepper`.
        otlp_endpoint: `OTEL_EXPORTER_OTLP_ENDPOINT`, where traces are sent; None: nowhere.
        capture_content: `RAGTRIAL_CAPTURE_CONTENT=1`, write texts of queries and answers into traces.
        serve: `RAGTRIAL_SERVE`, what `ragtrial serve` tells its workers: JSON.
        board: `RAGTRIAL_BOARD`, what `ragtrial dashboard` tells its pages: JSON.
        stores: By name, what `RAGTRIAL_STORES_<NAME>` says; it holds instead of what an experiment file says.
        confinement: How far experiment files may reach; None: as far as the user who runs them.
        allow_pickle_models: `RAGTRIAL_ALLOW_PICKLE_MODELS=1`, load models whose weights are pickles, which can run code.
    """

    environment: Mapping[str, str] = field(repr=False)
    registry: str
    torch_threads: int | None
    key_pepper: str | None = field(default=None, repr=False)
    otlp_endpoint: str | None = None
    serve: str | None = None
    board: str | None = None
    capture_content: bool = False
    stores: Mapping[str, Given] = field(default_factory=dict)
    confinement: Confinement | None = None
    allow_pickle_models: bool = False

    def secret(self, name: str) -> str | None:
        """The value of the variable `name`, or of the file that `name`_FILE names; None where it is unset or empty.

        Raises:
            InputError: Both are set.
            SetupError: The file can't be read.
        """
        found = self.given(name)
        return None if found is None else found.value

    def given(self, name: str) -> Given | None:
        """As `secret`, with where it comes from; for saying so."""
        return _given(self.environment, name)


def read_settings(environment: Mapping[str, str] | None = None) -> Settings:
    """The settings of this process.

    Args:
        environment: Instead of `os.environ`, for tests.

    Raises:
        InputError: A variable and its `_FILE` form are both set, or there is no such store.
        SetupError: The file of a secret can't be read.
    """
    variables = dict(os.environ if environment is None else environment)
    threads = variables.get("RAGTRIAL_TORCH_THREADS", "")
    pepper = _given(variables, "RAGTRIAL_KEY_PEPPER")
    return Settings(
        environment=variables,
        registry=variables.get("RAGTRIAL_REGISTRY", ".ragtrial/models"),
        torch_threads=int(threads) if threads.isdigit() and int(threads) > 0 else None,
        key_pepper=None if pepper is None else pepper.value,
        otlp_endpoint=variables.get("OTEL_EXPORTER_OTLP_ENDPOINT") or None,
        serve=variables.get("RAGTRIAL_SERVE") or None,
        board=variables.get("RAGTRIAL_BOARD") or None,
        capture_content=variables.get("RAGTRIAL_CAPTURE_CONTENT", "").lower() in ("1", "true", "yes"),
        stores=_stores(variables),
        confinement=_confinement(variables),
        allow_pickle_models=variables.get("RAGTRIAL_ALLOW_PICKLE_MODELS", "").lower() in ("1", "true", "yes"),
    )


def _confinement(variables: Mapping[str, str]) -> Confinement | None:
    roots = [part for part in variables.get("RAGTRIAL_CONFINE_TO", "").split(os.pathsep) if part]
    if not roots:
        given = [name for name in ("RAGTRIAL_CONFINE_TO", "RAGTRIAL_ALLOWED_HOSTS", "RAGTRIAL_ALLOWED_SECRETS") if variables.get(name)]
        if given:  # somebody who means to confine must not be left unconfined
            raise InputError(f"{given[0]} is set, but RAGTRIAL_CONFINE_TO names no folder: name those that experiment files may use")
        return None
    hosts, secrets = (
        frozenset(part.strip() for part in variables.get(name, "").split(",") if part.strip())
        for name in ("RAGTRIAL_ALLOWED_HOSTS", "RAGTRIAL_ALLOWED_SECRETS")
    )
    return Confinement(roots=tuple(Path(root).resolve() for root in roots), hosts=frozenset(map(str.lower, hosts)), secrets=secrets)


def _stores(variables: Mapping[str, str]) -> dict[str, Given]:
    """What the environment says of the stores; a name that is none would be a place that nobody uses, so it is refused."""
    known = {f"{_STORE}{name.upper()}{form}" for name in STORES for form in ("", _FILE)}
    strangers = sorted(name for name, value in variables.items() if name.startswith(_STORE) and value and name not in known)
    if strangers:
        raise InputError(f"there is no store for {strangers[0]}: give one of {', '.join(f'{_STORE}{name.upper()}' for name in STORES)}")
    found = {name: _given(variables, f"{_STORE}{name.upper()}") for name in STORES}
    return {name: given for name, given in found.items() if given is not None}


def _given(variables: Mapping[str, str], name: str) -> Given | None:
    plain, path = variables.get(name) or None, variables.get(f"{name}{_FILE}") or None
    if plain is not None and path is not None:
        raise InputError(f"{name} and {name}{_FILE} are both set: keep one of them")
    if path is None:
        return None if plain is None else Given(value=plain, origin=name)
    try:
        text = Path(path).read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        why = error.strerror if isinstance(error, OSError) else "it is no UTF-8"
        raise SetupError(f"{name}{_FILE} names {path!r}, which can't be read ({why}): correct the path, or who may read it") from error
    return Given(value=text, origin=f"{name}{_FILE}") if text else None
