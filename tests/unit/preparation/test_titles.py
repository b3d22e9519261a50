"""What may be a title: no greeting, no head of a message, no sentence, no sum of money."""

import pytest

from ragtrial.preparation.titles import is_title, without_title


@pytest.mark.parametrize(
    "line",
    [
        "Dear Ms Smith",
        "Hello everyone",
        "Hi team",
        "Good morning all",
        "Sehr geehrte Frau Müller",
        "Liebe Kolleginnen und Kollegen",
        "Guten Tag Herr Maier",
        "Best regards",
        "Kind regards from the gate",
        "Yours sincerely",
        "Mit freundlichen Grüßen",
        "Viele Grüße aus Hamburg",
        "MfG",
        "-----Original Message-----",
        "_____ Weitergeleitet _____",
        "Von: Anna Müller",
        "From: Jane Roe",
        "Betreff: Tor 3",
        "bob 10:31 hey",
        "hey, at 9:05 already",
        "We moved the gate on Monday because of the storm",
        "It's closed again",
        "Wir haben das Tor verlegt",
        "There are no boxes left",
        "The third crane stopped at noon and nobody could say why that was",
        "EUR 2 million",
        "€ 1,250.00 net",
        "3 Mio. Euro",
        "Rechnung 2024-113 17.03.2024",
    ],
)
def test_a_line_that_says_nothing_of_its_document_is_no_title(line: str) -> None:
    assert not is_title(line)


@pytest.mark.parametrize(
    "line",
    [
        "Tide tables of the outer port",
        "How demurrage is paid",
        "What do we do when the box that was booked is not there?",
        "How to tell that a container is damaged before it leaves the port",
        "Effects of container stacking on the productivity of yard cranes in small ports",
        "IT security policy",
        "I/O ports",
        "We Are Open",
        "Dearth of berths",
        "Liebe zum Detail",
        "Hi-fi for beginners",
        "ISO 27001:2022 controls",
        "Tide Tables 2024",
        "Terminal 4",
        "17 alpha-hydroxylase/17,20-lyase deficiency",
        "Ihr Antrag auf Elterngeld",
        "Visitors may park here",
        "Regards of the surveyor and how they are recorded",
    ],
)
def test_a_line_that_names_its_document_is_a_title(line: str) -> None:
    assert is_title(line)


def test_the_lines_of_a_title_go_also_below_a_letterhead() -> None:
    assert without_title("Harbour Group\nRules of\nthe gate\nTrucks come.", "Rules of the gate") == "Harbour Group\nTrucks come."
    assert without_title("Harbour Group\nTrucks come.\nRules of the gate apply.", "Rules of the gate").endswith("of the gate apply.")


def test_what_stands_out_may_be_a_sentence_and_no_greeting() -> None:
    assert is_title("It is unlikely that the quay wall will be moved", stands_out=True)
    assert not is_title("Dear Ms Smith", stands_out=True)
