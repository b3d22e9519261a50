"""Loading a collection into a store's memory; what is loaded is never released while somebody may search it."""

import logging
from typing import Any

from pymilvus import MilvusClient

from ragtrial.index.reading import Reading

logger = logging.getLogger("ragtrial.index")

MMAP = "mmap.enabled"


def load(client: MilvusClient, name: str, reading: Reading, *, lite: bool, mapped: bool, timeout_s: float) -> None:
    """Load a collection as it is to be read; it must not be loaded.

    Args:
        client: Of the store.
        name: The collection.
        reading: How.
        lite: It is Milvus Lite.
        mapped: Its property says so.
        timeout_s: For each call.

    Raises:
        MilvusException: The server refused; it has too few query nodes for the replicas.
    """
    if lite:
        client.load_collection(name, timeout=timeout_s)
        return
    if reading.mmap != mapped:
        client.alter_collection_properties(name, {MMAP: "true" if reading.mmap else "false"}, timeout=timeout_s)
    more: dict[str, Any] = {}
    if reading.replicas != 1:
        more["replica_number"] = reading.replicas
    if reading.resource_groups:
        more["resource_groups"] = list(reading.resource_groups)
    client.load_collection(name, timeout=timeout_s, **more)


def other_replicas(client: MilvusClient, name: str, reading: Reading, *, lite: bool, timeout_s: float) -> str | None:
    """What to say of a loaded collection that has another number of replicas than asked for; None where it has that number.

    It is left as it is. A server before 2.4.13 changes the number only by releasing the collection, and one from 2.4.13 to 2.6.15 that
    is asked to load it with another number refuses searches until the new replica is there (milvus-io/milvus issue 49304).
    """
    if lite or reading.replicas == 1:
        return None
    found = len(client.describe_replica(name, timeout=timeout_s))
    if found == reading.replicas:
        return None
    return (
        f"collection {name!r} is loaded in {found} replica{'s' if found != 1 else ''}, and index.replicas is {reading.replicas}: it goes on with "
        f"{found}, because searches fail while that is changed. Release it once nothing searches it (pymilvus: release_collection), and the next "
        f"command that opens it loads it in {reading.replicas}"
    )


def unserved(client: MilvusClient, name: str, *, timeout_s: float) -> bool:
    """Whether no alias points to a collection, so that nobody searches it yet."""
    return not client.list_aliases(name, timeout=timeout_s)["aliases"]
