"""What every form of live report says, gathered once."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from ragtrial.domain.experiment import Experiment
from ragtrial.domain.live import LiveSpec
from ragtrial.domain.live_verdict import LiveAnalysis, LiveComparison
from ragtrial.domain.planned import Guardrail
from ragtrial.report import words


@dataclass(frozen=True, kw_only=True)
class LiveContent:
    """What every form of live report says.

    Attributes:
        experiment: The plan, with a section `live`.
        analysis: What is concluded so far.
        made_at: When it was concluded, seconds since 1970.
        models: What each arm embeds with, by arm, in words; empty where nothing was recorded.
        environment: Versions that the service ran under.
    """

    experiment: Experiment
    analysis: LiveAnalysis
    made_at: float
    models: Mapping[str, str] = field(default_factory=dict)
    environment: Mapping[str, str] = field(default_factory=dict)

    @property
    def live(self) -> LiveSpec:
        """The live plan.

        Raises:
            ValueError: There is none.
        """
        if self.experiment.live is None:
            raise ValueError(f"experiment {self.experiment.name!r} has no section 'live'")
        return self.experiment.live

    @property
    def control(self) -> str:
        """The control arm's name."""
        return self.experiment.control.name

    @property
    def treatment(self) -> str:
        """The treatment arm's name."""
        return self.experiment.treatment.name

    @property
    def primary(self) -> LiveComparison:
        """The comparison that decides."""
        return self.analysis.primary

    @property
    def guardrails(self) -> tuple[tuple[Guardrail, LiveComparison], ...]:
        """Every planned guardrail with its comparison."""
        by_name = {comparison.metric.name: comparison for comparison in self.analysis.comparisons}
        return tuple((planned, by_name[planned.name]) for planned in self.live.metrics.guardrails if planned.name in by_name)

    @property
    def without_fee(self) -> bool:
        """Whether both arms' answers are extractive: no LLM is asked, so there is no fee."""
        arms = (self.experiment.control, self.experiment.treatment)
        return all(self.experiment.generation_of(arm).provider == "extractive" for arm in arms)

    def label(self, arm: str) -> str:
        """The arm's name, with its role where the name doesn't say it."""
        return words.with_role(arm, {self.control: "baseline", self.treatment: "custom"}.get(arm))
