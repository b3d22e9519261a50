"""When a cycle is opened, where it stops, and what a person may do: with pairs from titles, so that nothing has to be served."""

import dataclasses
import json
import shutil
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import yaml
from sqlalchemy import update

import tiny_model
from commands import ragtrial_command
from loop_world import build_world, write_yaml
from ragtrial.db.engine import open_engine
from ragtrial.db.live_models import LiveScoreRow
from ragtrial.errors import BusyError, InputError, ModelError, SetupError, ValidationError
from ragtrial.finetuning.registry import Registry
from ragtrial.finetuning.registry_changes import history
from ragtrial.formats.experiment import load_experiment, sql_url
from ragtrial.formats.pairs import read_pairs
from ragtrial.formats.policy import load_policy
from ragtrial.settings import read_settings
from ragtrial.suite.candidates import candidate_path
from ragtrial.suite.cycles import CycleLog
from ragtrial.suite.loop_deciding import promote_candidate, reject_candidate
from ragtrial.suite.looping import Around, look_for_reasons, run_loop
from ragtrial.suite.promoting import promote
from unit import live_logs

TRAINING = {"base": "./base/model", "epochs": 6, "batch_size": 16, "learning_rate": 5e-3, "max_seq_length": 32, "precision": "fp32"}


@pytest.fixture(scope="module")
def untouched(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("world")
    tiny_model.build(folder / "base")
    build_world(folder, Path("base/model"), titles=True)
    return folder


@pytest.fixture
def folder(untouched: Path, tmp_path: Path) -> Path:
    return shutil.copytree(untouched, tmp_path / "world")


@pytest.fixture(scope="module")
def waited(untouched: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A world whose first candidate waits for a person."""
    folder = shutil.copytree(untouched, tmp_path_factory.mktemp("waited") / "world")
    cycle = run_loop(around(folder), now=True)
    assert cycle is not None
    assert cycle.waits, cycle
    assert cycle.reasons == ("opened by hand",)
    assert Registry(folder / ".ragtrial/models").records("harbour-model").aliases == {"candidate": "v1"}
    return folder


@pytest.fixture
def waiting(waited: Path, tmp_path: Path) -> Path:
    return shutil.copytree(waited, tmp_path / "waiting")


def around(folder: Path, said: list[str] | None = None, **changes: Any) -> Around:
    """The loop of a policy with these changes."""
    policy = {
        "experiment": "live.yaml",
        "model": "harbour-model",
        "when": {"new_pairs": 50, "rest_days": 0},
        "pairs": {"sources": ["titles"], "fewest": 40},
        "training": {**TRAINING},
        **changes,
    }
    write_yaml(folder / "policy.yaml", policy)
    return Around(file=load_policy(folder / "policy.yaml"), settings=read_settings(), say=(said if said is not None else []).append)


def test_nothing_is_opened_where_nothing_pays(folder: Path) -> None:
    said: list[str] = []
    assert run_loop(around(folder, said)) is None
    assert said == ["0 pairs that no candidate was trained on (50 open one)"]
    assert CycleLog(folder / ".ragtrial/loop/harbour-model").all() == ()


def test_before_the_first_cycle_there_is_nothing_to_draw_or_to_decide_and_no_folder_is_made_for_it(folder: Path) -> None:
    policy = around(folder).file.path
    before = sorted(folder.rglob("*"))
    for form, printed in (("mermaid", ""), ("dot", ""), ("json", '{\n  "nodes": [],\n  "edges": []\n}\n')):
        done = ragtrial_command("loop", "graph", policy, "--form", form)
        assert (done.code, done.out) == (0, printed)
        assert "no candidate was trained (no cycle was opened yet); ragtrial loop run" in done.err
    for decision in (("promote", policy), ("reject", policy, "--reason", "no")):
        done = ragtrial_command("loop", *decision)
        assert (done.code, "no cycle is open" in done.err) == (2, True)
    assert sorted(folder.rglob("*")) == before


def test_a_candidate_waits_for_a_person_who_promotes_it(waiting: Path) -> None:
    said: list[str] = []
    loop = around(waiting, said)
    cycle, moved = promote_candidate(loop, who="ann", reason="it is better")
    assert (cycle.ending, cycle.ended_by, moved.version, moved.before) == ("promoted", "ann", "v1", None)
    assert said[0].startswith("its shadow run says nothing: ")
    assert Registry(waiting / ".ragtrial/models").records("harbour-model").aliases == {"production": "v1"}
    with pytest.raises(InputError, match="no candidate waits for a decision: no cycle is open"):
        promote_candidate(loop, who="ann")

    again = run_loop(dataclasses.replace(loop), now=True, until="pairs")
    assert again is not None
    arms = load_experiment(candidate_path(loop.file, 2)).experiment.arms
    assert [arm.embedding.model for arm in arms] == ["registry:harbour-model@v1", "registry:harbour-model"]
    assert load_experiment(candidate_path(loop.file, 2)).experiment.training.base == "./base/model"  # type: ignore[union-attr]


def test_a_candidate_can_be_trained_further_from_the_model_in_production(waiting: Path) -> None:
    loop = around(waiting, from_production=True)
    promote_candidate(loop, who="ann")
    run_loop(loop, now=True, until="pairs")
    assert load_experiment(candidate_path(loop.file, 2)).experiment.training.base == "registry:harbour-model@v1"  # type: ignore[union-attr]


def shadowed(folder: Path, loop: Around, *, worse: bool) -> None:
    """A shadow run of the first candidate: its nDCG@10 is about 0.6 against 0.5, or, the other way round, 0.4 against 0.5."""
    plan = load_experiment(candidate_path(loop.file, 1))
    live_logs.fill(sql_url(plan), plan.experiment, n_units=120)
    if worse:
        engine = open_engine(sql_url(plan))
        with engine.begin() as connection:
            connection.execute(update(LiveScoreRow).values(value=1 - LiveScoreRow.value))
        engine.dispose()


def test_a_shadow_run_that_shows_the_candidate_worse_refuses_it_unless_forced(waiting: Path) -> None:
    loop = around(waiting)
    shadowed(waiting, loop, worse=True)
    with pytest.raises(ModelError, match=r"its shadow run speaks against it: Keep the baseline.*--force"):
        promote_candidate(loop, who="ann")
    registry = Registry(waiting / ".ragtrial/models")
    assert registry.records("harbour-model").aliases == {"candidate": "v1"}
    _, moved = promote_candidate(loop, who="ann", reason="the judgments are old", force=True)
    assert [refusal[:34] for refusal in moved.overridden] == ["its shadow run speaks against it: "]
    assert history(registry, "harbour-model")[-2].details["overridden"] == list(moved.overridden)


def test_a_shadow_run_that_shows_it_better_is_said(waiting: Path) -> None:
    said: list[str] = []
    loop = around(waiting, said)
    shadowed(waiting, loop, worse=False)
    assert promote_candidate(loop, who="ann")[1].overridden == ()
    assert said[0].startswith("its shadow run: Adopt custom")


def test_a_candidate_whose_promotion_was_killed_before_its_cycle_was_closed_is_not_rejected(waiting: Path) -> None:
    loop = around(waiting)
    promote(candidate_path(loop.file, 1), "harbour-model@v1", settings=loop.settings, who="ann")
    with pytest.raises(InputError, match=r"harbour-model@v1 is in production already: ragtrial loop promote .* closes its cycle"):
        reject_candidate(loop, who="bob", reason="no")
    cycle, moved = promote_candidate(loop, who="ann")
    assert (cycle.ending, moved.changed) == ("promoted", False)


def test_while_another_process_is_at_work_nothing_is_done_and_it_is_said(waiting: Path) -> None:
    said: list[str] = []
    loop = around(waiting, said)
    with loop.log.alone():
        cycle = run_loop(loop, now=True)
        with pytest.raises(BusyError, match="another ragtrial loop is at work"):
            promote_candidate(loop, who="ann")
    assert cycle is not None
    assert cycle.number == 1
    assert said == [f"another ragtrial loop is at work in {str(loop.file.folder)!r}: wait until it has ended"]


def test_a_step_that_is_over_already_is_where_it_stops(folder: Path) -> None:
    loop = around(folder)
    for _ in range(2):
        cycle = run_loop(loop, now=True, until="pairs")
        assert cycle is not None
        assert (cycle.number, list(cycle.done)) == (1, ["prepare", "pairs"])


def test_a_model_of_a_cycle_whose_folder_was_removed_is_not_taken_for_the_new_one(waiting: Path) -> None:
    shutil.rmtree(waiting / ".ragtrial/loop")
    loop = around(waiting)
    time.sleep(max(0.0, 1.0 - time.time() % 1))  # cycles and models know their times to the second
    cycle = run_loop(loop, now=True, until="train")
    assert cycle is not None
    assert (cycle.number, cycle.model) == (1, "harbour-model@v2")


def test_that_nobody_has_voted_or_chosen_yet_is_no_fault(folder: Path) -> None:
    votes = {"sources": ["votes", "curated"], "consent": "terms of use"}
    cycle = run_loop(around(folder, pairs=votes), now=True)
    assert cycle is not None
    assert (cycle.refused or "").startswith("no pair is left to write")


def test_an_unknown_experiment_whose_votes_should_count_is_said(waiting: Path) -> None:
    said: list[str] = []
    votes = {"sources": ["votes", "curated"], "consent": "terms of use"}
    assert look_for_reasons(around(waiting, said, also=["harbor"], pairs=votes)).reasons == ()
    assert said == ["also: experiment 'harbor' was never served with this database, so it adds no votes (known: )"]


def test_gold_queries_that_production_was_trained_on_say_nothing_about_it(waiting: Path) -> None:
    """Of 60 gold queries one becomes what it was trained on, as a user's question may become a judgment later."""
    loop = around(waiting, when={"gold": {"metric": "nDCG@10", "below": 0.9}})
    promote_candidate(loop, who="ann")
    qrels = waiting / "data/qrels/test.tsv"
    qrels.write_text(qrels.read_text().replace("\tp5\t", "\tp150\t").replace("\tp6\t", "\tp151\t"))  # or all would score 1
    assert "on 60 gold queries (below" in look_for_reasons(loop).seen[0]
    (*_, last) = read_pairs(waiting / ".ragtrial/loop/harbour-model/0001/pairs.jsonl")
    queries = waiting / "data/queries.jsonl"
    first, *rest = queries.read_text().splitlines()
    queries.write_text("\n".join([json.dumps({**json.loads(first), "text": last.query}), *rest]) + "\n")
    assert "on 59 gold queries, without 1 that it was trained on (below" in look_for_reasons(loop).seen[0]


def test_a_look_says_that_an_open_candidate_comes_first(waiting: Path) -> None:
    around(waiting, when={"gold": {"metric": "R@10", "below": 0.99}})
    plain = ragtrial_command("loop", "look", waiting / "policy.yaml", "--quiet")
    assert "but cycle 1 is open" in plain.out
    found = json.loads(ragtrial_command("loop", "look", waiting / "policy.yaml", "--json").out)
    assert (found["opens"], found["open_cycle"], len(found["reasons"])) == (False, 1, 1)


def test_a_rejected_candidate_stays_in_the_registry_and_another_may_follow(waiting: Path) -> None:
    loop, folder = around(waiting), waiting
    cycle = reject_candidate(loop, who="bob", reason="the shadow run was slower")
    assert (cycle.ending, cycle.ended_because) == ("rejected", "the shadow run was slower")
    registry = Registry(folder / ".ragtrial/models")
    assert registry.records("harbour-model").aliases == {}
    assert registry.get("harbour-model@v1").version == "v1"
    with pytest.raises(InputError, match="nothing to reject"):
        reject_candidate(loop, who="bob", reason="again")


def test_too_few_pairs_and_a_gate_that_fails_end_a_cycle_with_the_reason(folder: Path) -> None:
    few = run_loop(around(folder, pairs={"sources": ["titles"], "fewest": 5000}), now=True)
    assert few is not None
    assert few.refused == "100 training pairs, and the policy wants 5,000 (pairs.fewest)"
    experiment = yaml.safe_load((folder / "live.yaml").read_text())
    experiment["metrics"]["primary"]["min_effect"] = 1.0
    write_yaml(folder / "live.yaml", experiment)
    loop = around(folder)
    small = run_loop(loop, now=True)
    assert small is not None
    assert small.number == 2
    assert (small.refused or "").startswith("the experiment's gate fails: ")
    assert Registry(folder / ".ragtrial/models").records("harbour-model").aliases == {}
    done = ragtrial_command("loop", "status", folder / "policy.yaml")
    assert "refused: the experiment's gate fails" in done.out
    assert ragtrial_command("loop", "run", folder / "policy.yaml", "--now", "--quiet").code == 1


def test_production_that_falls_below_the_limit_on_the_gold_set_opens_a_candidate(folder: Path) -> None:
    low = look_for_reasons(around(folder, when={"gold": {"metric": "R@10", "below": 0.9}}))
    assert len(low.reasons) == 1
    assert low.reasons[0].startswith("R@10 of baseline is 0.")
    high = look_for_reasons(around(folder, when={"gold": {"metric": "R@10", "below": 0.001}}))
    assert (high.reasons, len(high.seen)) == ((), 1)


def test_after_a_cycle_the_policy_rests(folder: Path) -> None:
    said: list[str] = []
    loop = around(folder, said, when={"new_pairs": 1, "rest_days": 30}, pairs={"sources": ["titles"], "fewest": 5000})
    run_loop(loop, now=True)
    assert run_loop(loop) is None
    assert "rests until" in said[-1]


def test_the_policy_s_command_gets_file_and_model_and_its_failure_leaves_the_cycle_open(folder: Path) -> None:
    broken = around(folder, command=[sys.executable, "-c", "import sys; sys.exit('no cluster')"])
    with pytest.raises(SetupError, match="no cluster; mend it"):
        run_loop(broken, now=True)
    code = "import json,sys; json.dump(sys.argv[1:], open('called.json', 'w'))"  # where the policy lies
    mended = around(folder, command=[sys.executable, "-c", code, "{file}", "{model}"])
    cycle = run_loop(mended)
    assert cycle is not None
    assert cycle.number == 1
    assert cycle.waits
    assert json.loads((folder / "called.json").read_text()) == [str(folder / "live.candidate-1.yaml"), "harbour-model@v1"]


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"when": {}}, "nothing in 'when' would ever open a candidate"),
        ({"when": {"new_pairs": 0}}, "new_pairs is 0"),
        ({"when": {"gold": {"metric": "answer_f1", "below": 0.5}}}, "give a retrieval metric"),
        ({"pairs": {"sources": ["votes"]}}, "say how users agreed"),
        ({"pairs": {}}, "say how users agreed"),
        ({"pairs": {"sources": ["guesses"]}}, "expected 'votes', 'curated'"),
        ({"shadow": {"mode": "split", "metrics": {"primary": {"name": "nDCG@10"}}}}, "answers in silence first"),
        ({"modle": "x"}, "did you mean 'model'?"),
    ],
)
def test_a_faulty_policy_is_said_with_its_line(folder: Path, change: dict[str, Any], said: str) -> None:
    with pytest.raises(ValidationError, match=r"policy\.yaml:") as raised:
        around(folder, **change)
    assert said in str(raised.value)


def test_raw_files_of_the_policy_are_prepared_for_each_candidate(folder: Path) -> None:
    raw = folder / "handbook"
    raw.mkdir()
    for number, what in enumerate(("gate", "yard", "quay")):
        text = f"The {what} of this terminal opens at {number + 5} in the morning and closes when the last lorry has left the {what}."
        (raw / f"{what}.md").write_text(f"# Opening hours of the {what}\n\n{text}\n")
    write_yaml(folder / "prepare.yaml", {"redact": False, "split": {"dev": 0, "test": 0}})
    documents = {"sources": ["handbook"], "config": "prepare.yaml"}
    loop = around(folder, documents=documents, pairs={"sources": ["titles", "headings"], "fewest": 1})
    cycle = run_loop(loop, now=True, until="pairs")
    assert cycle is not None
    assert cycle.done["prepare"]["corpus"] == "corpus"
    pairs = read_pairs(loop.log.home(cycle) / "pairs.jsonl")
    assert {pair.query for pair in pairs} == {f"Opening hours of the {what}" for what in ("gate", "yard", "quay")}
    assert (loop.log.home(cycle) / "corpus" / "card.json").is_file()


def test_a_shadow_run_has_no_metrics_of_what_nobody_sees(folder: Path) -> None:
    cycle = run_loop(around(folder), now=True, until="pairs")
    assert cycle is not None
    live = load_experiment(folder / "live.candidate-1.yaml").experiment.live
    assert live is not None
    assert (live.mode, live.metrics.primary.name) == ("shadow", "nDCG@10")
