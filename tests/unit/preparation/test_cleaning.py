"""Text as it should have been written."""

import unicodedata

from hypothesis import given
from hypothesis import strategies as st

from ragtrial.domain.preparation import BoilerplateSpec
from ragtrial.preparation.cleaning import clean, clean_line, find_boilerplate
from ragtrial.preparation.languages import UNKNOWN, language_of


def test_mojibake_entities_and_invisible_characters_are_mended() -> None:
    assert clean("schÃ¶n\u200b und &amp; gut\x07\ufeff") == "schön und & gut"


def test_composed_and_decomposed_letters_are_one() -> None:
    assert clean("e\u0301") == "é"


def test_what_numbers_mean_is_not_changed() -> None:
    assert clean("10² m and ½ cup, “so” called") == "10² m and ½ cup, “so” called"


def test_lines_paragraphs_and_indentation_stay_and_other_white_space_is_in_order() -> None:
    assert clean("a\u00a0 b  \r\n\r\n\r\n\r\n    code  here\t\n\n") == "a b\n\n    code here"


def test_a_title_is_one_line() -> None:
    assert clean_line("  Tides\n of  the port ") == "Tides of the port"


@given(st.text())
def test_whatever_comes_in_normal_form_and_no_control_character_come_out(text: str) -> None:
    once = clean(text)
    assert unicodedata.is_normalized("NFC", once)
    assert not [char for char in once if char != "\n" and unicodedata.category(char) in ("Cc", "Cs")]


def test_a_line_is_boilerplate_from_the_share_and_the_number_of_documents_that_are_given() -> None:
    texts = [f"Text {number}\nKind regards" if number < 4 else f"Text {number}" for number in range(10)]
    same = ["a"] * 10
    assert find_boilerplate(texts, same, BoilerplateSpec(share=0.39, documents=4)).counts == {"kind regards": 4}
    assert not find_boilerplate(texts, same, BoilerplateSpec(share=0.4, documents=4)).counts  # 4 of 10 are not more than 40 %
    assert not find_boilerplate(texts, same, BoilerplateSpec(share=0.3, documents=5)).counts


def test_a_line_of_one_topic_is_taken_out_of_that_topic_only() -> None:
    texts = ["Kind regards"] * 4 + ["Something else"] + ["Kind regards"] + [f"Text {number} here" for number in range(14)]
    topics = ["mail"] * 5 + ["guide"] * 15
    found = find_boilerplate(texts, topics, BoilerplateSpec(share=0.5, documents=3))
    assert found.has("KIND  regards", "mail")
    assert not found.has("Kind regards", "guide")
    assert found.counts == {"kind regards": 4}


def test_headings_fences_and_lines_without_a_letter_are_never_boilerplate() -> None:
    texts = [f"## Problem\n---\n```\nText {number}" for number in range(10)]
    assert not find_boilerplate(texts, [None] * 10, BoilerplateSpec(share=0.1, documents=2)).counts


def test_languages_are_told_apart_and_what_is_too_short_is_not_known() -> None:
    assert language_of("The crane stops each noon because of the heat, and nobody knows why.") == "en"
    assert language_of("Der Kran hält jeden Mittag wegen der Hitze an, und niemand weiß warum.") == "de"
    assert language_of("La grue s'arrête chaque midi à cause de la chaleur, et personne ne sait pourquoi.") == "fr"
    assert language_of("ok 12345 67890 12345 67890") == UNKNOWN
