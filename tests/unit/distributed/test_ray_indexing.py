"""Indexing on a local Ray: one instance for the file, started as a command starts it."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest
import yaml
from pymilvus import MilvusClient

import tiny_model
from ragtrial.chunking import cut
from ragtrial.contracts import Vectors
from ragtrial.distributed.ledger import Ledger
from ragtrial.distributed.session import ray_session
from ragtrial.distributed.survey import Survey, survey
from ragtrial.domain.evaluation import IndexFacts
from ragtrial.domain.execution import RaySpec
from ragtrial.domain.experiment import ChunkingSpec
from ragtrial.errors import InputError, ModelError, SetupError, StoreError
from ragtrial.formats.experiment import load_experiment
from ragtrial.formats.shards import list_shards
from ragtrial.index.milvus import MilvusIndex
from ragtrial.indexing import alias_of
from ragtrial.settings import read_settings
from ragtrial.suite.distributing import for_workers
from ragtrial.suite.indexing import index_file
from ragtrial.suite.preparing import configure
from servers import milvus_server

pytestmark = pytest.mark.slow
ARM = "custom"


@pytest.fixture(scope="module")
def ray_address() -> Iterator[str]:
    """A Ray of this machine with two CPUs."""
    with pytest.MonkeyPatch.context() as environment:
        environment.setenv("PYTHONPATH", os.pathsep.join(filter(None, sys.path)))  # so that workers find `ray_embedders`
        with ray_session(RaySpec(local_cpus=2, object_store_mb=100)):
            import ray  # after what the session tells it by the environment

            yield ray.get_runtime_context().gcs_address


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_model.build(tmp_path_factory.mktemp("model"))


World = Callable[..., Path]


@pytest.fixture
def world(tmp_path: Path) -> World:
    """Writes an experiment over four shards of documents in the tiny model's words."""

    def make(name: str, embedding: dict, *, documents: int = 60, **more: object) -> Path:
        folder = tmp_path / name
        (folder / "corpus").mkdir(parents=True)
        records = [
            {"_id": f"d{n:03}", "title": "", "text": f"{pair.passage}.\n\n{pair.passage} {n}.", "doc": f"tenant {n % 3}"}
            for n, pair in enumerate(tiny_model.lesson(documents, seed=3))
        ]
        for number in range(4):
            lines = (json.dumps(record) + "\n" for record in records[number::4])
            (folder / "corpus" / f"{number}.jsonl").write_text("".join(lines))
        (folder / "queries.jsonl").write_text('{"_id": "q", "text": "aska askb"}\n')
        (folder / "qrels").mkdir()
        (folder / "qrels" / "test.tsv").write_text("query-id\tcorpus-id\tscore\nq\td000\t1\n")
        # arms of one model share a collection, so Ray, whose every start of a pool takes seconds, has one to make
        arms = [{"name": name, "role": role, "embedding": embedding} for name, role in (("baseline", "control"), (ARM, "treatment"))]
        plan = {
            "name": "rayed",
            "data": {"path": ".", "corpus": "corpus"},
            "chunking": {"strategy": "text", "max_chars": 40},
            "arms": arms,
            "metrics": {"primary": {"name": "nDCG@10", "min_effect": 0.01}},
            "execution": "ray",
            "ray": {"actors": 1, "batch_size": 16},
        }
        path = folder / "experiment.yaml"
        path.write_text(yaml.safe_dump({**plan, **more}))
        return path

    return make


def index(path: Path) -> IndexFacts:
    return index_file(path, settings=read_settings({}))[ARM]


def surveyed(path: Path) -> Survey:
    return survey(list_shards(path.parent / "corpus"), load_experiment(path).experiment.chunking)


def stored(uri: str, collection: str) -> dict[str, Vectors]:
    """Every vector by passage id, and each id once."""
    client = MilvusClient(uri)
    client.load_collection(collection)
    rows = client.query(
        collection, filter='passage_id > ""', output_fields=["passage_id", "vector"], limit=1000, consistency_level="Strong"
    )
    client.close()
    if uri.endswith(".db"):
        from milvus_lite.server_manager import server_manager_instance

        server_manager_instance.release_server(uri)
    found = {row["passage_id"]: np.asarray(row["vector"], dtype=np.float32) for row in rows}
    assert len(found) == len(rows)
    return found


def lite(path: Path) -> str:
    return str(path.parent / ".ragtrial" / "milvus.db")


def same(found: dict[str, Vectors], expected: dict[str, Vectors]) -> None:
    assert found.keys() == expected.keys()
    for passage_id, vector in expected.items():
        np.testing.assert_allclose(found[passage_id], vector, atol=1e-5)


def test_ray_makes_the_collection_that_the_local_path_makes(ray_address: str, world: World, model: Path) -> None:
    embedding = {"provider": "sentence-transformers", "model": str(model)}
    grouped = {"index": {"partition_by": "group"}}
    here, there = world("here", embedding, execution="local", retrieval=grouped), world("there", embedding, retrieval=grouped)
    local, rayed = index(here), index(there)
    assert (rayed.collection, rayed.alias, rayed.n_passages) == (local.collection, local.alias, local.n_passages)
    assert rayed.ann_recall == 1.0
    same(stored(lite(there), rayed.collection), stored(lite(here), local.collection))
    vectors = np.eye(32, dtype=np.float32)[:3]
    hits = []
    for path in (here, there):
        with closing(MilvusIndex(lite(path))) as store:
            info = store.describe(local.alias)
            assert info is not None
            groups = (None, "tenant 1", "tenant 2")
            answers = store.search(local.alias, vectors, top_k=5, model=info.model, groups=groups)
            hits.append([[hit.passage_id for hit in found] for found in answers])
    assert hits[0] == hits[1]
    assert {int(passage_id[1:4]) % 3 for passage_id in hits[0][1]} == {1}
    # each path takes the other's collection for its own: a model that is gone would be missed by whoever had to embed
    for path, other in ((here, "ray"), (there, "local")):
        plan = yaml.safe_load(path.read_text())
        path.write_text(yaml.safe_dump({**plan, "execution": other}))
        assert index(path).collection == local.collection
        assert load_experiment(path).experiment.plan_digest() == load_experiment(here).experiment.plan_digest()


def test_a_passage_that_cannot_be_embedded_is_named_and_nothing_is_served(ray_address: str, world: World) -> None:
    path = world("poisoned", {"provider": "ray_embedders:Poisoned", "model": "x"})
    shard = path.parent / "corpus" / "2.jsonl"
    shard.write_text(shard.read_text() + '{"_id": "bad", "text": "some poison here"}\n')
    with pytest.raises(ModelError) as failed:
        index(path)
    assert f"{shard}:16: passage 'bad#0-16' can't be embedded" in str(failed.value)
    with closing(MilvusIndex(lite(path))) as store:
        infos = [info for info in map(store.describe, store.collections()) if info is not None and "tests" in info.model.name]
        assert [info.complete for info in infos] == [False]
        assert store.resolve(f"rt_rayed_{ARM}") is None


def test_killed_in_the_middle_and_resumed_by_an_actor_that_dies_it_is_as_if_never_killed(
    ray_address: str, world: World, tmp_path: Path
) -> None:
    path = world("killed", {"provider": "ray_embedders:Slow", "model": str(tmp_path)}, documents=400)
    plan = yaml.safe_load(path.read_text())
    path.write_text(yaml.safe_dump({**plan, "ray": {**plan["ray"], "address": ray_address}}))
    shards = surveyed(path).shards
    process = subprocess.Popen(
        [sys.executable, "-c", "from ragtrial.cli.main import main; main()", "index", str(path)],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
    )
    done: set[int] = set()
    end = time.monotonic() + 60
    while not done and process.poll() is None and time.monotonic() < end:
        time.sleep(0.05)
        done = noted(path, shards)
    process.send_signal(signal.SIGKILL)
    assert process.stderr is not None
    assert process.wait() == -signal.SIGKILL, process.stderr.read().decode()
    before = noted(path, shards)
    assert before
    assert len(before) < len(shards)
    (tmp_path / "hurry").touch()
    (tmp_path / "die").touch()
    bars: list[tuple[str, int]] = []

    def progress(description: str, total: int) -> Callable[[int], None]:
        bars.append((description, total))
        return lambda _done: None

    facts = index_file(path, settings=read_settings({}), progress=progress)[ARM]
    resumed = next(total for description, total in bars if "tests" in description and "on Ray" in description)
    assert resumed == sum(shard.n_passages for shard in shards if shard.number not in before)
    assert not (tmp_path / "die").exists()
    assert facts.n_passages == surveyed(path).n_passages
    alone = world("alone", {"provider": "ray_embedders:Slow", "model": str(tmp_path)}, documents=400, execution="local")
    same(stored(lite(path), facts.collection), stored(lite(alone), index(alone).collection))


def noted(path: Path, shards: object) -> set[int]:
    """Numbers of the shards that the ledger has of the custom arm's collection."""
    folder = path.parent / ".ragtrial" / "shards"
    if not folder.exists():
        return set()
    names = [p.name for p in (path.parent / ".ragtrial" / "milvus.db" / "collections").glob("rt_*of_tests*")]
    with Ledger(folder, store=lite(path)) as ledger:
        return {number for name in names for number in ledger.stored(name, shards)}  # type: ignore[arg-type]


def test_a_ledger_that_says_more_than_the_store_holds_is_not_believed(world: World) -> None:
    """Words alone, for which nothing is embedded and no Ray is started: shards are noted all the same."""
    path = world("emptied", {"provider": "hashing", "model": "x"}, retrieval={"method": "bm25"})
    facts = index(path)
    with Ledger(path.parent / ".ragtrial" / "shards", store=lite(path)) as ledger:
        assert len(ledger.stored(facts.collection, surveyed(path).shards)) == 4
    with closing(MilvusIndex(lite(path))) as store:
        client = MilvusClient(lite(path))
        for arm in ("baseline", ARM):
            client.drop_alias(alias_of("rayed", arm))
        store.drop(facts.collection)
    assert index(path).n_passages == surveyed(path).n_passages


def test_a_cluster_without_room_for_one_actor_says_what_it_has(ray_address: str, world: World) -> None:
    path = world("large", {"provider": "hashing", "model": "b", "dimensions": 32}, ray={"cpus_per_actor": 64})
    with pytest.raises(SetupError, match="an actor needs 64 CPUs and 0 GPUs, but the Ray cluster has 2 CPUs"):
        index(path)


def test_workers_write_into_a_server_themselves_or_it_imports_files(ray_address: str, world: World, model: Path, tmp_path: Path) -> None:
    if why := milvus_server.why_not():
        pytest.skip(why)
    embedding = {"provider": "sentence-transformers", "model": str(model)}
    (tmp_path / "server").mkdir()
    with milvus_server.running(tmp_path / "server") as uri:
        rayed = index(world("there", embedding, stores={"milvus": uri}))
        found = stored(uri, rayed.collection)
        more = {"actors": 1, "write": "bulk-import", "import_folder": "files"}
        path = world("imported", embedding, stores={"milvus": uri}, ray=more, retrieval={"index": {"metric": "IP"}})
        imported = stored(uri, index(path).collection)
        assert not any((path.parent / "files").iterdir())
    same(imported, found)
    here = world("here", embedding, execution="local")
    same(found, stored(lite(here), index(here).collection))


def test_a_shard_that_changes_between_the_two_readings_is_noticed(tmp_path: Path) -> None:
    from ragtrial.distributed.stages import read_rows

    shard = tmp_path / "a.jsonl"
    shard.write_text('{"_id": "d1", "text": "one"}\n')
    before = survey(list_shards(tmp_path), ChunkingSpec())
    shard.write_text('{"_id": "d1", "text": "two"}\n')
    *_, last = read_rows({"number": np.array([0])}, shards=before.shards, chunking=ChunkingSpec())
    assert list(last["error"]) == [f"{shard}: was changed while it was being indexed"]


def test_what_workers_are_given_keeps_the_rules_and_no_secret_but_the_arms_key(world: World) -> None:
    path = world("rules", {"provider": "openai-compatible", "model": "m", "base_url": "http://localhost:1/v1"})
    variables = {
        "RAGTRIAL_ALLOW_PICKLE_MODELS": "1",
        "RAGTRIAL_CONFINE_TO": str(path.parent),
        "RAGTRIAL_ALLOWED_HOSTS": "localhost",
        "RAGTRIAL_STORES_SQL": "sqlite:///elsewhere.db",
        "RAGTRIAL_KEY_PEPPER": "pepper",
        "OPENAI_API_KEY": "key",
        "OTHER": "other",
    }
    configured = configure(path, settings=read_settings(variables))
    given = for_workers(configured, configured.experiment.control).settings
    assert given.allow_pickle_models
    assert given.confinement == configured.around.settings.confinement is not None
    assert (dict(given.environment), given.stores, given.key_pepper) == ({"OPENAI_API_KEY": "key"}, {}, None)


@pytest.mark.parametrize(
    ("ray", "said"),
    [
        ({"actors": 0}, "actors is 0"),
        ({"write": "bulk-import"}, "needs import_folder"),
        ({"actors": 3, "max_actors": 2}, "max_actors is 2"),
    ],
)
def test_settings_that_cannot_be_are_refused_by_name(world: World, ray: dict, said: str) -> None:
    with pytest.raises(InputError, match=said):
        load_experiment(world("odd", {"provider": "hashing", "model": "b"}, ray=ray))


def test_groups_are_imported_by_nobody_yet_which_the_file_is_told(world: World) -> None:
    grouped = {"index": {"partition_by": "group"}}
    path = world("bulk", {"provider": "hashing", "model": "b"}, ray={"write": "bulk-import", "import_folder": "f"}, retrieval=grouped)
    with pytest.raises(InputError, match=r"ray\.write is 'bulk-import' and index\.partition_by is 'group', .*: use write: upsert"):
        load_experiment(path)


@pytest.mark.parametrize("said", ["The current node timed out during startup.", "Timed out waiting for file /tmp/ray/s/gcs_server_port_1"])
def test_a_ray_that_takes_too_long_to_start_is_started_again_and_then_a_reason_and_no_trace(
    monkeypatch: pytest.MonkeyPatch, said: str
) -> None:
    import ray

    late = [True, False]

    def start(**_options: object) -> None:
        if late.pop(0):
            raise Exception(said)  # noqa: TRY002 - as Ray does on a machine that is too busy

    monkeypatch.setattr(ray, "init", start)
    monkeypatch.setattr(ray, "is_initialized", lambda: False)
    monkeypatch.setattr(ray, "shutdown", lambda: None)
    with ray_session(RaySpec()):
        assert not late
    late = [True, True]
    with pytest.raises(SetupError, match=rf"Ray can't be started here \({re.escape(said)}"), ray_session(RaySpec()):
        pass
    late = [True, False]
    with (
        pytest.raises(SetupError, match=r"the Ray cluster at '10.0.0.1:6379' can't be joined"),
        ray_session(RaySpec(address="10.0.0.1:6379")),
    ):
        pass
    assert late == [False]


def test_milvus_lite_imports_no_files(world: World) -> None:
    path = world("lite", {"provider": "hashing", "model": "b"}, ray={"write": "bulk-import", "import_folder": "files"})
    with pytest.raises(StoreError, match="is Milvus Lite, which imports no files"):
        index(path)


def test_where_the_corpus_is_embedded_is_no_part_of_the_plan(world: World) -> None:
    plain = {"provider": "hashing", "model": "b"}
    local, rayed = load_experiment(world("one", plain, execution="local")), load_experiment(world("two", plain))
    assert local.experiment.plan_digest() == rayed.experiment.plan_digest()
    assert cut  # the chunking is
