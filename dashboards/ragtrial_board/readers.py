"""The database behind the pages: opened once for all of them, read-only."""

from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import TYPE_CHECKING

from ragtrial.db.live_reader import LiveReader
from ragtrial.db.reader import Reader
from ragtrial.suite.opening import check_database
from ragtrial.suite.reading_place import read_url
from ragtrial_board.told import database_url

if TYPE_CHECKING:
    from ragtrial.db.board_reader import BoardReader
    from ragtrial.db.live_board_reader import LiveBoardReader


@dataclass(frozen=True, kw_only=True)
class Stores:
    """Readers of one database; each is opened when it is first asked for, and may be used by several threads.

    Attributes:
        url: Of the database.
    """

    url: str

    @cached_property
    def reader(self) -> Reader:
        """Evaluations, offline."""
        return Reader(self.url)

    @cached_property
    def live(self) -> LiveReader:
        """Live experiments."""
        return LiveReader(self.url)

    @cached_property
    def board(self) -> "BoardReader":
        """What was concluded from evaluations."""
        from ragtrial.db.board_reader import BoardReader

        return BoardReader(self.url)

    @cached_property
    def live_board(self) -> "LiveBoardReader":
        """What was rolled up of live experiments."""
        from ragtrial.db.live_board_reader import LiveBoardReader

        return LiveBoardReader(self.url)


@lru_cache(maxsize=8)
def opened_stores(url: str) -> Stores:
    """The readers of a database, or of its replica, whoever asks."""
    return Stores(url=read_url(url))


def anything_there() -> bool:
    """Whether there is a database that holds ragtrial's tables.

    Raises:
        StoreError: There is one that can't be shown.
    """
    url = database_url()
    try:
        return url is not None and _is_there(url)
    except FileNotFoundError:
        return False


@lru_cache(maxsize=8)
def _is_there(url: str) -> bool:
    if not check_database(url):
        raise FileNotFoundError(url)  # which is not remembered
    return True
