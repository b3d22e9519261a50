"""Versions of models: whole or not there, never changed, found by name."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from ragtrial.domain.gold import GoldSet, Query
from ragtrial.errors import InputError, ModelError, SetupError
from ragtrial.finetuning.leakage import check_lineage, text_digest
from ragtrial.finetuning.registry import LEFTOVER_HOURS, RegisteredModel, Registry


def save(folder: Path) -> None:
    (folder / "modules.json").write_text("[]")
    (folder / "1_Pooling").mkdir()
    (folder / "1_Pooling" / "config.json").write_text("{}")


def add(registry: Registry, name: str = "minilm", *, texts: tuple[str, ...] = (), **lineage: object) -> RegisteredModel:
    return registry.register(name, save=save, lineage=lineage, training_texts=frozenset(map(text_digest, texts)))


@pytest.fixture
def registry(tmp_path: Path) -> Registry:
    return Registry(tmp_path / "models")


def test_versions_count_up_and_the_latest_is_the_default(registry: Registry) -> None:
    for number in range(1, 12):
        assert add(registry, number=number).version == f"v{number}"
    add(registry, "other")
    assert registry.get("minilm").version == "v11"
    assert registry.get("registry:minilm").lineage["number"] == 11
    assert registry.get("registry:minilm@v2", verify=True).lineage["number"] == 2
    assert [model.version for model in registry.list() if model.name == "minilm"] == [f"v{n}" for n in range(1, 12)]


def test_the_lineage_is_kept_with_name_version_and_checksum(registry: Registry) -> None:
    model = add(registry, base={"name": "all-MiniLM-L6-v2"}, curve=[{"step": 1, "loss": 0.5}])
    written = json.loads((model.folder / "ragtrial.json").read_text())
    assert written == model.lineage
    assert {"name": "minilm", "version": "v1", "base": {"name": "all-MiniLM-L6-v2"}}.items() <= written.items()
    assert len(written["checksum"]) == 64


@pytest.mark.parametrize("reference", ["nothing", "minilm@v2", "minilm@1", "registry:", "../models/minilm", "mini*"])
def test_a_model_that_is_not_there_is_an_error_that_says_what_is(registry: Registry, reference: str) -> None:
    add(registry)
    with pytest.raises(ModelError, match=r"which holds minilm@v1: ragtrial train"):
        registry.get(reference)


def test_an_empty_registry_holds_nothing(registry: Registry) -> None:
    assert registry.list() == ()
    with pytest.raises(ModelError, match="which holds nothing: ragtrial train"):
        registry.get("minilm")


@pytest.mark.parametrize("change", ["1_Pooling/config.json", "training-texts.txt", "added.json"])
def test_a_model_that_was_changed_is_refused(registry: Registry, change: str) -> None:
    model = add(registry, texts=("a",))
    assert registry.get("minilm", verify=True) == model
    (model.folder / change).write_text('{"changed": true}')
    with pytest.raises(ModelError, match=r"minilm@v1.*is not what was registered"):
        registry.get("minilm", verify=True)


def test_a_broken_record_is_an_error_of_that_model_only(registry: Registry) -> None:
    add(registry)
    broken = add(registry, "broken")
    for content in ("{", "[]"):
        (broken.folder / "ragtrial.json").write_text(content)
        with pytest.raises(ModelError, match=r"broken/v1.*train again"):
            registry.get("broken")
    assert registry.get("minilm").version == "v1"


@pytest.mark.parametrize("name", ["", "../up", "a/b", ".hidden", "a b", "-dash", "name@v1"])
def test_a_name_that_is_no_folder_name_is_refused(registry: Registry, name: str) -> None:
    with pytest.raises(InputError, match="model name"):
        add(registry, name)


def test_a_save_that_fails_leaves_nothing(registry: Registry, tmp_path: Path) -> None:
    def fails(folder: Path) -> None:
        save(folder)
        raise OSError(28, "No space left on device")

    with pytest.raises(SetupError, match=r"No space left on device.*stores\.registry"):
        registry.register("minilm", save=fails, lineage={}, training_texts=frozenset())
    assert registry.list() == ()
    assert list((tmp_path / "models" / "minilm").iterdir()) == []


def test_a_pickle_is_refused(registry: Registry) -> None:
    with pytest.raises(ModelError, match=r"'pytorch_model\.bin'.*safetensors"):
        registry.register(
            "minilm", save=lambda folder: (folder / "pytorch_model.bin").write_bytes(b"x") and None, lineage={}, training_texts=frozenset()
        )
    assert registry.list() == ()


def test_half_written_versions_are_not_there_and_old_ones_are_removed(registry: Registry, tmp_path: Path) -> None:
    home = tmp_path / "models" / "minilm"
    for name, age in ((".part-old", LEFTOVER_HOURS * 3600 + 60), (".part-young", 0)):
        (home / name).mkdir(parents=True)
        save(home / name)
        os.utime(home / name, (time.time() - age,) * 2)
    (home / "v7").mkdir()  # no record in it
    assert registry.list() == ()
    assert add(registry).version == "v8"
    assert sorted(path.name for path in home.iterdir()) == [".part-young", "v7", "v8"]


KILLED = """
import sys, time
from pathlib import Path
from ragtrial.finetuning.registry import Registry
def save(folder):
    (folder / "modules.json").write_text("[]")
    print("saved", flush=True)
    time.sleep(60)
Registry(Path(sys.argv[1])).register("minilm", save=save, lineage={}, training_texts=frozenset())
"""


def test_a_registration_that_is_killed_is_not_there(registry: Registry, tmp_path: Path, repository: Path) -> None:
    process = subprocess.Popen(
        [sys.executable, "-c", KILLED, str(tmp_path / "models")],
        stdout=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": str(repository / "platform")},
    )
    assert process.stdout is not None
    assert process.stdout.readline() == b"saved\n"
    process.send_signal(signal.SIGKILL)
    process.wait()
    process.stdout.close()
    assert registry.list() == ()
    assert add(registry).version == "v1"


RACE = """
import sys
from pathlib import Path
from ragtrial.finetuning.registry import Registry
for _ in range(10):
    Registry(Path(sys.argv[1])).register(
        "minilm", save=lambda folder: (folder / "modules.json").write_text("[]"), lineage={}, training_texts=frozenset())
"""


def test_two_processes_that_register_at_once_get_versions_of_their_own(registry: Registry, tmp_path: Path, repository: Path) -> None:
    environment = {**os.environ, "PYTHONPATH": str(repository / "platform")}
    arguments = [sys.executable, "-c", RACE, str(tmp_path / "models")]
    both = [subprocess.Popen(arguments, env=environment) for _ in range(2)]
    assert [process.wait() for process in both] == [0, 0]
    assert [model.version for model in registry.list()] == [f"v{number}" for number in range(1, 21)]
    for model in registry.list():
        assert registry.get(f"minilm@{model.version}", verify=True).lineage["version"] == model.version


def test_a_registry_where_a_file_stands_is_an_error_with_the_way_out(tmp_path: Path) -> None:
    (tmp_path / "models").write_text("")
    with pytest.raises(SetupError, match=r"can't be written.*stores\.registry"):
        add(Registry(tmp_path / "models"))


GOLD = GoldSet(name="gold", queries=(Query(query_id="q1", text="Where is box 7?"), Query(query_id="q2", text="And box 8?")), judgments=())


@pytest.mark.parametrize(
    ("texts", "expected"),
    [
        (("Where is box 9?",), ("pass", "0 of 2 gold queries and 0 of 1 relevant passages are among the training texts of minilm@v1")),
        (("where is BOX 7",), ("fail", "1 of 2 gold queries and 0 of 1 relevant passages .*, e.g. 'Where is box 7\\?'")),
        (("Box 7 is in block A",), ("fail", "0 of 2 gold queries and 1 of 1 relevant passages .*, e.g. 'Box 7 is in block A.'")),
        ((), ("unknown", "minilm@v1 has no record of its training texts")),
    ],
)
def test_the_lineage_tells_whether_a_later_gold_set_was_trained_on(
    registry: Registry, texts: tuple[str, ...], expected: tuple[str, str], matches: Callable[[str, str], bool]
) -> None:
    state, detail = check_lineage(add(registry, texts=texts), GOLD, ["Box 7 is in block A."])
    assert state == expected[0]
    assert matches(expected[1], detail)


@pytest.fixture
def matches() -> Callable[[str, str], bool]:
    import re

    return lambda pattern, text: re.fullmatch(pattern, text) is not None
