"""Loading a collection into a store's memory."""

from typing import Any

from pymilvus import MilvusClient

from ragtrial.index.reading import Reading

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


def loaded_as_asked(client: MilvusClient, name: str, reading: Reading, *, lite: bool, timeout_s: float) -> bool:
    """Whether a loaded collection has as many replicas as asked for; loading it again with another number is refused by a server."""
    if lite or reading.replicas == 1:
        return True
    return len(client.describe_replica(name, timeout=timeout_s)) == reading.replicas
