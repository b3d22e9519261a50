"""What is known of those who look at the dashboard: keys and members, read-only."""

from sqlalchemy import select

from ragtrial.db.board_models import MemberRow
from ragtrial.db.keys import DEMONSTRATION, find_key, key_of
from ragtrial.db.live_models import ApiKeyRow
from ragtrial.db.live_rows import storable
from ragtrial.db.members import Member, member_name, member_of
from ragtrial.db.reading import ReadOnly
from ragtrial.domain.access import ApiKey


class AccessReader(ReadOnly):
    """Looks keys and members up.

    Args:
        url: SQLAlchemy URL.

    Raises:
        InputError: The URL is none of SQLite or PostgreSQL.
        MissingExtraError: psycopg is not installed.
        StoreError: There is no such database, it is out of reach, or its schema is another than this version's.
            Every method raises it where the database fails.
    """

    def find(self, key: str, pepper: str) -> ApiKey | None:
        """As `KeyStore.find`."""
        with self._transaction() as connection:
            return find_key(connection, key, pepper)

    def key(self, prefix: str) -> ApiKey | None:
        """The key with this prefix, also where it is revoked; None where there is none."""
        with self._transaction() as connection:
            row = connection.execute(select(ApiKeyRow.__table__).where(ApiKeyRow.prefix == storable(prefix))).first()
            return None if row is None else key_of(row)

    def member(self, name: str) -> Member | None:
        """Who has this name now, also where their role was taken back; None where nobody ever had it.

        Raises:
            InputError: It is no name.
        """
        rows = select(MemberRow.__table__).where(MemberRow.name == member_name(name)).order_by(MemberRow.id.desc()).limit(1)
        with self._transaction() as connection:
            row = connection.execute(rows).first()
            return None if row is None else member_of(row)

    def names_anybody(self) -> bool:
        """Whether there has ever been a key or a member; a demonstration's own key does not count, or it would close the door while it runs."""
        key = select(ApiKeyRow.prefix).where(ApiKeyRow.name != DEMONSTRATION)
        with self._transaction() as connection:
            return any(connection.execute(wanted.limit(1)).first() is not None for wanted in (key, select(MemberRow.id)))
