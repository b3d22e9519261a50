"""Finding the database that the dashboard opens on."""

from pathlib import Path

from ragtrial.db.engine import parse_url, shown
from ragtrial.db.schema import HEAD, current_revision
from ragtrial.errors import InputError, StoreError
from ragtrial.formats.experiment import resolve_sql_url

_FILE = Path(".ragtrial") / "ragtrial.db"
PLACES = (_FILE, Path("experiments") / _FILE, Path("ragtrial-demo") / "experiments" / _FILE)
"""Where commands put databases, seen from the folder in which they are run."""


def databases(folder: Path) -> tuple[Path, ...]:
    """The databases of `PLACES` in this folder, the one that was written last first."""
    found = [path for path in (folder / place for place in PLACES) if path.is_file()]
    return tuple(sorted(found, key=_written_at, reverse=True))


def _written_at(path: Path) -> float:
    log = path.with_name(f"{path.name}-wal")  # what was written last lies here for a while
    return max(each.stat().st_mtime for each in (path, log) if each.exists())


def url_of(path: Path) -> str:
    """The URL of an SQLite file."""
    return resolve_sql_url(Path.cwd(), f"sqlite:///{path.absolute()}")


def resolved(url: str) -> str:
    """The URL with the path of an SQLite file made absolute, from the current folder.

    Raises:
        InputError: It is no URL of a database.
    """
    parse_url(url)
    return resolve_sql_url(Path.cwd(), url)


def check_place(url: str) -> None:
    """Refuse the URL of an SQLite file in a folder that is not there: a mistyped path would look like a database that holds nothing yet.

    Raises:
        InputError: There is no such folder.
    """
    found = parse_url(url)
    if found.get_backend_name() == "sqlite" and found.database and not Path(found.database).parent.is_dir():
        raise InputError(f"there is no folder {str(Path(found.database).parent)!r} for database {found.database!r}: check the path")


def named(url: str) -> str:
    """How people are told which database it is: the path of a file, or the URL without its password."""
    return shown(parse_url(url))


def check_database(url: str) -> bool:
    """Whether there is something to show in the database; False where it is not there yet.

    Raises:
        StoreError: It can't be read, is another program's, or has another schema than this version's.
    """
    revision = current_revision(url)
    if revision is not None and revision != HEAD:
        name = shown(parse_url(url))
        what = f"database {name!r} has schema {revision!r}, but the dashboard reads {HEAD!r}"
        raise StoreError(f"{what}: run `ragtrial db upgrade EXPERIMENT.yaml` with an experiment that logs into it")
    return revision is not None
