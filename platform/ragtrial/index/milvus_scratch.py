"""Removing scratch collections from a Milvus store that holds other people's too."""

from ragtrial.errors import StoreError
from ragtrial.index.milvus_connection import Connection

_TIMEOUT_S = 30.0
_SHORTEST = 12


def remove_scratch(uri: str, *, token: str | None, prefix: str) -> tuple[str, ...]:
    """Drop every collection whose name begins so, with the aliases that point to it; the names that were dropped, sorted.

    Args:
        uri: Of a server or a Milvus Lite folder.
        token: Or None.
        prefix: Of scratch names: `rt_`, and long enough to be nobody else's.

    Raises:
        ValueError: The prefix is so short that it could be somebody else's.
        StoreError: The store is out of reach, or refuses.
    """
    if not prefix.startswith("rt_") or len(prefix) < _SHORTEST:
        raise ValueError(f"{prefix!r} could be the beginning of somebody else's collections")
    connection = Connection(uri, token=token, timeout_s=_TIMEOUT_S)
    try:
        with connection.calls("removing scratch collections") as client:
            names = sorted(name for name in client.list_collections(timeout=_TIMEOUT_S) if name.startswith(prefix))
            for name in names:
                for alias in client.list_aliases(name, timeout=_TIMEOUT_S)["aliases"]:
                    if not alias.startswith("rt_"):
                        raise StoreError(f"scratch collection {name!r} has the alias {alias!r}, which ragtrial did not give: it is left")
                    client.drop_alias(alias, timeout=_TIMEOUT_S)
                client.drop_collection(name, timeout=_TIMEOUT_S)
    finally:
        connection.close()
    return tuple(names)
