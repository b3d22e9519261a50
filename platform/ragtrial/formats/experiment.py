"""Experiment files: YAML checked against the dataclasses of `domain.experiment`, each fault with its line and its remedy.

Where the stores are is the one thing that the environment may say instead (`RAGTRIAL_STORES_...`, see `settings`), so that one file runs
on a laptop and on a cluster; stores are no part of a plan's digest. It is done here, where every command reads its experiment.
"""

import dataclasses
import functools
import json
import urllib.parse
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter
from pydantic import ValidationError as PydanticError

from ragtrial.domain.experiment import Experiment
from ragtrial.errors import InputError, Problem, ValidationError
from ragtrial.formats.confinement import as_problems, check_confined
from ragtrial.formats.explain import explain
from ragtrial.formats.files import read_text, write_lines
from ragtrial.formats.validation import Findings
from ragtrial.formats.yaml_lines import Document, read_yaml
from ragtrial.settings import SQL_PASSWORD, STORES, Given, Settings, read_settings

_SCHEMA = "https://json-schema.org/draft/2020-12/schema"


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class ExperimentFile:
    """An experiment and where it was read from.

    The experiment keeps its paths as they were written, so that its plan has one digest wherever the files lie.

    Attributes:
        path: The file, absolute.
        experiment: What it says, with the stores that the environment names instead.
        origins: By store, where its place comes from: `the file`, `the default`, or a variable.
        sql_password: The password of `stores.sql`, where it was given beside the URL; `sql_url` puts it in.
    """

    path: Path
    experiment: Experiment
    origins: Mapping[str, str] = dataclasses.field(default_factory=dict)
    sql_password: Given | None = None

    @property
    def folder(self) -> Path:
        """What relative paths start from."""
        return self.path.parent


def milvus_uri(file: ExperimentFile) -> str:
    """`stores.milvus`: a server's address as it stands, or the absolute path of the file."""
    uri = file.experiment.stores.milvus
    return uri if "://" in uri else str(resolve_path(file.folder, uri))


def sql_url(file: ExperimentFile) -> str:
    """`stores.sql`, with the path of an SQLite file made absolute, and a server's password put in where it was given beside the URL.

    Raises:
        InputError: There is a password, and the URL names no user.
    """
    url = resolve_sql_url(file.folder, file.experiment.stores.sql)
    return url if file.sql_password is None or url.startswith("sqlite") else _with_password(url, file.sql_password)


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


def _with_password(url: str, password: Given) -> str:
    scheme, separator, rest = url.partition("://")
    user, at, place = rest.partition("@")
    name = user.partition(":")[0]
    if not separator or not at or not name or "/" in user:
        raise InputError(f"{password.origin} gives a password, but stores.sql names no user: give postgresql+psycopg://USER@HOST/DATABASE")
    return f"{scheme}://{name}:{urllib.parse.quote(password.value, safe='')}@{place}"


def load_experiment(path: Path, settings: Settings | None = None) -> ExperimentFile:
    """Read an experiment file.

    Args:
        path: The file.
        settings: The environment, which may name other stores; default: this process's.

    Raises:
        ValidationError: With every problem in it at once: broken YAML, unknown and duplicate keys, missing and wrong values.
        InputError: The environment names a store that there isn't, or the place of one is none.
        SetupError: The file of a secret can't be read.
    """
    path = path.absolute()
    findings = Findings()
    text = read_text(path, findings)
    if text is None or findings.problems:
        raise ValidationError(findings.problems)
    settings = read_settings() if settings is None else settings
    experiment, written = _parsed(text, str(path), partial(_reaching_too_far, path, settings))
    elsewhere = {name: given.value for name, given in settings.stores.items()}
    stores = dataclasses.replace(experiment.stores, **elsewhere) if elsewhere else experiment.stores
    origins = {name: "the file" if name in written else "the default" for name in STORES}
    origins |= {name: given.origin for name, given in settings.stores.items()}
    if "@" in stores.milvus and "://" in stores.milvus:
        raise InputError(
            f"stores.milvus ({origins['milvus']}) holds a user or a token, which would be logged with the experiment: give the plain "
            f"address, and user:password or the token in the variable {stores.milvus_token_env}"
        )
    return ExperimentFile(
        path=path, experiment=dataclasses.replace(experiment, stores=stores), origins=origins, sql_password=settings.given(SQL_PASSWORD)
    )


def parse_experiment(text: str, path: str | None = None) -> Experiment:
    """The experiment that a YAML text describes; `path` is for messages.

    Raises:
        ValidationError: As for `load_experiment`.
    """
    return _parsed(text, path)[0]


def _reaching_too_far(path: Path, settings: Settings, experiment: Experiment, document: Document) -> list[Problem]:
    """What a confined file may not reach; nothing where files are not confined."""
    confinement = settings.confinement
    if confinement is None:
        return []
    exempt = frozenset(("stores", name) for name in settings.stores)  # the operator's
    resolve = partial(resolve_path, path.parent)
    found = check_confined(experiment, confinement, resolve, exempt=exempt)
    if not any(path.resolve().is_relative_to(root) for root in confinement.roots):
        found.append(((), f"lies outside of {', '.join(map(str, confinement.roots))} (RAGTRIAL_CONFINE_TO)"))
    return as_problems(found, path, document.line)


def _parsed(
    text: str, path: str | None, look: Callable[[Experiment, Document], list[Problem]] | None = None
) -> tuple[Experiment, frozenset[str]]:
    """The experiment, and the names of the stores that the text gives a place to."""
    document = read_yaml(text, path)
    problems = [*document.problems, *explain(_adapter(), Experiment, document)]
    if problems:
        raise ValidationError(sorted(problems, key=lambda problem: problem.line or 0))
    whole = document.value.get("stores") if isinstance(document.value, dict) else None
    experiment = _adapter().validate_python(document.value)
    reaching = [] if look is None else look(experiment, document)
    if reaching:
        raise ValidationError(sorted(reaching, key=lambda problem: problem.line or 0))
    return experiment, frozenset(whole if isinstance(whole, dict) else ())


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
