"""Pairs from what documents say of themselves: titles, headings, definitions."""

import pytest

from ragtrial.chunking import cut
from ragtrial.domain.corpus import Document, Passage
from ragtrial.domain.experiment import ChunkingSpec
from ragtrial.finetuning import structure
from ragtrial.finetuning.structure import (
    OF_ALL_ALONE,
    SERIES,
    UNDER_A_HEADING,
    definition_pairs,
    heading_pairs,
    sections,
    terms_of,
    title_pairs,
)

LONG = "This text goes on for more than the eight words that a pair needs."


def passages(*documents: Document, chars: int = 0) -> tuple[structure.Passage, ...]:
    spec = ChunkingSpec(strategy="markdown", max_chars=chars) if chars else ChunkingSpec()
    return cut(documents, spec, "test").passages


def test_a_heading_asks_for_the_text_below_it_and_is_not_in_it() -> None:
    text = f"# Slots\n\n## Moving a *slot*\n{LONG}\n\n```\n# no heading\n```\n\nCancelling a slot\n---\n{LONG} Twice.\n"
    document = Document(document_id="d", title="Slots", text=text)
    found = heading_pairs([document], passages(document))
    assert [pair.query for pair in found.pairs] == ["Moving a slot", "Cancelling a slot"]
    assert found.pairs[0].passage == f"{LONG}\n\n```\n# no heading\n```", "a hash in a code block is no heading"
    assert found.pairs[1].passage == f"{LONG} Twice."
    assert all(pair.passage in text for pair in found.pairs)


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_sections_lie_where_they_lie_whatever_ends_a_line(end: str) -> None:
    text = f"before{end}{end}# One{end}first{end}## Two{end}{end}second{end}"
    assert [(each.heading, text[each.body : each.end].strip()) for each in sections(text)] == [("One", "first"), ("Two", "second")]


def test_a_first_line_set_off_by_a_blank_line_counts_as_a_heading_unless_it_is_a_sentence() -> None:
    assert [each.heading for each in sections(f"Who may see the pictures\n\n{LONG}")] == ["Who may see the pictures"]
    assert sections(f"It was raining.\n\n{LONG}") == ()


def test_a_heading_that_several_sections_have_is_told_apart_by_the_title_or_left_out() -> None:
    text = f"## Overview\n{LONG}\n"
    named = Document(document_id="a", title="Reefer racks", text=text)
    bare = Document(document_id="b", text=text)
    found = heading_pairs([named, bare], passages(named, bare))
    assert [pair.query for pair in found.pairs] == ["Reefer racks: Overview"]
    assert found.left_out == {structure.NO_WORDS: 1}
    two = [Document(document_id=name, text=f"## Before you start\n{LONG} {name}\n") for name in "ab"]
    assert heading_pairs(two, passages(*two)).left_out == {structure.SHARED_HEADING: 2}


def test_of_a_section_that_is_cut_the_passage_that_holds_most_of_it_is_taken() -> None:
    short, long = "Some words stand here for a while, and then no more.", " ".join(f"word{n}" for n in range(40))
    document = Document(document_id="d", text=f"## How far it goes\n{short}\n\n{long}\n")
    found = heading_pairs([document], passages(document, chars=330))
    assert found.pairs[0].passage == long
    assert found.pairs[0].passage_id.startswith("d#")


def test_a_title_asks_for_the_beginning_once_for_an_article_and_not_at_all_where_others_share_it() -> None:
    documents = [
        Document(document_id="a1", title="Gate lanes explained", text=f"first the lanes of the gate {LONG}", group="a"),
        Document(document_id="a2", title="Gate lanes explained", text=f"second {LONG}", group="a"),
        Document(document_id="b", title="Release notes today", text=f"b {LONG}"),
        Document(document_id="c", title="Release notes today", text=f"c {LONG}"),
        Document(document_id="d", title="Index", text=LONG),
        Document(document_id="e", text=LONG),
        Document(document_id="f", title="A short one", text="too few words"),
    ]
    found = title_pairs(documents, passages(*documents))
    assert [(pair.query, pair.passage, pair.passage_id, pair.source) for pair in found.pairs] == [
        ("Gate lanes explained", f"first the lanes of the gate {LONG}", "a1", "a")
    ]
    assert found.left_out == {structure.SHARED_TITLE: 2, structure.NO_WORDS: 1, structure.NO_TITLE: 1, structure.TOO_SHORT: 1}


@pytest.mark.parametrize(
    ("text", "terms"),
    [
        ("- **Dig-out**: moving boxes that stand above the one wanted.", ("Dig-out",)),
        ("**Ghost** - a box that the plan has and the yard has not.", ("Ghost",)),
        ("A *double dip* is a dual move of one truck.", ("double dip",)),
        ("The word `tar_late` means the minutes after the end.", ("tar_late",)),
        ("LFD stands for last free day in all our lists.", ("LFD",)),
        ("A restow is a move of a box that stays on board.", ("restow",)),
        ("WLK is the fee for a truck without reservation.", ("WLK",)),
        (
            "| Term | Meaning |\n|---|---|\n| **TAR** | truck appointment request |\n| dead TAR | one that lapsed |\n| x | y |",
            ("TAR", "dead TAR"),
        ),
        ("Abbreviation | Stands for\n--- | ---\nLFD | last free day\n\nMore text | after it", ("LFD",)),
        ("| Term | Along the row |\n|---|---|\n| away from | no stack between them |", ()),
        ("| Block | Meaning |\n|---|---|\n| A | for the empties |", ()),
        ("The answer is the one that you know already.", ()),
        ("This means that a gate is closed. It is a pity.", ()),
        ("There are a few things that are the same everywhere.", ()),
    ],
)
def test_terms_are_found_where_they_are_explained(text: str, terms: tuple[str, ...]) -> None:
    assert terms_of(text) == terms


def test_a_definition_asks_for_the_passage_that_explains_the_term() -> None:
    document = Document(document_id="g", title="Glossary", text="*Ghost* means a booked truck that nobody saw. *Chit* is the paper slip.")
    found = definition_pairs([document], passages(document))
    assert [pair.provenance["term"] for pair in found.pairs] == ["Ghost", "Chit"]
    assert all(str(pair.provenance["term"]) in pair.query for pair in found.pairs)
    assert {pair.passage for pair in found.pairs} == {f"Glossary {document.text}"}


def test_a_term_that_everybody_explains_gives_no_pair() -> None:
    documents = [Document(document_id=f"d{n}", text=f"*Ghost* means a truck number {n}.") for n in range(3)]
    found = definition_pairs(documents, passages(*documents))
    assert (found.pairs, found.left_out) == ((), {structure.DEFINED_OFTEN: 1})


def test_of_a_long_document_the_title_asks_for_what_stands_before_its_first_heading_and_only_where_it_speaks_of_it() -> None:
    """Two passages each: an introduction, a collection that begins with a part of its own, a chat, and one that is short enough."""
    intro = f"Reefers are plugged by hand. {LONG}"
    documents = [
        Document(document_id="intro", title="Plugging of reefers", text=f"{intro}\n\n## By night\n\n{LONG}"),
        Document(
            document_id="tickets", title="Tickets of the reefer desk", text=f"## A box without power\n\n{LONG}\n\n## Another\n\n{LONG}"
        ),
        Document(document_id="lines", title="Digest of the gate channel", text=f"Boxes without numbers\n\n{LONG}\n\nMore of it. {LONG}"),
        Document(
            document_id="chat", title="Digest of the berth channel", text=f"ana: who is there at last\nbob: me and nobody else\n{LONG}"
        ),
        Document(document_id="whole", title="Something else entirely", text=f"## A part\n\n{LONG}"),
    ]
    halves = [
        Passage(passage_id=f"{each.document_id}-{place}", document_id=each.document_id, text=each.text[start:end], start=start, end=end)
        for each in documents[:4]
        for place, (start, end) in enumerate(((0, len(each.text) - 20), (len(each.text) - 20, len(each.text))))
    ]
    found = title_pairs(documents, [*halves, *passages(documents[4])])
    assert [(pair.query, pair.passage_id, pair.passage) for pair in found.pairs] == [
        ("Plugging of reefers", "intro-0", intro),
        ("Something else entirely", "whole", f"## A part\n\n{LONG}"),
    ]
    assert found.left_out == {UNDER_A_HEADING: 2, OF_ALL_ALONE: 1}


def test_titles_that_differ_in_numbers_and_days_alone_are_no_queries_unless_the_passage_says_them_whole() -> None:
    documents = [
        Document(document_id="1", title="Digest of the gate, Monday 3 March", text=LONG),
        Document(document_id="2", title="Digest of the gate, Friday 7 March", text=LONG),
        Document(document_id="3", title="Digest of the gate, Friday 11 April", text=LONG),
        Document(document_id="4", title="Ataxia type 1", text=LONG),
        Document(document_id="5", title="Ataxia type 2", text=LONG),
        Document(document_id="6", title="Ataxia type 3", text=f"Of ataxia the type that has the number 3 is known best. {LONG}"),
        Document(document_id="7", title="Rules, part 1", text=LONG),
        Document(document_id="8", title="Rules, part 2", text=LONG),
    ]
    found = title_pairs(documents, passages(*documents))
    assert [pair.query for pair in found.pairs] == ["Ataxia type 3", "Rules, part 1", "Rules, part 2"]
    assert found.left_out == {SERIES: 5}


@pytest.mark.parametrize(
    "titles",
    [
        ("Standup notes 3 Jan", "Standup notes 4 Feb", "Standup notes 5 Mar"),
        ("Minutes of Mon 3 March", "Minutes of Tue 4 March", "Minutes of Thu 6 March"),
        ("Minutes of Mon, Mar 3rd", "Minutes of Tue, Mar 4th", "Minutes of Wed, May 5th"),
        ("Minutes of the 3rd of May", "Minutes of the 4th of March", "Minutes of the 1st of Oct"),
        ("Minutes, Sept 3rd", "Minutes, Oct. 4th", "Minutes, May 5th"),
        ("Protokoll vom 3. Januar", "Protokoll vom 4. Februar", "Protokoll vom 5. März"),
        ("Protokoll Mo 3. Dez.", "Protokoll Di 4. Dez.", "Protokoll Mittwoch 5. Dez."),
        ("Handbook of lanes, Part II", "Handbook of lanes, Part III", "Handbook of lanes, Part IV"),
        ("Newsletter January", "Newsletter March", "Newsletter May"),
    ],
)
def test_titles_that_differ_in_days_months_and_roman_numbers_are_a_series(titles: tuple[str, ...]) -> None:
    documents = [Document(document_id=str(number), title=title, text=LONG) for number, title in enumerate(titles)]
    found = title_pairs(documents, passages(*documents))
    assert (found.pairs, found.left_out) == ((), {SERIES: 3})


def test_a_word_that_is_also_a_month_or_a_day_is_no_number_where_it_stands_among_words() -> None:
    """Each title differs from the others in such a word alone."""
    for titles in (
        ("Visitors may park here", "Visitors march park here", "Visitors mar park here"),
        ("The sun gate", "The sat gate", "The wed gate"),
        ("Who may use lane 3", "Who do use lane 3", "Who so use lane 3"),
    ):
        documents = [Document(document_id=str(number), title=title, text=LONG) for number, title in enumerate(titles)]
        assert [pair.query for pair in title_pairs(documents, passages(*documents)).pairs] == list(titles)


def test_every_document_without_a_title_is_counted_and_an_article_of_several_parts_once() -> None:
    alone = [Document(document_id=str(number), text=f"{LONG} {number}") for number in range(5)]
    parts = [Document(document_id=f"p{number}", text=f"{LONG} part {number}", group="p") for number in range(3)]
    documents = [*alone, *parts]
    assert title_pairs(documents, passages(*documents)).left_out == {structure.NO_TITLE: 6}
