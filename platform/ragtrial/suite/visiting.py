"""Who looks at the dashboard: what a key or a membership allows, looked up anew each time that somebody asks."""

import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ragtrial.db.access_reader import AccessReader
from ragtrial.db.pepper import VARIABLE, known_pepper
from ragtrial.domain.access import ApiKey, Role
from ragtrial.errors import InputError, SetupError
from ragtrial.settings import Settings

_LONGEST_TOKEN = 200
_OF_ALL_PROVIDERS = ("redirect_uri", "cookie_secret")
_OF_A_PROVIDER = ("client_id", "client_secret", "server_metadata_url")


class Visitors:
    """The keys and members of one database; nothing is remembered, so that whoever is taken out is out.

    Args:
        url: SQLAlchemy URL.
        folder: Where the secrets of a database on a server lie (in `.ragtrial/`); those of an SQLite file lie beside it.
        settings: The environment.

    Raises:
        InputError: The URL is none of SQLite or PostgreSQL.
        StoreError: There is no such database, or its schema is another than this version's. Every method raises it where it fails.
    """

    def __init__(self, url: str, folder: Path, settings: Settings) -> None:
        self._url, self._folder, self._settings = url, folder, settings
        self._reader = AccessReader(url)

    def close(self) -> None:
        """Let go of the database."""
        self._reader.close()

    def named(self) -> bool:
        """Whether anybody was ever given a key or a membership here."""
        return self._reader.names_anybody()

    def find(self, token: str) -> ApiKey | None:
        """The key that this is, also where it was revoked; None where it is none.

        Raises:
            SetupError: Keys can't be told from others without the pepper that they were made with.
        """
        if not token.startswith("rt_") or len(token) > _LONGEST_TOKEN:
            return None
        pepper = known_pepper(self._url, self._folder, self._settings)
        if pepper is None:
            raise SetupError(
                f"the key pepper is not where the dashboard looks for it: set {VARIABLE}, or start it with the experiment file"
            )
        return self._reader.find(token, pepper)

    def key(self, prefix: str) -> ApiKey | None:
        """The key with this prefix, where it is still valid."""
        found = self._reader.key(prefix)
        return None if found is None or found.revoked_at is not None else found

    def role(self, name: str) -> Role | None:
        """The role of the member of this name; None where they have none (any more)."""
        found = self._reader.member(name)
        return None if found is None else found.role


def login_providers(secrets: Mapping[str, Any]) -> tuple[str | None, ...]:
    """Login providers that a secrets file configures completely under `[auth]`: by name, None for the one without a name."""
    auth = secrets.get("auth")
    if not isinstance(auth, Mapping) or not all(auth.get(field) for field in _OF_ALL_PROVIDERS):
        return ()
    given = {None: auth, **{name: section for name, section in auth.items() if isinstance(section, Mapping) and "_" not in name}}
    return tuple(name for name, section in given.items() if all(section.get(field) for field in _OF_A_PROVIDER))


def check_secrets(path: Path) -> None:
    """See whether people can sign in with what a secrets file says.

    Raises:
        InputError: There is no such file, it is no TOML, or no login provider is configured in it.
    """
    name = repr(str(path))
    if not path.is_file():
        raise InputError(f"there is no secrets file {name}: give another one with --secrets")
    if path.suffix != ".toml":
        raise InputError(f"the secrets file {name} must have a name that ends in .toml")
    try:
        found = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise InputError(f"the secrets file {name} can't be read ({error}): correct it, or leave --secrets out") from error
    if not login_providers(found):
        fields = ", ".join((*_OF_ALL_PROVIDERS, *_OF_A_PROVIDER))
        raise InputError(f"the secrets file {name} configures no login provider: its section [auth] needs {fields}")
