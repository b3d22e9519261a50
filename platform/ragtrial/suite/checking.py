"""`ragtrial validate`: everything that is wrong with an experiment's files, as one list."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ragtrial.build import check_index, index_parameters, reading_of
from ragtrial.domain.corpus import Corpus
from ragtrial.domain.data import DataSpec
from ragtrial.domain.gold import GoldSet
from ragtrial.errors import ModelError, Problem, RagtrialError, ValidationError
from ragtrial.formats.data import check_data
from ragtrial.formats.experiment import load_experiment, milvus_uri
from ragtrial.formats.pairs import check_pairs
from ragtrial.settings import Settings
from ragtrial.suite.arm_models import archived, check_models, missing_models
from ragtrial.suite.calls import check_llm
from ragtrial.suite.places import places
from ragtrial.suite.preparing import Prepared, load, prepare
from ragtrial.suite.running import check_measurable


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


def check(path: Path, settings: Settings) -> Found:
    """Check the file, its data and its training data, and whether its models and its index can be had; nothing is written.

    A model that isn't there is a warning: files are often checked where nothing is evaluated.
    """
    try:
        file = load_experiment(path, settings)
    except ValidationError as error:
        return Found(problems=error.problems)
    problems: list[Problem] = []
    warnings: list[Problem] = []
    summary: list[str] = []
    training = file.experiment.training
    judged = None if training is None else training.data
    for path_of_pairs in () if training is None else training.pairs:
        found = check_pairs(file.folder / path_of_pairs)
        problems += found.problems
        summary.append(f"{path_of_pairs}: {found.counts.get('pairs', 0):,} training pairs")
    for spec in (file.experiment.data, *(() if judged is None else (judged,))):
        report = check_data(spec, file.folder)
        problems += report.problems
        warnings += report.warnings
        if report.problems:
            continue
        if spec is not file.experiment.data:
            corpus, gold, turnover = load(spec, file)
            summary += _summary(spec, corpus, gold, turnover.summary())
            continue
        try:
            prepared = prepare(path, settings=settings)
        except RagtrialError as error:
            problems.append(Problem(message=str(error), path=str(file.path)))
            continue
        summary += _summary(spec, prepared.corpus, prepared.gold, prepared.turnover.summary())
        problems += _faults(prepared)
        warnings += _missing(prepared)
    try:
        summary += places(file, settings)
    except RagtrialError as error:
        problems.append(Problem(message=str(error), path=str(file.path)))
    return Found(problems=tuple(problems), warnings=tuple(warnings), summary=tuple(summary))


def _summary(spec: DataSpec, corpus: Corpus, gold: GoldSet, turnover: str) -> list[str]:
    name = f"{spec.path} ({spec.split})"
    counts = f"{len(corpus.passages):,} passages, {len(gold.queries):,} queries, {len(gold.judgments):,} judgments"
    return [f"{name}: {counts}", f"{name}: {turnover}"]


def _faults(prepared: Prepared) -> list[Problem]:
    """What would refuse the evaluation, whatever the machine."""
    problems = []
    try:
        check_measurable(prepared.experiment, prepared.gold)
        check_llm(prepared, keys=False)
        reading_of([prepared.experiment.retrieval_of(arm).index for arm in prepared.experiment.arms])
        for arm in prepared.experiment.arms:
            check_index(index_parameters(prepared.experiment.retrieval_of(arm)), milvus_uri(prepared.file))
    except RagtrialError as error:
        problems.append(Problem(message=str(error), path=str(prepared.file.path)))
    return problems


def _missing(prepared: Prepared) -> list[Problem]:
    """Models that are not on this machine and will not be trained, and those that are archived."""
    try:
        lacking = missing_models(prepared)
        check_models(prepared, to_train=lacking if prepared.experiment.training is not None else ())
        found = {} if lacking else archived(prepared)
    except ModelError as error:
        return [Problem(message=str(error), path=str(prepared.file.path))]
    return [Problem(message=detail, path=str(prepared.file.path)) for _state, detail in found.values()]
