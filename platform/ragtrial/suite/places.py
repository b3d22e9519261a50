"""Where an experiment keeps things, and which variable or file said so; secrets are named, never shown."""

import dataclasses
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

from ragtrial.db.engine import without_password
from ragtrial.db.pepper import VARIABLE as PEPPER
from ragtrial.db.schema import HEAD, current_revision
from ragtrial.errors import StoreError
from ragtrial.formats.experiment import ExperimentFile, milvus_uri, resolve_path, sql_url
from ragtrial.settings import STORES, Settings


def places(file: ExperimentFile, settings: Settings) -> tuple[str, ...]:
    """A line for each store, with where its place comes from, and one for each secret that is set.

    Raises:
        InputError: A place is none.
        SetupError: The file of a secret can't be read.
    """
    lines = [f"stores.{name}: {place_of(file, name)} ({file.origins.get(name, 'the file')})" for name in STORES]
    origins = {name: given.origin for name in _secrets(file) if (given := settings.given(name)) is not None}
    if file.sql_password is not None:
        origins["password of stores.sql"] = file.sql_password.origin
    return (*lines, *(f"{name}: set" if name == origin else f"{name}: from {origin}" for name, origin in sorted(origins.items())))


def place_of(file: ExperimentFile, name: str) -> str:
    """One store's place, as it may be shown."""
    stores = file.experiment.stores
    if name == "sql":
        return without_password(sql_url(file))
    return milvus_uri(file) if name == "milvus" else str(resolve_path(file.folder, getattr(stores, name)))


def try_sql(file: ExperimentFile) -> str:
    """Ask the SQL log for its schema; what it said.

    Raises:
        StoreError: It can't be reached, or its schema is not this version's.
    """
    revision = current_revision(sql_url(file))
    if revision is None:
        return f"{place_of(file, 'sql')} answers, and is empty: `ragtrial db upgrade {file.path}` makes its tables"
    if revision != HEAD:
        raise StoreError(f"{place_of(file, 'sql')} has schema {revision}, and this version reads {HEAD}: ragtrial db upgrade {file.path}")
    return f"{place_of(file, 'sql')} answers, schema {revision}"


def try_milvus(file: ExperimentFile, settings: Settings) -> str:
    """Ask Milvus for a collection that isn't there; what it said.

    Raises:
        StoreError: It can't be reached, or refuses the token.
    """
    from ragtrial.build import build_index

    uri = milvus_uri(file)
    if "://" not in uri and not Path(uri).exists():
        return f"{uri} is not there yet: `ragtrial index {file.path}` makes it"
    token = settings.secret(file.experiment.stores.milvus_token_env)
    with closing(build_index(uri, token=token, timeout_s=15.0)) as index:
        index.resolve("rt_doctor")
    return f"{uri} answers"


def _secrets(file: ExperimentFile) -> tuple[str, ...]:
    """The variables that the experiment names for secrets, and the service's own."""
    return tuple(dict.fromkeys((*_named(file.experiment), PEPPER)))


def _named(value: object) -> Iterator[str]:
    """Every `..._env` in a tree of dataclasses."""
    if isinstance(value, tuple):
        for each in value:
            yield from _named(each)
    elif dataclasses.is_dataclass(value):
        for field in dataclasses.fields(value):
            own = getattr(value, field.name)
            if field.name.endswith("_env") and isinstance(own, str):
                yield own
            else:
                yield from _named(own)
