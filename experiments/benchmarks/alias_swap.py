"""An alias moved back and forth under a running client, on a real Milvus server: what fails, what is answered by another model, what it costs.

Three rounds in one run, each with the same client: nothing moves; the alias moves and the client follows it (`index.following`); the alias
moves and the client does what one would write by hand: it asks what the alias means, embeds the query, and searches the alias.
"""

import argparse
import contextlib
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
from pymilvus import MilvusClient

from ragtrial.index.following import AliasFollower
from ragtrial.index.milvus import MilvusIndex
from ragtrial.indexing import move_alias

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "tests"))

from alias_swapping import MODELS, Ask, Told, client, embedder_of, fill
from servers import milvus_server

ALIAS = "rt_bench_alias"
NAMES = {"a": "rt_bench_a", "b": "rt_bench_b"}


def round_of(ask: Ask, arguments: argparse.Namespace, move: Callable[[int], object] | None) -> tuple[Told, int]:
    """What the client saw, and how often the alias was moved."""
    over = threading.Event()
    told, threads = client(ask, rate=arguments.rate, threads=arguments.threads, until=over.is_set)
    for thread in threads:
        thread.start()
    end, swaps = time.monotonic() + arguments.seconds, 0
    while time.monotonic() < end:
        if move is not None:
            move(swaps)
            swaps += 1
        time.sleep(arguments.pause_ms / 1000)
    over.set()
    for thread in threads:
        thread.join()
    return told, swaps


def followed(follower: AliasFollower) -> Ask:
    """The client that follows the alias."""

    def ask(number: int) -> tuple[str, str]:
        found = follower.search([str(number)], top_k=10)
        return embedder_of(found.model).letter, found.hits[0][0].passage_id

    return ask


def by_hand(store: MilvusIndex, milvus: MilvusClient) -> Ask:
    """The client that searches the alias itself."""

    def ask(number: int) -> tuple[str, str]:
        found = store.referred(ALIAS)
        assert found is not None
        vector = embedder_of(found.model).embed([str(number)], kind="query")
        (hits,) = milvus.search(ALIAS, data=list(vector), limit=10, output_fields=["passage_id"], timeout=10)
        return embedder_of(found.model).letter, hits[0]["passage_id"]

    return ask


def said(what: str, told: Told, swaps: int, seconds: float, before: Told | None) -> None:
    """A line about a round."""
    p50, p99 = np.percentile(told.milliseconds, [50, 99])
    ratios = ""
    if before is not None:
        still50, still99 = np.percentile(before.milliseconds, [50, 99])
        ratios = f"  x{p50 / still50:.2f} / x{p99 / still99:.2f}"
    print(
        f"{what:<34} {told.asked:>6} queries {told.asked / seconds:>6.1f}/s  {swaps:>4} swaps  {len(told.failed):>3} failed  "
        f"{len(told.wrong):>3} wrong model  p50 {p50:6.2f} ms  p99 {p99:7.2f} ms{ratios}"
    )
    for failure in told.failed[:3]:
        print(f"    {failure}")


def main() -> None:
    """Measure and print; ends with 1 where the follower lost a query or met another model."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rate", type=float, default=100.0, help="queries a second [default: 100]")
    parser.add_argument("--seconds", type=float, default=20.0, help="of each round [default: 20]")
    parser.add_argument("--threads", type=int, default=4)
    parser.add_argument("--pause-ms", type=float, default=100.0, help="between two moves [default: 100]")
    parser.add_argument("--every-ms", type=float, default=1000.0, help="how long the follower takes the alias for known [default: 1000]")
    arguments = parser.parse_args()
    reason = milvus_server.why_not()
    if reason is not None:
        sys.exit(reason)
    with tempfile.TemporaryDirectory() as folder, contextlib.ExitStack() as stack:
        uri = stack.enter_context(milvus_server.running(Path(folder)))
        store, mover = (stack.enter_context(contextlib.closing(MilvusIndex(uri))) for _ in range(2))
        for embedder in MODELS.values():
            fill(store, NAMES[embedder.letter], embedder)
        move_alias(store, ALIAS, NAMES["a"])
        follower = AliasFollower(store, ALIAS, embedder_of, every_s=arguments.every_ms / 1000)
        follower.search(["0"], top_k=10)
        print(
            f"Milvus 2.3.5 standalone, 2 collections of 200 passages, {arguments.threads} client threads, a move every {arguments.pause_ms:.0f} ms"
        )
        still, _ = round_of(followed(follower), arguments, None)
        said("nothing moves", still, 0, arguments.seconds, None)
        moving, swaps = round_of(followed(follower), arguments, lambda turn: move_alias(mover, ALIAS, NAMES["ba"[turn % 2]]))
        said("alias moves, client follows it", moving, swaps, arguments.seconds, still)
        bare, bare_swaps = round_of(
            by_hand(store, MilvusClient(uri)), arguments, lambda turn: move_alias(mover, ALIAS, NAMES["ba"[turn % 2]])
        )
        said("alias moves, client by hand", bare, bare_swaps, arguments.seconds, still)
    sys.exit(1 if moving.failed or moving.wrong or moving.models != {"a", "b"} else 0)


if __name__ == "__main__":
    main()
