"""A model card in the form that the Hugging Face hub reads: YAML, then Markdown. Made when it is asked for, for versions never change."""

from collections.abc import Mapping, Sequence
from typing import Any

import yaml

from ragtrial.domain.inert import inert_markdown
from ragtrial.finetuning.registry import RegisteredModel

_TAGS = ("sentence-transformers", "sentence-similarity", "feature-extraction", "ragtrial")
_UNKNOWN = "not recorded"
_METRIC_TYPES = {"nDCG": "ndcg", "R": "recall", "RR": "mrr", "AP": "map", "P": "precision", "Success": "accuracy"}
"""The hub's names of metrics, as the information-retrieval evaluator of sentence-transformers reports them."""


def model_card(
    model: RegisteredModel,
    *,
    evaluations: Sequence[Mapping[str, Any]] = (),
    intrinsic: Mapping[str, Any] | None = None,
    aliases: Sequence[str] = (),
    licence: str | None = None,
) -> str:
    """The card of a version.

    Args:
        model: The version.
        evaluations: Records of `suite.model_records.evaluation_record`, oldest first; those in which it was the treatment are its results.
        intrinsic: What was measured of its vectors alone; None where nothing was.
        aliases: That point to it.
        licence: The owner's own; default: that of the data and of the base.
    """
    lineage = model.lineage
    base = _mapping(lineage.get("base"))
    results = [each for each in evaluations if each.get("role") == "treatment"]
    front: dict[str, Any] = {
        "base_model": _base_id(base),
        "library_name": "sentence-transformers",
        "pipeline_tag": "sentence-similarity",
        **_front_licence(lineage, licence),
        "tags": list(_TAGS),
        **({"model-index": [_index(model, results[-1])]} if results else {}),
    }
    parts = [
        f"---\n{yaml.safe_dump({key: value for key, value in front.items() if value is not None}, sort_keys=False, allow_unicode=True)}---",
        f"# {model.name} {model.version}",
        _summary(model, base, aliases, licence=licence),
        _use(model),
        _results(results),
        _intrinsic(intrinsic),
        _training(lineage),
        _limits(lineage, results),
        _lineage(model),
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def licence_of(lineage: Mapping[str, Any], own: str | None = None) -> str | None:
    """The licence of a version in words: the owner's own, or else those of its data and of its base, once where they are one.

    Args:
        lineage: Of the version.
        own: The owner's.

    Returns:
        None where neither the data's nor the base's is known.
    """
    base, data = _mapping(lineage.get("base")).get("licence"), lineage.get("data_licence")
    if own:
        return own
    if not data:
        return f"{base} (the base model's)" if base else None
    return str(base) if base and str(base).casefold() == str(data).casefold() else f"data: {data}, base model: {base or _UNKNOWN}"


def _front_licence(lineage: Mapping[str, Any], own: str | None) -> dict[str, str]:
    """As the hub reads it: an identifier, or `other` with a name. Nobody knows the model's own where that of its data is not known."""
    said = licence_of(lineage, own) if own or lineage.get("data_licence") else None
    if not said:
        return {"license": "other", "license_name": "not-recorded"}
    is_identifier = " " not in said
    return {"license": said.lower()} if is_identifier else {"license": "other", "license_name": said}


def _base_id(base: Mapping[str, Any]) -> str | None:
    """The hub's id where the base came from there; else its name."""
    location = str(base.get("location") or "")
    is_hub = location.count("/") == 1 and ":" not in location and not location.startswith((".", "/"))
    return location if is_hub else base.get("name")


def _summary(model: RegisteredModel, base: Mapping[str, Any], aliases: Sequence[str], *, licence: str | None) -> str:
    lineage = model.lineage
    names = f" ({', '.join(aliases)})" if aliases else ""
    rows = {
        "Version": f"{model.reference}{names}",
        "Made": lineage.get("created_at"),
        "Base model": f"{base.get('name', _UNKNOWN)}, revision {str(base.get('revision', _UNKNOWN))[:16]}, from {base.get('location', _UNKNOWN)}",
        "Licence": licence_of(lineage, licence) or _UNKNOWN,
        "Content": f"SHA-256 {lineage.get('checksum', _UNKNOWN)}",
    }
    intro = "An embedding model for retrieval, fine-tuned on a team's own documents and registered by ragtrial."
    return f"{intro}\n\n{_table(('', ''), rows.items())}"


def _use(model: RegisteredModel) -> str:
    return (
        "## How to use it\n\n```python\nfrom sentence_transformers import SentenceTransformer\n\n"
        f'model = SentenceTransformer("{model.name}")  # the folder with this card\n'
        'queries = model.encode_query(["..."])\npassages = model.encode_document(["..."])\nmodel.similarity(queries, passages)\n```\n\n'
        f"In an experiment of ragtrial: `model: registry:{model.reference}`. Its vectors can be compared with its own only: a corpus that "
        "was embedded with another model or version has to be embedded again."
    )


def _results(results: Sequence[Mapping[str, Any]]) -> str:
    if not results:
        return (
            "## Results\n\nIt was not evaluated as the custom model of an experiment yet, so nothing is known of its quality on a gold set."
        )
    latest = results[-1]
    rows = [
        (
            str(metric.get("name")),
            _number(metric.get("baseline")),
            _number(metric.get("custom")),
            _interval(metric),
            f"{metric.get('n', 0):,}",
        )
        for metric in latest.get("metrics", ())
    ]
    said = (
        f"Experiment {latest.get('experiment')}, evaluation {latest.get('id')} of {str(latest.get('started_at'))[:10]}: "
        f"{latest.get('n_queries', 0):,} gold queries, both arms on the same ones, against {latest.get('against') or _UNKNOWN}."
    )
    others = len(results) - 1
    said = inert_markdown(said)
    more = f"\n\nThere are {others} earlier evaluations of it." if others else ""
    head = ("metric", "baseline", "this model", "difference with its interval", "queries scored")
    return f"## Results\n\n{said}\n\n{_table(head, rows)}\n\nVerdict: {inert_markdown(str(latest.get('sentence')))}{more}"


def _intrinsic(record: Mapping[str, Any] | None) -> str:
    """What `ragtrial intrinsic` measured: each property in the base and in this model, with the change and its interval."""
    if record is None:
        return ""
    rows = [
        (str(each.get("name")), _value(each.get("before")), _value(each.get("value")), _value(each.get("change"), sign="+"))
        for part in ("terms", "groups", "space", "sts", "general")
        for each in record.get(part) or ()
    ]
    if not rows:
        return ""
    said = (
        f"Of its vectors themselves, against {record.get('base') or 'nothing'}; general text: {record.get('general_source') or _UNKNOWN}."
    )
    warnings = "".join(f"\n\n**{inert_markdown(str(warning))}**" for warning in record.get("warnings") or ())
    return f"## Beyond retrieval\n\n{inert_markdown(said)}\n\n{_table(('property', 'base', 'this model', 'change'), rows)}{warnings}"


def _value(found: Mapping[str, Any] | None, *, sign: str = "") -> str:
    """An estimate with its interval, or why there is none."""
    if found is None:
        return ""
    if found.get("value") is None:
        return str(found.get("reason") or _UNKNOWN)
    value = f"{found['value']:{sign}.3f}"
    return value if found.get("low") is None else f"{value} [{found['low']:{sign}.3f}, {found['high']:{sign}.3f}]"


def _interval(metric: Mapping[str, Any]) -> str:
    if metric.get("difference") is None:
        return f"none: {metric.get('why_none') or _UNKNOWN}"
    level = 100 * float(metric.get("level") or 0)
    return f"{metric['difference']:+.4f} ({level:.4g}%: {metric['low']:+.4f} to {metric['high']:+.4f})"


def _training(lineage: Mapping[str, Any]) -> str:
    pairs, data, dev = _mapping(lineage.get("pairs")), _mapping(lineage.get("data")), _mapping(lineage.get("dev"))
    refused = ", ".join(f"{n} because {reason}" for reason, n in _mapping(pairs.get("refused")).items()) or "none"
    files = lineage.get("pair_files")
    rows = {
        "Method": lineage.get("method"),
        "Judgments of": f"{data.get('path')} ({data.get('format')}, split {data.get('split')})" if data else "none",
        "Licence of the data": lineage.get("data_licence") or _UNKNOWN,
        "Files of pairs": ", ".join(map(str, files)) if files else "none",
        "Pairs used": f"{pairs['used']:,}" if isinstance(pairs.get("used"), int) else _UNKNOWN,
        "Pairs refused": refused,
        "Digest of the pairs": pairs.get("digest", _UNKNOWN),
        **{
            str(name).replace("_", " "): _plain(value)
            for name, value in _mapping(lineage.get("training")).items()
            if value not in (None, {})
        },
        "dev": _dev(dev),
        "overfitting": lineage.get("overfitting"),
    }
    settings = _mapping(lineage.get("settings"))
    chosen = _table(("setting", "value"), [(name, _plain(value)) for name, value in settings.items()]) if settings else ""
    return "\n\n".join(part for part in (f"## Training\n\n{_table(('', ''), rows.items())}", chosen) if part)


def _dev(dev: Mapping[str, Any]) -> str:
    if dev.get("before") is None or dev.get("after") is None:
        return f"no score: {dev.get('reason', _UNKNOWN)}"
    return f"{dev.get('metric')} {dev['before']:.4f} before, {dev['after']:.4f} after ({dev.get('n_queries')} queries that chose the checkpoint)"


def _limits(lineage: Mapping[str, Any], results: Sequence[Mapping[str, Any]]) -> str:
    lines = [
        "Meant for finding passages of the collection it was trained and evaluated on; other texts, languages and tasks were not measured.",
        "It inherits the limits and biases of its base model, and those of the pairs that it was trained on.",
        "Similarities are not probabilities, and a threshold of another model does not carry over.",
    ]
    if not results:
        lines.append("Without an evaluation it is not shown to be better than its base.")
    elif not results[-1].get("gate_passed"):
        lines.append(f"Its newest evaluation did not pass its gate: {results[-1].get('sentence')}")
    lines += [str(warning) for warning in lineage.get("warnings") or ()]
    return "## Intended use and limits\n\n" + "\n".join(f"- {inert_markdown(line)}" for line in lines)


def _lineage(model: RegisteredModel) -> str:
    lineage = model.lineage
    environment = ", ".join(f"{name} {value}" for name, value in _mapping(lineage.get("environment")).items())
    code = lineage.get("code")
    rows = {
        "Experiment": lineage.get("experiment", _UNKNOWN),
        "Seed": lineage.get("seed", _mapping(lineage.get("settings")).get("seed", _UNKNOWN)),
        "Code": _plain(code) if code else _UNKNOWN,
        "Environment": environment or _UNKNOWN,
    }
    return f"## Lineage\n\n{_table(('', ''), rows.items())}\n\nThe whole record is `ragtrial.json` beside this card."


def _index(model: RegisteredModel, latest: Mapping[str, Any]) -> dict[str, Any]:
    """The results in the hub's form; a metric without a value is left out, for the form has no place for the reason."""
    metrics = [
        {"type": _metric_type(str(metric["name"])), "name": str(metric["name"]), "value": round(float(metric["custom"]), 4)}
        for metric in latest.get("metrics", ())
        if metric.get("custom") is not None
    ]
    dataset = {"name": f"{latest.get('experiment')} gold set", "type": f"{str(latest.get('gold'))[:12]}"}
    task = {"type": "information-retrieval", "name": "Information Retrieval"}
    return {"name": model.reference, "results": [{"task": task, "dataset": dataset, "metrics": metrics}] if metrics else []}


def _metric_type(name: str) -> str:
    family, at, cutoff = name.partition("@")
    known = _METRIC_TYPES.get(family, family.lower())
    return f"{known}_at_{cutoff}" if at else known


def _mapping(value: object) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}


def _number(value: object) -> str:
    return f"{value:.4f}" if isinstance(value, int | float) else "not measured"


def _plain(value: object) -> str:
    if isinstance(value, Mapping):
        return ", ".join(f"{name} {_plain(each)}" for name, each in value.items())
    if isinstance(value, list | tuple):
        return ", ".join(_plain(each) for each in value) or "none"
    return "none" if value is None else str(value)


def _table(head: Sequence[str], rows: Any) -> str:
    lines = [f"| {' | '.join(head)} |", f"|{'---|' * len(head)}"]
    lines += [f"| {' | '.join(_cell(cell) for cell in row)} |" for row in rows]
    return "\n".join(lines)


def _cell(value: object) -> str:
    return inert_markdown(str(_UNKNOWN if value is None else value))
