"""The SQL log: one append-only writer (`recorder`), one read-only way out (`reader`); nobody else imports SQLAlchemy."""
