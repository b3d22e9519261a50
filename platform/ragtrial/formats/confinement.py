"""What a file of settings may reach, where it comes from somebody else: folders, hosts, secrets; and that it runs no code.

Whoever writes an experiment file decides what is read, where it is sent, which environment variable is sent along as a key, and which Python
class is imported. On one's own machine that is the point. In a pull request's checks, in a container that others fill, it is not: there
`RAGTRIAL_CONFINE_TO` names the folders that such files may use (see `settings.Confinement`). The environment says so and not the file, which could allow
itself anything.

What is checked is the file's own reach. Stores that the environment names instead are the operator's choice, and are left alone.
"""

import dataclasses
import os
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from urllib.parse import parse_qsl, unquote, urlsplit

from ragtrial.domain.retraining import LoopPolicy
from ragtrial.errors import Problem
from ragtrial.formats.yaml_lines import Location, dotted
from ragtrial.settings import Confinement

Resolve = Callable[[str], Path]

_PATHS = frozenset(
    {
        "prompt",
        "reference",
        "path",
        "corpus",
        "queries",
        "vectors",
        "calls",
        "registry",
        "prices",
        "config",
        "folder",
        "experiment",
        "pairs",
        "sources",
    }
)
_DATA = frozenset({"path", "corpus", "queries", "pairs", "sources"})
_MODELS = frozenset({"model", "base", "teacher"})
_WORDS = frozenset(
    {
        "hypothesis",
        "query_prompt",
        "passage_prompt",
        "stop",
        "reason",
        "consent",
        "name",
        "salt",
        "holdout_salt",
        "allow",
        "deny",
        "overrides",
    }
)
"""Texts that nothing is opened by."""

_COMMANDS = frozenset({"command"})
_LOCAL = frozenset({"sentence-transformers", "cross-encoder"})
_HUB = "huggingface.co"
_OPENAI = "api.openai.com"
_MOST_FILES = 20_000
_SQL_OPTIONS = frozenset(
    {
        *("application_name", "connect_timeout", "sslmode", "statement_timeout"),
        *("max_overflow", "pool_pre_ping", "pool_recycle", "pool_size", "pool_timeout"),
    }
)


def check_confined(
    spec: object, confinement: Confinement, resolve: Resolve, *, exempt: frozenset[Location] = frozenset()
) -> list[tuple[Location, str]]:
    """Everything in a specification that reaches further than it may, with its place in the file and what to do.

    Args:
        spec: A tree of dataclasses.
        confinement: How far it may reach.
        resolve: A path of the file to an absolute one, symbolic links followed.
        exempt: Places whose values are not the file's.
    """
    found = []
    for location, name, value, owner in _texts(spec, (), "", spec):
        if location not in exempt and (said := _why_not(name, value, owner, confinement, resolve)) is not None:
            found.append((location, said))
    return found


def as_problems(found: list[tuple[Location, str]], path: Path, line: Callable[[Location], int | None]) -> list[Problem]:
    """The findings with their lines."""
    return [Problem(message=said, path=str(path), line=line(location), field=dotted(location)) for location, said in found]


def _texts(value: object, location: Location, name: str, owner: object) -> Iterator[tuple[Location, str, str, object]]:
    """Every text, with its place, the field that holds it and the dataclass that has the field."""
    if dataclasses.is_dataclass(value):
        for field in dataclasses.fields(value):
            yield from _texts(getattr(value, field.name), (*location, field.name), field.name, value)
    elif isinstance(value, tuple | list):
        for number, item in enumerate(value):
            yield from _texts(item, (*location, number), name, owner)
    elif isinstance(value, Mapping):
        for key, item in value.items():
            yield from _texts(item, (*location, str(key)), name, owner)
    elif isinstance(value, str):
        yield location, name, value, owner


def _why_not(name: str, value: str, owner: object, confinement: Confinement, resolve: Resolve) -> str | None:
    if name in _WORDS:
        return None
    if name in _COMMANDS:
        return "is a command, and confined files run none (RAGTRIAL_CONFINE_TO)"
    if name.endswith("_env") or (name == "webhook" and value.startswith("env:")):
        return _secret(value.removeprefix("env:"), name, owner, confinement)
    if name == "object":
        return "is an import path, which runs code: confined files bring no retriever of their own"
    if name == "provider":
        return "is an import path, which runs code: confined files take the built-in providers alone" if ":" in value else None
    if name == "sql":
        return _database(value, confinement, resolve)
    if "://" in value:
        return _host(urlsplit(value).hostname or "", confinement)
    if name in _MODELS:
        return _model(value, owner, confinement, resolve)
    if name == "milvus" or name in _PATHS or _looks_like_a_path(value):
        return _folder(value, confinement, resolve, whole=name in _DATA)
    return None


def _looks_like_a_path(value: str) -> bool:
    """Whether a text that no rule knows could lead out of the folder: new fields are confined before anybody thinks of it."""
    return value.startswith(("/", "~", "\\")) or ".." in value.replace("\\", "/").split("/") or "\0" in value


def _secret(value: str, name: str, owner: object, confinement: Confinement) -> str | None:
    default = (
        next((field.default for field in dataclasses.fields(owner) if field.name == name), None)
        if dataclasses.is_dataclass(owner)
        else None
    )
    if value == default or value in confinement.secrets:
        return None
    return f"names the environment variable {value!r}: confined files may name those of RAGTRIAL_ALLOWED_SECRETS and the defaults alone"


def _host(host: str, confinement: Confinement) -> str | None:
    if host.lower() in confinement.hosts:
        return None
    return f"is on {host!r}, and confined files may speak to the hosts of RAGTRIAL_ALLOWED_HOSTS alone"


def _database(url: str, confinement: Confinement, resolve: Resolve) -> str | None:
    scheme, separator, rest = url.partition(":///")
    if not scheme.startswith("sqlite"):
        strange = sorted({name for name, _ in parse_qsl(urlsplit(url).query, keep_blank_values=True)} - _SQL_OPTIONS)
        if strange:  # libpq's host, hostaddr, service, passfile lead elsewhere than the host that is looked at
            return f"has the option {strange[0]!r}: confined files may give {', '.join(sorted(_SQL_OPTIONS))}"
        return _host(urlsplit(url).hostname or "", confinement)
    database = unquote(rest.partition("?")[0]) if separator else ""
    if not database or database == ":memory:":
        return None
    if database.startswith("file:"):
        return "is a URI of SQLite, which can name any file: give sqlite:///PATH"
    return _folder(database, confinement, resolve)


def _model(value: str, owner: object, confinement: Confinement, resolve: Resolve) -> str | None:
    if value.startswith(("package:", "registry:")) or isinstance(owner, LoopPolicy):  # a policy's model is what it makes
        return None
    if hasattr(owner, "api_key_env") and getattr(owner, "provider", None) not in _LOCAL:  # a name that an endpoint gives it
        asks = getattr(owner, "provider", "openai-compatible") == "openai-compatible" and getattr(owner, "base_url", None) is None
        return _host(_OPENAI, confinement) if asks else None
    is_folder = value.startswith((".", "/", "~")) or resolve(value).is_dir()
    if is_folder:
        return _folder(value, confinement, resolve, whole=True)
    return _host(_HUB, confinement)


def _folder(value: str, confinement: Confinement, resolve: Resolve, *, whole: bool = False) -> str | None:
    """Why a path may not be used; `whole` looks at the links inside of a folder, too."""
    try:
        path = resolve(value)
    except (OSError, ValueError, RuntimeError) as error:
        return f"can't be followed ({error})"
    roots = [root.resolve() for root in confinement.roots]
    if not _inside(path, roots):
        return f"leads to {str(path)!r}, outside of {', '.join(map(str, roots))} (RAGTRIAL_CONFINE_TO)"
    if not whole or not path.is_dir():
        return None
    for seen, (entry, is_link) in enumerate(_entries(path)):
        if seen >= _MOST_FILES:
            return f"holds more than {_MOST_FILES:,} files: what a confined file names is looked through for links that lead out of it"
        if is_link and not _inside(entry.resolve(), roots):
            return f"holds the symbolic link {str(entry)!r}, which leads out of {', '.join(map(str, roots))}"
    return None


def _inside(path: Path, roots: list[Path]) -> bool:
    return any(path.is_relative_to(root) for root in roots)


def _entries(folder: Path) -> Iterator[tuple[Path, bool]]:
    """Everything in a folder and below, and whether it is a symbolic link."""
    for here, folders, files in os.walk(folder):
        for name in (*folders, *files):
            entry = Path(here) / name
            yield entry, entry.is_symlink()
