"""Files to raw documents, whatever their format."""

import re
from collections.abc import Collection, Iterator

from ragtrial.domain.preparation import TicketFields
from ragtrial.errors import ValidationError
from ragtrial.formats.yaml_lines import read_yaml
from ragtrial.preparation.dates import day_of
from ragtrial.preparation.decoding import decode
from ragtrial.preparation.mail import read_mail
from ragtrial.preparation.pdf_files import read_pdf
from ragtrial.preparation.raw import Loaded, RawDocument, Unread
from ragtrial.preparation.source_files import SourceFile
from ragtrial.preparation.tickets import read_tickets
from ragtrial.preparation.titles import is_title
from ragtrial.preparation.web_pages import read_page
from ragtrial.preparation.word_files import read_word

NO_TEXT = "no text in an encoding that can be told"

_FRONT = re.compile(r"\A---[ \t]*\r?\n(.*?)\r?\n(?:---|\.\.\.)[ \t]*(?:\r?\n|\Z)", re.DOTALL)
_HEADING = re.compile(r"\A\s*#[ \t]+(.+?)[ \t]*#*[ \t]*(?:\n|\Z)")
_FENCED = re.compile(r"(^ {0,3}(?:```|~~~).*?(?:^ {0,3}(?:```|~~~)[ \t]*$|\Z))", re.DOTALL | re.MULTILINE)
_COMMENT = re.compile(r"<!--.*?-->", re.DOTALL)
_LINK = re.compile(r"!?\[([^\[\]]*)\]\((?:[^()\s]|\([^()]*\))*(?:\s+\"[^\"]*\")?\)")
_UNDERLINE = re.compile(r"([=~^*#-])\1{2,}")
_TITLE_CHARS = 90


def load(file: SourceFile, data: bytes, fields: TicketFields, letterheads: Collection[str] = ()) -> Iterator[Loaded]:
    """The documents of a file; what can't be read is an `Unread`, never an exception.

    Args:
        file: What it is.
        data: Its bytes.
        fields: Where tickets keep what.
        letterheads: Of the PDFs in its folder.

    Raises:
        MissingExtraError: What reads this format is not installed.
    """
    if file.kind == "pdf":
        yield read_pdf(data, file.place, letterheads)
        return
    if file.kind == "word":
        yield read_word(data, file.place)
        return
    if file.kind == "mail":
        yield read_mail(data, file.place)
        return
    decoded = decode(data)
    if decoded is None:
        yield Unread(place=file.place, reason=NO_TEXT)
        return
    text, encoding = decoded
    text = text.replace("\r\n", "\n").replace("\r", "\n")
    if file.kind == "html":
        title, main, day, notes = read_page(text)
        yield RawDocument(place=file.place, title=title, text=main, format="html", date=day, encoding=encoding, notes=notes)
    elif file.kind == "markdown":
        yield _markdown(text, file.place, encoding)
    elif file.kind == "text":
        yield _text(text, file.place, encoding)
    else:
        yield from read_tickets(text, file.kind, file.place, fields, encoding)


def _text(text: str, place: str, encoding: str) -> RawDocument:
    """A short first line that reads like a title, underlined or with a blank line below it, is one; so is one behind `=`."""
    first, _, rest = text.strip().partition("\n")
    line, _, behind = rest.partition("\n")
    underlined = _UNDERLINE.fullmatch(line.strip()) is not None
    title = first.removeprefix("= ").strip()
    is_apart = underlined or not line.strip() or title != first
    titled = is_apart and len(title) <= _TITLE_CHARS and rest.strip() and is_title(title)
    below = (behind if underlined else rest) if titled else text
    return RawDocument(place=place, title=title if titled else "", text=below, format="text", encoding=encoding)


def _markdown(text: str, place: str, encoding: str) -> RawDocument:
    """Title, date and topic from the front matter; else a first heading of the first level is the title. Other headings stay."""
    about, text = _front_matter(text)
    text = "".join(part if number % 2 else _LINK.sub(r"\1", _COMMENT.sub("", part)) for number, part in enumerate(_FENCED.split(text)))
    title = str(about.get("title") or "")
    heading = _HEADING.match(text)
    if heading and title in ("", heading[1]):
        title, text = heading[1], text[heading.end() :]
    topic = about.get("topic") or about.get("category")
    return RawDocument(
        place=place,
        title=title,
        text=text,
        format="markdown",
        date=day_of(about.get("date")),
        topic=topic if isinstance(topic, str) else None,
        encoding=encoding,
    )


def _front_matter(text: str) -> tuple[dict[object, object], str]:
    match = _FRONT.match(text)
    if match is None:
        return {}, text
    try:
        about = read_yaml(match[1], None).value
    except ValidationError:  # three dashes may also be a line
        return {}, text
    return (about, text[match.end() :]) if isinstance(about, dict) else ({}, text)
