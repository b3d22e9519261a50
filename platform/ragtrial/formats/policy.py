"""Policy files of `ragtrial loop`: YAML checked against `domain.retraining`, each fault with its line and its remedy."""

import dataclasses
import functools
from pathlib import Path

from pydantic import TypeAdapter

from ragtrial.domain.retraining import LoopPolicy
from ragtrial.errors import ValidationError
from ragtrial.formats.experiment import resolve_path
from ragtrial.formats.explain import explain
from ragtrial.formats.files import read_text
from ragtrial.formats.validation import Findings
from ragtrial.formats.yaml_lines import read_yaml


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class PolicyFile:
    """A policy and where it was read from.

    Attributes:
        path: The file, absolute.
        policy: What it says.
    """

    path: Path
    policy: LoopPolicy

    @property
    def experiment(self) -> Path:
        """The experiment file."""
        return resolve_path(self.path.parent, self.policy.experiment)

    @property
    def folder(self) -> Path:
        """Where cycles are kept."""
        return resolve_path(self.path.parent, self.policy.folder) / self.policy.model


def load_policy(path: Path) -> PolicyFile:
    """Read a policy file.

    Raises:
        ValidationError: With every problem in it at once.
    """
    path = path.absolute()
    findings = Findings()
    text = read_text(path, findings)
    if text is None or findings.problems:
        raise ValidationError(findings.problems)
    document = read_yaml(text, str(path))
    problems = [*document.problems, *explain(_adapter(), LoopPolicy, document)]
    if problems:
        raise ValidationError(sorted(problems, key=lambda problem: problem.line or 0))
    return PolicyFile(path=path, policy=_adapter().validate_python(document.value))


@functools.cache
def _adapter() -> TypeAdapter[LoopPolicy]:
    return TypeAdapter(LoopPolicy)
