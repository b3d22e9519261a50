"""The search for settings: what it tries, what it keeps to, and what it says."""

import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import tiny_model
from ragtrial.domain.data import DataSpec
from ragtrial.domain.model import ModelIdentity
from ragtrial.domain.training import LoraSpec, MiningSpec, SearchSpec, TrainingSpec
from ragtrial.errors import ModelError
from ragtrial.finetuning.registry import Registry
from ragtrial.finetuning.searching import Found, search
from ragtrial.finetuning.training import train
from ragtrial.finetuning.watching import Watch


class Clock:
    """Seconds that pass when somebody says so."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def spec(**changes: Any) -> TrainingSpec:
    settings = {"epochs": 2, "batch_size": 16, "learning_rate": 1e-3, "seed": 3, **changes}
    return TrainingSpec(data=DataSpec(path="data"), **settings)


def looked(
    folder: Path, *, minutes: float = 60.0, trials: int = 6, seconds: float = 10.0, tried: list[TrainingSpec] | None = None, **changes: Any
) -> Found:
    """A search over trainings of `seconds` an epoch, whose score is best at a learning rate of 3e-3."""
    clock, seen_specs = Clock(), [] if tried is None else tried

    def attempt(candidate: TrainingSpec, progress: Any, seen: Callable[[Watch], None]) -> float:
        seen_specs.append(candidate)
        advance = progress("", candidate.epochs)
        value = 1 - abs(candidate.learning_rate - 3e-3) * 100
        watch = Watch()
        watch.see(0, [0.0, 0.0])
        for epoch in range(candidate.epochs):
            clock.now += seconds
            advance(1)
            watch.see(epoch + 1, [value, value])
            seen(watch)
        return value

    return search(
        spec(**changes), limits=SearchSpec(minutes=minutes, trials=trials), attempt=attempt, n_pairs=500, folder=folder, clock=clock
    )


def test_the_given_settings_are_tried_first_and_the_best_is_taken(tmp_path: Path) -> None:
    tried: list[TrainingSpec] = []
    found = looked(tmp_path, trials=8, tried=tried)
    assert tried[0] == spec()
    finished = [row for row in found.trials if row["nDCG@10"] is not None]
    best = max(finished, key=lambda row: row["nDCG@10"])
    assert found.spec.learning_rate == best["learning_rate"]
    assert found.spec.epochs == best["epochs"]
    assert best["nDCG@10"] > finished[0]["nDCG@10"]
    assert "optimistic" in found.sentence
    assert all(row["nDCG@10"] is None for row in found.trials if row["result"] == "pruned")


def test_the_same_seed_tries_the_same(tmp_path: Path) -> None:
    assert looked(tmp_path / "one").trials == looked(tmp_path / "two").trials


def test_a_trial_that_would_not_end_in_time_is_not_begun(tmp_path: Path) -> None:
    """Two epochs of 10 s are the first trial: of 25 s 5 are left, and no epoch takes less than 10."""
    tried: list[TrainingSpec] = []
    found = looked(tmp_path, minutes=25 / 60, tried=tried)
    assert len(tried) == 1
    assert "would not have ended within" in found.sentence


def test_where_not_even_one_trial_ends_the_given_settings_are_used_and_it_is_said(tmp_path: Path) -> None:
    found = looked(tmp_path, minutes=5 / 60)
    assert found.spec == spec()
    assert found.sentence.startswith("no trial was finished, so the given settings are used")
    assert [row["result"] for row in found.trials] == ["out of time"]


def test_a_search_that_was_killed_goes_on_with_the_trial_it_was_in(tmp_path: Path) -> None:
    """`KeyboardInterrupt` in the third trial leaves it running on disk, as a kill does."""
    whole = looked(tmp_path / "whole")
    tried: list[TrainingSpec] = []

    def attempt(candidate: TrainingSpec, progress: Any, seen: Any) -> float:
        del progress, seen
        tried.append(candidate)
        if len(tried) == 3:
            raise KeyboardInterrupt
        return 1 - abs(candidate.learning_rate - 3e-3) * 100

    def begin() -> Found:
        return search(spec(), limits=SearchSpec(minutes=60, trials=4), attempt=attempt, n_pairs=500, folder=tmp_path / "killed")

    with pytest.raises(KeyboardInterrupt):
        begin()
    found = begin()
    assert tried[3] == tried[2]
    assert len(found.trials) == 4
    assert [row["learning_rate"] for row in found.trials][:3] == [row["learning_rate"] for row in whole.trials][:3]


def test_a_process_that_is_killed_in_a_trial_is_followed_by_one_that_takes_it_up(tmp_path: Path) -> None:
    """`kill -9` in the second trial, in a process of its own; the next one begins with that trial and ends as if nothing had been."""
    tried: list[TrainingSpec] = []

    def begin(*, killed: bool) -> Found:
        def attempt(candidate: TrainingSpec, progress: Any, seen: Any) -> float:
            del progress, seen
            tried.append(candidate)
            if killed and len(tried) == 2:
                os.kill(os.getpid(), signal.SIGKILL)
            return 1 - abs(candidate.learning_rate - 3e-3) * 100

        return search(spec(), limits=SearchSpec(minutes=60, trials=3), attempt=attempt, n_pairs=500, folder=tmp_path)

    child = os.fork()
    if child == 0:
        begin(killed=True)
        os._exit(0)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == -signal.SIGKILL
    found = begin(killed=False)
    assert len(found.trials) == 3
    assert len(tried) == 2, "the first trial is not made again"
    assert found.trials[0]["learning_rate"] == spec().learning_rate


def test_a_trial_that_diverges_or_is_too_large_has_failed_and_the_search_goes_on(tmp_path: Path) -> None:
    def attempt(candidate: TrainingSpec, progress: Any, seen: Any) -> float:
        del progress, seen
        if candidate.batch_size != 16:
            raise ModelError("memory ran out in training")
        return 1 - abs(candidate.learning_rate - 3e-3) * 100

    found = search(spec(), limits=SearchSpec(minutes=60, trials=6), attempt=attempt, n_pairs=500, folder=tmp_path)
    failed = [row for row in found.trials if row["result"] == "failed"]
    assert failed
    assert all((row["nDCG@10"], row["why"]) == (None, "memory ran out in training") for row in failed)
    assert found.spec.batch_size == 16
    assert len(found.trials) == 6


def test_each_method_has_its_own_rate_and_mined_negatives_are_varied(tmp_path: Path) -> None:
    tried: list[TrainingSpec] = []
    looked(tmp_path, tried=tried, method="lora", lora=LoraSpec(learning_rate=1e-2), mining=MiningSpec(per_pair=3))
    assert {candidate.learning_rate for candidate in tried} == {1e-3}
    assert len({candidate.lora.learning_rate for candidate in tried}) > 2
    assert {candidate.mining.per_pair for candidate in tried} <= {1, 2, 3}


def test_a_training_with_a_search_uses_what_it_found_and_keeps_the_table(tmp_path: Path) -> None:
    base = tiny_model.build(tmp_path / "tiny")
    settings = spec(epochs=1, max_seq_length=32, precision="fp32", search=SearchSpec(minutes=5, trials=2))
    given: dict[str, Any] = {
        "base_folder": base,
        "base": ModelIdentity(name="tiny", revision="1", dimension=32),
        "pairs": tiny_model.lesson(64, seed=1),
        "registry": Registry(tmp_path / "models"),
        "name": "tiny",
        "work_folder": tmp_path / "work",
        "facts": {},
    }
    lineage = train(spec=settings, dev=tiny_model.examination(40, seed=2), **given).lineage
    assert len(lineage["search"]["trials"]) == 2
    best = max((row for row in lineage["search"]["trials"] if row["nDCG@10"] is not None), key=lambda row: row["nDCG@10"])
    assert lineage["settings"]["learning_rate"] == best["learning_rate"]
    assert lineage["dev"]["after"] == pytest.approx(best["nDCG@10"])
    assert list((tmp_path / "work").iterdir()) == []
    without = train(spec=settings, dev=None, **given).lineage
    assert "there is no dev set to choose by" in without["search"]["sentence"]
