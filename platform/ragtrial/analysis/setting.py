"""What every step of one analysis needs."""

import zlib
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from ragtrial.domain.evaluation import Evaluation
from ragtrial.domain.experiment import AnalysisPlan, Experiment
from ragtrial.domain.score import PairedScores, ScoreTable


@dataclass(frozen=True, kw_only=True)
class Setting:
    """What every step of one analysis needs."""

    evaluation: Evaluation
    experiment: Experiment
    plan: AnalysisPlan
    tables: Mapping[str, ScoreTable]
    failures: Mapping[str, Mapping[str, int]]

    @property
    def references(self) -> list[str]:
        """Names of the reference lines."""
        return [arm.arm for arm in self.evaluation.arms if arm.role == "reference"]

    def paired(self, metric: str) -> PairedScores:
        """Both arms' scores of one metric."""
        return self.tables[metric].paired(self.experiment.control.name, self.experiment.treatment.name)

    def rng(self, *key: str) -> np.random.Generator:
        """A generator of its own for each use, so that adding a metric changes no other number."""
        return np.random.default_rng([self.plan.seed, *(zlib.crc32(part.encode()) for part in key)])
