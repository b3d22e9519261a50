"""Which texts may be the title of a document: a title that says nothing of it makes a poor query, and a poor beginning of each passage."""

import re

_NAMED_BY_A_TOOL = re.compile(
    r"\.(docx?|odt|pdf|tex|indd|pptx?|xlsx?|rtf|txt|md|html?)$"
    r"|^(microsoft \w+ - .*|powerpoint presentation|(untitled|document|presentation|slide|title|no title|doc|scan|img|page)[ _-]*\d*)$",
    re.IGNORECASE,
)
_A_NAME = re.compile(r"[\w.-]*[_\d][\w.-]*")
"""No space, and an underscore or a digit: what files are called."""

_NO_TITLE = re.compile(r"\W*\d{1,2}:\d{2}|.*(?:://|\S@\S)")
"""A time of day, as before what somebody wrote in a chat, an address of a page or of a person."""

_NO_END = (".", ",", ";", ":", "!")
_WORD = re.compile(r"[^\W\d_]{2,}")
_MOST_CHARACTERS = 150
_MOST_WORDS = 18


def is_title(line: str) -> bool:
    """Whether a line that stands where titles do reads like one: words that are no sentence, no greeting and no message of a chat."""
    line = line.strip()
    letters, others = sum(map(str.isalpha, line)), sum(map(str.isdigit, line))
    if not _WORD.search(line) or letters < others or len(line) > _MOST_CHARACTERS or len(line.split()) > _MOST_WORDS:
        return False
    return not line.endswith(_NO_END) and _NO_TITLE.match(line) is None


def title_of_metadata(title: str, place: str) -> str:
    """The title that the metadata of a file give; empty where it is the file's name, or what a tool writes there by itself.

    Args:
        title: As it stands there.
        place: Of the file.
    """
    title = " ".join(title.split())
    name = place.rpartition("/")[2].rpartition(".")[0]
    is_name = _key(title) == _key(name) or _A_NAME.fullmatch(title) is not None
    return "" if is_name or _NAMED_BY_A_TOOL.search(title) or not is_title(title) else title


def without_title(text: str, title: str) -> str:
    """The text without its first lines where they say the title; what else there is stays as it is."""
    left = _key(title)
    lines = text.lstrip("\n").split("\n")
    for place, line in enumerate(lines):
        key = _key(line)
        if not left.startswith(key):
            break
        left = left[len(key) :]
        if not left:
            rest = "\n".join(lines[place + 1 :])
            return rest if rest.strip() else text
    return text


def _key(text: str) -> str:
    return "".join(char for char in text.casefold() if char.isalnum())
