"""`prepare.yaml`: YAML checked against `domain.preparation`, each fault with its line."""

import functools
from pathlib import Path

import pydantic
from pydantic import TypeAdapter
from pydantic_core import ErrorDetails

from ragtrial.domain.preparation import PreparationSpec
from ragtrial.errors import Problem, ValidationError
from ragtrial.formats.files import read_text
from ragtrial.formats.validation import Findings, found
from ragtrial.formats.yaml_lines import Document, dotted, read_yaml

_UNKNOWN = frozenset({"unexpected_keyword_argument", "extra_forbidden", "invalid_key"})


def load_preparation(path: Path) -> PreparationSpec:
    """Read the settings of a preparation; an empty file means the defaults.

    Raises:
        ValidationError: With every problem in it: broken YAML, unknown and duplicate keys, wrong values.
    """
    findings = Findings()
    text = read_text(path, findings)
    if text is None or findings.problems:
        raise ValidationError(findings.problems)
    document = read_yaml(text, str(path))
    problems = list(document.problems)
    spec = PreparationSpec()
    try:
        spec = _adapter().validate_python({} if document.value is None else document.value)
    except pydantic.ValidationError as error:
        problems += [_problem(each, document) for each in error.errors(include_url=False)]
    if problems:
        raise ValidationError(sorted(problems, key=lambda problem: problem.line or 0))
    return spec


def _problem(error: ErrorDetails, document: Document) -> Problem:
    place = error["loc"]
    message = f"is {found(error['input'])}: {error['msg'][:1].lower()}{error['msg'][1:]}"
    if error["type"] in _UNKNOWN:
        message = "unknown key: see docs/preparing-data.md for those that there are"
    elif error["type"] == "value_error":
        message = str(error["ctx"]["error"])
    return Problem(message=message, path=document.path, line=document.line(place), field=dotted(place))


@functools.cache
def _adapter() -> TypeAdapter[PreparationSpec]:
    return TypeAdapter(PreparationSpec)
