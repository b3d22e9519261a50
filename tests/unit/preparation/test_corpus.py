"""All documents together, and what the card says of them."""

import dataclasses
import json

import numpy as np
import pytest

from ragtrial.domain.preparation import BoilerplateSpec, CorpusSplitSpec, DuplicateSpec, PreparationSpec
from ragtrial.errors import InputError
from ragtrial.preparation.card import card_of, lengths_of
from ragtrial.preparation.corpus import assemble
from ragtrial.preparation.documents import Dropped, Kept
from ragtrial.redaction import Find
from ragtrial.report.data_card import as_card_html, as_card_markdown, unread_lines


def document(name: str, text: str | None = None, **fields: object) -> Kept:
    text = text or " ".join(f"{name}{number}" for number in range(30))
    plain = {"title": "", "format": "text", "language": "en", "encoding": "utf-8", "document_id": name, "source": name}
    return Kept(**{**plain, "text": text, **fields})  # type: ignore[arg-type]


def card(made, spec=PreparationSpec()):  # noqa: B008
    return card_of(made, spec, name="c", sources=["s"], files={}, gold=None, digests={}, versions={})


def test_redactions_move_with_their_line_and_go_with_a_line_that_is_taken_out() -> None:
    made = []
    for number in range(12):
        text = f"Kind regards <PERSON>\n\nText{number} of ship{number} says word{number} to <PERSON> of gate{number}\nKind regards <PERSON>"
        starts = [place for place in range(len(text)) if text.startswith("<PERSON>", place)]
        made.append(document(f"d{number}", text, finds={"text": tuple(Find(kind="PERSON", start=s, end=s + 8) for s in starts)}))
    done = assemble(made, PreparationSpec())
    assert len(done.documents) == 12
    for each in done.documents:
        (find,) = each.document.finds["text"]
        assert each.document.text[find.start : find.end] == "<PERSON>"
        assert not each.document.text.startswith(("Kind", "\n"))
    assert card(done).redaction.kinds[0].found == 12


def test_a_document_of_nothing_but_repeated_lines_is_dropped() -> None:
    footer = "This is the service desk of the harbour company"
    made = [document(f"d{number}", f"{' '.join(f'w{number}x{word}' for word in range(9))}\n{footer}") for number in range(11)]
    done = assemble([*made, document("only", footer)], PreparationSpec())
    assert [(each.document_id, each.stage) for each in done.dropped] == [("only", "boilerplate")]


@pytest.mark.parametrize(("keep", "kept"), [("longest", "c"), ("earliest", "a"), ("latest", "b")])
def test_which_of_two_near_duplicates_is_kept(keep: str, kept: str) -> None:
    words = " ".join(f"w{number}" for number in range(60))
    made = [
        document("a", words, date="2020-01-01"),
        document("b", f"{words} more", date="2024-01-01"),
        document("c", f"{words} more still"),
    ]
    spec = PreparationSpec(duplicates=DuplicateSpec(keep=keep))  # type: ignore[arg-type]
    done = assemble([*made, document("other")], spec)
    assert [each.document.document_id for each in done.documents] == [kept, "other"]
    assert {each.duplicate_of for each in done.dropped} == {kept}


def test_an_id_that_stands_twice_gets_a_number() -> None:
    done = assemble([document("a", " ".join(f"{n}x{w}" for w in range(20))) for n in range(3)], PreparationSpec())
    assert [each.document.document_id for each in done.documents] == ["a", "a~2", "a~3"]


def test_tickets_of_a_thread_and_documents_of_a_folder_stay_together_where_that_is_wanted() -> None:
    made = [document(f"d{number}", thread=f"t{number % 5}", folder=f"f{number % 2}") for number in range(40)]
    spec = PreparationSpec(split=CorpusSplitSpec(dev=0.2, test=0.2))
    threads = assemble(made, spec)
    assert all(len({each.split for each in threads.documents if each.document.thread == f"t{n}"}) == 1 for n in range(5))
    assert {each.group for each in threads.documents} == {f"d{n}" for n in range(5)}
    folders = assemble(made, dataclasses.replace(spec, split=dataclasses.replace(spec.split, folders="together")))
    assert {each.split for each in folders.documents} == {"train"}  # both folders are larger than a split, and share threads
    assert [warning.split(":")[0] for warning in card(folders).warnings if "empty" in warning] == [
        "the dev split is empty",
        "the test split is empty",
    ]


def test_what_the_gold_set_was_made_from_is_moved_dropped_or_marked() -> None:
    made = [document(f"d{number}", thread="t" if number < 2 else None) for number in range(20)]
    outcomes = {}
    for rule in ("test", "drop", "flag"):
        done = assemble(made, PreparationSpec(gold=rule), find_gold=lambda _: {0: "it holds a gold query"})  # type: ignore[arg-type]
        outcomes[rule] = done
        assert done.gold == {"d0": "it holds a gold query"}
    moved = [each.document.document_id for each in outcomes["test"].documents if each.split == "test"]
    assert moved == ["d0", "d1"]  # its thread is with it
    assert outcomes["test"].gold_moved == 2
    assert [each.document_id for each in outcomes["drop"].dropped] == ["d0"]
    assert outcomes["flag"].gold_moved == 0
    assert [each.gold for each in outcomes["flag"].documents if each.gold] == ["it holds a gold query"]


def test_a_split_far_from_what_was_planned_is_warned_of() -> None:
    made = [document(f"d{number:02}", thread="t" if number < 12 else None) for number in range(20)]
    large = assemble(made, PreparationSpec(), find_gold=lambda _: {3: "it holds a gold query"})
    (warning,) = [each for each in card(large).warnings if "planned" in each]
    assert warning.startswith(
        "the test split holds 60% of the documents, planned were 10%: 12 stand there for the gold set (--gold-rule drop"
    )
    spec = PreparationSpec(split=CorpusSplitSpec(by="time", dev=0.2, test=0.2))
    dates = ["2024-01-01"] * 5 + ["2024-01-02"] * 2 + ["2024-01-03"] * 13  # the newest day is most of it, and its middle is above 0.2
    days = assemble([document(f"d{number:02}", date=day) for number, day in enumerate(dates)], spec)
    said = [each for each in card(days, spec).warnings if "split" in each]
    assert said[0].startswith(
        "the dev split holds 65% of the documents, planned were 20%: documents that belong together, or are of one day"
    )
    assert said[1].startswith("the test split is empty")
    whole = assemble(made, PreparationSpec(), find_gold=lambda documents: dict.fromkeys(range(len(documents)), "it holds a gold query"))
    said = card(whole).warnings
    assert "the train split is empty, so no training pair can be made: give documents that the gold set was not made from" in said
    fine = assemble([document(f"d{number:02}") for number in range(40)], PreparationSpec())
    assert not [each for each in card(fine).warnings if "split" in each]


def test_every_document_is_accounted_for_step_by_step() -> None:
    made = [document(f"d{number}", date="2024-01-01" if number else None) for number in range(10)]
    dropped = [
        Dropped(document_id="x", source="x", reason="a broken PDF", stage="read"),
        Dropped(document_id="y", source="y", reason="no text", stage="cleaned"),
    ]
    spec = PreparationSpec(split=CorpusSplitSpec(by="time"))
    done = assemble([*made, *dropped, document("twin", made[1].text, date="2024-02-02")], spec)
    found = card(done, spec)
    assert [(stage.documents, sum(stage.dropped.values())) for stage in found.stages] == [
        (12, 1),  # 10, the empty one and the twin; a file that could not be read was no document
        (11, 1),
        (11, 0),
        (11, 0),
        (11, 0),
        (10, 1),
        (10, 0),
        (9, 1),
    ]
    assert found.documents == 9 == sum(row.documents for row in found.topics) == sum(found.languages.values())


def test_no_document_left_is_an_error_that_counts_the_reasons() -> None:
    with pytest.raises(InputError, match="no document is left \\(2 a broken PDF\\)"):
        assemble([Dropped(document_id=name, source=name, reason="a broken PDF", stage="read") for name in "ab"], PreparationSpec())


def test_lengths_are_those_of_numpy() -> None:
    words = [int(n) for n in np.random.default_rng(1).integers(5, 3000, 101)]
    found = lengths_of(words)
    assert found.quantiles["0.5"] == sorted(words)[50]
    assert (found.quantiles["0"], found.quantiles["1"]) == (min(words), max(words))
    assert sum(n for _, _, n in found.histogram) == 101
    assert lengths_of([7]).histogram == ((0, 8, 1),)
    assert [(low, high) for low, high, _ in lengths_of([40, 70]).histogram] == [(32, 64), (64, 128)]


def test_few_documents_are_no_boilerplate() -> None:
    made = [document(f"d{number}", f"Same line here\n{' '.join(f'{number}w{word}' for word in range(9))}") for number in range(3)]
    assert not assemble(made, PreparationSpec()).boilerplate
    assert assemble(made, PreparationSpec(boilerplate=BoilerplateSpec(documents=2))).boilerplate == (("same line here", 3),)


UNREAD = (
    "hr/Kuendigung_Anna_Mueller.doc",
    "hr/deep/Abmahnung_Tom_Schulz.DOC",
    "hr/photo.png",
    "Lohn_Eva_Klein.doc",
    "letter.janeroe",
    "desk/Eva_Klein.csv#7",
)


def _unread_lines(spec: PreparationSpec) -> tuple[list[str], str, str]:
    left = [Dropped(document_id=place, source=place, reason="why not", stage="read") for place in UNREAD]
    found = card(assemble([document("a"), *left], spec), spec)
    return unread_lines(found), as_card_markdown(found), json.dumps(dataclasses.asdict(found)) + as_card_html(found)


@pytest.mark.parametrize("spec", [PreparationSpec(), PreparationSpec(redact=False, model="names")])
def test_files_are_named_on_the_card_only_where_names_of_people_were_looked_for(spec: PreparationSpec) -> None:
    lines, markdown, page = _unread_lines(spec)
    assert lines == [
        "not read: 6: why not; named in removed.jsonl",
        "  hr/: 2 .doc",
        "  ./: 1 file",
        "  ./: 1 .doc",
        "  desk/: 1 record of .csv",
        "  hr/: 1 .png",
    ]
    assert "| hr/: 2 .doc | why not |" in markdown
    for name in ("Mueller", "Schulz", "Klein", "photo", "janeroe"):
        assert name not in markdown + page, name


def test_with_a_model_that_knows_names_each_file_is_named() -> None:
    lines, markdown, _ = _unread_lines(PreparationSpec(model="names"))
    assert lines == ["not read: 6: why not", *(f"  {place}" for place in UNREAD)]
    assert "| hr/photo.png | why not |" in markdown
