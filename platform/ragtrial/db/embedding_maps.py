"""Maps of embeddings, written once for an evaluation; whoever makes them again replaces them."""

import dataclasses
from collections.abc import Sequence
from typing import Any

from pydantic import TypeAdapter
from sqlalchemy import Connection, delete, insert, select

from ragtrial.db import engine as database
from ragtrial.db.board_models import EmbeddingMapRow
from ragtrial.domain.embedding_map import EmbeddingMap

MAP_FORM = 1
"""Version of the stored document's form: whoever changes a field of `EmbeddingMap` counts on."""

_MAP = TypeAdapter(EmbeddingMap)


def store_maps(url: str, evaluation_id: str, maps: Sequence[EmbeddingMap]) -> None:
    """Write the maps of an evaluation's arms in one transaction, in place of those that were there.

    Raises:
        InputError: The URL is none of SQLite or PostgreSQL.
        MissingExtraError: psycopg is not installed.
        StoreError: The database is out of reach or refuses, or there is no such evaluation; nothing was changed then.
    """
    rows = [
        {"evaluation_id": evaluation_id, "arm": each.arm, "form": MAP_FORM, "made_at": each.made_at, "document": _document(each)}
        for each in maps
    ]
    engine = database.open_engine(url)
    try:
        with database.transaction(engine, database.shown(database.parse_url(url))) as connection:
            connection.execute(delete(EmbeddingMapRow).where(EmbeddingMapRow.evaluation_id == evaluation_id))
            connection.execute(insert(EmbeddingMapRow), rows)
    finally:
        engine.dispose()


def _document(each: EmbeddingMap) -> dict[str, Any]:
    """Without what a later conclusion may tell otherwise."""
    document = dataclasses.asdict(each)
    for point in document["points"]:
        del point["missed"]
    return document


def read_maps(connection: Connection, evaluation_id: str, missed: frozenset[str] | None) -> dict[str, EmbeddingMap]:
    """The maps of an evaluation in the present form, by arm.

    Args:
        connection: Of a reader.
        evaluation_id: The evaluation.
        missed: Queries that the baseline misses; None where that is not known.
    """
    wanted = select(EmbeddingMapRow.arm, EmbeddingMapRow.document).where(
        EmbeddingMapRow.evaluation_id == evaluation_id, EmbeddingMapRow.form == MAP_FORM
    )
    return {arm: _with_missed(_MAP.validate_python(document), missed) for arm, document in connection.execute(wanted)}


def _with_missed(found: EmbeddingMap, missed: frozenset[str] | None) -> EmbeddingMap:
    if missed is None:
        return found
    points = (dataclasses.replace(each, missed=each.key in missed) if each.kind == "query" else each for each in found.points)
    return dataclasses.replace(found, points=tuple(points))
