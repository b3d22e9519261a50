"""Folders that will be written to, looked at before the work begins, and left as they are."""

import tempfile
from pathlib import Path

from ragtrial.db.engine import parse_url
from ragtrial.db.schema import current_revision
from ragtrial.errors import InputError, StoreError
from ragtrial.formats.experiment import milvus_uri, resolve_path, sql_url
from ragtrial.suite.preparing import Configured


def output_folder(path: Path) -> Path:
    """A folder that reports can be written to; it is made only when there is something to write.

    Raises:
        InputError: It, or the nearest folder above it that exists, is a file or can't be written.
    """
    reason = _why_not(path)
    if reason is not None:
        raise InputError(f"output folder {str(path)!r} can't be written ({reason}): give another one with --output")
    return path


def check_stores(prepared: Configured) -> None:
    """Whether the places of the stores can be written to, and the database is ours; nothing is made yet.

    Raises:
        InputError: `stores.sql` is no URL.
        StoreError: They can't, or it isn't.
    """
    file, stores = prepared.file, prepared.experiment.stores
    current_revision(sql_url(file))
    places = {"vectors": resolve_path(file.folder, stores.vectors)}
    if prepared.experiment.asks_llm:
        places["calls"] = resolve_path(file.folder, stores.calls)
    if "://" not in stores.milvus:
        places["milvus"] = Path(milvus_uri(file)).parent
    url = parse_url(sql_url(file))
    if url.get_backend_name() == "sqlite" and url.database:
        places["sql"] = Path(url.database).parent
    for name, folder in places.items():
        reason = _why_not(folder)
        if reason is not None:
            raise StoreError(f"folder {str(folder)!r} can't be written ({reason}): give another place in stores.{name}")


def _why_not(folder: Path) -> str | None:
    """Why nothing can be written into the folder, which may still have to be made; None where it can."""
    folder = folder.absolute()
    try:
        nearest = next(place for place in (folder, *folder.parents) if place.exists())
        with tempfile.TemporaryFile(dir=nearest):
            return None
    except OSError as error:
        return error.strerror or str(error)
