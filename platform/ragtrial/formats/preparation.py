"""`prepare.yaml`: YAML checked against `domain.preparation`, each fault with its line and its remedy."""

import functools
from pathlib import Path

from pydantic import TypeAdapter

from ragtrial.domain.preparation import PreparationSpec
from ragtrial.errors import ValidationError
from ragtrial.formats.explain import explain
from ragtrial.formats.files import read_text
from ragtrial.formats.validation import Findings
from ragtrial.formats.yaml_lines import read_yaml


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
    if document.value is None and not document.problems:
        return PreparationSpec()
    problems = [*document.problems, *explain(_adapter(), PreparationSpec, document)]
    if problems:
        raise ValidationError(sorted(problems, key=lambda problem: problem.line or 0))
    return _adapter().validate_python(document.value)


@functools.cache
def _adapter() -> TypeAdapter[PreparationSpec]:
    return TypeAdapter(PreparationSpec)
