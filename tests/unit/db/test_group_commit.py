"""Whatever a write does, each future is settled, and the queue goes on."""

import threading
import time
from collections.abc import Sequence
from itertools import chain

import pytest

from ragtrial.db.group_commit import GroupCommit
from ragtrial.errors import QueueFullError, StoreError


class Storage:
    """Keeps what is written, unless it is told to fail, or to be silent."""

    def __init__(self) -> None:
        self.batches: list[list[int]] = []
        self.error: Exception | None = None
        self.answers = threading.Event()
        self.answers.set()

    def write(self, items: Sequence[int]) -> list[object]:
        self.answers.wait(60)
        if self.error is not None:
            raise self.error
        self.batches.append(list(items))
        return [StoreError("odd") if item < 0 else item * 10 for item in items]


def _queue(storage: Storage, *, max_pending: int = 100, max_batch: int = 4) -> GroupCommit[int]:
    return GroupCommit(storage.write, name="log", max_pending=max_pending, max_batch=max_batch)


def test_what_comes_together_is_written_together_in_order_and_each_gets_its_own_outcome() -> None:
    storage = Storage()
    queue = _queue(storage)
    storage.answers.clear()
    futures = [queue.submit(n) for n in (0, 1, -2, 3, 4, 5)]
    assert queue.pending == 6
    storage.answers.set()
    queue.close()
    assert list(chain(*storage.batches)) == [0, 1, -2, 3, 4, 5]
    assert max(map(len, storage.batches)) == 4
    assert [future.result(30) for n, future in enumerate(futures) if n != 2] == [0, 10, 30, 40, 50]
    with pytest.raises(StoreError, match="odd"):
        futures[2].result(30)


@pytest.mark.parametrize("error", [StoreError("database 'log' refused: disk full"), RuntimeError("a bug")])
def test_a_failure_fails_all_that_waits_each_with_an_error_of_its_own_and_the_next_is_tried_afresh(error: Exception) -> None:
    storage = Storage()
    queue = _queue(storage)
    storage.answers.clear()
    storage.error = error
    futures = [queue.submit(n) for n in range(10)]
    storage.answers.set()
    found = [future.exception(30) for future in futures]
    assert all(isinstance(one, StoreError) and str(error) in str(one) for one in found)
    assert len({id(one) for one in found}) == 10
    storage.error = None
    assert queue.submit(7).result(30) == 70
    queue.close()


def test_a_silent_database_fails_what_waits_after_3_s_and_refuses_at_once_until_it_answers() -> None:
    storage = Storage()
    queue = _queue(storage)
    storage.answers.clear()
    begin = time.monotonic()
    futures = [queue.submit(n) for n in range(6)]
    for future in futures:
        with pytest.raises(StoreError, match="has not answered for 3 s"):
            future.result(10)
    assert time.monotonic() - begin > 2.5
    with pytest.raises(StoreError, match="has not answered"):
        queue.submit(8)
    storage.answers.set()
    end = time.monotonic() + 30
    while time.monotonic() < end:
        try:
            assert queue.submit(9).result(30) == 90
            break
        except StoreError:
            time.sleep(0.01)
    queue.close()
    assert storage.batches[-1] == [9]


def test_the_queue_is_bounded_and_refuses_when_closed() -> None:
    storage = Storage()
    queue = _queue(storage, max_pending=3)
    storage.answers.clear()
    futures = [queue.submit(n) for n in range(3)]
    with pytest.raises(QueueFullError, match="3 records wait for database 'log'"):
        queue.submit(4)
    storage.answers.set()
    assert [future.result(30) for future in futures] == [0, 10, 20]
    queue.close()
    queue.close()
    with pytest.raises(StoreError, match="is closed"):
        queue.submit(5)
