"""What changes about versions: aliases, notes, archive, deletion; and that a version itself never does."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from ragtrial.errors import InputError, ModelError, SetupError
from ragtrial.finetuning import registry as registry_module
from ragtrial.finetuning.registry import RegisteredModel, Registry
from ragtrial.finetuning.registry_changes import archive, delete, history, remove_alias, set_alias, uses
from ragtrial.finetuning.registry_records import INTENT


def save(folder: Path) -> None:
    (folder / "modules.json").write_text("[]")
    (folder / "model.safetensors").write_bytes(bytes(range(256)))


def add(registry: Registry, name: str = "minilm", **lineage: object) -> RegisteredModel:
    return registry.register(name, save=save, lineage=lineage, training_texts=frozenset())


@pytest.fixture
def registry(tmp_path: Path) -> Registry:
    found = Registry(tmp_path / "models")
    add(found)
    add(found)
    return found


# Aliases


def test_an_alias_means_a_version_until_it_means_another(registry: Registry) -> None:
    set_alias(registry, "minilm@v1", "candidate", who="ana")
    assert registry.get("registry:minilm@candidate", verify=True).version == "v1"
    assert registry.get("minilm").version == "v2"
    set_alias(registry, "minilm", "candidate", who="bo", reason="newer")
    assert registry.get("minilm@candidate").version == "v2"
    assert [(change.who, change.before, change.after, change.reason) for change in registry.records("minilm").history] == [
        ("ana", None, "v1", ""),
        ("bo", "v1", "v2", "newer"),
    ]


def test_an_alias_that_is_there_already_is_no_change(registry: Registry) -> None:
    for _ in range(2):
        set_alias(registry, "minilm@v1", "candidate", who="ana")
    assert len(registry.records("minilm").history) == 1


def test_an_alias_that_is_not_set_says_what_sets_it(registry: Registry) -> None:
    with pytest.raises(ModelError, match=r"no version with the alias 'candidate'.*ragtrial models alias"):
        registry.get("minilm@candidate")
    with pytest.raises(ModelError, match=r"alias 'production'.*ragtrial models promote"):
        registry.get("registry:minilm@production")


def test_production_is_not_set_by_hand(registry: Registry) -> None:
    with pytest.raises(InputError, match="moves together with the Milvus alias"):
        set_alias(registry, "minilm@v1", "production", who="ana")
    with pytest.raises(InputError, match="there are candidate, production"):
        set_alias(registry, "minilm@v1", "best", who="ana")


def test_an_alias_can_be_taken_away(registry: Registry) -> None:
    set_alias(registry, "minilm@v1", "candidate", who="ana")
    assert remove_alias(registry, "minilm", "candidate", who="ana") == "v1"
    with pytest.raises(ModelError, match="no version with the alias"):
        registry.get("minilm@candidate")


def test_an_archived_version_gets_no_alias_and_one_with_an_alias_is_not_archived(registry: Registry) -> None:
    set_alias(registry, "minilm@v2", "candidate", who="ana")
    with pytest.raises(ModelError, match="minilm@v2 is candidate"):
        archive(registry, "minilm@v2", who="ana")
    archive(registry, "minilm@v1", who="ana", reason="worse")
    assert registry.records("minilm").archived == {"v1": "worse"}
    assert registry.get("minilm@v1").version == "v1"
    with pytest.raises(ModelError, match=r"archived: ragtrial models archive minilm@v1 --undo"):
        set_alias(registry, "minilm@v1", "candidate", who="ana")
    archive(registry, "minilm@v1", who="ana", undo=True)
    set_alias(registry, "minilm@v1", "candidate", who="ana")
    assert [change.action for change in registry.records("minilm").history] == ["alias", "archive", "unarchive", "alias"]


def test_nothing_is_archived_while_a_change_of_production_is_not_finished(registry: Registry) -> None:
    """Its end might put just that version into production."""
    archive(registry, "minilm@v2", who="ana")
    intent = registry.home("minilm") / INTENT
    intent.write_text('{"action": "rollback", "version": "v1", "experiment_file": "e.yaml"}')
    with pytest.raises(ModelError, match=r"may put minilm@v1 into production: finish it first with ragtrial models recover e\.yaml"):
        archive(registry, "minilm@v1", who="ana")
    intent.write_text("{")
    with pytest.raises(ModelError, match=r"ragtrial models recover EXPERIMENT\.yaml"):
        archive(registry, "minilm@v1", who="ana")
    assert set(registry.records("minilm").archived) == {"v2"}
    archive(registry, "minilm@v2", who="ana", undo=True)
    intent.unlink()
    archive(registry, "minilm@v1", who="ana")
    assert set(registry.records("minilm").archived) == {"v1"}


# Notes


def test_notes_stand_beside_a_version_and_the_last_of_an_id_counts(registry: Registry) -> None:
    registry.note("minilm@v1", kind="evaluation", record={"id": "e1", "decision": "undecided"})
    registry.note("minilm@v1", kind="intrinsic", record={"anisotropy": 0.4})
    registry.note("minilm@v1", kind="intrinsic", record={"anisotropy": 0.4})
    registry.note("minilm@v1", kind="evaluation", record={"id": "e1", "decision": "adopt custom"})
    registry.note("minilm", kind="evaluation", record={"id": "e1"})  # of the latest version, v2
    assert [note.record for note in registry.notes("minilm@v1", "evaluation")] == [{"id": "e1", "decision": "adopt custom"}]
    assert [note.kind for note in registry.notes("minilm@v1")] == ["intrinsic", "intrinsic", "evaluation"]
    assert [note.version for note in registry.notes("minilm")] == ["v2"]


def test_a_note_on_nothing_is_an_error_and_leaves_nothing(registry: Registry, tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="no model 'other@v1'"):
        registry.note("other@v1", kind="evaluation", record={})
    assert not (tmp_path / "models" / "other").exists()


def test_notes_aliases_and_all_leave_the_version_as_it_was_registered(registry: Registry) -> None:
    folder = registry.get("minilm@v1").folder
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    registry.note("minilm@v1", kind="evaluation", record={"id": "e1"})
    set_alias(registry, "minilm@v1", "candidate", who="ana")
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before
    registry.get("minilm@v1", verify=True)


def test_records_that_cannot_be_read_are_an_error_that_names_the_file_and_other_models_are_not_touched(registry: Registry) -> None:
    add(registry, "other")
    for content in ("{", "[]", '{"form": 99}', '{"form": 1}'):
        (registry.home("minilm") / "records.json").write_text(content)
        with pytest.raises(ModelError, match=r"records\.json.*restore the file"):
            registry.get("minilm")
        assert registry.get("other").version == "v1"


def test_a_registry_that_cannot_be_written_is_an_error_and_can_still_be_read(registry: Registry, monkeypatch: pytest.MonkeyPatch) -> None:
    real = os.open

    def refused(path: Path, flags: int, mode: int = 0o777) -> int:
        if flags & os.O_RDWR:
            raise PermissionError(13, "Permission denied")
        return real(path, flags, mode)

    monkeypatch.setattr(os, "open", refused)
    with pytest.raises(SetupError, match=r"can't be written \(Permission denied\)"):
        registry.note("minilm", kind="evaluation", record={})
    assert registry.notes("minilm") == ()


# Deletion


def test_a_deleted_version_is_gone_and_its_record_and_number_stay(registry: Registry) -> None:
    registry.note("minilm@v2", kind="evaluation", record={"id": "e1"})
    lineage = registry.get("minilm@v2").lineage
    gone = delete(registry, "minilm@v2", who="ana", reason="licence")
    assert not gone.folder.exists()
    assert [model.version for model in registry.list()] == ["v1"]
    with pytest.raises(ModelError, match=r"minilm@v2 was deleted.*ragtrial models show minilm@v2"):
        registry.get("minilm@v2")
    assert registry.lineage("minilm@v2") == lineage
    assert [note.record for note in registry.notes("minilm@v2")] == [{"id": "e1"}]
    assert add(registry).version == "v3"
    assert [(change.action, change.version) for change in history(registry, "minilm")][-1] == ("delete", "v2")


def test_a_name_whose_last_version_was_deleted_keeps_its_history(registry: Registry) -> None:
    for version in ("v1", "v2"):
        delete(registry, f"minilm@{version}", who="ana")
    assert registry.list() == ()
    assert [change.action for change in history(registry, "minilm")] == ["register", "register", "delete", "delete"]


def test_what_is_in_use_is_not_deleted(registry: Registry) -> None:
    set_alias(registry, "minilm@v2", "candidate", who="ana")
    first = registry.get("minilm@v1")
    add(registry, "child", base={"location": "registry:minilm", "revision": first.revision})
    with pytest.raises(ModelError, match=r"in use.*alias 'candidate'"):
        delete(registry, "minilm@v2", who="ana")
    with pytest.raises(ModelError, match=r"in use.*it is the base of child@v1; another reason"):
        delete(registry, "minilm@v1", who="ana", used=["another reason"])
    with pytest.raises(InputError, match="names no version"):
        delete(registry, "minilm", who="ana")
    assert len(registry.list()) == 3
    assert uses(registry, registry.get("child@v1")) == []


def test_a_kill_in_the_middle_of_a_deletion_leaves_no_half_version(registry: Registry, monkeypatch: pytest.MonkeyPatch) -> None:
    class Killed(BaseException):
        pass

    def killed(*_: object) -> None:
        raise Killed

    with monkeypatch.context() as patched:
        patched.setattr(Path, "rename", killed)
        with pytest.raises(Killed):
            delete(registry, "minilm@v1", who="ana")
    assert [model.version for model in registry.list()] == ["v2"]
    with pytest.raises(ModelError, match="was deleted"):
        registry.get("minilm@v1")
    add(registry)
    assert not (registry.home("minilm") / "v1").exists()


# Several processes

BUSY = """
import sys
from pathlib import Path
from ragtrial.finetuning.registry import Registry
from ragtrial.finetuning.registry_changes import set_alias
who, registry = sys.argv[2], Registry(Path(sys.argv[1]))
def save(folder):
    (folder / "modules.json").write_text("[]")
for number in range(8):
    made = registry.register("minilm", save=save, lineage={}, training_texts=frozenset())
    set_alias(registry, f"minilm@{made.version}", "candidate", who=who)
    registry.note(f"minilm@{made.version}", kind="test", record={"id": number, "who": who})
"""


def test_two_processes_that_register_alias_and_note_at_once_lose_nothing(registry: Registry, tmp_path: Path, repository: Path) -> None:
    environment = {**os.environ, "PYTHONPATH": str(repository / "platform")}
    both = [subprocess.Popen([sys.executable, "-c", BUSY, str(tmp_path / "models"), who], env=environment) for who in ("ana", "bo")]
    assert [process.wait() for process in both] == [0, 0]
    records = registry.records("minilm")
    assert [model.version for model in registry.list()] == [f"v{n}" for n in range(1, 19)]
    assert sorted((note.record["who"], note.record["id"]) for note in records.notes) == [(w, n) for w in ("ana", "bo") for n in range(8)]
    assert len(records.history) == 16
    for earlier, later in zip(records.history, records.history[1:], strict=False):
        assert later.before == earlier.after  # no change was lost: each began where the one before it ended
    assert records.aliases == {"candidate": records.history[-1].after}


# Content


def flip(path: Path, byte: int = 100) -> None:
    content = bytearray(path.read_bytes())
    content[byte] ^= 1
    stamp = path.stat()
    path.write_bytes(content)
    os.utime(path, ns=(stamp.st_atime_ns, stamp.st_mtime_ns))


def test_a_flipped_byte_is_found_though_size_and_time_are_the_same_and_the_file_is_named(registry: Registry) -> None:
    model = registry.get("minilm@v1", verify=True)
    flip(model.folder / "model.safetensors")
    with pytest.raises(ModelError, match=r"minilm@v1.*is not what was registered \(its checksum differs: model\.safetensors\)"):
        registry.get("minilm@v1", verify=True)
    registry.get("minilm@v2", verify=True)


def test_a_file_that_is_no_weight_is_watched_too(registry: Registry) -> None:
    model = registry.get("minilm@v1")
    (model.folder / "custom.py").write_text("import os")
    with pytest.raises(ModelError, match=r"checksum differs: custom\.py"):
        registry.get("minilm@v1", verify=True)


def test_a_version_of_before_the_checksums_of_files_is_compared_with_its_one_checksum(registry: Registry) -> None:
    model = registry.get("minilm@v1")
    old = {key: value for key, value in model.lineage.items() if key != "files"}
    (model.folder / "ragtrial.json").write_text(json.dumps(old))
    registry.get("minilm@v1", verify=True)
    flip(model.folder / "model.safetensors")
    with pytest.raises(ModelError, match=r"its checksum differs\)"):
        registry.get("minilm@v1", verify=True)


def test_what_was_hashed_once_is_not_hashed_again(registry: Registry, monkeypatch: pytest.MonkeyPatch) -> None:
    registry.get("minilm@v1", verify=True)

    def never(folder: Path) -> str:
        raise AssertionError(folder)

    monkeypatch.setattr(registry_module, "content_hash", never)
    registry.get("minilm@v1", verify=True)
