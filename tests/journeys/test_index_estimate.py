"""`ragtrial index --estimate`: what the collections will take, before anything is embedded or built."""

import json
from pathlib import Path

import yaml

from commands import ragtrial_command
from material import write_beir_folder, write_experiment


def test_the_estimate_says_bytes_and_time_and_writes_nothing(tmp_path: Path) -> None:
    experiment = write_experiment(tmp_path / "e.yaml", write_beir_folder(tmp_path / "data", n_queries=20, n_passages=30))
    content = yaml.safe_load(experiment.read_text())
    content["retrieval"] = {"index": {"type": "HNSW"}}
    experiment.write_text(yaml.safe_dump(content))
    before = sorted(tmp_path.rglob("*"))
    done = ragtrial_command("index", experiment, "--estimate", "--json")
    assert done.code == 0, done.err
    found = json.loads(done.out)
    control = found["arms"][0]
    n, d = found["n_passages"], control["dimension"]
    assert n == 30
    assert (control["raw_bytes"], control["index_type"]) == (4 * n * d, "HNSW")
    sizes = {size["type"]: size["memory"] for size in control["types"]}
    assert sizes.keys() == {"FLAT", "IVF_FLAT", "IVF_SQ8", "HNSW", "HNSW_SQ", "SCANN", "DISKANN"}
    assert sizes["FLAT"] == 4 * n * d < sizes["HNSW"]
    assert control["memory_bytes"] == sizes["HNSW"] + 4 * n * d + found["text_bytes"]  # Milvus Lite holds the vectors beside the graph
    assert control["embed_seconds"] > 0
    assert found["advice"].startswith("Milvus Lite is enough")
    shown = ragtrial_command("index", experiment, "--estimate", "--quiet")
    assert "* HNSW" in shown.out
    assert "30 passages in each collection" in shown.out
    assert "advice: Milvus Lite is enough" in shown.out
    assert sorted(tmp_path.rglob("*")) == before


def test_on_a_server_replicas_and_the_room_for_a_swap_are_counted(tmp_path: Path) -> None:
    experiment = write_experiment(tmp_path / "e.yaml", write_beir_folder(tmp_path / "data", n_queries=20, n_passages=30))
    content = yaml.safe_load(experiment.read_text())
    content["retrieval"] = {"index": {"type": "DISKANN", "replicas": 3}}
    experiment.write_text(yaml.safe_dump(content))
    assert json.loads(ragtrial_command("index", experiment, "--estimate", "--json").out)["advice"] == (
        "use a Milvus server: Milvus Lite has no DISKANN index"
    )
    content["stores"] = {"milvus": "http://127.0.0.1:1"}  # nobody is there, and nobody is asked
    experiment.write_text(yaml.safe_dump(content))
    found = json.loads(ragtrial_command("index", experiment, "--estimate", "--json").out)
    memory = [arm["memory_bytes"] for arm in found["arms"]]
    assert found["loaded_bytes"] == 3 * sum(memory)
    assert found["swap_bytes"] > found["node_bytes"] > found["loaded_bytes"]
    assert "3 replicas" in ragtrial_command("index", experiment, "--estimate", "--quiet").out
    content["subject"] = ["retrieval"]
    content["arms"][1] = {**content["arms"][0], "name": "reranked", "role": "treatment"}
    content["arms"][1]["retrieval"] = {**content["retrieval"], "rerank": {"provider": "overlap", "model": "m"}}
    experiment.write_text(yaml.safe_dump(content))
    shared = json.loads(ragtrial_command("index", experiment, "--estimate", "--json").out)
    assert [arm["same_as"] for arm in shared["arms"]] == [None, content["arms"][0]["name"]]
    assert shared["loaded_bytes"] == 3 * shared["arms"][0]["memory_bytes"]  # both arms search one collection


def test_an_index_that_finds_too_little_ends_the_command_with_the_way_out(tmp_path: Path) -> None:
    experiment = write_experiment(tmp_path / "e.yaml", write_beir_folder(tmp_path / "data", n_queries=30, n_passages=300))
    content = yaml.safe_load(experiment.read_text())
    content["retrieval"] = {"index": {"type": "IVF_FLAT", "search": {"nprobe": 1}, "min_recall": 0.999}}
    experiment.write_text(yaml.safe_dump(content))
    done = ragtrial_command("index", experiment, "--quiet")
    assert done.code == 2
    assert "below index.min_recall 99.9%: raise index.search.nprobe" in done.err
    assert "No alias was moved to it" in done.err
    content["retrieval"]["index"] = {"type": "HNSW", "min_recall": 0.9}
    experiment.write_text(yaml.safe_dump(content))
    assert ragtrial_command("index", experiment, "--quiet").code == 0
