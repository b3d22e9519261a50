"""What was chosen on pages, at the command line: listed with its provenance, and written so that gold set and training can use it."""

import dataclasses
import json
from pathlib import Path

import pytest

from board_pages import SmallBoard, small_board
from commands import ragtrial_command
from ragtrial.db.board_reader import BoardReader
from ragtrial.db.live_recorder import LiveRecorder
from ragtrial.db.reader import Reader
from ragtrial.domain.live import LiveMetrics, LiveSpec
from ragtrial.domain.live_trial import StoredQuery
from ragtrial.domain.planned import PrimaryMetric
from ragtrial.domain.trial import Hit, Ranking
from ragtrial.formats.experiment import load_experiment
from ragtrial.suite.curating import Choice, curate, take_back
from unit.db import live_samples

ASKED = "where do I leave the empty twistlock cones"


@pytest.fixture
def board(tmp_path: Path) -> SmallBoard:
    """An evaluation, and a live query that is not in its gold set."""
    made = small_board(tmp_path)
    live = LiveSpec(metrics=LiveMetrics(primary=PrimaryMetric(name="nDCG@10")))
    experiment = dataclasses.replace(load_experiment(made.path).experiment, live=live)
    with Reader(made.url) as reader:
        facts = {"corpus_fingerprint": reader.evaluations()[0].corpus_fingerprint}
    plain = live_samples.live_trial("t1", unit="zoe")
    hits = tuple(Hit(passage_id=passage_id, similarity=0.5) for passage_id in _passages_without_judgment(made, 2))
    made_trial = dataclasses.replace(plain.trial, ranking=Ranking(query_id=plain.trial.query_id, hits=hits))
    query = StoredQuery(text=ASKED, digest="0" * 32, stored="redacted")
    with LiveRecorder(made.url, experiment, facts=facts) as recorder:
        recorder.log(dataclasses.replace(plain, experiment="small", query=query, trial=made_trial)).result(10)
    return made


def _passages_without_judgment(board: SmallBoard, n: int) -> list[str]:
    with Reader(board.url) as reader:
        evaluation_id = reader.evaluations()[0].evaluation_id
        relevant = {judgment.target_id for judgment in reader.gold(evaluation_id).judgments}
        found = {hit for trial in reader.trials(evaluation_id, "custom") if trial.ranking for hit in trial.ranking.passage_ids}
    return sorted(found - relevant)[:n]


def _unjudged(board: SmallBoard) -> tuple[str, str, str]:
    """Evaluation, query and passage of the first query that brought up an unjudged passage."""
    with Reader(board.url) as reader, BoardReader(board.url) as outcomes:
        evaluation_id = reader.evaluations()[0].evaluation_id
        query_id = outcomes.outcomes(evaluation_id, view="unjudged passages", limit=1).rows[0].query_id
        grades = reader.gold(evaluation_id, [query_id]).qrels()[query_id]
        ranking = reader.trials(evaluation_id, "custom", [query_id])[0].ranking
    assert ranking is not None
    return evaluation_id, query_id, next(hit for hit in ranking.passage_ids if hit not in grades)


@pytest.fixture
def chosen(board: SmallBoard) -> SmallBoard:
    """A judgment, a pair and a hard negative, and a judgment that was taken back."""
    evaluation_id, query_id, passage_id = _unjudged(board)
    answer, other = _passages_without_judgment(board, 2)
    judgment = Choice(kind="judgment", grade=2, evaluation_id=evaluation_id, query_id=query_id, passage_id=passage_id, note="says it")
    for choice in (
        judgment,
        Choice(kind="pair", trial_id="t1", passage_id=answer),
        Choice(kind="hard negative", trial_id="t1", passage_id=other),
    ):
        curate(board.url, choice, actor="ann", role="operator", despite_warnings=True)
    take_back(board.url, 1, actor="bob", role="operator")
    curate(board.url, dataclasses.replace(judgment, grade=1), actor="bob", role="operator")
    return board


def test_the_list_shows_who_chose_what_when_where_and_why(chosen: SmallBoard) -> None:
    done = ragtrial_command("curated", "list", chosen.path)
    assert done.code == 0, done.err
    assert "judgment with grade 1" in done.out
    assert "judgment with grade 2" not in done.out  # taken back
    assert f"training pair of passage {_passages_without_judgment(chosen, 1)[0]} for '{ASKED}', redacted" in done.out
    assert "bob, " in done.out
    assert "live trial t1" in done.out
    everything = ragtrial_command("curated", "list", chosen.path, "--all")
    assert "4: takes back 1: judgment with grade 2" in everything.out
    found = json.loads(ragtrial_command("curated", "list", chosen.path, "--json").out)["curated"]
    assert [(each["curation_id"], each["kind"], each["actor"], each["query_text_is"]) for each in found] == [
        (2, "pair", "ann", "redacted"),
        (3, "hard negative", "ann", "redacted"),
        (5, "judgment", "bob", "gold"),
    ]


def test_the_export_makes_a_gold_set_and_training_data_that_validate(chosen: SmallBoard, tmp_path: Path) -> None:
    done = ragtrial_command("curated", "export", chosen.path, "--output", tmp_path / "more", "--json")
    assert done.code == 0, done.out
    said = json.loads(done.out)
    assert (said["judgments"], said["pairs"], said["hard_negatives"], said["left_out"]) == (1, 1, 1, {})
    qrels = tmp_path / "data" / "qrels" / "test.tsv"
    before = len(qrels.read_text().splitlines())
    added = (tmp_path / "more" / "gold" / "qrels" / "test.tsv").read_text().splitlines()[1:]
    qrels.write_text(qrels.read_text() + "\n".join(added) + "\n")
    plan = chosen.path.read_text() + "training:\n  data: {format: table, path: more/training/pairs.jsonl, corpus: data/corpus.jsonl}\n"
    chosen.path.write_text(plan)
    checked = ragtrial_command("validate", chosen.path)
    assert checked.code == 0, checked.out
    assert len(qrels.read_text().splitlines()) == before + 1


def test_the_export_says_what_it_wrote_and_overwrites_nothing(chosen: SmallBoard, tmp_path: Path) -> None:
    done = ragtrial_command("curated", "export", chosen.path, "-o", tmp_path / "more")
    assert done.code == 0, done.err
    assert "wrote 1 judgment, 1 pair, 1 hard negative to" in done.out
    again = ragtrial_command("curated", "export", chosen.path, "-o", tmp_path / "more")
    assert again.code == 2
    assert "is there already" in again.err


def test_where_nothing_was_chosen_that_is_said(board: SmallBoard, tmp_path: Path) -> None:
    assert "nothing was chosen yet" in ragtrial_command("curated", "list", board.path).out
    done = ragtrial_command("curated", "export", board.path, "-o", tmp_path / "more")
    assert (done.code, (tmp_path / "more").exists()) == (2, False)
    assert "nothing stands chosen for 'small'" in done.err
    missing = ragtrial_command("curated", "list", tmp_path / "none.yaml")
    assert missing.code == 2
