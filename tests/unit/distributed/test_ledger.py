"""What a killed indexing goes on from."""

from dataclasses import replace
from pathlib import Path

from ragtrial.distributed.ledger import Ledger
from ragtrial.distributed.survey import SurveyedShard
from ragtrial.formats.shards import Shard

SHARDS = tuple(SurveyedShard(number=n, shard=Shard(uri=f"/{n}.jsonl", size=1), digest=f"{n:032}", n_passages=2) for n in range(3))


def test_a_shard_is_known_by_store_collection_and_content_and_not_by_its_name(tmp_path: Path) -> None:
    with Ledger(tmp_path, store="a.db") as ledger:
        ledger.note("c", SHARDS[1])
        assert ledger.stored("c", SHARDS) == {1}
        assert ledger.stored("other", SHARDS) == set()
        renamed = replace(SHARDS[1], number=0, shard=Shard(uri="/new.jsonl", size=1))
        changed = replace(SHARDS[1], digest="f" * 32)
        assert ledger.stored("c", [renamed, changed]) == {0}
    with Ledger(tmp_path, store="b.db") as ledger:
        assert ledger.stored("c", SHARDS) == set()
    with Ledger(tmp_path, store="a.db") as ledger:
        assert ledger.stored("c", SHARDS) == {1}


def test_forgetting_a_collection_keeps_the_others(tmp_path: Path) -> None:
    with Ledger(tmp_path, store="a.db") as ledger:
        for shard in SHARDS:
            ledger.note("c", shard)
            ledger.note("cc", shard)
        ledger.forget("c")
        assert ledger.stored("c", SHARDS) == set()
        assert ledger.stored("cc", SHARDS) == {0, 1, 2}
