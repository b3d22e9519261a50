"""`ragtrial validate`: everything that is wrong with an experiment's files, as one list."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ragtrial.errors import Problem, ValidationError
from ragtrial.formats.data import check_data
from ragtrial.formats.experiment import load_experiment
from ragtrial.suite.preparing import load


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """What a validation came to.

    Attributes:
        problems: What must be mended before an evaluation.
        warnings: What is worth a look.
        summary: What is there, a line each.
    """

    problems: tuple[Problem, ...]
    warnings: tuple[Problem, ...] = ()
    summary: tuple[str, ...] = field(default=())

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        rows = {kind: [{name: getattr(p, name) for name in p.__slots__} for p in getattr(self, kind)] for kind in ("problems", "warnings")}
        return {"valid": not self.problems, **rows, "summary": list(self.summary)}


def check(path: Path) -> Found:
    """Check the file, its data and its training data; nothing is written."""
    try:
        file = load_experiment(path)
    except ValidationError as error:
        return Found(problems=error.problems)
    specs = [file.experiment.data]
    if file.experiment.training is not None:
        specs.append(file.experiment.training.data)
    problems: list[Problem] = []
    warnings: list[Problem] = []
    summary: list[str] = []
    for spec in specs:
        report = check_data(spec, file.folder)
        problems += report.problems
        warnings += report.warnings
        if not report.problems:
            corpus, gold, turnover = load(spec, file)
            name = f"{spec.path} ({spec.split})"
            summary.append(f"{name}: {len(corpus.passages):,} passages, {len(gold.queries):,} queries, {len(gold.judgments):,} judgments")
            summary.append(f"{name}: {turnover.summary()}")
    return Found(problems=tuple(problems), warnings=tuple(warnings), summary=tuple(summary))
