"""Every report as a file, all written before any is put in its place."""

import os
import tempfile
from pathlib import Path

from ragtrial.errors import SetupError
from ragtrial.report.content import ReportContent
from ragtrial.report.json_report import as_json


def write_reports(folder: Path, content: ReportContent) -> dict[str, Path]:
    """Write `report.html`, `report.json`, `report.md`, `junit.xml` and `trials.parquet`.

    They are made in a temporary folder beside their places and then renamed, so a file is either the old one or complete.

    Args:
        folder: Made where it is missing; files of the same names are replaced, others are left alone.
        content: What they say.

    Returns:
        The path of each file by its name.

    Raises:
        SetupError: The folder can't be written to.
    """
    from ragtrial.report.html import as_html
    from ragtrial.report.junit import as_junit
    from ragtrial.report.markdown import as_markdown
    from ragtrial.report.parquet import write_parquet

    texts = {
        "report.html": as_html(content).encode(),
        "report.json": f"{as_json(content)}\n".encode(),
        "report.md": as_markdown(content).encode(),
        "junit.xml": as_junit(content),
    }
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=folder, prefix=".reports-") as name:
            made = Path(name)
            for file, text in texts.items():
                _write(made / file, text)
            write_parquet(made / "trials.parquet", content)
            return {path.name: path.replace(folder / path.name) for path in (made / file for file in (*texts, "trials.parquet"))}
    except OSError as error:
        reason = error.strerror or str(error)
        raise SetupError(f"reports can't be written to {str(folder)!r} ({reason}): give a folder that can be written to") from error


def _write(path: Path, data: bytes) -> None:
    with path.open("wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
