"""Texts that other programs would take for commands, made harmless."""

import re

_BEGINS_FORMULA = ("=", "+", "-", "@", "\t", "\r", "＝", "＋", "－", "＠")  # noqa: RUF001 - spreadsheets take the wide forms, too
_MARKDOWN = {"&": "&amp;", "<": "&lt;", ">": "&gt;", **{mark: f"\\{mark}" for mark in "\\`*[]|#~"}}
_MENTION = re.compile(r"(?<!\w)@(?=\w)")
_NUMBER = frozenset("0123456789.,eE+- ")


def inert_cell(text: str) -> str:
    """The text as a spreadsheet shows it and does not run it: what begins like a formula gets an apostrophe before it (OWASP, CSV injection).

    Blanks before the sign count, because some programs drop them; a plain number with its sign is left alone. A carriage return becomes a
    line feed: Python's csv quotes no cell for it, and spreadsheets begin a new row there, of which anything may be the first cell.
    """
    text = text.replace("\r\n", "\n").replace("\r", "\n")
    begins = text.lstrip(" \n").startswith(_BEGINS_FORMULA)
    return f"'{text}" if begins and not _is_number(text) else text


def inert_markdown(text: str) -> str:
    """The text as it is to be read where Markdown is shown: on one line, no mark-up of it carried out, nobody named by an `@` before a word.

    An address that stands there in plain sight is left as it is: who shows it may make a link of it, which says where it leads.
    """
    shown = "".join(_MARKDOWN.get(character, character) for character in " ".join(text.split()))
    return _MENTION.sub("@\N{ZERO WIDTH SPACE}", shown)


def _is_number(text: str) -> bool:
    if not set(text) <= _NUMBER:
        return False
    try:
        float(text)
    except ValueError:
        return False
    return True
