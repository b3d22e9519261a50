"""Secrets that are kept in files beside the database, readable by their owner alone: a stolen database opens nothing without them."""

import os
import secrets
import stat
from pathlib import Path

from ragtrial.db.engine import parse_url
from ragtrial.errors import SetupError
from ragtrial.settings import Settings

VARIABLE = "RAGTRIAL_KEY_PEPPER"
FILE = "key-pepper"
"""What key digests are made with besides the key, so that they can't be tried out offline."""


def pepper_for(sql_url: str, folder: Path, settings: Settings) -> str:
    """The pepper of `RAGTRIAL_KEY_PEPPER`, or of the file `key-pepper`, which is made where there is none.

    Args:
        sql_url: The file lies beside an SQLite database.
        folder: The experiment's; for a database on a server the file lies in `.ragtrial/` there.
        settings: The environment.

    Raises:
        InputError: `sql_url` is no URL of a database.
        SetupError: The file can't be made or read, is empty, or others may read it.
    """
    if settings.key_pepper is not None:
        return settings.key_pepper
    return _kept(_place(sql_url, folder) / FILE, "the key pepper", f"set {VARIABLE} instead")


def known_pepper(sql_url: str, folder: Path, settings: Settings) -> str | None:
    """As `pepper_for`, but None where there is no file yet: keys that were made are made with another one."""
    if settings.key_pepper is None and not (_place(sql_url, folder) / FILE).exists():
        return None
    return pepper_for(sql_url, folder, settings)


def _place(sql_url: str, folder: Path) -> Path:
    url = parse_url(sql_url)
    return Path(url.database).parent if url.get_backend_name() == "sqlite" and url.database else folder / ".ragtrial"


def _kept(path: Path, what: str, advice: str) -> str:
    try:
        return _read(path, what) if path.exists() else _make(path, what)
    except OSError as error:
        raise SetupError(f"{what} {str(path)!r} can't be used ({error.strerror}): {advice}") from error


def _read(path: Path, what: str) -> str:
    if stat.S_IMODE(path.stat().st_mode) & 0o077:
        raise SetupError(f"others may read {what} {str(path)!r}: chmod 600 it, and make new keys if somebody may have read it")
    kept = path.read_text().strip()
    if not kept:
        raise SetupError(f"{what} {str(path)!r} is empty: restore it, or remove it and make new keys")
    return kept


def _make(path: Path, what: str) -> str:
    path.parent.mkdir(parents=True, exist_ok=True)
    made = secrets.token_hex(32)
    half = path.with_name(f"{path.name}.{secrets.token_hex(4)}")
    descriptor = os.open(half, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "w") as file:
        file.write(made + "\n")
        file.flush()
        os.fsync(file.fileno())
    try:
        os.link(half, path)  # whole or not at all, and never over another one
    except FileExistsError:
        return _read(path, what)
    finally:
        half.unlink()
    return made
