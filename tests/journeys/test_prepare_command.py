"""`ragtrial prepare` as a team meets it: a folder of raw files in, a corpus that can be trusted out."""

import json
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest

from commands import Done, ragtrial_command
from ragtrial.domain.corpus import Document
from ragtrial.domain.gold import GoldSet, Judgment, Query
from ragtrial.domain.preparation import PreparationSpec
from ragtrial.formats.beir import write_beir
from ragtrial.formats.files import read_objects
from ragtrial.formats.records import read_documents
from ragtrial.formats.validation import Findings
from ragtrial.preparation.writing import FILES
from ragtrial.settings import read_settings
from ragtrial.suite.data_preparation import prepare_data
from raw_files import FOOTER, GUIDE, PERSONAL, SHIPS, raw_files

EXPERIMENT = """
name: small
data: {path: gold}
metrics: {primary: {name: nDCG@10}}
arms:
  - {name: baseline, role: control, embedding: {provider: hashing, model: words}}
  - {name: custom, role: treatment, embedding: {provider: hashing, model: other-words}}
"""


def lines_of(path: Path) -> list[dict]:
    findings = Findings()
    records = [record for _, record in read_objects(path, findings, example="")]
    assert not findings.problems
    return records


def texts_in(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def names_model(folder: Path, *names: str) -> Path:
    """A spaCy model that knows these names."""
    import spacy

    pipeline = spacy.blank("en")
    pipeline.add_pipe("entity_ruler").add_patterns([{"label": "PERSON", "pattern": name} for name in names])  # type: ignore[attr-defined]
    pipeline.to_disk(folder)
    return folder


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Done]:
    """The corpus that the raw files make."""
    here = tmp_path_factory.mktemp("prepared")
    raw_files(here / "raw")
    done = ragtrial_command("prepare", here / "raw", "-o", here / "corpus", "--quiet", "--licence", "CC0-1.0")
    assert done.code == 0, done.err
    return here / "corpus", done


def test_personal_data_of_a_ticket_stand_in_no_byte_that_is_written_or_said(made: tuple[Path, Done]) -> None:
    folder, done = made
    for name, data in texts_in(folder).items():
        assert not [value for value in PERSONAL if value.encode() in data], name
    assert not [value for value in PERSONAL if value in done.out + done.err]
    kinds = Counter(each["kind"] for each in lines_of(folder / "redactions.jsonl"))
    assert set(kinds) == {"EMAIL_ADDRESS", "PHONE_NUMBER", "IBAN_CODE", "US_SSN", "SECRET", "CREDIT_CARD"}


def test_each_redaction_says_where_it_stands_and_never_what_stood_there(made: tuple[Path, Done]) -> None:
    folder, _ = made
    documents = {each["_id"]: each for each in lines_of(folder / "corpus.jsonl")}
    redactions = lines_of(folder / "redactions.jsonl")
    assert redactions
    for each in redactions:
        assert set(each) == {"_id", "field", "kind", "count", "offsets"}
        said = [documents[each["_id"]][each["field"]][start:end] for start, end in each["offsets"]]
        assert said == [f"<{each['kind']}>"] * each["count"]


def test_every_file_is_a_document_or_has_a_reason(made: tuple[Path, Done]) -> None:
    folder, _ = made
    removed = {each["_id"]: each["reason"] for each in lines_of(folder / "removed.jsonl")}
    assert removed["pdf/broken.pdf"] == "a broken PDF"
    assert removed["pdf/locked.pdf"].startswith("an encrypted PDF")
    assert removed["pdf/scanned.pdf"].startswith("a PDF without text")
    assert removed["empty.md"] == "an empty file"
    assert removed["letter.doc"] == "another word processor's file: save it as .docx or PDF (.doc)"
    assert removed["link.md"].startswith("a symbolic link")
    assert removed[".hidden"].startswith("hidden")
    assert removed["noise.txt"].startswith("no text")
    assert removed["short.txt"].startswith("fewer than 5 words")
    read = {each["_id"].partition("#")[0] for each in lines_of(folder / "corpus.jsonl")}
    assert len(removed.keys() | read) == 19  # 18 files and a link; a hidden folder counts once


def test_what_was_not_read_is_counted_by_folder_and_kind_with_its_reason_and_the_list_of_all_that_is_left_out(
    made: tuple[Path, Done],
) -> None:
    folder, done = made
    said = done.out.splitlines()
    reason = "another word processor's file: save it as .docx or PDF (.doc)"
    assert said[said.index(f"not read: 1: {reason}; named in removed.jsonl") + 1] == "  ./: 1 .doc"
    card = json.loads((folder / "card.json").read_text())
    removed = lines_of(folder / "removed.jsonl")
    unread = Counter(each["reason"] for each in removed if each["stage"] == "read")
    assert {each["reason"]: each["n"] for each in card["unread"]} == unread
    assert f"left out: {len(removed)} files and documents, each with its step and reason in {folder / 'removed.jsonl'}" in done.out
    assert f"| ./: 1 .doc | {reason} |" in (folder / "card.md").read_text()


def test_of_many_files_that_were_not_read_twenty_are_named_and_the_rest_is_counted(tmp_path: Path) -> None:
    (tmp_path / "raw").mkdir()
    (tmp_path / "raw" / "a.txt").write_text(GUIDE)
    for number in range(25):
        (tmp_path / "raw" / f"{number:02}.pptx").write_text("x")
    model = names_model(tmp_path / "names", "Jane Roe")
    done = ragtrial_command("prepare", tmp_path / "raw", "-o", tmp_path / "out", "--model", model, "--quiet")
    assert done.code == 0, done.err
    assert "not read: 25: slides: save them as PDF (.pptx)\n  00.pptx\n" in done.out
    assert "  19.pptx\n  ... and 5 more\n" in done.out
    assert "20.pptx" not in done.out
    assert "| ... and 5 more | see removed.jsonl |" in (tmp_path / "out" / "card.md").read_text()


NAMED_FILES = ("hr/Kuendigung_Anna_Mueller.doc", "hr/scan_4111111111111111.png", "hr/Lohn_Anna_Mueller.doc", "ssn_536-90-4399.doc")


@pytest.mark.parametrize("options", [(), ("--no-redact",), ("--model", "names")])
def test_personal_data_in_names_of_files_stand_neither_on_a_card_nor_on_the_terminal(tmp_path: Path, options: tuple[str, ...]) -> None:
    raw = tmp_path / "raw"
    (raw / "hr").mkdir(parents=True)
    (raw / "a.txt").write_text(GUIDE)
    (raw / "Brief_Anna_Mueller.txt").write_text(GUIDE.replace("vessel", "train"))
    for name in NAMED_FILES:
        (raw / name).write_text("x")
    names_model(tmp_path / "names", "Anna Mueller.doc", "Anna Mueller.txt")
    given = [tmp_path / each if each == "names" else each for each in options]
    done = ragtrial_command("prepare", raw, raw / "Brief_Anna_Mueller.txt", "-o", tmp_path / "out", *given, "--quiet")
    assert done.code == 0, done.err
    said = "".join([done.out, done.err, *((tmp_path / "out" / f"card.{kind}").read_text() for kind in ("md", "html", "json"))])
    assert not [value for value in ("Mueller", "4111111111111111", "536-90-4399") if value in said]
    if "--model" in options:
        assert "  raw/hr/Kuendigung_<PERSON>\n" in done.out
        assert "  raw/hr/scan_<CREDIT_CARD>.png\n" in done.out
    else:
        assert "  raw/: 3 .doc\n" in done.out
        assert json.loads((tmp_path / "out" / "card.json").read_text())["sources"] == ["raw", "a file (.txt)"]


def test_a_word_file_is_a_document_like_any_other(made: tuple[Path, Done]) -> None:
    found = next(each for each in lines_of(made[0] / "corpus.jsonl") if each["_id"] == "rules.docx")
    assert (found["title"], found["format"]) == ("Rules of the rail yard", "word")
    assert found["text"].startswith("Wagons are shunted at night")
    assert b"Jane" not in (made[0] / "corpus.jsonl").read_bytes()


def test_main_text_title_and_day_of_a_page_stay_and_its_frame_goes(made: tuple[Path, Done]) -> None:
    page = next(each for each in lines_of(made[0] / "corpus.jsonl") if each["_id"] == "web/demurrage.html")
    assert page["title"] == "How demurrage is paid"
    assert page["date"] == "2023-05-06"
    assert "## By bank transfer" in page["text"]
    assert not [word for word in ("cookies", "All products", "imprint", "Jane") if word in page["text"]]


def test_a_near_duplicate_is_dropped_and_names_what_it_duplicates(made: tuple[Path, Done]) -> None:
    removed = next(each for each in lines_of(made[0] / "removed.jsonl") if each["stage"] == "duplicates")
    assert {removed["_id"], removed["duplicate_of"]} == {"guides/planning.md", "guides/planning-copy.txt"}
    assert 0.8 <= removed["similarity"] < 1


def test_a_footer_of_many_tickets_is_taken_out_and_said(made: tuple[Path, Done]) -> None:
    folder, _ = made
    assert FOOTER.encode() not in (folder / "corpus.jsonl").read_bytes()
    card = json.loads((folder / "card.json").read_text())
    assert card["boilerplate"] == [[FOOTER.casefold(), len(SHIPS)]]


def test_a_file_in_an_old_encoding_is_read_and_noted(made: tuple[Path, Done]) -> None:
    document = next(each for each in lines_of(made[0] / "corpus.jsonl") if each["source"] == "guides/grüße.txt")
    assert document["text"].startswith("Die Brücke über den Fluss wird für größere Schiffe")
    assert document["language"] == "de"
    assert sum(json.loads((made[0] / "card.json").read_text())["encodings"].values()) == 1


def test_the_corpus_is_a_beir_corpus_and_every_document_has_one_split(made: tuple[Path, Done]) -> None:
    folder, _ = made
    findings = Findings()
    documents = read_documents(folder / "corpus.jsonl", findings)
    assert not findings.problems
    head, *rows = (folder / "splits.tsv").read_text().splitlines()
    assert head == "document-id\tsplit"
    assert [row.split("\t")[0] for row in rows] == list(documents.sound)
    card = json.loads((folder / "card.json").read_text())
    assert {size["split"]: size["documents"] for size in card["splits"]} == Counter(row.split("\t")[1] for row in rows)
    assert card["stages"][-1]["documents"] == len(rows)
    assert card["licence"] == "CC0-1.0"


def test_the_card_is_readable_as_a_page_and_as_markdown(made: tuple[Path, Done]) -> None:
    folder, done = made
    assert "<svg" in (folder / "card.html").read_text()
    assert "| pdf | 1 | " in (folder / "card.md").read_text()
    assert "names of people and places were not looked for" in done.out
    assert f"next: ragtrial pairs build EXPERIMENT.yaml --from titles,headings,definitions --corpus {folder}" in done.out
    assert "names of people and places were not looked for" in (folder / "card.md").read_text()


def test_a_killed_preparation_goes_on_and_ends_in_the_same_bytes(tmp_path: Path) -> None:
    (tmp_path / "raw").mkdir()
    rows = [f'{number},"ticket {number}","the {SHIPS[number % 12]} number {number} {GUIDE} at berth {number}"' for number in range(400)]
    (tmp_path / "raw" / "many.csv").write_text("\n".join(["id,subject,description", *rows]))
    arguments = ["prepare", tmp_path / "raw", "--no-redact", "-o"]  # what finds personal data takes seconds to load in another process
    program = "import sys, ragtrial.cli.main; sys.exit(ragtrial.cli.main.main())"
    child = subprocess.Popen([sys.executable, "-c", program, *arguments, tmp_path / "killed", "--quiet"])
    work = tmp_path / ".killed.work" / "documents.jsonl"
    until = time.monotonic() + 60
    while (not work.exists() or work.stat().st_size < 5_000) and time.monotonic() < until:
        time.sleep(0.005)
    child.kill()
    assert child.wait() != 0
    assert not (tmp_path / "killed").exists()
    kept = work.read_bytes()
    resumed = ragtrial_command(*arguments, tmp_path / "killed", "--resume", "--json")
    assert resumed.code == 0, resumed.err
    assert json.loads(resumed.out)["taken_over"] >= kept.count(b'"key"') - 1 > 0
    assert ragtrial_command(*arguments, tmp_path / "whole", "--quiet").code == 0
    assert sorted(path.name for path in tmp_path.iterdir()) == ["killed", "raw", "whole"]
    there, whole = texts_in(tmp_path / "killed"), texts_in(tmp_path / "whole")
    assert [there[name] for name in FILES] == [whole[name] for name in FILES]
    assert there["card.json"] == whole["card.json"].replace(b'"name": "whole"', b'"name": "killed"')


def test_what_a_stopped_preparation_leaves_holds_no_personal_data_and_ends_in_the_same_bytes(
    made: tuple[Path, Done], tmp_path: Path
) -> None:
    raw = raw_files(tmp_path / "raw")

    def stopping(title: str, _total: int) -> Callable[[int], None]:
        def advance(_n: int) -> None:
            if title == "near-duplicates":
                raise KeyboardInterrupt

        return advance

    with pytest.raises(KeyboardInterrupt):
        prepare_data([raw], tmp_path / "corpus", PreparationSpec(), settings=read_settings(), progress=stopping)
    kept = (tmp_path / ".corpus.work" / "documents.jsonl").read_bytes()
    assert b"<EMAIL_ADDRESS>" in kept
    assert not [value for value in PERSONAL if value.encode() in kept]
    resumed = ragtrial_command("prepare", raw, "-o", tmp_path / "corpus", "--licence", "CC0-1.0", "--resume", "--json")
    assert json.loads(resumed.out)["taken_over"] == kept.count(b'"key"') > 0
    resumed_texts, whole = texts_in(tmp_path / "corpus"), texts_in(made[0])
    assert [resumed_texts[name] for name in FILES] == [whole[name] for name in FILES]


def test_documents_that_a_gold_set_was_made_from_are_for_testing_only(tmp_path: Path) -> None:
    raw = raw_files(tmp_path / "raw")
    (raw / "guides" / "asked.md").write_text(
        "# Questions\n\nWhen does the night shift of the lashing gang begin?\n\nAt ten in the evening.\n"
    )
    relevant = Document(document_id="d1", title="Ship planning", text=GUIDE)
    queries = (
        Query(query_id="q1", text="who plans the ship"),
        Query(query_id="q2", text="when does the night shift of the lashing gang begin"),
    )
    gold = GoldSet(name="g", queries=queries, judgments=tuple(Judgment(query_id=q.query_id, target_id="d1", grade=1) for q in queries))
    write_beir(tmp_path / "gold", [relevant], gold)
    (tmp_path / "small.yaml").write_text(EXPERIMENT)
    done = ragtrial_command("prepare", raw, "-o", tmp_path / "corpus", "--gold", tmp_path / "small.yaml", "--json")
    assert done.code == 0, done.out + done.err
    card = json.loads(done.out)["card"]
    flagged = {each["_id"]: each for each in lines_of(tmp_path / "corpus" / "corpus.jsonl") if "gold" in each}
    assert len(flagged) == 2
    assert {each["split"] for each in flagged.values()} == {"test"}
    assert flagged["guides/asked.md"]["gold"] == "it holds a gold query"
    assert card["gold"]["unchecked"] == 1  # "who plans the ship" has four words
    dropped = ragtrial_command("prepare", raw, "-o", tmp_path / "less", "--gold", tmp_path / "small.yaml", "--gold-rule", "drop", "--quiet")
    assert dropped.code == 0, dropped.err
    assert not flagged.keys() & {each["_id"] for each in lines_of(tmp_path / "less" / "corpus.jsonl")}


def test_near_duplicates_stay_in_one_split_or_are_reported_where_they_may_not(tmp_path: Path) -> None:
    words = [f"word{number}" for number in range(60)]
    for number in range(40):
        twin = words[:45] + [f"other{number // 2}x{place}" for place in range(8)] + [f"own{number}"]
        (tmp_path / "raw").mkdir(exist_ok=True)
        (tmp_path / "raw" / f"{number:02}.txt").write_text(" ".join(f"{number // 2}{word}" for word in twin))
    together = ragtrial_command(
        "prepare", tmp_path / "raw", "-o", tmp_path / "a", "--near", "0.99", "--dev", "0.3", "--test", "0.3", "--json"
    )
    leaks = json.loads(together.out)["card"]["leaks"]
    assert (leaks["documents"], leaks["groups"], leaks["crossing"]) == (40, 20, 0)
    (tmp_path / "prepare.yaml").write_text("split: {leaks: report, dev: 0.3, test: 0.3}\nduplicates: {near: 0.99}\n")
    apart = ragtrial_command("prepare", tmp_path / "raw", "-o", tmp_path / "b", "--config", tmp_path / "prepare.yaml", "--json")
    card = json.loads(apart.out)["card"]
    split = {each["_id"]: each["split"] for each in lines_of(tmp_path / "b" / "corpus.jsonl")}
    crossing = sum(split[f"{number:02}.txt"] != split[f"{number + 1:02}.txt"] for number in range(0, 40, 2))
    assert card["leaks"]["crossing"] == crossing > 0
    assert any("different splits" in warning for warning in card["warnings"])


def test_a_split_by_time_trains_on_the_old_and_tests_on_the_new(tmp_path: Path) -> None:
    raw = raw_files(tmp_path / "raw")
    done = ragtrial_command("prepare", raw, "-o", tmp_path / "corpus", "--by", "time", "--dev", "0.2", "--test", "0.2", "--json")
    assert done.code == 0, done.err
    train, dev, test = json.loads(done.out)["card"]["splits"]
    assert train["first"] <= train["last"] < dev["first"] <= dev["last"] < test["first"]
    undated = [each for each in lines_of(tmp_path / "corpus" / "removed.jsonl") if each["stage"] == "split"]
    assert undated
    assert all(each["reason"].startswith("no date") for each in undated)


def test_keeping_personal_data_must_be_said_and_stands_in_the_card(tmp_path: Path) -> None:
    raw = raw_files(tmp_path / "raw")
    done = ragtrial_command("prepare", raw, "-o", tmp_path / "corpus", "--no-redact", "--quiet")
    assert done.code == 0
    assert b"jane.roe@corp.internal" in (tmp_path / "corpus" / "corpus.jsonl").read_bytes()
    assert "NOT looked for" in (tmp_path / "corpus" / "card.md").read_text()
    assert "personal data were not looked for" in done.out


def test_names_are_found_with_a_spacy_model_and_the_card_names_it(tmp_path: Path) -> None:
    names_model(tmp_path / "names", "Jane Roe")
    (tmp_path / "a.txt").write_text("Jane Roe of the gate\n\nAsk Jane Roe, who knows where all of the keys are kept at night.")
    done = ragtrial_command("prepare", tmp_path / "a.txt", "-o", tmp_path / "out", "--model", tmp_path / "names", "--json")
    assert done.code == 0, done.out
    (document,) = lines_of(tmp_path / "out" / "corpus.jsonl")
    assert document["title"] == "<PERSON> of the gate"
    assert document["text"].startswith("Ask <PERSON>, who")
    assert json.loads(done.out)["card"]["redaction"]["model"] == str(tmp_path / "names")


def test_languages_that_are_not_wanted_are_dropped_with_the_reason(tmp_path: Path) -> None:
    raw = raw_files(tmp_path / "raw")
    assert ragtrial_command("prepare", raw, "-o", tmp_path / "corpus", "--languages", "de", "--quiet").code == 0
    assert [each["source"] for each in lines_of(tmp_path / "corpus" / "corpus.jsonl")] == ["guides/grüße.txt"]
    reasons = Counter(each["reason"] for each in lines_of(tmp_path / "corpus" / "removed.jsonl"))
    assert reasons["language en (kept: de)"] > 10


def test_passages_of_a_beir_corpus_keep_their_ids_and_those_of_one_article_their_split(tmp_path: Path) -> None:
    passages = [
        {"_id": f"p{number}", "title": "", "text": " ".join(f"{number}w{word}" for word in range(9)), "doc": f"a{number // 4}"}
        for number in range(80)
    ]
    (tmp_path / "corpus.jsonl").write_text("\n".join(map(json.dumps, passages)))
    (tmp_path / "prepare.yaml").write_text("ids: record\n")
    done = ragtrial_command("prepare", tmp_path / "corpus.jsonl", "-o", tmp_path / "out", "--config", tmp_path / "prepare.yaml", "--quiet")
    assert done.code == 0, done.err
    made = {each["_id"]: each["split"] for each in lines_of(tmp_path / "out" / "corpus.jsonl")}
    assert list(made) == [each["_id"] for each in passages]
    assert all(len({made[f"p{4 * article + place}"] for place in range(4)}) == 1 for article in range(20))
    assert list(made.values()).count("test") == 8


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["nowhere", "-o", "out"], "there is no 'nowhere'"),
        (["empty", "-o", "out"], "holds no file"),
        (["unreadable", "-o", "out"], "none of 1 files can be read"),
        (["short", "-o", "out"], "no document is left (1 fewer than 5 words"),
        (["fine", "-o", "fine"], "is there already"),
        (["fine"], "give the folder to make"),
        (["fine", "-o", "out", "--near", "7"], "near is 7"),
        (["fine", "-o", "out", "--dev", "nan"], "dev is nan"),
        (["fine", "-o", "out", "--by", "time"], "no document has a date"),
        (["fine", "-o", "out", "--model", "no_such_model"], "spaCy can't load the model 'no_such_model'"),
        (["fine", "-o", "out", "--config", "wrong.yaml"], "wrong.yaml:2: split.tset: unknown key"),
    ],
)
def test_bad_input_is_said_and_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: list[str], said: str) -> None:
    monkeypatch.chdir(tmp_path)
    for name, file, text in (("unreadable", "a.doc", "PK"), ("short", "a.txt", "two words"), ("fine", "a.txt", f"Ships\n\n{GUIDE}")):
        (tmp_path / name).mkdir()
        (tmp_path / name / file).write_text(text)
    (tmp_path / "empty").mkdir()
    (tmp_path / "wrong.yaml").write_text("split:\n  tset: 0.1\n")
    done = ragtrial_command("prepare", *arguments, "--quiet")
    assert done.code == 2
    assert said in done.err
    assert not (tmp_path / "out").exists()


def test_a_dry_run_says_what_would_be_read_and_writes_nothing(tmp_path: Path) -> None:
    raw = raw_files(tmp_path / "raw")
    done = ragtrial_command("prepare", raw, "--dry-run", "--json")
    assert done.code == 0
    assert json.loads(done.out)["files"]["pdf"] == 4
    assert [path.name for path in tmp_path.iterdir()] == ["raw"]
