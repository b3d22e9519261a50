"""Production is moved on evidence, in the registry and in Milvus together, whenever a process is killed."""

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest

import registered_models
from ragtrial.build import build_index
from ragtrial.contracts import VectorIndex
from ragtrial.errors import InputError, ModelError, StoreError
from ragtrial.finetuning.registry import Registry
from ragtrial.finetuning.registry_changes import archive, history
from ragtrial.finetuning.registry_records import INTENT
from ragtrial.formats.experiment import load_experiment, milvus_uri
from ragtrial.index.milvus import MilvusIndex
from ragtrial.indexing import alias_of
from ragtrial.settings import read_settings
from ragtrial.suite import promotion_journal
from ragtrial.suite.concluding import conclude_file
from ragtrial.suite.indexing import index_all
from ragtrial.suite.preparing import prepare
from ragtrial.suite.promoting import Moved, promote, recover_file, roll_back_production
from ragtrial.suite.running import run

SETTINGS = read_settings({"RAGTRIAL_TORCH_THREADS": "1"})
ALIAS = alias_of("small", "production")


@pytest.fixture(scope="module")
def evaluated(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a registry of three versions; v2 (good) was evaluated against v1 and won, then v3 (as good) as well."""
    folder = tmp_path_factory.mktemp("evaluated")
    registry = Registry(folder / ".ragtrial" / "models")
    registered_models.register(registry, registered_models.build(folder / "built" / "a", good=False))
    for seed in (1, 2):
        registered_models.register(registry, registered_models.build(folder / "built" / f"b{seed}", good=True, seed=seed))
    for version, file in (("v2", "e.yaml"), ("v3", "e3.yaml")):
        path = registered_models.write_experiment(folder, treatment=f"registry:tiny@{version}", file=file)
        run(prepare(path, settings=SETTINGS))
        assert conclude_file(path, None, output=None).analysis.verdict.gate_passed
    return folder


@pytest.fixture
def folder(evaluated: Path, tmp_path: Path) -> Path:
    """A copy of it."""
    return Path(shutil.copytree(evaluated, tmp_path / "copy", ignore=shutil.ignore_patterns("built")))


def registry_of(folder: Path) -> Registry:
    return Registry(folder / ".ragtrial" / "models")


@contextmanager
def store(folder: Path) -> Iterator[VectorIndex]:
    with closing(build_index(milvus_uri(load_experiment(folder / "e.yaml")), token=None)) as index:
        yield index


def both(folder: Path) -> tuple[str | None, str | None]:
    """What production means in the registry and in Milvus, as versions."""
    with store(folder) as index:
        info = index.describe(ALIAS) if index.resolve(ALIAS) else None
    in_milvus = None if info is None else info.model.name.removeprefix("tiny-")
    return registry_of(folder).records("tiny").aliases.get("production"), in_milvus


def go(folder: Path, version: str = "v2", file: str = "e.yaml", **options: object) -> Moved:
    return promote(folder / file, f"tiny@{version}", settings=SETTINGS, who="ana", **options)  # type: ignore[arg-type]  # as given


def back(folder: Path) -> Moved:
    return roll_back_production(folder / "e.yaml", "tiny", settings=SETTINGS, who="bo", reason="complaints")


# The way that it should go


def test_a_promotion_moves_both_aliases_and_a_rollback_moves_both_back(folder: Path) -> None:
    assert both(folder) == (None, None)
    done = go(folder)
    assert (done.version, done.before, done.changed, done.overridden, done.evaluation_id) == ("v2", None, True, (), done.evaluation_id)
    assert both(folder) == ("v2", "v2")
    assert registry_of(folder).get("registry:tiny@production").version == "v2"
    assert go(folder, "v3", "e3.yaml").before == "v2"
    assert both(folder) == ("v3", "v3")
    assert (back(folder).version, both(folder)) == ("v2", ("v2", "v2"))
    # before the first promotion the baseline was in production, which was no version by alias
    assert (back(folder).version, both(folder)) == (None, (None, "v1"))
    with pytest.raises(ModelError, match="nothing to roll back"):
        back(folder)
    said = [(c.action, c.version, c.before, c.after, c.who) for c in history(registry_of(folder), "tiny") if c.action != "register"]
    assert said == [
        ("promote", "v2", None, "v2", "ana"),
        ("promote", "v3", "v2", "v3", "ana"),
        ("rollback", "v3", "v3", "v2", "bo"),
        ("rollback", "v2", "v2", None, "bo"),
    ]


def test_promoting_what_is_in_production_changes_nothing(folder: Path) -> None:
    go(folder)
    assert not go(folder).changed
    assert len(registry_of(folder).records("tiny").promotions) == 1


def test_the_evaluation_notes_itself_on_both_models(folder: Path) -> None:
    (custom,) = registry_of(folder).notes("tiny@v2", "evaluation")
    assert (custom.record["role"], custom.record["decision"], custom.record["gate_passed"]) == ("treatment", "adopt custom", True)
    assert {note.record["role"] for note in registry_of(folder).notes("tiny@v1", "evaluation")} == {"control"}


def test_a_service_that_asks_for_production_finds_the_promoted_version(folder: Path) -> None:
    go(folder)
    path = registered_models.write_experiment(folder, treatment="registry:tiny@production", file="live.yaml")
    facts = index_all(prepare(path, settings=SETTINGS))
    with store(folder) as index:
        assert facts["custom"].collection == index.resolve(ALIAS)


# What refuses it


def refused(folder: Path, reason: str, version: str = "v2", file: str = "e.yaml") -> None:
    before = both(folder)
    with pytest.raises(ModelError, match=reason):
        go(folder, version, file)
    assert both(folder) == before
    assert not (registry_of(folder).home("tiny") / INTENT).exists()


def test_a_version_that_was_not_evaluated_is_refused_with_what_to_run(folder: Path) -> None:
    refused(folder, r"no finished evaluation of experiment 'small' has tiny@v1 as its arm 'custom'.*ragtrial evaluate", "v1")


def test_a_gate_that_fails_refuses(folder: Path) -> None:
    path = registered_models.write_experiment(folder, treatment="registry:tiny@v1", control="registry:tiny@v2", file="worse.yaml")
    run(prepare(path, settings=SETTINGS))
    refused(folder, r"the gate of evaluation small-\S+ does not hold: Keep the baseline", "v1", "worse.yaml")


def test_a_certificate_that_fails_refuses(folder: Path) -> None:
    registered_models.write_experiment(folder, file="unequal.yaml")
    text = (folder / "unequal.yaml").read_text().replace("registry:tiny@v2\n", "registry:tiny@v2\n  retrieval:\n    top_k: 20\n")
    (folder / "unequal.yaml").write_text(text)
    run(prepare(folder / "unequal.yaml", settings=SETTINGS))
    refused(folder, r"parity certificate of evaluation small-\S+ does not hold: the arms differ in retrieval\.top_k", file="unequal.yaml")


def test_a_leak_refuses(folder: Path) -> None:
    from ragtrial.finetuning.leakage import text_digest

    registry = registry_of(folder)
    first = (folder / "data" / "queries.jsonl").read_text().splitlines()[0].split('"text": "')[1].removesuffix('"}')
    source = registry.get("tiny@v2").folder
    made = registry.register(
        "leaky",
        save=lambda part: shutil.copytree(source, part, dirs_exist_ok=True, ignore=shutil.ignore_patterns("ragtrial.json")) and None,
        lineage={},
        training_texts=frozenset([text_digest(first)]),
    )
    path = registered_models.write_experiment(folder, treatment="registry:leaky", file="leaky.yaml")
    run(prepare(path, settings=SETTINGS))
    with pytest.raises(ModelError, match=r"found a leak: .*1 of 130 gold queries"):
        promote(path, made.reference, settings=SETTINGS, who="ana")


def test_a_corpus_that_changed_since_refuses(folder: Path) -> None:
    with (folder / "data" / "corpus.jsonl").open("a") as file:
        file.write('{"_id": "new", "title": "", "text": "tella tellb"}\n')
    refused(folder, r"the corpus is not the one of evaluation small-\S+ any more.*run ragtrial evaluate")


def test_a_plan_that_was_changed_since_refuses(folder: Path) -> None:
    text = (folder / "e.yaml").read_text()
    (folder / "e.yaml").write_text(text.replace("min_effect: 0.01", "min_effect: 0.001"))
    refused(folder, r"the plan is not the one of evaluation")


def test_a_poisoned_version_and_an_archived_one_are_refused(folder: Path) -> None:
    archive(registry_of(folder), "tiny@v3", who="ana")
    refused(folder, "tiny@v3 is archived", "v3", "e3.yaml")
    weights = registry_of(folder).get("tiny@v2").folder / "model.safetensors"
    content = bytearray(weights.read_bytes())
    content[-1] ^= 1
    weights.write_bytes(content)
    refused(folder, r"not what was registered \(its checksum differs: model\.safetensors\)")


def test_a_rollback_does_not_go_to_a_version_that_was_archived_since(folder: Path) -> None:
    go(folder)
    go(folder, "v3", "e3.yaml")
    archive(registry_of(folder), "tiny@v2", who="ana", reason="its licence ran out")
    with pytest.raises(ModelError, match=r"tiny@v2.* was archived since \(its licence ran out\): .*models archive tiny@v2 --undo"):
        back(folder)
    assert both(folder) == ("v3", "v3")
    archive(registry_of(folder), "tiny@v2", who="ana", undo=True)
    assert (back(folder).version, both(folder)) == ("v2", ("v2", "v2"))


def test_a_collection_that_is_gone_refuses_and_says_what_makes_it(folder: Path) -> None:
    shutil.rmtree(folder / ".ragtrial" / "milvus.db")
    with pytest.raises(StoreError, match=r"no Milvus store.*ragtrial index"):
        go(folder)
    index_all(prepare(folder / "e3.yaml", settings=SETTINGS))  # another version's collection
    with pytest.raises(StoreError, match=r"tiny@v2 has no collection 'rt_tiny_v2_\w+'.*ragtrial index"):
        go(folder)


def test_force_needs_a_reason_and_records_what_it_overrides(folder: Path) -> None:
    with pytest.raises(InputError, match="--force needs --reason"):
        go(folder, "v1", force=True)
    path = registered_models.write_experiment(folder, treatment="registry:tiny@v1", control="registry:tiny@v2", file="worse.yaml")
    index_all(prepare(path, settings=SETTINGS))
    done = go(folder, "v1", "worse.yaml", force=True, reason="the other one's licence")
    assert both(folder) == ("v1", "v1")
    assert len(done.overridden) == 1
    last = history(registry_of(folder), "tiny")[-1]
    assert (last.reason, list(last.details["overridden"])) == ("the other one's licence", list(done.overridden))


def test_another_experiments_promotion_is_not_rolled_back_from_here(folder: Path) -> None:
    go(folder)
    other = registered_models.write_experiment(folder, name="other", treatment="registry:tiny@v3", file="other.yaml")
    run(prepare(other, settings=SETTINGS))
    assert promote(other, "tiny@v3", settings=SETTINGS, who="ana").elsewhere == ("small",)
    with pytest.raises(ModelError, match="promoted for experiment 'other' since"):
        back(folder)


# Killed at any step


class Killed(BaseException):
    """Like a kill: nothing that catches errors catches it."""


def killed_at(monkeypatch: pytest.MonkeyPatch, step: int) -> Callable[[], int]:
    """Have the process end before or after the n-th thing that a promotion writes; how many such moments there were."""
    moments = 0

    def moment() -> None:
        nonlocal moments
        moments += 1
        if moments == step:
            raise Killed

    def watched(real: Callable[..., object]) -> Callable[..., object]:
        def call(*given: object, **named: object) -> object:
            moment()
            result = real(*given, **named)
            moment()
            return result

        return call

    for name in ("write_json", "write_records", "_remove"):
        monkeypatch.setattr(promotion_journal, name, watched(getattr(promotion_journal, name)))
    monkeypatch.setattr(MilvusIndex, "point", watched(MilvusIndex.point))
    return lambda: moments


@pytest.mark.slow
@pytest.mark.parametrize("action", ["promote", "roll back"])
def test_a_kill_at_any_step_leaves_both_aliases_on_one_version_after_the_next_command(
    folder: Path, monkeypatch: pytest.MonkeyPatch, action: str
) -> None:
    go(folder)
    if action == "roll back":
        go(folder, "v3", "e3.yaml")
    start, end = ("v2", "v3") if action == "promote" else ("v3", "v2")
    command = (lambda: go(folder, "v3", "e3.yaml")) if action == "promote" else (lambda: back(folder))
    undo = (lambda: back(folder)) if action == "promote" else (lambda: go(folder, "v3", "e3.yaml"))
    step, seen = 0, set()
    while True:
        step += 1
        with monkeypatch.context() as patched:
            moments = killed_at(patched, step)
            try:
                command()
            except Killed:
                pass
            else:
                assert moments() == step - 1
                break
        was_begun = (registry_of(folder).home("tiny") / INTENT).exists()
        recover_file(folder / "e.yaml", settings=SETTINGS)
        after = both(folder)
        assert after[0] == after[1]
        assert not (registry_of(folder).home("tiny") / INTENT).exists()
        if was_begun:
            assert after[0] == end
        seen.add(after[0])
        if after[0] == end:
            undo()
        assert both(folder) == (start, start)
    assert seen == {start, end}
    assert step == 11  # intent, previous alias, alias, records, removal: before and after each


def test_a_rollback_that_was_killed_and_is_asked_for_again_goes_back_once(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    go(folder)
    go(folder, "v3", "e3.yaml")
    with monkeypatch.context() as patched:
        killed_at(patched, 4)
        with pytest.raises(Killed):
            back(folder)
    done = back(folder)
    assert (done.version, len(done.recovered)) == ("v2", 1)
    assert both(folder) == ("v2", "v2")


def test_a_version_that_a_killed_rollback_goes_back_to_is_not_archived_before_it_is_finished(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    go(folder)
    go(folder, "v3", "e3.yaml")
    with monkeypatch.context() as patched:
        killed_at(patched, 4)
        with pytest.raises(Killed):
            back(folder)
    registry = registry_of(folder)
    with pytest.raises(ModelError, match=r"tiny@v2 into production: finish it first with ragtrial models recover .*\.yaml"):
        archive(registry, "tiny@v2", who="ana")
    recover_file(folder / "e.yaml", settings=SETTINGS)
    assert both(folder) == ("v2", "v2")
    with pytest.raises(ModelError, match="tiny@v2 is production"):
        archive(registry, "tiny@v2", who="ana")


def test_indexing_finishes_an_interrupted_promotion_before_it_loads_a_model(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patched:
        killed_at(patched, 3)
        with pytest.raises(Killed):
            go(folder)
    path = registered_models.write_experiment(folder, treatment="registry:tiny@v2", file="e.yaml")
    index_all(prepare(path, settings=SETTINGS))
    assert both(folder) == ("v2", "v2")


def test_an_interrupted_promotion_whose_collection_is_gone_is_undone(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patched:
        killed_at(patched, 2)
        with pytest.raises(Killed):
            go(folder)
    shutil.rmtree(folder / ".ragtrial" / "milvus.db")
    index_all(prepare(folder / "e3.yaml", settings=SETTINGS))
    assert both(folder) == (None, None)
    assert not (registry_of(folder).home("tiny") / INTENT).exists()


KILL = """
import os, signal, sys
from pathlib import Path
from ragtrial.index.milvus import MilvusIndex
from ragtrial.settings import read_settings
from ragtrial.suite.promoting import promote
real = MilvusIndex.point
def point(*given):
    real(*given)
    if given[1].endswith("production_" + sys.argv[2]):
        os.kill(os.getpid(), signal.SIGKILL)
MilvusIndex.point = point
promote(Path(sys.argv[1]), "tiny@v2", settings=read_settings({}), who="ana")
"""


@pytest.mark.slow
def test_a_process_that_is_really_killed_between_both_aliases(folder: Path, repository: Path) -> None:
    environment = {**os.environ, "PYTHONPATH": str(repository / "platform")}
    done = subprocess.run([sys.executable, "-c", KILL, str(folder / "e.yaml"), ALIAS.rpartition("_")[2]], env=environment, check=False)
    assert done.returncode == -signal.SIGKILL
    assert both(folder) == (None, "v2")
    (said,) = recover_file(folder / "e.yaml", settings=SETTINGS)
    assert said == "the interrupted promote of 'tiny' in experiment 'small' was finished: production is v2"
    assert both(folder) == ("v2", "v2")


HOLD = """
import sys, time
from ragtrial.build import build_index
index = build_index(sys.argv[1], token=None)
print("held", flush=True)
time.sleep(60)
"""


def test_a_store_that_a_service_holds_is_said_plainly(folder: Path, repository: Path) -> None:
    environment = {**os.environ, "PYTHONPATH": str(repository / "platform")}
    uri = milvus_uri(load_experiment(folder / "e.yaml"))
    with subprocess.Popen([sys.executable, "-c", HOLD, uri], env=environment, stdout=subprocess.PIPE) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == b"held\n"
        try:
            with pytest.raises(StoreError, match=r"open in another process.*A service \(ragtrial serve\) or an evaluation.*stop it"):
                go(folder)
        finally:
            holder.kill()
