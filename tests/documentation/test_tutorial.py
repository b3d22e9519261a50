"""The tutorial, executed in an empty folder: its commands work, and print what it says they print."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("torch")

NUMBER = re.compile(r"(?<![\w.])[-+]?\d[\d,]*(?:\.\d+)?(?![\w])")
"""A number that stands by itself: not the digits of nDCG@10, of an identifier or a file name."""


def blocks(page: Path) -> list[tuple[str, str]]:
    """The fenced blocks that are run (sh) or compared (text), in their order."""
    return re.findall(r"^```(sh|text)\n(.*?)^```", page.read_text(encoding="utf-8"), re.DOTALL | re.MULTILINE)


def number(said: str) -> float:
    return float(said.replace(",", ""))


def said(expected: str, printed: str) -> str | None:
    """What is wrong with the output: None where every part of the expected text (between lines of `...`) was printed, in this order.

    White space counts once, for a terminal breaks lines where it likes. Numbers may differ by 0.02 or a tenth: another processor rounds
    otherwise, and a trained adapter amplifies it.
    """
    printed = " ".join(printed.split())
    for part in re.split(r"^\.\.\.$", expected, flags=re.MULTILINE):
        words = " ".join(part.split())
        pattern = r"([-+]?\d[\d,]*(?:\.\d+)?)".join(re.escape(piece) for piece in NUMBER.split(words))
        found = re.search(pattern, printed)
        if found is None:
            return f"not printed: {words}"
        pairs = list(zip(NUMBER.findall(words), found.groups(), strict=True))
        if any(abs(number(a) - number(b)) > max(0.02, 0.1 * abs(number(a))) for a, b in pairs):
            return f"other numbers: {pairs}"
        printed = printed[found.end() :]
    return None


def test_what_was_not_printed_and_other_numbers_are_told_apart() -> None:
    assert said("went from 0.35 to\n0.37\n...\nvalid", "went from 0.3501 to 0.3699, all\nis valid") is None
    assert said("went from 0.35 to 0.37", "went from 0.35 to 0.47") == "other numbers: [('0.35', '0.35'), ('0.37', '0.47')]"
    assert said("went up", "went down") == "not printed: went up"


@pytest.mark.slow
def test_the_tutorial_does_what_it_says(repository: Path, tmp_path: Path) -> None:
    steps = blocks(repository / "docs" / "tutorial.md")
    assert [kind for kind, _ in steps].count("sh") >= 6
    environment = {
        **os.environ,
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
        "COLUMNS": "140",
        "NO_COLOR": "1",
    }
    environment |= {"HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1"}
    printed = ""
    for kind, text in steps:
        if kind == "sh":
            done = subprocess.run(
                ["bash", "-euc", text], cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=1200, check=False
            )
            assert done.returncode == 0, f"{text}\n{done.stdout[-2000:]}\n{done.stderr[-4000:]}"
            printed = done.stdout + done.stderr
        else:
            assert said(text, printed) is None, text
    assert "<html" in (tmp_path / "report" / "report.html").read_text(encoding="utf-8")[:400].lower()
