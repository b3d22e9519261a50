"""Which texts may be the title of a document: a title that says nothing of it makes a poor query, and a poor beginning of each passage."""

import re
from collections.abc import Sequence

_NAMED_BY_A_TOOL = re.compile(
    r"\.(docx?|odt|pdf|tex|indd|pptx?|xlsx?|rtf|txt|md|html?)$"
    r"|^(microsoft \w+ - .*|powerpoint presentation|(untitled|document|presentation|slide|title|no title|doc|scan|img|page)[ _-]*\d*)$",
    re.IGNORECASE,
)
_A_NAME = re.compile(r"[\w.-]*[_\d][\w.-]*")
"""No space, and an underscore or a digit: what files are called."""

_NO_TITLE = re.compile(
    r".*(?:://|\S@\S)"  # an address of a page or of a person
    r"|.*(?<![\d:.])(?:[01]?\d|2[0-4]):[0-5]\d(?!\d)"  # a time of day, as before what somebody wrote in a chat
    r"|[-_=]{3,}"  # a rule, as above a message that is quoted
    r"|\W*(?:from|to|b?cc|sent|date|subject|reply-to|von|an|gesendet|datum|betreff|kopie)\s*:",  # the head of a message
    re.IGNORECASE,
)
_GREETING = re.compile(
    r"\W*(?:(?:dear|hi|hello|hey|greetings|good (?:morning|afternoon|evening|day)|hallo|moin|servus|guten (?:morgen|tag|abend)"
    r"|sehr geehrte[rsn]?|(?:best|kind|kindest|warm|warmest) (?:regards|wishes)|regards|all the best|cheers|thanks|thank you|many thanks"
    r"|(?:yours )?(?:sincerely|faithfully|truly)|danke|vielen dank|hochachtungsvoll"
    r"|(?:mit )?(?:(?:freundlich|best|lieb|herzlich|schön)en?|viele[n]?) gr(?:ü|ue)(?:ß|ss)en?|gru(?:ß|ss))(?=[\s,!.]|$)"
    r"|(?:mfg|vg|lg)\W*$|to whom it may concern|(?-i:[Ll]iebe[rs]?\s+(?:[A-ZÄÖÜ]|alle)))",
    re.IGNORECASE,
)
"""How letters begin and end, in English and German."""

_GREETING_WORDS = 6
"""A longer line that begins so is something else."""

_PRONOUN = r"(?:I|[Ww]e|[Yy]ou|[Hh]e|[Ss]he|[Ii]t|[Tt]hey|[Ii]ch|[Ww]ir|[Dd]u|[Ee]r|[Ee]s|[Ss]ie)"
_FINITE = (
    r"(?:is|are|was|were|has|had|will|would|could|should|must|did|ist|sind|war|waren|hat|hatte|hatten|wird|werden|wurde|wurden|muss|musste"
    r"|konnte|konnten|soll|sollte)"
)
_BEGINS_A_SENTENCE = re.compile(rf"{_PRONOUN}(?:['\u2019]|\s+[a-zäöüß])|(?:[Tt]here|[Tt]his|[Hh]ere|[Dd]as|[Dd]ies|[Hh]ier)\s+{_FINITE}\s")
_ASKS = re.compile(r"(?:how|why|what|which|who|where|when|wie|warum|was|welche[rsnm]?|wer|wo|wann)\s", re.IGNORECASE)
_HAS_A_VERB = re.compile(rf"\s(?:{_PRONOUN}|{_FINITE})\s")
_SENTENCE_WORDS = 9

_AMOUNT = re.compile(
    r"[\d.,'\u2019]+|\b(?:eur|euros?|usd|us|dollars?|gbp|pounds?|chf|k?tons?|kg|teu|percent|prozent|mio|mill?ion(?:s|en)?|bn|mrd|billion|milliarden?"
    r"|thousand|tsd|tausend|net|gross|netto|brutto|total|approx|about|ca|over|per|pro|nr|no)\b",
    re.IGNORECASE,
)
"""What sums are written with."""

_NO_END = (".", ",", ";", ":", "!")
_WORD = re.compile(r"[^\W\d_]{2,}")
_MOST_CHARACTERS = 150
_MOST_WORDS = 18
_TOP_LINES = 3


def is_title(line: str, *, stands_out: bool = False) -> bool:
    """Whether a line that stands where titles do reads like one: no greeting, head or message of a chat, no sum, and no sentence.

    A sentence begins with a pronoun and a word in small letters, or has more than nine words with a pronoun or a common verb among them
    (`is`, `was`, `should`, ...) and asks nothing. Other sentences are taken for titles where no stop ends them.

    Args:
        line: The line.
        stands_out: It is in large letters, or in the metadata: then it may be a sentence (`Chloroquine is effective in vitro`).
    """
    line = line.strip()
    words, letters, others = line.split(), sum(map(str.isalpha, line)), sum(map(str.isdigit, line))
    if not _WORD.search(line) or letters < others or len(line) > _MOST_CHARACTERS or len(words) > _MOST_WORDS:
        return False
    if line.endswith(_NO_END) or _NO_TITLE.match(line) or (len(words) <= _GREETING_WORDS and _GREETING.match(line)):
        return False
    return not _is_number(line) and (stands_out or not _is_sentence(line, words))


def _is_number(line: str) -> bool:
    """Whether it is a number with its unit (`EUR 2 million`), or most of its words are of more digits than letters."""
    words = line.split()
    numbers = sum(sum(map(str.isdigit, word)) > sum(map(str.isalpha, word)) for word in words)
    return numbers > 0 and (not _WORD.search(_AMOUNT.sub(" ", line)) or 2 * numbers > len(words))


def _is_sentence(line: str, words: list[str]) -> bool:
    if line.endswith("?") or _ASKS.match(line):
        return False
    return _BEGINS_A_SENTENCE.match(line) is not None or (len(words) > _SENTENCE_WORDS and _HAS_A_VERB.search(line) is not None)


def title_of_metadata(title: str, place: str) -> str:
    """The title that the metadata of a file give; empty where it is the file's name, or what a tool writes there by itself.

    Args:
        title: As it stands there.
        place: Of the file.
    """
    title = " ".join(title.split())
    name = place.rpartition("/")[2].rpartition(".")[0]
    is_name = key_of(title) == key_of(name) or _A_NAME.fullmatch(title) is not None
    return "" if is_name or _NAMED_BY_A_TOOL.search(title) or not is_title(title, stands_out=True) else title


def without_title(text: str, title: str) -> str:
    """The text without the lines that say the title, where these stand first, or below what else stands at the top (a letterhead).

    What else there is stays as it is.
    """
    lines = text.lstrip("\n").split("\n")
    for first in range(min(_TOP_LINES, len(lines))):
        end = _said_up_to(lines, first, key_of(title))
        rest = "\n".join([*lines[:first], *lines[end:]]) if end else ""
        if end and "".join(lines[end:]).strip():
            return rest
    return text


def _said_up_to(lines: Sequence[str], first: int, left: str) -> int:
    """The line behind those that say the title, which begin with this one; 0 where they don't."""
    for place, line in enumerate(lines[first:], start=first):
        key = key_of(line)
        if not left.startswith(key):
            break
        left = left[len(key) :]
        if not left:
            return place + 1
    return 0


def key_of(title: str) -> str:
    """Its letters and digits: titles that have the same say the same."""
    return "".join(char for char in title.casefold() if char.isalnum())
