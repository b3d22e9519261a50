"""Pages that are generated, or lie elsewhere in the tree, and links as a site needs them; MkDocs calls the `on_` functions.

Every page under reference/ is made from the code itself: the experiment file from its JSON schema, the HTTP interface from the
application's OpenAPI document, the Python interface from docstrings.
"""

import os
import re
import sys
from pathlib import Path

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

sys.path.insert(0, str(Path(__file__).parent))

import reference

ROOT = Path(__file__).resolve().parents[2]
SOURCE = "https://github.com/ragtrial/ragtrial/blob/main/"
ELSEWHERE = {"project/changelog.md": "CHANGELOG.md", "project/contributing.md": "CONTRIBUTING.md", "project/security.md": "SECURITY.md"}
"""Pages of the site that are files at the top of the tree."""


def on_files(files: Files, *, config: MkDocsConfig) -> Files:
    """Adds the generated pages, and those from elsewhere."""
    pages = {page: (ROOT / name).read_text(encoding="utf-8") for page, name in ELSEWHERE.items() if (ROOT / name).is_file()}
    pages |= reference.pages(ROOT)
    pages["assets/ragtrial.css"] = (ROOT / "docs" / "site" / "assets.css").read_text(encoding="utf-8")
    for uri, content in pages.items():
        files.append(File.generated(config, uri, content=content))
    return files


def on_page_markdown(markdown: str, *, page: Page, **_: object) -> str:
    """GitHub's Markdown as Python-Markdown reads it: a list may follow a paragraph at once; links out of docs/ lead to the source."""
    where = ROOT / ELSEWHERE.get(page.file.src_uri, f"docs/{page.file.src_uri}")
    markdown = re.sub(r"(\]\()([^)\s]+)(\))", lambda found: found[1] + _target(found[2], where, page.file.src_uri) + found[3], markdown)
    return _lists_apart(markdown)


def _target(link: str, where: Path, uri: str) -> str:
    """Where a link of the file at `where` leads from the page at `uri`."""
    path, _, anchor = link.partition("#")
    if "://" in link or not path or link.startswith("mailto:"):
        return link
    up = "../" * uri.count("/")
    place = Path(os.path.normpath(where.parent / path))
    tail = f"#{anchor}" if anchor else ""
    for page, name in ELSEWHERE.items():
        if place == ROOT / name:
            return f"{up}{page}{tail}"
    if place == ROOT / "README.md":
        return f"{up}index.md{tail}"
    if place.is_relative_to(ROOT / "docs") or uri.startswith("reference/"):
        return f"{up}{place.relative_to(ROOT / 'docs').as_posix()}{tail}" if uri in ELSEWHERE else link
    return SOURCE + place.relative_to(ROOT).as_posix()


def _lists_apart(markdown: str) -> str:
    """An empty line before every list that follows a paragraph; nothing inside fences is touched."""
    lines: list[str] = []
    fenced = False
    for line in markdown.splitlines():
        if line.lstrip().startswith(("```", "~~~")):
            fenced = not fenced
        starts = re.match(r"(?:[-*+]|\d+\.)\s", line)
        before = lines[-1] if lines else ""
        if not fenced and starts and before.strip() and not re.match(r"\s|[-*+]\s|\d+\.\s|#|\|", before):
            lines.append("")
        lines.append(line)
    return "\n".join(lines) + "\n"
