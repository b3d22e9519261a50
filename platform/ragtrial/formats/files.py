"""Text files line by line with their faults, and files that are never half-written."""

import codecs
import json
import os
import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path

from ragtrial.errors import InputError
from ragtrial.formats.validation import Findings, found, shortened

_UTF16 = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)


def read_text(path: Path, findings: Findings) -> str | None:
    """The whole file as text, without a byte order mark; None where it can't be read (the reason is noted)."""
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        findings.problem("there is no such file", path=str(path))
        return None
    except OSError as error:
        findings.problem(f"can't be read: {error.strerror}", path=str(path))
        return None
    if data.startswith(_UTF16):
        findings.problem("is UTF-16: save it as UTF-8", path=str(path))
        return None
    if data.startswith(codecs.BOM_UTF8):
        findings.warn("begins with a byte order mark, which is skipped: save it as UTF-8 without one", path=str(path), line=1)
        data = data[len(codecs.BOM_UTF8) :]
    try:
        return data.decode()
    except UnicodeDecodeError:
        return _decoded_by_line(path, data, findings)


def _decoded_by_line(path: Path, data: bytes, findings: Findings) -> str:
    """The text with every line that is no UTF-8 left blank, and noted."""
    lines = []
    for number, raw in enumerate(data.split(b"\n"), start=1):
        try:
            lines.append(raw.decode())
        except UnicodeDecodeError as error:
            message = f"is no UTF-8: byte 0x{raw[error.start]:02x} at offset {error.start} of the line; save the file as UTF-8"
            findings.problem(message, path=str(path), line=number)
            lines.append("")
    return "\n".join(lines)


def read_lines(path: Path, findings: Findings) -> list[tuple[int, str]] | None:
    """The lines that are not blank, with their 1-based numbers; None where the file can't be read (the reason is noted).

    Only a line feed ends a line: JSON strings may hold U+2028 and its like.
    """
    text = read_text(path, findings)
    if text is None:
        return None
    return [(number, line.rstrip("\r")) for number, line in enumerate(text.split("\n"), start=1) if line.strip()]


def read_objects(path: Path, findings: Findings, *, example: str) -> Iterator[tuple[int, dict[str, object]]]:
    """The JSON objects of a JSON-lines file with their line numbers; other lines are noted and skipped."""
    for number, line in read_lines(path, findings) or []:
        try:
            value = json.loads(line)
        except json.JSONDecodeError as error:
            message = f"broken JSON, {error.msg} at column {error.colno} of {shortened(line)}: expected one object on one line, {example}"
            findings.problem(message, path=str(path), line=number)
            continue
        except RecursionError:
            findings.problem(f"JSON nested too deeply: expected one flat object, {example}", path=str(path), line=number)
            continue
        except ValueError:  # Python refuses integers of more than 4,300 digits, which take it quadratic time
            findings.problem(f"JSON with a number of too many digits: expected one flat object, {example}", path=str(path), line=number)
            continue
        if isinstance(value, dict):
            yield number, value
        else:
            findings.problem(f"is {found(value)}: expected one object on one line, {example}", path=str(path), line=number)


def write_lines(path: Path, lines: Iterable[str]) -> None:
    """Write a UTF-8 file, a line feed after each line; either all of it is there or the old file is untouched.

    Raises:
        InputError: The folder can't be written to.
    """
    temporary: str | None = None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        descriptor, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
        with os.fdopen(descriptor, "w", encoding="utf-8", newline="\n") as file:
            file.writelines(f"{line}\n" for line in lines)
        Path(temporary).chmod(0o644)
        Path(temporary).replace(path)
        temporary = None
    except OSError as error:
        raise InputError(f"can't write {str(path)!r}: {error.strerror}; choose a folder that can be written to") from error
    finally:
        if temporary is not None:
            Path(temporary).unlink(missing_ok=True)
