"""E-mail as files: subject and text. Senders, receivers and attachments are not read."""

import email
import email.message
import email.policy

from ragtrial.preparation.dates import day_of
from ragtrial.preparation.raw import Loaded, RawDocument, Unread
from ragtrial.preparation.tickets import thread_digest
from ragtrial.preparation.web_pages import fragment_text

BROKEN = "a broken e-mail"
NO_TEXT = "an e-mail without text"
ATTACHMENTS = "attachments of e-mail that were not read"


def read_mail(data: bytes, place: str) -> Loaded:
    """The message as a document; the plain form of its text before the HTML form."""
    try:
        message = email.message_from_bytes(data, policy=email.policy.default)
        text = _text(message)
        attached = sum(1 for _ in message.iter_attachments())
        title, written = str(message["subject"] or ""), str(message["date"] or "")
        first = f"{message['references'] or ''} {message['in-reply-to'] or ''} {message['message-id'] or ''}".split()
    except Exception:  # noqa: BLE001  broken headers make the standard library fail in any of Python's ways
        return Unread(place=place, reason=BROKEN)
    if not text.strip():
        return Unread(place=place, reason=NO_TEXT)
    return RawDocument(
        place=place,
        title=title,
        text=text,
        format="mail",
        date=day_of(written) if written else None,
        thread=thread_digest(first[0]) if first else None,
        encoding="mail",
        notes={ATTACHMENTS: attached} if attached else {},
    )


def _text(message: email.message.EmailMessage) -> str:
    body = message.get_body(("plain", "html"))
    if body is None:
        return ""
    content = body.get_content()
    if not isinstance(content, str):
        return ""
    return fragment_text(content) if body.get_content_subtype() == "html" else content
