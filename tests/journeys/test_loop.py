"""The loop from end to end: users vote, a candidate learns from it, runs in silence, is promoted, and users are better off."""

import json
import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

import tiny_model
from commands import Done, ragtrial_command
from live_service import live
from loop_world import World, build_world, experiment, write_yaml
from ragtrial.domain.data import DataSpec
from ragtrial.domain.gold import GoldSet
from ragtrial.domain.model import ModelIdentity
from ragtrial.domain.training import TrainingSpec
from ragtrial.finetuning.registry import Registry
from ragtrial.finetuning.training import train
from ragtrial.formats.experiment import load_experiment
from ragtrial.formats.pairs import read_pairs, write_pairs
from ragtrial.settings import read_settings
from ragtrial.suite.preparing import prepare
from ragtrial.suite.traffic import Traffic, TrafficPlan, simulate


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    """With a model that has learnt some of what there is to learn."""
    folder = tmp_path_factory.mktemp("loop")
    lesson = tiny_model.lesson(24, seed=11)
    spec = TrainingSpec(data=DataSpec(path="x"), epochs=4, batch_size=16, learning_rate=5e-3, max_seq_length=32, precision="fp32")
    started = train(
        spec=spec,
        base_folder=tiny_model.build(folder / "raw"),
        base=ModelIdentity(name="tiny", revision="0", dimension=32),
        pairs=lesson,
        dev=None,
        registry=Registry(folder / "first"),
        name="base",
        work_folder=folder / "work",
        facts={},
    )
    shutil.copytree(started.folder, folder / "base" / "model")
    write_pairs(folder / "lesson.jsonl", lesson)
    return build_world(folder, folder / "base" / "model")


def ask(path: Path, wishes: GoldSet, *, n: int = 800, at_once: int = 16, until: Callable[[], bool] = lambda: True) -> Traffic:
    """Simulated users at a real service, who are never told an arm; it goes on until what is scored behind their backs is scored."""
    with live(path) as service:
        traffic = Traffic(plan=TrafficPlan(n_users=200, n_queries=n, concurrency=at_once, own_words=0.0, duplicates=0.0, look_every=None))
        what = load_experiment(path).experiment
        simulate(traffic, experiment=what, gold=wishes, url=service.url, key=service.keys["tester"], read_key=service.keys["viewer"])
        ends = time.monotonic() + 60
        while not until() and time.monotonic() < ends:
            time.sleep(0.5)
    assert traffic.in_order
    return traffic


def primary_of(path: Path) -> Any:
    """What the live analysis says of the metric that decides."""
    return json.loads(ragtrial_command("analyse", path, "--live", "--json").out)["metrics"][0]


def content(traffic: Traffic) -> float:
    """Share of the answers that users were content with."""
    return traffic.satisfied / (traffic.visits + traffic.follow_ups)


def loop(world: World, command: str, *more: str) -> Any:
    return said(ragtrial_command("loop", command, world.folder / "policy.yaml", *more, "--json"))


def said(done: Done) -> Any:
    """The JSON that a command printed."""
    assert done.code == 0, done.err
    return json.loads(done.out)


def test_what_users_vote_makes_what_users_get_better(world: World) -> None:
    folder = world.folder
    assert "60 open one" in loop(world, "look")["seen"][0]
    before = ask(folder / "live.yaml", world.wishes)

    opened = loop(world, "run")
    assert opened["waits"]
    assert opened["done"]["evaluate"]["gate"]
    model = opened["model"]
    assert model == "harbour-model@v1"
    pairs = read_pairs(folder / ".ragtrial/loop/harbour-model/0001/pairs.jsonl")
    assert {pair.origin for pair in pairs} == {"vote"}
    assert all("terms of use" in str(pair.provenance) for pair in pairs)
    assert opened["done"]["pairs"]["refused"], "users were shown passages of the gold set, and their pairs must not be trained on"
    assert loop(world, "run")["number"] == 1, "a candidate that waits is no reason for another one"

    candidate = folder / "live.candidate-1.yaml"
    arms = yaml.safe_load(candidate.read_text())["arms"]
    assert [arm["embedding"]["model"] for arm in arms] == [str(folder / "base" / "model"), f"registry:{model}"]
    gold = prepare(candidate, settings=read_settings()).gold
    ask(candidate, gold, n=600, at_once=2, until=lambda: primary_of(candidate)["effect"] is not None)
    primary = primary_of(candidate)
    assert primary["name"] == "nDCG@10"
    assert primary["effect"] is not None, primary["reason"]
    assert primary["custom"]["mean"] > primary["baseline"]["mean"] + 0.1

    promoted = loop(world, "promote", "--reason", "good in the shadow")
    assert promoted["model"] == model
    status = loop(world, "status")
    assert status["production"] == model
    assert status["cycles"][0]["ending"] == "promoted"
    write_yaml(folder / "after.yaml", {**experiment("registry:harbour-model@production"), "name": "harbour-after"})
    after = ask(folder / "after.yaml", world.wishes)
    assert content(after) > content(before) + 0.1

    trial = pairs[0].provenance["trials"][0]
    graph = said(ragtrial_command("loop", "graph", folder / "policy.yaml", "--trial", trial, "--form", "json"))
    kinds = {node["kind"] for node in graph["nodes"]}
    assert {"vote", "pairs", "model", "evaluation", "promotion"} <= kinds
    unknown = ragtrial_command("loop", "graph", folder / "policy.yaml", "--trial", "nobody")
    assert unknown.code == 2
    assert "'nobody'" in unknown.err
