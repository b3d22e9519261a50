"""What is read from each kind of file, and that nothing of a broken one is more than a reason."""

import json
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ragtrial.domain.preparation import TicketFields
from ragtrial.errors import InputError
from ragtrial.preparation.dates import day_of
from ragtrial.preparation.decoding import decode
from ragtrial.preparation.loading import load
from ragtrial.preparation.pdf_files import RUNNING
from ragtrial.preparation.raw import RawDocument, Unread
from ragtrial.preparation.source_files import NO_DOCUMENTS, SourceFile, find_files
from ragtrial.preparation.titles import title_of_metadata
from ragtrial.preparation.web_pages import WHOLE_PAGE, fragment_text
from raw_files import docx_of, pdf_of


def loaded(text: str | bytes, kind: str, fields: TicketFields | None = None) -> list[RawDocument | Unread]:
    data = text if isinstance(text, bytes) else text.encode()
    return list(load(SourceFile(path=Path("x"), place="x", kind=kind, size=len(data)), data, fields or TicketFields()))


def only(text: str | bytes, kind: str, fields: TicketFields | None = None) -> RawDocument:
    (found,) = loaded(text, kind, fields)
    assert isinstance(found, RawDocument)
    return found


def test_markdown_keeps_headings_and_code_and_loses_comments_and_link_targets() -> None:
    text = '# Cranes\n\nSee [the list](https://x.example/a_(b)?jane=1 "t").<!-- Jane wrote this -->\n\n## Night\n\n```\n[a](b) # no heading\n```\n'
    found = only(text, "markdown")
    assert found.title == "Cranes"
    assert found.text.strip() == "See the list.\n\n## Night\n\n```\n[a](b) # no heading\n```"


def test_front_matter_gives_title_day_and_topic_and_three_dashes_alone_are_a_line() -> None:
    found = only("---\ntitle: Reefers\ndate: 2024-02-03\ncategory: yard\nauthor: Jane\n---\nPlugs.\n", "markdown")
    assert (found.title, found.date, found.topic, found.text) == ("Reefers", "2024-02-03", "yard", "Plugs.\n")
    assert only("---\nno: [yaml\n---\nPlugs.", "markdown").text.startswith("---")


def test_a_text_has_a_title_where_a_short_line_stands_alone_at_its_top() -> None:
    assert only("Tides\n\nThey come twice a day.", "text").title == "Tides"
    assert only("Tides\nThey come twice a day.", "text").title == ""


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "cp1252"])
def test_a_text_is_the_same_in_any_encoding(encoding: str) -> None:
    text = "Größere Schiffe müssen draußen auf Reede warten, während kleinere längst festgemacht haben."
    decoded = decode(text.encode(encoding))
    assert decoded is not None
    assert decoded[0] == text


def test_bytes_that_are_no_text_are_none() -> None:
    assert decode(bytes(range(256)) * 3) is None
    assert decode(b"text with \0 in it") is None


def test_running_heads_of_a_pdf_go_whatever_their_page_number_and_words_cut_in_two_are_joined() -> None:
    pages = [f"Port rules 2024\nRule {name} is about the con-\ntainer gate\nPage {number} of 4" for number, name in enumerate("ABCD", 1)]
    found = only(pdf_of(*pages), "pdf")
    assert found.text == "\n".join(f"Rule {name} is about the container gate" for name in "ABCD")
    assert found.notes == {RUNNING: 8}


def test_a_pdf_of_two_pages_keeps_lines_that_stand_on_both() -> None:
    assert only(pdf_of("Head\nfirst", "Head\nsecond"), "pdf").text == "Head\nfirst\nHead\nsecond"


@pytest.mark.parametrize("data", [b"", b"%PDF-1.4", b"%PDF-1.7\n" + b"\xff" * 400, pdf_of("x")[:300], b"<html>"])
def test_no_broken_pdf_raises(data: bytes) -> None:
    (found,) = loaded(data, "pdf")
    assert isinstance(found, Unread)


def test_zendesk_tickets_join_their_comments_and_do_not_repeat_the_description() -> None:
    tickets = {
        "tickets": [
            {
                "id": 35,
                "subject": "Gate closed",
                "description": "The gate is closed.",
                "created_at": "2024-01-05T10:00:00Z",
                "comments": [{"body": "The gate is closed.", "author_id": 7}, {"html_body": "x", "plain_body": "It is <b>open</b> again."}],
                "problem_id": 9,
            }
        ],
        "count": 1,
    }
    found = only(json.dumps(tickets), "json")
    assert (found.place, found.title, found.date) == ("x#35", "Gate closed", "2024-01-05")
    assert found.text == "The gate is closed.\n\nIt is open again."
    assert found.thread is not None


def test_fields_of_tickets_are_named_in_the_settings() -> None:
    fields = TicketFields(text=("Beschreibung",), title=("Betreff",), date=("angelegt",), date_format="%d.%m.%Y")
    found = only("Betreff;Beschreibung;angelegt\nKran;Er steht.;03.04.2024\n", "csv", fields)
    assert (found.title, found.text, found.date) == ("Kran", "Er steht.", "2024-04-03")


def test_a_broken_line_of_json_lines_costs_that_line_only() -> None:
    first, second, third = loaded('{"text": "one"}\n{"text": \n{"other": 1}\n', "jsonl")[:3]
    assert isinstance(first, RawDocument)
    assert (second, third) == (
        Unread(place="x#2", reason="broken JSON"),
        Unread(place="x#3", reason="a record without a text (name its field in prepare.yaml: tickets.text)"),
    )


@pytest.mark.parametrize("text", ["{", "3", '["a"]', "[" * 100_000, '"'])
def test_no_broken_json_raises(text: str) -> None:
    assert all(isinstance(each, Unread) for each in loaded(text, "json"))


@settings(max_examples=60)
@given(st.sampled_from(["text", "markdown", "html", "pdf", "csv", "json", "jsonl", "mail"]), st.binary(max_size=300))
def test_no_bytes_make_a_loader_raise(kind: str, data: bytes) -> None:
    assert all(isinstance(each, RawDocument | Unread) for each in loaded(data, kind))


@pytest.mark.parametrize(
    "html", ["<div>" * 20_000, "<p>" * 5_000 + "text", "<a <b> </c", "<?xml version='1.0' encoding='utf-16'?><p>x</p>", "<!---->"]
)
def test_odd_html_is_read_as_far_as_it_goes(html: str) -> None:
    only(html, "html")
    only(json.dumps({"text": f"a {html}"}), "json")


def test_a_fragment_of_html_keeps_its_lines_and_loses_what_is_not_shown() -> None:
    html = "<p>Hello<br>world</p><script>bad()</script><ul><li>a</li><li>b</li></ul><!-- note --><p>a &amp; b</p>"
    assert [line for line in fragment_text(html).splitlines() if line] == ["Hello", "world", "a", "b", "a & b"]


def test_a_page_without_a_main_text_is_read_whole_and_noted() -> None:
    found = only("<html><head><title>T</title></head><body></body></html>", "html")
    assert found.text == ""
    assert found.notes == {WHOLE_PAGE: 1}


def test_replies_to_a_message_are_of_its_thread_and_html_is_read_where_there_is_no_plain_text() -> None:
    root = only("Message-ID: <a@x>\nSubject: One\n\nThe first text", "mail")
    reply = only("Message-ID: <b@x>\nReferences: <a@x>\nContent-Type: text/html\n\n<p>The second<br>text</p>", "mail")
    assert root.thread == reply.thread is not None
    assert reply.text == "The second\ntext"


def test_a_message_without_text_is_a_reason() -> None:
    assert loaded("Subject: x\n\n \n", "mail")[0] == Unread(place="x", reason="an e-mail without text")


@pytest.mark.parametrize(
    ("written", "day"),
    [
        ("2024-01-05T10:00:00Z", "2024-01-05"),
        ("2024-01-05 10:11:12 UTC", "2024-01-05"),
        ("2024/1/5", "2024-01-05"),
        ("Tue, 05 Mar 2024 09:00:00 +0100", "2024-03-05"),
        (1704448800, "2024-01-05"),
        ("1704448800000", "2024-01-05"),
        ("03/04/2024", None),
        ("2024-13-40", None),
        ("tomorrow", None),
        (True, None),
        (None, None),
    ],
)
def test_a_day_is_read_or_not_known_but_never_guessed(written: object, day: str | None) -> None:
    assert day_of(written) == day


def test_files_come_in_one_order_and_under_the_names_of_their_sources(tmp_path: Path) -> None:
    for name in ("b/z.md", "b/a/x.md", "a/y.md", "other/a/y.md"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("text")
    files, unread = find_files([tmp_path / "b", tmp_path / "a", tmp_path / "other" / "a", tmp_path / "b" / "z.md"], max_megabytes=1)
    assert [file.place for file in files] == ["b/z.md", "b/a/x.md", "a/y.md", "a-3/y.md"]
    assert [(each.place, each.reason) for each in unread] == [("z.md", "given twice")]


def test_a_file_that_is_too_large_is_not_read(tmp_path: Path) -> None:
    (tmp_path / "big.txt").write_bytes(b"x" * 1_000_001)
    files, unread = find_files([tmp_path], max_megabytes=1)
    assert not files
    assert unread[0].reason == "larger than 1 MB (max_megabytes)"


def test_a_suffix_that_may_be_a_name_is_not_repeated(tmp_path: Path) -> None:
    (tmp_path / "letter.janeroe").write_text("x")
    _, unread = find_files([tmp_path], max_megabytes=1)
    assert unread[0].reason == "a kind of file that is not read: save it as text, Markdown, HTML or PDF"


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("a.doc", "another word processor's file: save it as .docx or PDF (.doc)"),
        ("a.XLSX", "a spreadsheet: save its sheets as CSV (.xlsx)"),
        ("a.pptx", "slides: save them as PDF (.pptx)"),
        ("a.zip", "an archive: unpack it first (.zip)"),
        ("a.png", "a picture: run a text recognition over it first (.png)"),
        ("a.key", "a kind of file that is not read: save it as text, Markdown, HTML or PDF"),  # of TLS, or slides: nobody knows
        ("a.py", "a kind of file that is not read: save it as text, Markdown, HTML or PDF (.py)"),
    ],
)
def test_what_is_not_read_is_told_with_what_to_do(tmp_path: Path, name: str, said: str) -> None:
    (tmp_path / name).write_text("x")
    _, unread = find_files([tmp_path], max_megabytes=1)
    assert unread[0].reason in (said, f"{said} ({Path(name).suffix})")


def test_a_graph_of_graphviz_is_not_taken_for_a_word_processors_file(tmp_path: Path) -> None:
    (tmp_path / "a.dot").write_text("digraph { a -> b }")
    _, unread = find_files([tmp_path], max_megabytes=1)
    assert unread[0].reason.startswith("a kind of file that is not read")


def test_a_word_file_gives_its_headings_its_insertions_and_its_title_and_not_what_was_deleted() -> None:
    body = [("Title", "The gate"), ("", "Trucks come."), ("Heading2", "Walk-ins"), ("", "They pay <b> & wait.")]
    found = only(docx_of(*body, inserted="At once.", deleted="Never.", created="2024-02-03T10:00:00Z"), "word")
    assert (found.title, found.date, found.format) == ("The gate", "2024-02-03", "word")
    assert found.text.strip() == "Trucks come.\n\n## Walk-ins\n\nThey pay <b> & wait.\n\nAt once."


def test_a_word_files_own_title_counts_and_one_that_is_the_files_name_does_not() -> None:
    assert only(docx_of(("", "Trucks come."), title="Rules of the gate"), "word").title == "Rules of the gate"
    assert only(docx_of(("", "Trucks come."), title="gate_rules_v2"), "word").title == ""


@pytest.mark.parametrize("data", [b"", b"PK\x03\x04", b"no archive", docx_of(("", "x"))[:200]])
def test_no_broken_word_file_raises(data: bytes) -> None:
    (found,) = loaded(data, "word")
    assert isinstance(found, Unread)


def test_the_largest_letters_of_a_pdfs_first_page_are_its_title_and_leave_the_text() -> None:
    found = only(
        pdf_of("The tides of\nthe outer port\nHigh water is at six in the morning and low water at noon.", sizes=(20, 20, 11)), "pdf"
    )
    assert found.title == "The tides of the outer port"
    assert found.text == "High water is at six in the morning and low water at noon."
    assert only(pdf_of("1\nHigh water is at six in the morning", sizes=(30, 11)), "pdf").title == "", "a page number is no title"


def test_a_pdf_in_one_size_has_a_title_where_its_first_line_stands_apart() -> None:
    assert only(pdf_of("Tide tables\nHigh water is at six in the morning"), "pdf").title == "Tide tables"
    assert only(pdf_of("High water is at six\nin the morning and at noon it falls again"), "pdf").title == ""


@pytest.mark.parametrize(
    ("title", "kept"),
    [
        ("Tide tables of the outer port", True),
        ("Microsoft Word - tides.doc", False),
        ("tides-2024_final", False),
        ("Tide Tables 2024", False),  # what the file is called
        ("Untitled", False),
        ("PowerPoint Presentation", False),
        ("2024-03-05 11:20", False),
    ],
)
def test_a_title_of_metadata_counts_unless_it_is_the_files_name_or_a_tools(title: str, kept: bool) -> None:
    assert title_of_metadata(title, "pdf/tide_tables-2024.pdf") == (title if kept else "")


@pytest.mark.parametrize(
    "first",
    ["[10:31] ana: is anybody there", "10:31 ana", "Good morning all,", "2024-03-05", "see https://x.example/tides", "Mail jane@x.example"],
)
def test_the_first_line_of_a_chat_or_a_letter_is_no_title_and_stays_in_the_text(first: str) -> None:
    found = only(f"{first}\n\nThe tide comes twice a day.", "text")
    assert (found.title, found.text.startswith(first)) == ("", True)


def test_an_underlined_line_and_one_behind_a_sign_are_titles() -> None:
    for text in ("Tides\n=====\nThey come twice.", "= Tides\nThey come twice.", "Tides\n\nThey come twice."):
        found = only(text, "text")
        assert (found.title, found.text.strip()) == ("Tides", "They come twice."), text


def test_a_source_that_is_not_there_is_said(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="there is no"):
        find_files([tmp_path / "nowhere"], max_megabytes=1)


def test_a_number_of_a_ticket_that_can_not_be_written_as_it_is_loses_what_stands_in_the_way() -> None:
    rows = '{"id": "a\\ud83d b", "text": "half a pair"}\n{"id": "c\\u0000d", "text": "a NUL"}'
    assert [each.place for each in loaded(rows, "jsonl")] == ["x#a? b", "x#c d"]


def test_of_a_folder_with_a_corpus_the_corpus_alone_is_read(tmp_path: Path) -> None:
    beside = ["queries.jsonl", "qrels/test.tsv", "card.md", "splits.tsv"]
    for folder in ("beir", "notes"):
        for name in beside:
            (tmp_path / folder / name).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / folder / name).write_text("some words that are here")
    (tmp_path / "beir" / "corpus.jsonl").write_text("{}")
    files, unread = find_files([tmp_path], max_megabytes=1)
    assert [file.place for file in files] == [
        "beir/corpus.jsonl",
        *(f"notes/{name}" for name in sorted(beside) if "/" not in name),
        "notes/qrels/test.tsv",
    ]
    assert {each.place: each.reason for each in unread} == {f"beir/{name}": NO_DOCUMENTS for name in beside}
