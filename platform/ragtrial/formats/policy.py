"""Policy files of `ragtrial loop`: YAML checked against `domain.retraining`, each fault with its line and its remedy."""

import dataclasses
import functools
from functools import partial
from pathlib import Path

from pydantic import TypeAdapter

from ragtrial.domain.retraining import LoopPolicy
from ragtrial.errors import ValidationError
from ragtrial.formats.confinement import as_problems, check_confined
from ragtrial.formats.experiment import resolve_path
from ragtrial.formats.explain import explain
from ragtrial.formats.files import read_text
from ragtrial.formats.validation import Findings
from ragtrial.formats.yaml_lines import read_yaml
from ragtrial.settings import Settings, read_settings


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


def load_policy(path: Path, settings: Settings | None = None) -> PolicyFile:
    """Read a policy file.

    Args:
        path: The file.
        settings: The environment, which may confine it; default: this process's.

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
    policy = _adapter().validate_python(document.value)
    confinement = (read_settings() if settings is None else settings).confinement
    if confinement is not None and (found := check_confined(policy, confinement, partial(resolve_path, path.parent))):
        raise ValidationError(as_problems(found, path, document.line))
    return PolicyFile(path=path, policy=policy)


@functools.cache
def _adapter() -> TypeAdapter[LoopPolicy]:
    return TypeAdapter(LoopPolicy)
