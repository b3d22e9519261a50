"""What ragtrial writes into the properties of a Milvus collection, and reads back."""

import json
from collections.abc import Mapping
from typing import Any

from ragtrial.errors import StoreError
from ragtrial.index.milvus_loading import MMAP
from ragtrial.index.milvus_rows import origin_of
from ragtrial.index.milvus_search import Record

ORIGIN, COMPLETE, RECALL, SEARCHED_AT = "ragtrial.origin", "ragtrial.complete", "ragtrial.recall.", "ragtrial.searched_at"


def record_of(name: str, found: Mapping[str, Any]) -> Record:
    """What Milvus says of the collection that was asked for by this name.

    Raises:
        StoreError: It is not ragtrial's, or another version's.
    """
    properties = found.get("properties") or {}
    try:
        origin = origin_of(json.loads(properties[ORIGIN]))
        recalls = {key.removeprefix(RECALL): float(value) for key, value in properties.items() if key.startswith(RECALL) and value}
        searched_at = float(properties[SEARCHED_AT]) if SEARCHED_AT in properties else None
    except (KeyError, TypeError, ValueError) as error:
        raise StoreError(
            f"collection {name!r} was not made by this version of ragtrial: use another name, or drop it with Milvus"
        ) from error
    return Record(
        name=found["collection_name"],
        origin=origin,
        complete=properties.get(COMPLETE) == "true",
        mapped=properties.get(MMAP) == "true",
        recalls=recalls,
        searched_at=searched_at,
    )
