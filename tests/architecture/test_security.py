"""What a reviewer would look for in each change: calls that run data, secrets, packages that nobody asked for."""

import ast
import json
import re
import subprocess
import tomllib
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

REPOSITORY = Path(__file__).resolve().parent.parent.parent
SOURCES = sorted((*(REPOSITORY / "platform").rglob("*.py"), *(REPOSITORY / "dashboards").rglob("*.py")))

RUNS_DATA = {"pickle.load", "pickle.loads", "pickle.Unpickler", "joblib.load", "torch.load", "np.load", "numpy.load", "marshal.loads", "shelve.open",
    "dill.load", "dill.loads", "cloudpickle.load", "cloudpickle.loads", "yaml.load", "yaml.unsafe_load", "yaml.full_load", "eval", "exec", "os.system",
    "pd.read_pickle", "pandas.read_pickle", "shutil.unpack_archive"}  # fmt: skip
NEVER = {
    ("trust_remote_code", True),
    ("allow_pickle", True),
    ("shell", True),
    ("verify", False),
    ("follow_redirects", True),
    ("weights_only", False),
}


def _dangers(path: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if not isinstance(node, ast.Call):
            continue
        name = ast.unparse(node.func)
        if name in RUNS_DATA or name.endswith((".extractall", ".unpack_archive")):
            yield name
        for keyword in node.keywords:
            if isinstance(keyword.value, ast.Constant) and (keyword.arg, keyword.value.value) in NEVER:
                yield f"{name}({keyword.arg}={keyword.value.value})"


def test_nothing_runs_data_unpacks_archives_or_switches_a_guard_off():
    found = {f"{path.relative_to(REPOSITORY)}: {what}" for path in SOURCES for what in _dangers(path)}
    assert found == set()


def _files() -> list[str]:
    try:
        done = subprocess.run(["git", "ls-files", "-co", "--exclude-standard"], cwd=REPOSITORY, capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("this is no git checkout: which files are the project's is not known, so they were not scanned for secrets")
    return [name for name in done.stdout.splitlines() if (REPOSITORY / name).is_file() and (REPOSITORY / name).stat().st_size < 300_000]


_SETTINGS = re.compile(r"(^deploy/|^\.ci/|\.ya?ml$|\.toml$|\.env|\.ini$|\.cfg$|Makefile$|Dockerfile|\.sh$)")
_KEY = re.compile(
    r"AKIA|ASIA[A-Z0-9]|PRIVATE KEY|gh[pousr]_\w{8}|github_pat|glpat-|xox[abposr]-|[rs]k_live|sk-\w{16}|T3BlbkFJ|eyJ\w{8}|SG\.\w|npm_\w{8}|pypi-\w{8}"
    r"|://[^/\s\"':]+:[^@/\s\"']+@|AccountKey=|\bSK[0-9a-f]{16}|sq0\w{3}|hooks\.slack"
)


def _worth_scanning(name: str) -> bool:
    return _SETTINGS.search(name) is not None or _KEY.search((REPOSITORY / name).read_text("utf-8", errors="ignore")) is not None


def test_no_file_holds_a_secret_that_is_not_in_the_baseline():
    """Keys, tokens, private keys, passwords in URLs; in tests, words that look like passwords are the tests' own.

    `detect-secrets` takes a minute for all lines of all files. So files of settings are scanned whole, and others where something in them looks
    like the beginning of a key at all; `make audit` scans them all. Its rule for texts of much entropy finds digests alone here, and is off.
    """
    from detect_secrets.core.secrets_collection import SecretsCollection
    from detect_secrets.settings import transient_settings

    baseline = json.loads((REPOSITORY / ".secrets.baseline").read_text("utf-8"))
    known = {(name, each["type"], each["hashed_secret"]) for name, secrets in baseline["results"].items() for each in secrets}
    found = SecretsCollection(root=str(REPOSITORY))
    with transient_settings({"plugins_used": baseline["plugins_used"], "filters_used": baseline["filters_used"]}):
        for name in _files():
            if not name.startswith("tests/fuzz/corpus/") and name != ".secrets.baseline" and _worth_scanning(name):
                found.scan_file(name)
    new = {
        f"{name}:{secret.line_number}: {secret.type}"
        for name, secret in found
        if (name, secret.type, secret.secret_hash) not in known and not (name.startswith("tests/") and secret.type == "Secret Keyword")
    }
    assert not new, "if it is none: add `# pragma: allowlist secret` to the line, or write the baseline anew (make secrets-baseline)"


def _pins() -> dict[str, str]:
    lines = (line.split("#")[0].strip() for line in (REPOSITORY / "constraints.txt").read_text("utf-8").splitlines())
    requirements = [Requirement(line) for line in lines if line]
    return {canonicalize_name(each.name): str(each.specifier) for each in requirements}


def _needed() -> set[str]:
    """Every package that the project or one of its extras needs, through the packages that are installed."""
    project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text("utf-8"))["project"]
    extras = project["optional-dependencies"]
    todo = [
        (Requirement(line), frozenset({""})) for line in (*project["dependencies"], *(line for lines in extras.values() for line in lines))
    ]
    done: set[tuple[str, frozenset[str]]] = set()
    while todo:
        asked, within = todo.pop()
        name = canonicalize_name(asked.name)
        key = (name, frozenset(asked.extras))
        if key in done or (asked.marker is not None and not any(asked.marker.evaluate({"extra": extra}) for extra in within)):
            continue
        done.add(key)
        try:
            lines = metadata.requires(name) or [] if name != "ragtrial" else []
        except metadata.PackageNotFoundError:
            pytest.skip(f"{name} is not installed: whether all that is needed is pinned is not known")
        todo += [(Requirement(line), frozenset({"", *asked.extras})) for line in lines]
    return {name for name, _ in done} - {"ragtrial"}


@pytest.fixture(scope="module")
def needed() -> set[str]:
    return _needed()


def test_every_package_is_pinned_to_one_version_and_each_pin_is_of_a_package_that_something_needs(needed):
    pins = _pins()
    assert not [name for name, pin in pins.items() if not re.fullmatch(r"==[^*,]+", pin)]
    assert needed - set(pins) <= {"pip", "setuptools"}  # the installers themselves
    assert set(pins) - needed == set()


COPYLEFT = {
    "psycopg": "LGPL, used as a library",
    "psycopg-binary": "LGPL, used as a library",
    "tld": "MPL or GPL or LGPL, at choice",
}
UNSAID = {"atheris": "Apache-2.0 in its repository", "ppi-python": "MIT in its repository"}
_FREE = re.compile(r"MIT|Apache|BSD|ISC|PSF|Python Software Foundation|MPL|Mozilla|Unlicense|CNRI|OLDAP|HPND|CC0|zlib", re.IGNORECASE)


def test_no_package_comes_under_a_licence_that_was_not_looked_at(needed):
    unknown = {}
    for name in sorted(needed - {"pip", "setuptools"}):
        about = metadata.metadata(name)
        said = about.get("License-Expression") or "; ".join(
            c.rpartition("::")[2].strip() for c in about.get_all("Classifier", []) if c.startswith("License")
        )
        said = said or (about.get("License") or "").split("\n")[0]
        if (
            name not in COPYLEFT
            and (("GPL" in said and " OR " not in said) or not _FREE.search(said))
            and not (name in UNSAID and not said)
        ):
            unknown[name] = said
    assert unknown == {}
