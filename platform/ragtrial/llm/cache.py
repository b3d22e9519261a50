"""Completions on disk by content: what was paid for once is never paid for again, and a kill loses nothing that was stored."""

import json
import time
import zlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, fields
from functools import partial
from itertools import islice
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from ragtrial.disk_store import FIRST_MAP_BYTES, DiskStore
from ragtrial.llm.chat import ChatRequest, Completion

_FORM = 1
_AT_ONCE = 256
_KEPT = tuple(each.name for each in fields(Completion) if each.name not in ("key", "from_cache", "made_at"))


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One kept completion.

    Attributes:
        completion: As it came.
        request: Everything that the key covers.
        purpose: What it was asked for.
        stored_at: Seconds since 1970.
        n_bytes: On disk.
    """

    completion: Completion
    request: Mapping[str, Any]
    purpose: str
    stored_at: float
    n_bytes: int


class CallCache:
    """An LMDB store of completions: transactional, safe for several processes, never corrupted by a kill.

    Only completions are kept, never a failure.

    Args:
        folder: Made where it doesn't exist.
        first_map_bytes: Size that the store may have at first; it doubles when it is full.

    Raises:
        StoreError: The folder can't be made or written, or holds something else.
    """

    def __init__(self, folder: Path, *, first_map_bytes: int = FIRST_MAP_BYTES) -> None:
        self._store = DiskStore(
            folder,
            name="call cache",
            setting="stores.calls",
            if_damaged="it was written by another version or is damaged. Move it away; what it held will be paid for again",
            first_map_bytes=first_map_bytes,  # and no spare folder: there every call would be paid for again
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        """Let go of the files."""
        self._store.close()

    def get(self, key: str) -> Completion | None:
        """The kept completion, or None."""
        entry = self.entry(key)
        return None if entry is None else entry.completion

    def entry(self, key: str) -> Entry | None:
        """The kept completion with its request, or None."""
        value: bytes | None = self._store.read(lambda transaction: transaction.get(key.encode()))
        return None if value is None else self._entry(key, value)

    def put(self, items: Sequence[tuple[ChatRequest, Completion]]) -> None:
        """Keep all or none of the completions; on disk when it returns."""
        self.keep([packed(request, completion) for request, completion in items])

    def keep(self, records: Sequence[tuple[bytes, bytes]]) -> None:
        """Keep all or none of what `packed` made; on disk when it returns."""

        def put_all(transaction: Any) -> None:
            for key, value in records:
                transaction.put(key, value)

        self._store.write(put_all)

    def entries(self) -> Iterator[Entry]:
        """All that is kept, in the order of the keys; what is added or removed meanwhile may be among them or not."""
        after = b""
        while batch := self._store.read(partial(_some_after, after=after)):
            for key, value in batch:
                yield self._entry(key.decode(), value)
            after = batch[-1][0]

    def remove(self, keys: Sequence[str]) -> int:
        """Forget these; how many there were."""
        return self._store.write(lambda transaction: sum(bool(transaction.delete(key.encode())) for key in keys))

    def _entry(self, key: str, value: bytes) -> Entry:
        try:
            kept = json.loads(zlib.decompress(value))
            if kept["form"] != _FORM:
                raise ValueError(f"form {kept['form']!r}")  # noqa: TRY301  # the same words for every way to be unreadable
            completion = Completion(key=key, from_cache=True, made_at=kept["stored_at"], **kept["completion"])
            return Entry(
                completion=completion, request=kept["request"], purpose=kept["purpose"], stored_at=kept["stored_at"], n_bytes=len(value)
            )
        except (zlib.error, ValueError, KeyError, TypeError) as error:
            raise self._store.unreadable(error) from error


def _some_after(transaction: Any, *, after: bytes) -> list[tuple[bytes, bytes]]:
    cursor = transaction.cursor()
    found = cursor.set_range(after + b"\0") if after else cursor.first()
    return [(bytes(key), bytes(value)) for key, value in islice(cursor, _AT_ONCE)] if found else []


def packed(request: ChatRequest, completion: Completion) -> tuple[bytes, bytes]:
    """A completion as it is kept: its key, and all that belongs to it."""
    kept = {name: getattr(completion, name) for name in _KEPT}
    value = {"form": _FORM, "purpose": request.purpose, "stored_at": time.time(), "request": request.content, "completion": kept}
    return request.key.encode(), zlib.compress(json.dumps(value, ensure_ascii=False).encode(), 1)
