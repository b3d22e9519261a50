"""Word files: which heading is the title, and what a reader would not see as text."""

import pytest

from ragtrial.errors import MissingExtraError
from ragtrial.finetuning.structure import sections
from ragtrial.preparation import word_files
from ragtrial.preparation.raw import RawDocument
from ragtrial.preparation.word_files import read_word
from raw_files import docx_of


def read(data: bytes) -> RawDocument:
    found = read_word(data, "a/rules.docx")
    assert isinstance(found, RawDocument)
    return found


def test_the_first_of_several_chapters_is_no_title_and_keeps_its_heading() -> None:
    found = read(docx_of(("Heading1", "Gate"), ("", "Trucks come."), ("Heading1", "Rail"), ("", "Trains come.")))
    assert found.title == ""
    assert [section.heading for section in sections(found.text)] == ["Gate", "Rail"]


def test_a_paragraph_in_the_style_of_titles_is_the_title_whatever_chapters_there_are() -> None:
    found = read(docx_of(("Title", "The yard"), ("Heading1", "Gate"), ("", "Trucks come."), ("Heading1", "Rail"), ("", "Trains come.")))
    assert found.title == "The yard"
    assert [section.heading for section in sections(found.text)] == ["Gate", "Rail"]


def test_a_paragraph_that_begins_with_a_hash_does_not_become_a_heading() -> None:
    found = read(docx_of(("Heading1", "Gate"), ("", "# 5 is the lane of reefers"), ("", "#gate is our channel")))
    assert found.title == "Gate"
    assert found.text.strip() == "\\# 5 is the lane of reefers\n\n#gate is our channel"
    assert read(docx_of(("", "# 5 is the lane of reefers"), ("", "Trucks come."))).title == ""


def test_a_footnote_stays_without_its_number_and_its_arrow() -> None:
    found = read(docx_of(("", "Trucks come."), footnote="At night only."))
    assert found.text.split() == ["Trucks", "come.", "At", "night", "only."]


@pytest.mark.parametrize(
    "error", [MissingExtraError(package="lxml", extra="prepare", purpose="reading HTML"), ImportError("x"), MemoryError()]
)
def test_what_is_wrong_with_the_machine_is_not_put_down_to_the_file(monkeypatch: pytest.MonkeyPatch, error: BaseException) -> None:
    def failing(*_given: object, **_named: object) -> str:
        raise error

    monkeypatch.setattr(word_files, "fragment_text", failing)
    with pytest.raises(type(error)):
        read_word(docx_of(("", "Trucks come.")), "x.docx")
