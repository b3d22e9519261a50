"""Bytes to text, whatever they were written in."""

import codecs

_MARKS = ((codecs.BOM_UTF8, "utf-8-sig"), (codecs.BOM_UTF32_LE, "utf-32"), (codecs.BOM_UTF16_LE, "utf-16"), (codecs.BOM_UTF16_BE, "utf-16"))


def decode(data: bytes) -> tuple[str, str] | None:
    """The text and its encoding; None where it is no text.

    A byte order mark says it; else UTF-8 where that fits; else charset_normalizer guesses, from how words of the languages look.
    """
    for mark, encoding in _MARKS:
        if data.startswith(mark):
            try:
                return data.decode(encoding), encoding.removesuffix("-sig")
            except UnicodeDecodeError:
                return None
    try:
        text = data.decode()
    except UnicodeDecodeError:
        return _guessed(data)
    return None if "\0" in text else (text, "utf-8")


def _guessed(data: bytes) -> tuple[str, str] | None:
    from charset_normalizer import from_bytes

    best = from_bytes(data).best()
    if best is None or "\0" in str(best):
        return None
    return str(best), best.encoding
