"""Run by Alembic: applies the revisions over the connection that `ragtrial.db.engine` put into the config."""

from alembic import context

from ragtrial.db import models  # noqa: F401  # its tables
from ragtrial.db.base import Base
from ragtrial.db.schema import VERSION_TABLE

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=Base.metadata,
    version_table=VERSION_TABLE,
    transactional_ddl=True,  # SQLite can, when the driver doesn't commit behind our back: a killed upgrade changes nothing
    render_as_batch=True,
)
with context.begin_transaction():
    context.run_migrations()
