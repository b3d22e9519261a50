"""Titles of PDF: what letters of many letters share is a letterhead."""

from pathlib import Path

from ragtrial.domain.preparation import TicketFields
from ragtrial.preparation.letterheads import find_letterheads
from ragtrial.preparation.loading import load
from ragtrial.preparation.pdf_files import LETTERHEAD, read_pdf
from ragtrial.preparation.raw import RawDocument
from ragtrial.preparation.source_files import find_files
from raw_files import pdf_of

BODY = "High water is at six in the morning and low water at noon."


def read(data: bytes) -> RawDocument:
    found = read_pdf(data, "x.pdf")
    assert isinstance(found, RawDocument)
    return found


def test_a_letter_has_no_title_and_keeps_its_salutation() -> None:
    text = "Dear Ms Smith\nWe are sorry that the gate was closed when your driver came to it on Monday."
    assert (read(pdf_of(text)).title, read(pdf_of(text)).text) == ("", text)
    assert read(pdf_of(text, sizes=(20, 11))).title == ""


def test_a_sum_in_large_letters_is_no_title_and_the_next_size_is_tried() -> None:
    found = read(pdf_of(f"EUR 2 million\nWhat the quay wall costs\n{BODY}", sizes=(30, 20, 11)))
    assert (found.title, found.text) == ("What the quay wall costs", f"EUR 2 million\n{BODY}")


def test_what_three_files_of_a_folder_say_in_large_letters_is_a_letterhead_and_the_next_size_is_the_title(tmp_path: Path) -> None:
    titles = {"letters/a.pdf": "Tides of the port", "letters/b.pdf": "Rates for storage", "letters/c.pdf": "", "other/d.pdf": "Night work"}
    for name, title in titles.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        lines = ["Harbour Group", title, BODY] if title else ["Harbour Group", BODY]
        sizes = (30, 20, 11) if title else (30, 11)
        (tmp_path / name).write_bytes(pdf_of("\n".join(lines), sizes=sizes))
    files, _ = find_files([tmp_path], max_megabytes=1)
    letterheads = find_letterheads(files)
    assert letterheads == {"letters": frozenset({"harbourgroup"})}
    found = {}
    for file in files:
        folder = file.place.rpartition("/")[0]
        (document,) = load(file, file.path.read_bytes(), TicketFields(), letterheads.get(folder, frozenset()))
        assert isinstance(document, RawDocument)
        found[file.place] = document
    assert {place: document.title for place, document in found.items()} == {**titles, "other/d.pdf": "Harbour Group"}
    assert found["letters/a.pdf"].text == f"Harbour Group\n{BODY}"
    assert [document.notes.get(LETTERHEAD, 0) for document in found.values()] == [1, 1, 1, 0]


def test_three_versions_of_one_text_keep_the_title_that_they_share(tmp_path: Path) -> None:
    for name in "abc":
        (tmp_path / f"{name}.pdf").write_bytes(pdf_of(f"Tides of the port\n{BODY}", f"page two of {name}", sizes=(30, 11)))
    assert find_letterheads(find_files([tmp_path], max_megabytes=1)[0]) == {}


def test_headings_of_several_sections_make_no_title_together() -> None:
    page = f"EUR 2 million\nWhat it costs\n{BODY}\nWho pays it\n{BODY} Twice."
    assert read(pdf_of(page, sizes=(30, 20, 11, 20, 11))).title == ""
