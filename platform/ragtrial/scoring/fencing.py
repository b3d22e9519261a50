"""Untrusted text between fences that it can't close: what stands in an answer or a passage is data, whatever it says.

Delimiters with a code that the text can't know ("spotlighting", Hines et al. 2024, arXiv 2403.14720). The code is a hash of the content
and not random, so that equal questions stay equal requests, and the cache holds.
"""

import hashlib
import json
import re
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass

from ragtrial.llm.structured import encodable

_CODE_LENGTH = 16

# Soft hyphen, zero-width space, marks and overrides of direction, fillers, annotations, tags: people don't see them, models read them.
# U+200C and U+200D stay, because Persian, Indic scripts and emoji need them.
_INVISIBLE = re.compile(
    "[\u00ad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180e\u200b\u200e\u200f\u202a-\u202e\u2060-\u206f\u3164\ufeff\ufff9-\ufffb"
    "\U000e0000-\U000e007f]"
)
_CONTROLS = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x84\x86-\x9f]")
_OPENING = "<\u2039\u00ab\u226a\u22d8\u2329\u276c\u276e\u2770\u27e8\u27ea\u3008\u300a\ufe64\uff1c\u02c2\u1438\u2a9f"
_CLOSING = ">\u203a\u00bb\u226b\u22d9\u232a\u276d\u276f\u2771\u27e9\u27eb\u3009\u300b\ufe65\uff1e\u02c3\u1433\u2aa0"
_RUN = re.compile("|".join(f"[{angles}](?:[\u200c\u200d]*[{angles}])+" for angles in (_OPENING, _CLOSING)) + "|[\u22d8\u22d9]")
_BAR = "|\uff5c"
_TEMPLATE_SIGNS = f"<[{_BAR}"
_TEMPLATE_MARK = re.compile(
    rf"[<\uff1c](?=[{_BAR}])|(?<=[{_BAR}])(?=[>\uff1e])|<(?=/?s>)|<(?=(?:start|end)_of_turn>)|\[(?=/?INST\])", re.IGNORECASE
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Fenced:
    """Texts between fences of one code.

    Attributes:
        code: What the fences bear; it occurs in none of the texts.
        blocks: Each text between its fences, in the order given.
    """

    code: str
    blocks: tuple[str, ...]


def fence(items: Sequence[tuple[str, str]]) -> Fenced:
    """Put each text between `<<<LABEL code>>>` and `<<<END LABEL code>>>`, after `neutralised`.

    Args:
        items: Label and text; labels are ours, e.g. `ANSWER`, and all different.
    """
    texts = [(label, neutralised(text)) for label, text in items]
    code = _code(texts)
    return Fenced(code=code, blocks=tuple(f"<<<{label} {code}>>>\n{text}\n<<<END {label} {code}>>>" for label, text in texts))


def neutralised(text: str) -> str:
    """The text for a model to read: nothing invisible in it, and nothing that looks like a fence or like a chat template's mark.

    Runs of angle brackets, and of characters that look like them, are spaced (`<<<` becomes `< < <`); so are marks such as
    `<|im_start|>` and `[INST]`, which a server may take for the beginning of another turn.
    """
    visible = text if text.isascii() else _INVISIBLE.sub("", encodable(text))
    clean = visible if visible.isprintable() else _CONTROLS.sub(" ", visible)
    spaced = _RUN.sub(lambda run: " ".join("<" if each in _OPENING else ">" for each in _brackets(run[0])), clean)
    if not any(sign in spaced for sign in _TEMPLATE_SIGNS):  # far cheaper than the pattern, and true of most texts
        return spaced
    return _TEMPLATE_MARK.sub(lambda mark: f"{mark[0]} ", spaced)


def _brackets(run: str) -> str:
    """The run's brackets without the joiners between them; a triple one counts as the three it looks like."""
    return run.replace("\u200c", "").replace("\u200d", "").replace("\u22d8", "<<<").replace("\u22d9", ">>>")


def _code(texts: Sequence[tuple[str, str]]) -> str:
    """A hash of all texts that stands in none of them, however it may be written there."""
    whole = unicodedata.normalize("NFKC", "\n".join(text for _, text in texts)).casefold()
    attempt = 0
    while True:
        content = json.dumps([attempt, *texts], ensure_ascii=False).encode()
        code = hashlib.sha256(content).hexdigest()[:_CODE_LENGTH]
        if code not in whole:
            return code
        attempt += 1
