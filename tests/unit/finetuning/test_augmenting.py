"""Abbreviations and long forms, one for the other, where the queries hardly say them."""

import pytest

from ragtrial.domain.corpus import Passage
from ragtrial.domain.pair import Pair
from ragtrial.finetuning.augmenting import AMBIGUOUS, ENOUGH, OFTEN, augmented, forms_of


def passages(*texts: str) -> tuple[Passage, ...]:
    return tuple(Passage(passage_id=f"p{n}", document_id=f"p{n}", text=text, start=0, end=len(text)) for n, text in enumerate(texts))


def pair(query: str, number: int = 0) -> Pair:
    return Pair(query=query, passage=f"passage {number}", passage_id=f"p{number}", document_id=f"p{number}", negatives=("other",))


@pytest.mark.parametrize(
    ("text", "short", "long"),
    [
        # The first three are examples of Schwartz and Hearst 2003.
        ("We studied heat shock transcription factor (HSF) in cells.", "HSF", "heat shock transcription factor"),
        ("It binds to the gamma-interferon activation site (GAS).", "GAS", "gamma-interferon activation site"),
        ("the 5-hydroxytryptamine (5-HT) receptor", "5-HT", "5-hydroxytryptamine"),
        ("Book it in the Vehicle Booking System (VBS) first.", "VBS", "Vehicle Booking System"),
        ("clerks say TAR (truck arrival reservation), and", "TAR", "truck arrival reservation"),
        ("CRN is the customs release notice, and EDO something else", "CRN", "customs release notice"),
        ("POD means port of discharge.", "POD", "port of discharge"),
    ],
)
def test_an_abbreviation_is_read_where_it_is_explained(text: str, short: str, long: str) -> None:
    ((found,), ambiguous) = forms_of(passages(text))
    assert (found.short, found.long, ambiguous) == (short, long, 0)


@pytest.mark.parametrize(
    "text",
    [
        "We left (see below) and came back.",
        "Tolls rose (by far) in May.",
        "The red line (ABC) is long.",
        "PAN is the pre-announcement of a train.",
    ],
)
def test_parentheses_that_explain_nothing_give_no_abbreviation(text: str) -> None:
    assert forms_of(passages(text)) == ((), 0)


CORPUS = passages("The Vehicle Booking System (VBS) opens at six.", "VBS is closed on Sundays.", "Nothing here.")


def test_a_query_is_said_with_the_other_form_and_the_variant_says_where_it_comes_from() -> None:
    found = augmented([pair("when does VBS open"), pair("who runs the vehicle  booking system"), pair("who runs vbs")], CORPUS)
    assert [each.query for each in found.pairs] == ["when does Vehicle Booking System open", "who runs the VBS"]
    first = found.pairs[0]
    assert (first.origin, first.passage, first.negatives) == ("augmented", "passage 0", ("other",))
    assert first.provenance["from"] == "when does VBS open"
    assert (first.provenance["said"], first.provenance["instead"]) == ("VBS", "Vehicle Booking System")


def test_a_form_that_the_queries_say_often_enough_is_left_alone() -> None:
    often = [pair(f"VBS question {number}") for number in range(6)]
    once = augmented(often, CORPUS)
    assert (len(once.pairs), once.left_out) == (5, {OFTEN: 1, ENOUGH: 1}), "with five the long form is not rare any more"
    both = [*often, *[pair(f"vehicle booking system, point {number}") for number in range(6)]]
    found = augmented(both, CORPUS)
    assert (found.pairs, found.left_out) == ((), {OFTEN: 2})


def test_a_query_that_says_both_forms_and_an_augmented_pair_give_nothing() -> None:
    both = pair("is VBS the vehicle booking system")
    assert augmented([both], CORPUS).pairs == ()
    once = augmented([pair("when does VBS open")], CORPUS).pairs
    assert augmented(once, CORPUS).pairs == ()


def test_a_short_form_with_two_meanings_is_left_out_and_counted() -> None:
    twice = passages("dead letter queue (DLQ)", "discharge list query (DLQ)", "the DLQ again", "DLQs, that is dead letter queues (DLQ)")
    found = augmented([pair("what is a DLQ")], twice)
    assert (found.pairs, found.left_out) == ((), {AMBIGUOUS: 1})


def test_a_form_that_one_passage_alone_has_is_left_alone() -> None:
    assert augmented([pair("when does VBS open")], CORPUS[:1]).pairs == ()
