"""Which shards are stored: what a killed indexing goes on from."""

from collections.abc import Iterable
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from ragtrial.disk_store import DiskStore
from ragtrial.distributed.survey import SurveyedShard
from ragtrial.domain.fingerprint import digest

_BYTES = 1 << 24


class Ledger:
    """Shards whose every passage the store has acknowledged, by store, collection and content; written when that is so, or not at all.

    It only says what need not be done again. It is not believed where the collection holds less: `Ledger.forget` then starts anew.

    Args:
        folder: Made where it doesn't exist.
        store: Address of the vector store.

    Raises:
        StoreError: The folder can't be made or written, or holds something else.
    """

    def __init__(self, folder: Path, *, store: str) -> None:
        self._place = digest(store)
        self._store = DiskStore(
            folder,
            name="ledger of shards",
            setting="ray.ledger",
            if_damaged="remove the folder: shards are stored again",
            first_map_bytes=_BYTES,
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._store.close()

    def stored(self, collection: str, shards: Iterable[SurveyedShard]) -> set[int]:
        """The numbers of those shards that are stored in the collection."""
        keys = {shard.number: self._key(collection, shard) for shard in shards}
        return self._store.read(lambda transaction: {number for number, key in keys.items() if transaction.get(key) is not None})

    def note(self, collection: str, shard: SurveyedShard) -> None:
        """A shard is stored; on disk when this returns."""
        self._store.write(lambda transaction: transaction.put(self._key(collection, shard), str(shard.n_passages).encode()))

    def forget(self, collection: str) -> None:
        """Nothing of the collection is stored."""
        prefix = f"{self._place}/{collection}/".encode()

        def forget(transaction: Any) -> None:
            cursor = transaction.cursor()
            while cursor.set_range(prefix) and cursor.key().startswith(prefix):
                cursor.delete()

        self._store.write(forget)

    def _key(self, collection: str, shard: SurveyedShard) -> bytes:
        return f"{self._place}/{collection}/{shard.digest}".encode()
