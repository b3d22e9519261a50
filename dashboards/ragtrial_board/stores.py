"""The way to the data: through it, every page and every part of one that refreshes by itself asks again who looks."""

from ragtrial.domain.access import Scope
from ragtrial.errors import StoreError
from ragtrial_board.access import require
from ragtrial_board.readers import Stores, opened_stores
from ragtrial_board.told import database_url

__all__ = ["Stores", "stores"]


def stores(needs: Scope = "read") -> Stores:
    """The readers of this dashboard's database, for a visitor who may read results; for others the run ends here.

    Args:
        needs: What the visitor must be allowed to do; another scope than `read` only where the page shows no results.

    Raises:
        StoreError: There is no database yet.
    """
    require(needs)
    url = database_url()
    if url is None:
        raise StoreError("there is no database yet: run `ragtrial demo` or `ragtrial evaluate EXPERIMENT.yaml`")
    return opened_stores(url)
