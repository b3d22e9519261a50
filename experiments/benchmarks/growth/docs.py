"""Parts of a page that a command writes."""

import re
from pathlib import Path

from ragtrial.errors import InputError


def into_docs(page: Path, mark: str, text: str) -> None:
    """Put text between a page's two marks.

    Raises:
        InputError: The page has no such marks.
    """
    content = page.read_text(encoding="utf-8")
    pattern = re.compile(f"(<!-- {mark} -->\n).*?(<!-- /{mark} -->)", re.DOTALL)
    if not pattern.search(content):
        raise InputError(f"{page} has no '<!-- {mark} -->' and '<!-- /{mark} -->'")
    part = page.with_name(f".{page.name}.part")
    part.write_text(pattern.sub(lambda match: f"{match[1]}{text}\n{match[2]}", content), encoding="utf-8")
    part.replace(page)
