"""Building the indexes of a collection, waiting for them, and looking at what was really built."""

import time

from pymilvus import MilvusClient

from ragtrial.errors import StoreError
from ragtrial.index.milvus_rows import index_fields, stored_type
from ragtrial.index.milvus_search import Record, indexed


def ensure_index(client: MilvusClient, record: Record, *, lite: bool, timeout_s: float, build_s: float) -> None:
    """Ask for the indexes that are not there; it doesn't wait for them."""
    there = client.list_indexes(record.name, timeout=timeout_s)
    missing = [name for name in indexed(record.origin) if name not in there]
    if missing:
        client.create_index(record.name, index_fields(client, record.origin, missing, lite=lite), timeout=build_s, sync=False)


def wait_for_index(client: MilvusClient, record: Record, *, timeout_s: float, build_s: float) -> None:
    """Until every stored row is in every index.

    Raises:
        StoreError: Building failed, or took too long.
    """
    for name in indexed(record.origin):
        _wait_for(client, record, name, timeout_s=timeout_s, build_s=build_s)


def _wait_for(client: MilvusClient, record: Record, name: str, *, timeout_s: float, build_s: float) -> None:
    end = time.monotonic() + build_s
    pause = 0.01
    while True:
        stored = int(client.get_collection_stats(record.name, timeout=timeout_s)["row_count"])
        index = client.describe_index(record.name, name, timeout=timeout_s)
        if index["state"] == "Failed":
            reason = index.get("index_state_fail_reason") or "no reason given"
            raise StoreError(f"building the index of collection {record.name!r} failed: {reason}")
        if index["state"] == "Finished" and not index["pending_index_rows"] and index["indexed_rows"] >= stored:
            return
        if time.monotonic() > end:
            disk = "; DISKANN needs enableDisk on index and query nodes" if record.origin.parameters.type == "DISKANN" else ""
            raise StoreError(
                f"the index of collection {record.name!r} was not built in {build_s:.0f} s ({index['indexed_rows']:,} of {stored:,} rows are in it): "
                f"see the server's log{disk}"
            )
        time.sleep(pause)
        pause = min(2 * pause, 1.0)


def check_built(client: MilvusClient, record: Record, *, lite: bool, timeout_s: float) -> None:
    """Whether the store says that it built what was asked for.

    Raises:
        StoreError: Another type, or other build parameters.
    """
    parameters = record.origin.parameters
    if not record.origin.model.dimension:
        return
    index = client.describe_index(record.name, "vector", timeout=timeout_s)
    asked = stored_type(parameters, lite=lite)
    if index["index_type"] != asked:
        raise StoreError(
            f"collection {record.name!r} was to have a {asked} index, but the store built {index['index_type']}: use a type that it has"
        )
    for name, value in parameters.build.items():
        if str(index.get(name, value)) != str(value):  # Milvus Lite doesn't tell
            raise StoreError(
                f"the {asked} index of collection {record.name!r} was to be built with {name} {value}, but the store took {index[name]}"
            )
