"""The reference pages of the site, from the code: Markdown by page."""

import json
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

PYTHON = {
    "suite": (
        "Running an experiment from Python",
        "What the commands call. A command is a thin layer over these functions; see also the notebooks under `experiments/notebooks`.",
        [
            "formats.experiment",
            "suite.preparing",
            "suite.training",
            "suite.indexing",
            "suite.running",
            "suite.concluding",
            "suite.live_analysis",
            "suite.comparing",
            "db.reader",
            "settings",
            "errors",
        ],
    ),
    "contracts": ("Contracts to implement", "An arm of your own is a class with these methods, named by import path.", ["contracts"]),
    "domain": (
        "The nouns",
        "Frozen, keyword-only dataclasses; [architecture](../architecture.md#the-nouns) has the overview.",
        ["domain.*"],
    ),
    "stats": ("Statistics", "Arrays in, named tuples out. [Statistics](../statistics.md) says when each is right.", ["stats.*"]),
    "splitting": ("Splitting elsewhere", "The split as functions and as an OpenFeature provider.", ["splitting.*", "openfeature"]),
}
"""Pages of the Python reference: title, first sentence, modules."""


def pages(root: Path) -> dict[str, str]:
    """All reference pages by their place in the site."""
    found = {
        "reference/experiment-file.md": experiment_file(json.loads((root / "experiments" / "schema.json").read_text(encoding="utf-8"))),
        "reference/http-api.md": http_api(openapi()),
    }
    for name, (title, about, modules) in PYTHON.items():
        found[f"reference/python-{name}.md"] = python(root, title, about, modules)
    return found


def python(root: Path, title: str, about: str, modules: list[str]) -> str:
    """A page that mkdocstrings fills: one heading a module."""
    names = [name for module in modules for name in _expanded(root / "platform" / "ragtrial", module)]
    return "\n\n".join(
        [
            "---\nsearch: {boost: 0.4}\n---",
            f"# {title}",
            about,
            *(
                f"## `ragtrial.{name}`\n\n::: ragtrial.{name}\n    options: {{show_root_heading: false, show_root_toc_entry: false}}"
                for name in names
            ),
        ]
    )


def _expanded(package: Path, module: str) -> list[str]:
    if not module.endswith(".*"):
        return [module]
    folder = package / module[:-2]
    return [f"{module[:-2]}.{path.stem}" for path in sorted(folder.glob("*.py")) if not path.stem.startswith("_")] or [module[:-2]]


def experiment_file(schema: dict[str, Any]) -> str:
    """Every section of the experiment file: its keys, types, defaults and meaning."""
    lines = [
        "# Experiment file",
        "",
        "Every section and key, from `experiments/schema.json`, which an editor reads too. Unknown keys are errors. A required key has no default.",
        "[The tutorial](../tutorial.md#4-an-experiment) shows a whole file.",
        "",
        "## The file",
        "",
        *_keys(schema, schema["$defs"]),
    ]
    for name, section in schema["$defs"].items():
        lines += ["", f"## {name}", "", *_about(section), *_keys(section, schema["$defs"])]
    return "\n".join(lines) + "\n"


def _about(section: dict[str, Any]) -> list[str]:
    return [_text(section["description"]), ""] if section.get("description") else []


def _keys(section: dict[str, Any], sections: dict[str, Any]) -> Iterator[str]:
    if "properties" not in section:
        yield f"One of: {_type(section)}."
        return
    yield "| key | type | default | meaning |"
    yield "|---|---|---|---|"
    for key, what in section["properties"].items():
        default = "required" if key in section.get("required", ()) else f"`{json.dumps(what['default'])}`" if "default" in what else ""
        yield f"| `{key}` | {_type(what)} | {default.replace('|', chr(92) + '|')} | {_meaning(what, sections)} |"


def _meaning(what: dict[str, Any], sections: dict[str, Any]) -> str:
    """A key's description, or that of the section that it is."""
    return _text(what.get("description") or sections.get(str(what.get("$ref", "")).rsplit("/", 1)[-1], {}).get("description", ""))


def _type(what: dict[str, Any]) -> str:
    if "$ref" in what:
        name = what["$ref"].rsplit("/", 1)[-1]
        return f"[{name}](#{name.lower()})"
    if "enum" in what:
        return ", ".join(f"`{value}`" for value in what["enum"])
    if "const" in what:
        return f"`{what['const']}`"
    if any(key in what for key in ("anyOf", "oneOf", "allOf")):
        options = next(what[key] for key in ("anyOf", "oneOf", "allOf") if key in what)
        return " or ".join(dict.fromkeys(_type(option) for option in options))
    if what.get("type") == "array":
        return f"list of {_type(what.get('items', {}))}" if what.get("items") else "list"
    if what.get("type") == "object" and isinstance(what.get("additionalProperties"), dict):
        return f"mapping to {_type(what['additionalProperties'])}"
    return str(what.get("type", "anything"))


def _text(said: str) -> str:
    """One line of a table, with nothing in it that Markdown or HTML would take for markup."""
    return " ".join(said.split()).replace("|", "\\|").replace("<", "&lt;").replace("{", "&#123;").replace("[", "\\[")


def openapi() -> dict[str, Any]:
    """The service's OpenAPI document; the application is put together and never started."""
    from ragtrial.api.app import create_app

    service = SimpleNamespace(experiment=SimpleNamespace(name="reference"))
    return create_app(cast("Any", service), lambda _: None, sql_url="sqlite://").openapi()


def http_api(document: dict[str, Any]) -> str:
    """Every route: what it does, what it takes and gives, and every model."""
    lines = [
        "# HTTP API",
        "",
        "From the OpenAPI document that a running service gives at `/openapi.json`.",
        "",
        document["info"]["description"].strip(),
    ]
    for path, methods in document["paths"].items():
        for method, route in methods.items():
            lines += _route(path, method, route)
    lines += ["", "# Models", ""]
    for name, model in document["components"]["schemas"].items():
        lines += ["", f"## {name}", "", *_about(model), *_keys(model, document["components"]["schemas"])]
    return "\n".join(lines).replace("\n# Models", "\n## Models") + "\n"


def _route(path: str, method: str, route: dict[str, Any]) -> Iterator[str]:
    yield from ("", f"## `{method.upper()} {path}`", "")
    yield _text(route.get("summary", ""))
    yield ""
    if route.get("description"):
        yield from (route["description"].strip(), "")
    for parameter in route.get("parameters", ()):
        yield f"- `{parameter['name']}` ({parameter['in']}, {_type(parameter.get('schema', {}))}): {_text(parameter.get('description', ''))}"
    body = route.get("requestBody", {}).get("content", {})
    yield ""
    yield from (f"Takes {kind}: {_type(what.get('schema', {}))}." for kind, what in body.items())
    yield ""
    yield "| status | | body |"
    yield "|---|---|---|"
    for status, response in route.get("responses", {}).items():
        models = ", ".join(f"{kind}: {_type(what.get('schema', {}))}" for kind, what in response.get("content", {}).items())
        yield f"| {status} | {_text(response.get('description', ''))} | {models} |"
