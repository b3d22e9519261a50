"""A data set in any of the formats that an experiment file may name."""

from pathlib import Path

from ragtrial.domain.data import DataSpec
from ragtrial.formats.beir import check_beir, load_beir
from ragtrial.formats.experiment import resolve_path
from ragtrial.formats.tables import check_table, load_table
from ragtrial.formats.trec import check_trec, load_trec
from ragtrial.formats.validation import DataSet, Findings, Report


def load_data(spec: DataSpec, folder: Path) -> DataSet:
    """The documents and the gold set that `spec` names.

    Args:
        spec: Where they are.
        folder: What relative paths start from: the experiment file's folder.

    Raises:
        ValidationError: With every problem that `check_data` reports.
    """
    missing = _missing(spec)
    if missing.problems:
        missing.require(None)
    path, corpus = resolve_path(folder, spec.path), corpus_location(spec, folder)
    if spec.format == "beir":
        return load_beir(path, spec.split, corpus=corpus)
    if spec.format == "table":
        return load_table(path, corpus)
    return load_trec(path, corpus, resolve_path(folder, spec.queries or ""))


def check_data(spec: DataSpec, folder: Path) -> Report:
    """Everything that is wrong or odd in the data that `spec` names; arguments as for `load_data`."""
    missing = _missing(spec)
    if missing.problems:
        return missing.report()
    path, corpus = resolve_path(folder, spec.path), corpus_location(spec, folder)
    if spec.format == "beir":
        return check_beir(path, spec.split, corpus=corpus)
    if spec.format == "table":
        return check_table(path, corpus)
    return check_trec(path, corpus, resolve_path(folder, spec.queries or ""))


def corpus_location(spec: DataSpec, folder: Path) -> Path | str:
    """Where the documents are: one file, or the place of their shards, which an address names as it stands.

    Args:
        spec: Where the data are.
        folder: As for `load_data`.
    """
    if spec.corpus is None:
        return resolve_path(folder, spec.path) / "corpus.jsonl"
    return spec.corpus if "://" in spec.corpus else resolve_path(folder, spec.corpus)


def _missing(spec: DataSpec) -> Findings:
    """The files that the format needs and the spec doesn't name."""
    findings = Findings()
    needed = {"beir": (), "table": ("corpus",), "trec": ("corpus", "queries")}[spec.format]
    for name in needed:
        if getattr(spec, name) is None:
            findings.problem(f"is missing: format {spec.format} needs a {name}.jsonl beside {spec.path!r}", path=None, field=f"data.{name}")
    return findings
