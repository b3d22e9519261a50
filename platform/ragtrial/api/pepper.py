"""The secret that key digests are made with besides the key: a stolen database alone opens nothing, and can't be tried out offline."""

import os
import secrets
import stat
from pathlib import Path

from ragtrial.errors import SetupError
from ragtrial.settings import Settings

VARIABLE = "RAGTRIAL_KEY_PEPPER"
FILE = "key-pepper"


def pepper_for(sql_url: str, folder: Path, settings: Settings) -> str:
    """The pepper of `RAGTRIAL_KEY_PEPPER`, or of the file `key-pepper`, which is made (readable by its owner alone) where there is none.

    Args:
        sql_url: The file lies beside an SQLite database.
        folder: The experiment's; for a database on a server the file lies in `.ragtrial/` there.
        settings: The environment.

    Raises:
        SetupError: The file can't be made or read, is empty, or others may read it.
    """
    if settings.key_pepper is not None:
        return settings.key_pepper
    database = sql_url.partition("sqlite:///")[2]
    path = (Path(database).parent if database else folder / ".ragtrial") / FILE
    try:
        return _read(path) if path.exists() else _make(path)
    except OSError as error:
        raise SetupError(f"the key pepper {str(path)!r} can't be used ({error.strerror}): set {VARIABLE} instead") from error


def _read(path: Path) -> str:
    if stat.S_IMODE(path.stat().st_mode) & 0o077:
        raise SetupError(f"others may read the key pepper {str(path)!r}: chmod 600 it, and make new keys if somebody may have read it")
    pepper = path.read_text().strip()
    if not pepper:
        raise SetupError(f"the key pepper {str(path)!r} is empty: restore it, or remove it and make new keys")
    return pepper


def _make(path: Path) -> str:
    path.parent.mkdir(parents=True, exist_ok=True)
    pepper = secrets.token_hex(32)
    half = path.with_name(f"{path.name}.{secrets.token_hex(4)}")
    descriptor = os.open(half, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "w") as file:
        file.write(pepper + "\n")
        file.flush()
        os.fsync(file.fileno())
    try:
        os.link(half, path)  # whole or not at all, and never over another one
    except FileExistsError:
        return _read(path)
    finally:
        half.unlink()
    return pepper
