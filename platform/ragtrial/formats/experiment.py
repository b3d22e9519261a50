"""Experiment files: YAML checked against the dataclasses of `domain.experiment`, each fault with its line and its remedy."""

import dataclasses
import functools
import json
import urllib.parse
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter
from pydantic import ValidationError as PydanticError

from ragtrial.domain.experiment import Experiment
from ragtrial.errors import InputError, Problem, ValidationError
from ragtrial.formats.explain import explain
from ragtrial.formats.files import read_text, write_lines
from ragtrial.formats.validation import Findings
from ragtrial.formats.yaml_lines import read_yaml

_SCHEMA = "https://json-schema.org/draft/2020-12/schema"


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class ExperimentFile:
    """An experiment and where it was read from.

    The experiment keeps its paths as they were written, so that its plan has one digest wherever the files lie.

    Attributes:
        path: The file, absolute.
        experiment: What it says.
    """

    path: Path
    experiment: Experiment

    @property
    def folder(self) -> Path:
        """What relative paths start from."""
        return self.path.parent


def milvus_uri(file: ExperimentFile) -> str:
    """`stores.milvus`: a server's address as it stands, or the absolute path of the file."""
    uri = file.experiment.stores.milvus
    return uri if "://" in uri else str(resolve_path(file.folder, uri))


def sql_url(file: ExperimentFile) -> str:
    """`stores.sql`, with the path of an SQLite file made absolute."""
    return resolve_sql_url(file.folder, file.experiment.stores.sql)


def resolve_path(folder: Path, text: str) -> Path:
    """`text` as an absolute path; relative ones start from `folder`, `~/` is the home folder."""
    path = Path(text)
    return (folder / (path.expanduser() if text.startswith("~/") else path)).resolve()


def resolve_sql_url(folder: Path, url: str) -> str:
    """The SQLAlchemy URL, with a relative SQLite file made absolute; databases in memory, `file:` names and servers stay."""
    scheme, separator, rest = url.partition(":///")
    database, question, options = rest.partition("?")
    if not scheme.startswith("sqlite") or not separator or not database or database.startswith((":memory:", "file:", "/")):
        return url
    path = resolve_path(folder, urllib.parse.unquote(database))
    return f"{scheme}:///{urllib.parse.quote(str(path))}{question}{options}"


def load_experiment(path: Path) -> ExperimentFile:
    """Read an experiment file.

    Raises:
        ValidationError: With every problem in it at once: broken YAML, unknown and duplicate keys, missing and wrong values.
    """
    path = path.absolute()
    findings = Findings()
    text = read_text(path, findings)
    if text is None or findings.problems:
        raise ValidationError(findings.problems)
    return ExperimentFile(path=path, experiment=parse_experiment(text, str(path)))


def parse_experiment(text: str, path: str | None = None) -> Experiment:
    """The experiment that a YAML text describes; `path` is for messages.

    Raises:
        ValidationError: As for `load_experiment`.
    """
    document = read_yaml(text, path)
    problems = [*document.problems, *explain(_adapter(), Experiment, document)]
    if problems:
        raise ValidationError(sorted(problems, key=lambda problem: problem.line or 0))
    return _adapter().validate_python(document.value)


def logged_experiment(plan: Mapping[str, Any], what: str) -> Experiment:
    """The experiment of a plan as the log keeps it; `what` names it in messages.

    Raises:
        InputError: It is no plan that this version understands.
    """
    try:
        return _adapter().validate_python(plan)
    except PydanticError as error:
        places = ", ".join(".".join(map(str, fault["loc"])) for fault in error.errors()[:3])
        raise InputError(f"{what} is no plan that this ragtrial understands (see {places}): it was logged by another version") from error


def check_experiment(path: Path) -> tuple[Problem, ...]:
    """The problems of an experiment file; empty where it is sound."""
    try:
        load_experiment(path)
    except ValidationError as error:
        return error.problems
    return ()


@functools.cache
def _adapter() -> TypeAdapter[Experiment]:
    """Compiling the dataclasses takes pydantic a quarter of a second: once per process."""
    return TypeAdapter(Experiment)


def experiment_schema() -> dict[str, object]:
    """The JSON schema of experiment files, for editors that complete and check YAML."""
    schema = _adapter().json_schema()
    head = {"$schema": _SCHEMA, "$comment": "Generated from platform/ragtrial/domain/experiment.py."}
    return head | schema | {"title": "ragtrial experiment"}


def write_schema(path: Path) -> None:
    """Write the JSON schema, as `experiments/schema.json` holds it.

    Raises:
        InputError: The folder can't be written to.
    """
    write_lines(path, [json.dumps(experiment_schema(), indent=2, ensure_ascii=False)])
