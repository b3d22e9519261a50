"""An assessment as files, both written before either is put in its place."""

import dataclasses
import json
import os
import tempfile
from pathlib import Path
from typing import Any

from ragtrial.domain.assessment import Assessment
from ragtrial.errors import SetupError
from ragtrial.report.assessment_html import as_assessment_html

FORM = 2
"""Counted up when the JSON changes its shape."""


def as_dict(assessment: Assessment) -> dict[str, Any]:
    """The assessment as JSON has it; what was not measured is null, with its reason beside it."""
    return {"form": FORM, **dataclasses.asdict(assessment)}


def write_assessment(folder: Path, assessment: Assessment) -> dict[str, Path]:
    """Write `report.html` and `assessment.json`.

    Raises:
        SetupError: The folder can't be written to.
    """
    texts = {
        "report.html": as_assessment_html(assessment),
        "assessment.json": json.dumps(as_dict(assessment), ensure_ascii=False, indent=2) + "\n",
    }
    return write_texts(folder, texts)


def write_texts(folder: Path, texts: dict[str, str]) -> dict[str, Path]:
    """Write all files into a temporary folder beside their places and then rename them; their paths by name.

    Raises:
        SetupError: The folder can't be written to.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=folder, prefix=".reports-") as name:
            for file, text in texts.items():
                with (Path(name) / file).open("w", encoding="utf-8") as out:
                    out.write(text)
                    out.flush()
                    os.fsync(out.fileno())
            return {file: (Path(name) / file).replace(folder / file) for file in texts}
    except OSError as error:
        reason = error.strerror or str(error)
        raise SetupError(f"reports can't be written to {str(folder)!r} ({reason}): give a folder that can be written to") from error
