"""Models in words and rows: versions with their results, how training went, and what a map shows."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ragtrial.domain.embedding_map import EmbeddingMap
from ragtrial.domain.evaluation import ArmFacts, Evaluation
from ragtrial.report import words
from ragtrial.report.json_report import lineage_summary
from ragtrial.report.summary import Summary

_SHORT = 8
_CROSSES = "Crosses: the baseline found no relevant passage. "


@dataclass(frozen=True, kw_only=True)
class Version:
    """One model as it was evaluated.

    Attributes:
        facts: Of the arm that it was.
        evaluation: The newest evaluation that it was part of.
        evaluations: How many it was part of.
        summary: What that evaluation came to; None where it is not concluded.
    """

    facts: ArmFacts
    evaluation: Evaluation
    evaluations: int
    summary: Summary | None

    @property
    def name(self) -> str:
        """Name and short revision."""
        model = self.facts.model
        return "" if model is None else f"{model.name}@{model.revision[:_SHORT]}"

    @property
    def reference(self) -> str:
        """`NAME@VERSION` in the registry; empty of a model that is not registered."""
        name, version = self.lineage.get("name"), self.lineage.get("version")
        return f"{name}@{version}" if name and version else ""

    @property
    def lineage(self) -> Mapping[str, Any]:
        """The training record; empty where there is none."""
        return self.facts.lineage or {}


def versions(evaluations: Sequence[Evaluation], summaries: Mapping[str, Summary]) -> tuple[Version, ...]:
    """Every model that was evaluated, the one of the newest evaluation first; custom before baseline.

    Args:
        evaluations: In the order in which they were started.
        summaries: Of those that are concluded, by evaluation.
    """
    found: dict[tuple[str, str, tuple[str, ...]], Version] = {}
    for evaluation in evaluations:
        for facts in evaluation.arms:
            if facts.model is None:
                continue
            key = (facts.model.name, facts.model.revision, facts.model.settings)
            n = found[key].evaluations + 1 if key in found else 1
            found.pop(key, None)
            found[key] = Version(facts=facts, evaluation=evaluation, evaluations=n, summary=summaries.get(evaluation.evaluation_id))
    return tuple(reversed(found.values()))


def version_rows(found: Iterable[Version], states: Mapping[tuple[str, str], Sequence[str]] | None = None) -> list[dict[str, Any]]:
    """For a table: each model with what it is made from and what its newest evaluation came to.

    Args:
        found: The models.
        states: What registered versions are now (production, candidate, archived), by `NAME@VERSION` and checksum, for a version of another
            registry may have the same name; None leaves the column out.
    """
    rows = []
    for each in found:
        model, content = each.facts.model, each.summary
        primary = None if content is None else content.primary
        side = None if primary is None else (primary.custom if each.facts.role == "treatment" else primary.baseline)
        rows.append(
            {
                "model": each.name,
                "version": str(each.lineage.get("version", "")),
                **({} if states is None else {"state": ", ".join(states.get((each.reference, str(each.lineage.get("checksum", ""))), ()))}),
                "trained from": _base(each.lineage),
                "dimensions": None if model is None else model.dimension,
                "evaluated as": each.facts.arm,
                "metric": "" if primary is None else primary.metric.name,
                "mean": None if side is None else side.mean,
                "n": None if primary is None else primary.n_scored,
                "verdict": "" if content is None or each.facts.role != "treatment" else words.DECISIONS[content.analysis.verdict.decision],
                "evaluations": each.evaluations,
                "last evaluated": each.evaluation.started_at[:16].replace("T", " "),
            }
        )
    return rows


def _base(lineage: Mapping[str, Any]) -> str:
    base = lineage.get("base")
    return str(base.get("name", "")) if isinstance(base, Mapping) else ""


def versions_counted(found: Sequence[Version]) -> str:
    """How many models there are."""
    trained = sum(bool(each.lineage) for each in found)
    return f"{words.count(len(found), 'model')} evaluated, {trained or 'none'} trained here"


def versions_finding(found: Sequence[Version]) -> str | None:
    """Which model has the best mean of those measured as the newest one, on the same metric and queries; None where no two of them are."""
    primary = found[0].summary.primary if found and found[0].summary is not None else None
    if primary is None:
        return None
    rows, alike = version_rows(found), (found[0].evaluation.gold_fingerprint, primary.metric.name, primary.n_scored)
    scored = {
        each.name: row["mean"]
        for each, row in zip(found, rows, strict=True)
        if row["mean"] is not None and (each.evaluation.gold_fingerprint, row["metric"], row["n"]) == alike
    }
    if len(scored) < 2:
        return None
    which, best = ("highest", max) if primary.metric.higher_is_better else ("lowest", min)
    name = best(scored, key=scored.__getitem__)
    return f"{name} has the {which} mean {primary.metric.name}, {words.number(scored[name], primary.metric)} (n = {primary.n_scored:,})"


def lineage_rows(lineage: Mapping[str, Any]) -> list[tuple[str, str]]:
    """The training record, name by name."""
    return [(name, value) for name, value in _flat(lineage_summary(lineage)) if value]


def _flat(record: Mapping[str, Any], before: str = "") -> list[tuple[str, str]]:
    rows: list[tuple[str, str]] = []
    for name, value in record.items():
        said = f"{before}{name}".replace("_", " ")
        if isinstance(value, Mapping):
            rows += _flat(value, f"{before}{name} ")
        else:
            rows.append((said, words.without_credentials(", ".join(value) if isinstance(value, list) else str(value))))
    return rows


def dev_metric(lineage: Mapping[str, Any]) -> str | None:
    """Name of the metric that training was watched by; None where none was recorded."""
    dev = lineage.get("dev")
    return str(dev["metric"]) if isinstance(dev, Mapping) and "metric" in dev else None


def training_finding(version: Version) -> str:
    """What training did to the dev metric."""
    dev = version.lineage.get("dev")
    if not isinstance(dev, Mapping) or not {"metric", "before", "after"} <= set(dev):
        return f"How {version.name} did on its dev split was not recorded"
    if dev["before"] is None or dev["after"] is None:
        return f"How {version.name} did on its dev split was not measured: {dev.get('reason', 'no dev set')}"
    n = f" (n = {dev['n_queries']} dev queries)" if "n_queries" in dev else ""
    moved = "raised" if dev["after"] > dev["before"] else "did not raise"
    return f"Training {moved} {dev['metric']} on the dev split: {dev['before']:.3f} → {dev['after']:.3f}{n}"


def map_finding(maps: Mapping[str, EmbeddingMap], control: str) -> str:
    """What the maps show."""
    found = maps[control]
    queries = [point for point in found.points if point.kind == "query"]
    if any(point.missed is None for point in queries):
        return f"Where {len(queries)} queries lie, in both models' eyes"
    missed = sum(point.missed is True for point in queries)
    if not missed:
        return f"The baseline finds a relevant passage for each of the {len(queries)} queries on the map"
    return f"The baseline misses {missed} of {len(queries)} queries: where they lie, in both models' eyes"


def map_caption(found: EmbeddingMap) -> str:
    """How to read a map."""
    coloured = f"coloured by {found.tag}" if found.tag else "queries have no tag to colour by"
    n = sum(point.kind == "query" for point in found.points)
    crosses = "" if any(point.missed is None for point in found.points if point.kind == "query") else _CROSSES
    return (
        f"Small: passages. Large: queries, {coloured}. {crosses}"
        f"{n} of {found.n_queries} queries, {len(found.points) - n} of {found.n_passages} passages; {found.method}; neighbours stay neighbours, "
        f"far distances mean nothing (trustworthiness {found.trustworthiness:.2f})."
    )
