"""The live reports that people read as plain text, kept as they are meant to look."""

import difflib
import io
from collections.abc import Callable
from pathlib import Path

import pytest
from rich.console import Console

from ragtrial.report.live_content import LiveContent
from ragtrial.report.live_markdown import as_live_markdown
from ragtrial.report.live_terminal import render_live
from unit.report.live_samples import build

HERE = Path(__file__).parent


def _terminal(content: LiveContent) -> str:
    out = io.StringIO()
    render_live(content, Console(file=out, width=130, highlight=False))
    return "".join(f"{line.rstrip()}\n" for line in out.getvalue().splitlines())


FORMS: dict[str, Callable[[LiveContent], str]] = {"live.md": as_live_markdown, "live.txt": _terminal}


@pytest.fixture(scope="module")
def content() -> LiveContent:
    return build()


@pytest.mark.parametrize("name", FORMS)
def test_the_live_report_looks_as_it_is_meant_to(name: str, content: LiveContent, tmp_path: Path) -> None:
    golden, made = HERE / name, tmp_path / name
    made.write_text(FORMS[name](content), encoding="utf-8", newline="\n")
    kept, new = (path.read_text(encoding="utf-8").splitlines() if path.exists() else [] for path in (golden, made))
    difference = "\n".join(difflib.unified_diff(kept, new, str(golden), str(made), lineterm=""))
    assert not difference, f"if this is how it is meant to look: cp {made} {golden}\n{difference}"
