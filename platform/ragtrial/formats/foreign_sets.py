"""Data sets of Phoenix, Langfuse, ragas and promptfoo as questions with answers and contexts.

Shapes as the programs write them (looked up in their sources in 2026):

- Phoenix: the CSV of `GET /v1/datasets/{id}/csv` (`example_id`, `input_*`, `output_*`, `metadata_*`), the JSON of `.../examples`
  (`data.examples[]` with `id`, `input`, `output`, `metadata`), its JSON lines for OpenAI evals (`messages`, `ideal`).
- Langfuse: dataset items of `GET /api/public/dataset-items` (`data[]` with `id`, `status`, `input`, `expectedOutput`, `metadata`), or a CSV of them.
- ragas 0.4: `user_input`, `reference`, `reference_contexts`, `reference_context_ids`, `retrieved_contexts`; before 0.2: `question`,
  `ground_truth` or `ground_truths`, `contexts`.
- promptfoo: test cases (`vars`, `assert`) of its results file, or a list of them.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from ragtrial.formats.foreign_rows import Row, listed, read_rows, within
from ragtrial.formats.validation import Findings, found

Kind = Literal["phoenix", "langfuse", "ragas", "promptfoo"]

_QUESTIONS = ("user_input", "question", "query", "input", "messages", "text", "prompt")
_REFERENCES = ("reference", "ground_truth", "ground_truths", "expected_output", "expected", "reference_answer", "ideal")
_OUTPUTS = (*_REFERENCES, "answer", "output", "response", "messages", "text")
_JUDGED = ("reference_contexts", "expected_contexts", "ground_truth_contexts", "gold_contexts")
_IDS = ("reference_context_ids", "expected_context_ids", "gold_ids", "document_ids")
_RETRIEVED = ("retrieved_contexts", "contexts", "context", "documents", "source_documents")
_REFERENCE_ASSERTIONS = ("equals", "similar", "factuality", "model-graded-factuality", "context-recall", "rouge-n")
_TAGS = 60
"""Longest value of a metadata field that is a tag."""

NO_QUESTION = "no question found"
SEVERAL_TURNS = "several turns: a conversation is no single query"
ARCHIVED = "archived"


@dataclass(frozen=True, slots=True, kw_only=True)
class Fields:
    """Which fields hold what, where the usual names don't; each a name, or a dotted path into the row."""

    question: str | None = None
    answer: str | None = None
    contexts: str | None = None
    ids: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Example:
    """One question of a foreign data set.

    Attributes:
        query_id: As the program has it, or `row-NUMBER`.
        text: The question.
        answers: Reference answers.
        judged: Texts that are said to answer it.
        ids: Ids of what answers it.
        retrieved: Texts that a system found for it, which nobody judged.
        tags: Short texts of its metadata.
        place: Where it stands, for messages.
    """

    query_id: str
    text: str
    answers: tuple[str, ...] = ()
    judged: tuple[str, ...] = ()
    ids: tuple[str, ...] = ()
    retrieved: tuple[str, ...] = ()
    tags: Mapping[str, str] = field(default_factory=dict)
    place: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Parts:
    """A row taken apart: what goes in, what should come out, and what is said beside."""

    given_id: object
    inputs: Mapping[str, object]
    outputs: Mapping[str, object]
    beside: Mapping[str, object]
    answers: tuple[str, ...]
    unusable: str | None = None


def read_examples(kind: Kind, path: Path, fields: Fields, findings: Findings) -> tuple[list[Example], list[tuple[str, str]]]:
    """The questions of a file, and what was not usable as (reason, place); faults of the file are noted.

    Args:
        kind: Which program's file it is.
        path: The file.
        fields: Names that are not the usual ones.
        findings: Where faults go.
    """
    examples: list[Example] = []
    left_out: list[tuple[str, str]] = []
    seen: set[str] = set()
    for row in _rows(kind, path, findings):
        place = f"{path.name}:{row.line}" if row.line is not None else f"{path.name}, row {row.number}"
        parts = _SPLITTERS[kind](row, path, findings)
        if parts is None:
            continue
        example = parts.unusable or _example(row, parts, fields, place)
        if isinstance(example, str):
            left_out.append((example, place))
        elif example.query_id in seen:
            left_out.append(("its id stands in an earlier row", place))
        else:
            seen.add(example.query_id)
            examples.append(example)
    return examples, left_out


def _rows(kind: Kind, path: Path, findings: Findings) -> Iterator[Row]:
    lists = {
        "phoenix": ("data.examples", "examples", "data"),
        "langfuse": ("data", "items"),
        "ragas": ("samples", "data", "dataset"),
        "promptfoo": ("tests", "config.tests"),
    }[kind]
    yield from read_rows(path, findings, lists=lists)


def _example(row: Row, parts: _Parts, fields: Fields, place: str) -> Example | str:
    """The question, or why there is none."""
    question = _chosen(row, fields.question, parts.inputs, _QUESTIONS)
    text, turns = _said(question, "user")
    if turns > 1:
        return SEVERAL_TURNS
    if not text:
        return NO_QUESTION
    answer = _chosen(row, fields.answer, parts.outputs, parts.answers)
    everything = {**parts.beside, **parts.outputs, **parts.inputs}
    judged = _texts(_chosen(row, fields.contexts, everything, _JUDGED))
    ids = _texts(_chosen(row, fields.ids, everything, _IDS))
    query_id = str(parts.given_id) if isinstance(parts.given_id, str | int) and str(parts.given_id).strip() else f"row-{row.number}"
    return Example(
        query_id=" ".join(query_id.split()),
        text=text,
        answers=tuple(_answers(answer)),
        judged=judged,
        ids=ids,
        retrieved=tuple(context for context in _texts(_first(everything, _RETRIEVED)) if context not in judged),
        tags=_tags(parts.beside),
        place=place,
    )


def _chosen(row: Row, named: str | None, values: Mapping[str, object], usual: Sequence[str]) -> object:
    if named is None:
        return _first(values, usual)
    direct = row.value.get(named)
    return listed(direct if direct is not None else values.get(named, within(row.value, named)))


def _first(values: Mapping[str, object], names: Sequence[str]) -> object:
    return next((listed(values[name]) for name in names if values.get(name) not in (None, "", [], {})), None)


def _said(value: object, role: str) -> tuple[str, int]:
    """The text of a question or an answer, and how many messages of that role there are."""
    if isinstance(value, str):
        return value.strip(), 1
    if isinstance(value, Mapping):
        inner = _first(value, _QUESTIONS if role == "user" else _OUTPUTS)
        return _said(inner, role) if inner is not None else ("", 0)
    if isinstance(value, list | tuple) and all(isinstance(each, Mapping) for each in value):
        names = ("user", "human") if role == "user" else ("assistant", "ai")
        said = [each.get("content") for each in value if str(each.get("role", each.get("type", ""))).lower() in names]
        texts = [text.strip() for text in said if isinstance(text, str) and text.strip()]
        return (texts[-1], len(texts)) if texts else ("", 0)
    return "", 0


def _answers(value: object) -> Iterator[str]:
    if isinstance(value, list | tuple) and all(isinstance(each, str) for each in value):
        yield from (each.strip() for each in value if each.strip())
        return
    text = str(value) if isinstance(value, int | float) and not isinstance(value, bool) else _said(value, "assistant")[0]
    if text:
        yield text


def _texts(value: object) -> tuple[str, ...]:
    """The texts of a list of them, of documents, or of one text; each once."""
    items = value if isinstance(value, list | tuple) else [] if value is None else [value]
    return tuple(dict.fromkeys(text for item in items if (text := _text(item)).strip()))


def _text(item: object) -> str:
    if isinstance(item, Mapping):
        item = next((item[name] for name in ("text", "page_content", "content", "document") if isinstance(item.get(name), str)), "")
    if isinstance(item, int) and not isinstance(item, bool):
        return str(item)
    return item if isinstance(item, str) else ""


def _tags(beside: Mapping[str, object]) -> dict[str, str]:
    known = {*_JUDGED, *_IDS, *_RETRIEVED, *_OUTPUTS, *_QUESTIONS}
    plain = {
        name: str(value).lower() if isinstance(value, bool) else str(value)
        for name, value in beside.items()
        if isinstance(value, str | int | float)
    }
    return {
        name: value for name, value in plain.items() if name not in known and value.strip() and len(value) <= _TAGS and "\n" not in value
    }


def _object(row: Row, name: str, path: Path, findings: Findings) -> Mapping[str, object] | None:
    """A field that holds an object, or a text in its place; None, noted, where it is something else."""
    value = listed(row.value.get(name))
    if value is None:
        return {}
    if isinstance(value, Mapping):
        return value
    if isinstance(value, str | list):
        return {"input": value, "output": value, "text": value} if name != "metadata" else {}
    where = f"{name}" if row.line is not None else f"[{row.number - 1}].{name}"
    findings.problem(f"is {found(value)}: expected an object or a text", path=str(path), line=row.line, field=where)
    return None


def _three(
    row: Row, path: Path, findings: Findings, names: tuple[str, str, str], given_id: object, unusable: str | None = None
) -> _Parts | None:
    parts = [_object(row, name, path, findings) for name in names]
    if any(part is None for part in parts):
        return None
    inputs, outputs, beside = (part or {} for part in parts)
    return _Parts(given_id=given_id, inputs=inputs, outputs=outputs, beside=beside, answers=_OUTPUTS, unusable=unusable)


def _phoenix(row: Row, path: Path, findings: Findings) -> _Parts | None:
    value = row.value
    if any(name.startswith(("input_", "output_", "metadata_")) for name in value):  # its CSV
        part = {
            kind: {name.removeprefix(f"{kind}_"): each for name, each in value.items() if name.startswith(f"{kind}_")}
            for kind in ("input", "output", "metadata")
        }
        return _Parts(
            given_id=value.get("example_id"), inputs=part["input"], outputs=part["output"], beside=part["metadata"], answers=_OUTPUTS
        )
    if "messages" in value:  # its JSON lines for OpenAI evals
        return _Parts(given_id=value.get("id"), inputs=value, outputs={"ideal": value.get("ideal")}, beside={}, answers=_OUTPUTS)
    return _three(row, path, findings, ("input", "output", "metadata"), value.get("id", value.get("example_id")))


def _langfuse(row: Row, path: Path, findings: Findings) -> _Parts | None:
    value = row.value
    unusable = ARCHIVED if str(value.get("status", "")).upper() == "ARCHIVED" else None
    expected = "expectedOutput" if "expectedOutput" in value else "expected_output"
    return _three(row, path, findings, ("input", expected, "metadata"), value.get("id"), unusable)


def _ragas(row: Row, path: Path, findings: Findings) -> _Parts | None:
    del path, findings
    value = row.value
    given_id = next((value[name] for name in ("id", "_id", "query_id") if value.get(name) not in (None, "")), None)
    own = {"id", "_id", "query_id", "response", "answer"}
    beside = {name: each for name, each in value.items() if name not in own}
    return _Parts(given_id=given_id, inputs=value, outputs=value, beside=beside, answers=_REFERENCES)


def _promptfoo(row: Row, path: Path, findings: Findings) -> _Parts | None:
    value = row.value
    inputs = value.get("vars", {} if "assert" in value or "description" in value else value)  # a CSV's columns are the vars themselves
    if not isinstance(inputs, Mapping):
        findings.problem(f"is {found(inputs)}: expected an object", path=str(path), line=row.line, field=f"[{row.number - 1}].vars")
        return None
    texts = [name for name, each in inputs.items() if isinstance(each, str) and not name.startswith("__")]
    if not any(name in _QUESTIONS for name in inputs) and len(texts) == 1:
        inputs = {**inputs, "question": inputs[texts[0]]}
    references = list(_references(value.get("assert"), inputs.get("__expected")))
    outputs = {"reference": references} if references else inputs
    metadata = value.get("metadata")
    beside = metadata if isinstance(metadata, Mapping) else {}
    return _Parts(given_id=value.get("id"), inputs=inputs, outputs=outputs, beside=beside, answers=_REFERENCES)


def _references(assertions: object, expected: object) -> Iterator[str]:
    """The answers that promptfoo's assertions compare with; a CSV writes one as `TYPE: VALUE`, or the bare value, which must be equal."""
    for each in assertions if isinstance(assertions, list) else []:
        if isinstance(each, Mapping) and each.get("type") in _REFERENCE_ASSERTIONS and isinstance(each.get("value"), str):
            yield str(each["value"])
    if isinstance(expected, str):
        kind, colon, value = expected.partition(":")
        kind = kind.partition("(")[0].strip()
        if colon and kind in _REFERENCE_ASSERTIONS:
            yield value.strip()
        elif not colon or " " in kind or not kind.islower():
            yield expected


_SPLITTERS: Mapping[Kind, Callable[[Row, Path, Findings], _Parts | None]] = {
    "phoenix": _phoenix,
    "langfuse": _langfuse,
    "ragas": _ragas,
    "promptfoo": _promptfoo,
}
