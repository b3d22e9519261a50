"""An answer as a model marked it up: paragraphs, lists, tables, emphasis, code. Nothing in it is active.

Answers of LLMs are Markdown more often than not. What becomes an element is listed here, by the kind of mark, and no element has an attribute
of the text's: links, pictures, addresses, HTML and entities are not even looked for, so that they stay the text that they are.
"""

from collections.abc import Iterator, Sequence

from markdown_it import MarkdownIt
from markdown_it.token import Token

from ragtrial_board.saying import escaped, plain

_PARSER = MarkdownIt("zero").enable(["heading", "list", "blockquote", "fence", "hr", "table", "emphasis", "backticks"])
_ELEMENTS = {
    "paragraph": "p",
    "heading": "h3",
    "bullet_list": "ul",
    "ordered_list": "ol",
    "list_item": "li",
    "blockquote": "blockquote",
    "table": "table",
    "thead": "thead",
    "tbody": "tbody",
    "tr": "tr",
    "th": "th",
    "td": "td",
    "strong": "strong",
    "em": "em",
}
_LONGEST = 20_000
"""Characters; a longer text is shown as it is, for an odd one can keep the parser busy."""


def marked(text: str, *, name: str = "") -> str:
    """A model's text as HTML, its marks shown as what they mean; every letter of it is there. Its looks are in `assets/marked.css`.

    A text that marks would lose a part of (nested too deeply), or that is very long, is shown as it is.

    Args:
        text: Theirs.
        name: Further classes of the element.
    """
    if len(text) > _LONGEST:
        return plain(text, name=name)
    tokens = list(_flat(_PARSER.parse(text)))
    if _letters(text) != _letters("".join(token.info + token.content for token in tokens)):
        return plain(text, name=name)
    return f'<div class="rt-plain rt-marked {escaped(name)}" dir="auto">{"".join(map(_html, tokens))}</div>'


def _letters(text: str) -> str:
    return "".join(filter(str.isalpha, text))


def _flat(tokens: Sequence[Token]) -> Iterator[Token]:
    for token in tokens:
        yield from (token,) if token.children is None else token.children


def _html(token: Token) -> str:
    kind, _, end = token.type.rpartition("_")
    if end in ("open", "close") and kind in _ELEMENTS:
        return _element(_ELEMENTS[kind], token, closing=end == "close")
    if token.type == "code_inline":
        return f"<code>{escaped(token.content)}</code>"
    if token.type == "fence":
        named = f'<p class="rt-language">{escaped(token.info.strip())}</p>' if token.info.strip() else ""
        return f"{named}<pre><code>{escaped(token.content)}</code></pre>"
    return "<hr>" if token.type == "hr" else escaped(token.content)


def _element(name: str, token: Token, *, closing: bool) -> str:
    if token.hidden:  # the paragraph of an item in a list without empty lines
        return ""
    if token.markup in ("_", "__"):  # more often a part of a name, as in __init__, than a mark
        return token.markup
    if closing:
        return f"</{name}>"
    number = f' value="{int(token.info)}"' if name == "li" and token.info else ""  # as it was written: sources are cited by number
    return f"<{name}{number}>" if name in ("strong", "em") else f'<{name}{number} dir="auto">'
