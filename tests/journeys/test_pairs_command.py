"""`ragtrial pairs`: from documents, tables, an LLM, users and operators to one file that can be trained on."""

import dataclasses
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from board_pages import SmallBoard, small_board
from commands import Done, ragtrial_command
from material import write_experiment
from ragtrial.db.live_recorder import LiveRecorder
from ragtrial.domain.live import LiveMetrics, LiveSpec
from ragtrial.domain.live_trial import Thumb
from ragtrial.domain.pair import Pair
from ragtrial.domain.planned import PrimaryMetric
from ragtrial.domain.trial import Hit, Ranking
from ragtrial.formats.experiment import load_experiment
from ragtrial.formats.pairs import read_pairs
from ragtrial.settings import read_settings
from ragtrial.suite.curating import Choice, curate
from ragtrial.suite.preparing import prepare
from scripted_llm import Reply, ScriptedLlm, user_text
from scripted_reader import properties
from scripted_writer import writer_and_judge
from unit.db import live_samples

BODIES = {
    "slots": "A slot is the right to send one truck in one window; the gate planner divides the slots into three pools on each day of the week.",
    "tariff": "Walk-ins pay 35 EUR under the code WLK, except returns of empty flat racks and trucks that customs have booked in the VBS.",
    "booking": "Windows are published at six each day in the Vehicle Booking System (VBS), and the VBS shows pools that still have room in them.",
    "wind": "Cranes stop when gusts reach twenty metres a second for one minute, and the storm pin is put in before anybody leaves the cabin.",
    "reefer": "A *hot box* is a reefer without power; it must be plugged within ninety minutes after it has left the vessel or the yard is called.",
    "gold": "A lost token is replaced at the gate desk against a deposit of twenty EUR, which the driver gets back when the old one is found.",
    "hidden": "Test documents stay out of training, whatever headings they have and however many words there are that one could learn from.",
}
TITLES = {name: f"All about {name} rules" for name in BODIES}
SPLITS = {"wind": "dev", "hidden": "test"}


@pytest.fixture
def experiment(tmp_path: Path) -> Path:
    """Seven documents of one section each; the gold query is answered by one of them. The prepared folder is `data` itself."""
    folder = tmp_path / "data"
    (folder / "qrels").mkdir(parents=True)
    lines = [
        {"_id": name, "title": TITLES[name], "text": f"## How {name} works here\n{body}\n", "split": SPLITS.get(name, "train")}
        for name, body in BODIES.items()
    ]
    (folder / "corpus.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    (folder / "queries.jsonl").write_text(json.dumps({"_id": "q1", "text": "what does a lost token cost"}) + "\n")
    (folder / "qrels" / "test.tsv").write_text("query-id\tcorpus-id\tscore\nq1\tgold\t1\n")
    return write_experiment(tmp_path / "e.yaml", folder)


@pytest.fixture
def server() -> Iterator[ScriptedLlm]:
    with ScriptedLlm(writer_and_judge) as running:
        yield running


def build(experiment: Path, *options: str | Path, output: str = "pairs.jsonl") -> Done:
    return ragtrial_command("pairs", "build", experiment, "-o", experiment.parent / output, *options)


def built(experiment: Path, *options: str | Path, output: str = "pairs.jsonl") -> tuple[dict[str, Any], tuple[Pair, ...]]:
    done = build(experiment, *options, "--json", output=output)
    assert done.code == 0, done.out + done.err
    return json.loads(done.out), read_pairs(experiment.parent / output)


def test_documents_give_pairs_of_their_own_split_and_none_for_testing_or_from_gold(experiment: Path) -> None:
    refused = experiment.parent / "refused.jsonl"
    said, pairs = built(experiment, "--from", "titles,headings", "--from", "definitions", "--refused", refused)
    assert {pair.document_id: pair.split for pair in pairs} == {
        "slots": "train", "tariff": "train", "booking": "train", "wind": "dev", "reefer": "train"
    }  # fmt: skip
    assert said["by_origin"] == {"title": 5, "heading": 5, "definition": 2}
    assert said["test_documents"] == 1
    assert said["refused"] == {"its passage is relevant in the gold set": 1, "its document answers a gold query": 1}
    listed = [json.loads(line) for line in refused.read_text().splitlines()]
    assert [(each["document_id"], each["origin"]) for each in listed] == [("gold", "title"), ("gold", "heading")]
    text = build(experiment, "--from", "titles,headings,definitions").out
    assert "refused, for they touch the gold set: 2" in text
    assert "1 documents are for testing" in text
    here = experiment.parent
    assert f"next: ragtrial pairs mine {here / 'pairs.jsonl'} {experiment} -o mined.jsonl" in text
    assert f"name 'pairs.jsonl' in training.pairs of {experiment}, and ragtrial train {experiment}" in text


def test_a_leaking_pair_is_refused_with_its_reason_and_the_others_stay(experiment: Path) -> None:
    table = experiment.parent / "faq.csv"
    rows = ["user_input,reference", "What does a lost TOKEN cost?,Twenty EUR.", "who may skip the queue,Nobody at all."]
    table.write_text("\n".join(rows) + "\n")
    said, pairs = built(experiment, "--from", "questions", "--questions", table)
    assert [(pair.query, pair.passage, pair.origin) for pair in pairs] == [("who may skip the queue", "Nobody at all.", "question")]
    assert said["refused_pairs"][0]["reason"] == "its query is a gold query"


def test_gold_cut_otherwise_in_another_corpus_is_refused_by_its_wording_also_as_a_negative(experiment: Path) -> None:
    other = experiment.parent / "prepared"
    other.mkdir()
    text = f"## What is lost\nTokens are small. {BODIES['gold']}\n\n## What is kept\nA receipt of each visit stays in the office for seven years.\n"
    (other / "corpus.jsonl").write_text(json.dumps({"_id": "raw/tokens.md", "title": "", "text": text}) + "\n")
    said, pairs = built(experiment, "--from", "headings", "--corpus", other)
    assert [pair.query for pair in pairs] == ["What is kept"]
    assert list(said["refused"]) == ["its passage holds half of one that is relevant in the gold set, or is a part of one"]
    done = ragtrial_command(
        "pairs", "mine", experiment.parent / "pairs.jsonl", experiment, "-o", experiment.parent / "m.jsonl", "--corpus", other, "--json"
    )
    assert done.code == 0, done.err
    assert json.loads(done.out)["passages_kept_out"] == 1


def test_a_table_may_name_passages_and_rare_terms_are_said_otherwise(experiment: Path) -> None:
    table = experiment.parent / "asked.jsonl"
    rows = [
        {"user_input": "when does VBS show new windows", "reference_context_ids": ["booking"]},
        {"user_input": "asked of a test document", "reference_context_ids": ["hidden"]},
    ]
    table.write_text("".join(json.dumps(row) + "\n" for row in rows))
    said, pairs = built(experiment, "--from", "questions", "--questions", table, "--corpus", experiment.parent / "data", "--augment")
    assert [(pair.query, pair.origin) for pair in pairs] == [
        ("when does VBS show new windows", "question"),
        ("when does Vehicle Booking System show new windows", "augmented"),
    ]
    assert pairs[1].provenance["from"] == "when does VBS show new windows"
    assert said["left_out"] == {"its document is for testing": 1}


def test_graded_judgments_give_scores_and_what_was_judged_wrong_gives_negatives(experiment: Path) -> None:
    data = experiment.parent / "data"
    with (data / "queries.jsonl").open("a") as file:
        file.write(json.dumps({"_id": "q2", "text": "which pools are there"}) + "\n")
    (data / "qrels" / "train.tsv").write_text("query-id\tcorpus-id\tscore\nq2\tslots\t2\nq2\tbooking\t1\nq2\treefer\t0\nq2\tgold\t0\n")
    training = {"data": {"format": "beir", "path": str(data), "split": "train"}}
    said, pairs = built(write_experiment(experiment, data, training=training), "--from", "judgments")
    assert [(pair.passage_id, pair.score) for pair in pairs] == [("slots", 1.0), ("booking", 0.5)]
    assert all(len(pair.negatives) == 1 and "hot box" in pair.negatives[0] for pair in pairs)
    assert said["left_out"] == {"negatives that are relevant in the gold set, or stand in a document that answers a gold query": 2}


def synthetic(server: ScriptedLlm) -> tuple[str, ...]:
    return ("--from", "synthetic", "--model", "gpt-4o-mini", "--base-url", server.url, "--per-passage", "5", "--round-trip", "3")


def test_an_llm_is_paid_once_and_only_for_what_may_be_trained_on(experiment: Path, server: ScriptedLlm) -> None:
    planned = build(experiment, *synthetic(server), "--dry-run")
    assert "LLM calls: at most 30, about 0.00 USD" in planned.out
    assert "left out: 1 passages that answer gold queries" in planned.out
    assert (server.requests, list(experiment.parent.glob("pairs.jsonl"))) == ([], [])

    said, pairs = built(experiment, *synthetic(server))
    asked = [user_text(each) for each in server.requests if "queries" in properties(each)]
    assert len(asked) == 5
    assert not any("lost token" in text or "Test documents" in text for text in asked)
    assert {pair.origin for pair in pairs} == {"synthetic"}
    assert all(pair.provenance["passed"] == ["text", "near-duplicates", "round trip", "judge"] for pair in pairs)
    assert [pair.split for pair in pairs if pair.document_id == "wind"] == ["dev"]
    left_out = said["sources"]["synthetic"]["left_out"]
    assert left_out["the judge: it can't be understood by itself"] == 5
    assert left_out["passages that answer gold queries"] == 1

    n_asked = len(server.requests)
    again, same = built(experiment, *synthetic(server), output="again.jsonl")
    assert (len(server.requests), same) == (n_asked, pairs)
    assert f"{n_asked} taken from the cache" in again["sources"]["synthetic"]["spending"]


def test_calls_that_fail_are_counted_and_shown(experiment: Path, server: ScriptedLlm) -> None:
    def failing(asked: dict[str, Any], number: int) -> Reply:
        return Reply(status=400) if "Walk-ins" in user_text(asked) else writer_and_judge(asked, number)

    server.script = failing
    done = build(experiment, *synthetic(server))
    assert done.code == 0
    assert "left out: 1 passages whose call failed (bad_request)" in done.out
    assert "failed: 1 bad_request" in " ".join(done.out.split())


def test_a_run_that_stops_leaves_the_old_file_and_goes_on_where_it_was(experiment: Path, server: ScriptedLlm) -> None:
    old = experiment.parent / "pairs.jsonl"
    assert build(experiment, "--from", "titles").code == 0
    before = old.read_bytes()
    server.script = lambda asked, number: Reply(status=401) if "answerable" in properties(asked) else writer_and_judge(asked, number)
    stopped = build(experiment, *synthetic(server))
    assert (stopped.code, old.read_bytes()) == (2, before)
    written = sum("queries" in properties(asked) for asked in server.requests)
    server.script = writer_and_judge
    assert build(experiment, *synthetic(server)).code == 0
    assert sum("queries" in properties(asked) for asked in server.requests) == written
    assert {pair.origin for pair in read_pairs(old)} == {"synthetic"}
    assert [path.name for path in experiment.parent.glob(".pairs*")] == []


def test_negatives_are_mined_shown_and_exported(experiment: Path) -> None:
    built(experiment, "--from", "titles,headings,definitions")
    pairs, mined = experiment.parent / "pairs.jsonl", experiment.parent / "mined.jsonl"
    done = ragtrial_command("pairs", "mine", pairs, experiment, "-o", mined, "--per-pair", "2", "--margin", "1.0", "--json")
    assert done.code == 0, done.err
    said = json.loads(done.out)
    assert (said["mined"], said["passages"], said["passages_kept_out"]) == (10, 5, 2)
    with_negatives = read_pairs(mined)
    assert said["negatives"] == sum(len(pair.negatives) for pair in with_negatives) > 0
    texts = " ".join(text for pair in with_negatives for text in pair.negatives)
    assert "lost token" not in texts, "a passage that is relevant in the gold set is never pushed away"
    assert "Test documents" not in texts
    assert not any(pair.negatives for pair in with_negatives if pair.split == "dev")

    shown = json.loads(ragtrial_command("pairs", "show", mined, "--json").out)
    assert sum(each["pairs"] for each in shown["counts"]) == shown["pairs"] == 12
    assert {"origin": "title", "split": "dev", "pairs": 1} in shown["counts"]
    assert "heading: How slots works here" in ragtrial_command("pairs", "show", mined).out

    triplets = experiment.parent / "triplets.parquet"
    assert ragtrial_command("pairs", "export", mined, "--as", "triplets", "-o", triplets).code == 0
    table = pq.read_table(triplets)
    assert (table.column_names, table.num_rows) == (["anchor", "positive", "negative"], said["negatives"])
    scored = experiment.parent / "scored.jsonl"
    assert ragtrial_command("pairs", "export", mined, "--as", "scored", "-o", scored, "--split", "all").code == 0
    scores = [json.loads(line)["score"] for line in scored.read_text().splitlines()]
    assert (scores.count(1.0), scores.count(0.0)) == (12, said["negatives"])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--from", "titels"), "'titels' is no source of pairs: give some of judgments, questions"),
        (("--from", "judgments"), "--from judgments needs training.data"),
        (("--from", "questions"), "give --questions FILE"),
        (("--from", "votes"), "votes are used for training only where users agreed"),
        (("--from", "synthetic"), "synthetic queries need an LLM"),
        (("--from", "synthetic", "--model", "m"), "OPENAI_API_KEY"),
        (("--from", "titles", "--corpus", "nowhere"), "there is no such file"),
        (("--from", "curated"), "there is no database"),
    ],
)
def test_what_is_missing_is_said_and_nothing_is_written(
    experiment: Path, options: tuple[str, ...], message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    done = build(experiment, *options)
    assert (done.code, message in done.err) == (2, True), done.err
    assert not (experiment.parent / "pairs.jsonl").exists()


def test_where_all_pairs_touch_the_gold_set_the_reasons_are_said(experiment: Path) -> None:
    corpus = experiment.parent / "only-gold.jsonl"
    corpus.write_text((experiment.parent / "data" / "corpus.jsonl").read_text().splitlines()[5] + "\n")
    done = build(experiment, "--from", "titles,headings", "--corpus", corpus)
    assert done.code == 2
    assert "no pair is left" in done.err
    assert "its passage is relevant in the gold set" in done.err


def test_a_split_that_does_not_exist_is_named_with_its_line(experiment: Path) -> None:
    corpus = experiment.parent / "data" / "corpus.jsonl"
    corpus.write_text(corpus.read_text().replace('"split": "dev"', '"split": "validation"'))
    done = build(experiment, "--from", "titles")
    assert done.code == 2
    assert f"{corpus}:4" in done.err
    assert "'validation': expected one of train, dev, test" in done.err


def test_files_that_can_not_be_exported_say_why(experiment: Path) -> None:
    built(experiment, "--from", "titles")
    pairs = experiment.parent / "pairs.jsonl"
    for options, message in (
        (("--as", "triplets", "-o", experiment.parent / "t.csv"), "mine some"),
        (("-o", experiment.parent / "t.txt"), "ends with '.txt'"),
    ):
        done = ragtrial_command("pairs", "export", pairs, *options)
        assert (done.code, message in done.err) == (2, True), done.err
    assert list(experiment.parent.glob("t.*")) == []


@pytest.fixture
def board(tmp_path: Path) -> SmallBoard:
    return small_board(tmp_path)


def _free_passages(board: SmallBoard) -> list[str]:
    """Passages of the small board that answer no gold query."""
    prepared = prepare(board.path, settings=read_settings())
    relevant = {judgment.target_id for judgment in prepared.gold.judgments if judgment.grade > 0}
    return [passage.passage_id for passage in prepared.corpus.passages if passage.passage_id not in relevant]


def _log_votes(board: SmallBoard, votes: list[tuple[str, str, str, Thumb]], *beside: str) -> None:
    """A live experiment over the board's corpus; each vote is a user, what was asked, the passage cited, and the thumb.

    `beside` are further passages that were retrieved.
    """
    live = LiveSpec(metrics=LiveMetrics(primary=PrimaryMetric(name="nDCG@10")))
    experiment = dataclasses.replace(load_experiment(board.path).experiment, live=live)
    facts = {"corpus_fingerprint": prepare(board.path, settings=read_settings()).corpus.fingerprint}
    with LiveRecorder(board.url, experiment, facts=facts) as recorder:
        for number, (user, asked, passage_id, thumb) in enumerate(votes):
            plain = live_samples.live_trial(f"t{number}", unit=user)
            assert plain.trial.answer is not None
            query = live_samples.query(asked)
            ranking = Ranking(query_id=query.digest, hits=tuple(Hit(passage_id=each, similarity=0.5) for each in (passage_id, *beside)))
            answer = dataclasses.replace(plain.trial.answer, cited=(passage_id,))
            made = dataclasses.replace(plain.trial, query_id=query.digest, ranking=ranking, answer=answer)
            recorder.log(dataclasses.replace(plain, experiment="small", query=query, trial=made)).result(10)
            recorder.vote(live_samples.vote(f"t{number}", "k", thumb)).result(10)


def test_votes_become_pairs_with_consent_and_an_erased_user_gives_none(board: SmallBoard) -> None:
    first, second, third = _free_passages(board)[:3]
    _log_votes(
        board,
        [
            ("ann", "where do empty cones go", first, "up"),
            ("bob", "where do empty cones go", second, "down"),
            ("cyd", "who opens the lid", third, "up"),
        ],
    )
    terms = "terms of use, section 4"
    said, pairs = built(board.path, "--from", "votes", "--consent", terms)
    assert [(pair.query, pair.passage_id, len(pair.negatives)) for pair in pairs] == [
        ("where do empty cones go", first, 1),
        ("who opens the lid", third, 0),
    ]
    assert all(pair.provenance["consent"] == terms for pair in pairs)
    assert said["sources"]["votes"]["users who voted"] == 3

    assert ragtrial_command("db", "forget", board.path, "--unit", "cyd", "--yes").code == 0
    said, pairs = built(board.path, "--from", "votes", "--consent", terms)
    assert [pair.query for pair in pairs] == ["where do empty cones go"]
    assert said["sources"]["votes"]["users who voted"] == 2


def test_votes_on_a_gold_query_are_refused(board: SmallBoard) -> None:
    gold = prepare(board.path, settings=read_settings()).gold.queries[0].text
    _log_votes(board, [("ann", gold, _free_passages(board)[0], "up")])
    done = build(board.path, "--from", "votes", "--consent", "yes, section 4")
    assert done.code == 2
    assert "its query is a gold query" in done.err


def test_what_operators_chose_becomes_pairs_with_their_negatives(board: SmallBoard) -> None:
    first, second = _free_passages(board)[:2]
    _log_votes(board, [("ann", "where do empty cones go", first, "up")], second)
    for kind, passage_id in (("pair", first), ("hard negative", second)):
        choice = Choice(kind=kind, trial_id="t0", passage_id=passage_id)  # type: ignore[arg-type]
        curate(board.url, choice, actor="ann", role="operator", despite_warnings=True)
    _said, pairs = built(board.path, "--from", "curated")
    assert [(pair.query, pair.passage_id, len(pair.negatives), pair.origin) for pair in pairs] == [
        ("where do empty cones go", first, 1, "curated")
    ]
    assert pairs[0].provenance["actor"] == "ann"


def test_the_licence_on_the_data_card_goes_with_every_pair_of_that_corpus(experiment: Path) -> None:
    (experiment.parent / "data" / "card.json").write_text(json.dumps({"name": "data", "licence": "CC-BY-4.0"}))
    table = experiment.parent / "faq.csv"
    table.write_text("user_input,reference\nwho may skip the queue,Nobody at all.\n")
    _, pairs = built(experiment, "--from", "titles,definitions,questions", "--questions", table, "--augment")
    assert {(pair.origin, pair.provenance.get("licence")) for pair in pairs} >= {("title", "CC-BY-4.0"), ("definition", "CC-BY-4.0")}
    assert [pair.provenance.get("licence") for pair in pairs if pair.origin == "question"] == [None], "an answer is of no corpus"
    mined = experiment.parent / "mined.jsonl"
    assert ragtrial_command("pairs", "mine", experiment.parent / "pairs.jsonl", experiment, "-o", mined).code == 0
    for before, after in zip(pairs, read_pairs(mined), strict=True):
        got = {"negatives_licences": ["CC-BY-4.0"]} if len(after.negatives) > len(before.negatives) else {}
        assert after.provenance == {**before.provenance, **got}
    assert any("negatives_licences" in pair.provenance for pair in read_pairs(mined))
    assert "licence CC-BY-4.0: " in ragtrial_command("pairs", "show", mined).out


def test_negatives_of_another_corpus_have_its_licence_and_the_pairs_keep_theirs(experiment: Path) -> None:
    """The pairs were made before their corpus had a card: mining finds their licence too. A second corpus without one is not stated."""
    given, mined = experiment.parent / "pairs.jsonl", experiment.parent / "mined.jsonl"
    built(experiment, "--from", "headings")
    (experiment.parent / "data" / "card.json").write_text(json.dumps({"licence": "CC-BY-4.0"}))
    other = experiment.parent / "other"
    other.mkdir()
    rows = [
        {"_id": f"o{n}", "title": "", "text": f"Notice {n}: {text}"}
        for n, text in enumerate(["Berth nine is shut.", "Rail opens at noon."])
    ]
    (other / "corpus.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    mine = ("pairs", "mine", given, experiment, "-o", mined, "--corpus", other, "--margin", "1")

    def noted() -> set[tuple[str, ...]]:
        assert (done := ragtrial_command(*mine)).code == 0, done.err
        found = read_pairs(mined)
        assert {pair.provenance["licence"] for pair in found} == {"CC-BY-4.0"}
        return {tuple(pair.provenance["negatives_licences"]) for pair in found if pair.negatives}  # type: ignore[arg-type]

    assert noted() == {("not stated",)}
    (other / "card.json").write_text(json.dumps({"licence": "GPL-3.0"}))
    assert noted() == {("GPL-3.0",)}


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ('{"licence": ', "can't be read"),
        ("[]", "is no JSON object"),
        ('{"licence": 4}', "has 4 as its licence"),
        (b"\xff", "can't be read"),
    ],
)
def test_a_broken_data_card_is_told_before_anything_is_made(experiment: Path, text: str | bytes, why: str) -> None:
    card = experiment.parent / "data" / "card.json"
    card.write_bytes(text if isinstance(text, bytes) else text.encode())
    done = build(experiment, "--from", "titles")
    assert done.code == 2
    assert f"{card}: the data card {why}" in done.err
    assert "ragtrial prepare" in done.err
    assert not (experiment.parent / "pairs.jsonl").exists()


def test_what_touches_the_gold_set_in_a_file_that_somebody_wrote_is_not_mined_for(experiment: Path) -> None:
    given, mined = experiment.parent / "own.jsonl", experiment.parent / "mined.jsonl"
    near = BODIES["gold"].replace("twenty EUR", "25 EUR")
    rows = [
        {"query": "who stops the cranes", "passage": BODIES["wind"], "passage_id": "a", "document_id": "a", "negatives": [near]},
        {"query": "of what is this", "passage": near, "passage_id": "b", "document_id": "b"},
    ]
    given.write_text("".join(json.dumps(row) + "\n" for row in rows))
    done = ragtrial_command("pairs", "mine", given, experiment, "-o", mined, "--json")
    assert done.code == 0, done.err
    said = json.loads(done.out)
    assert said["refused"] == {"its passage holds half of one that is relevant in the gold set, or is a part of one": 1}
    assert said["negatives_refused"] == 1
    assert [pair.query for pair in read_pairs(mined)] == ["who stops the cranes"]
    given.write_text(json.dumps(rows[1]) + "\n")
    done = ragtrial_command("pairs", "mine", given, experiment, "-o", experiment.parent / "none.jsonl")
    assert (done.code, "1 because its passage holds half" in done.err) == (2, True)
    assert not (experiment.parent / "none.jsonl").exists()
