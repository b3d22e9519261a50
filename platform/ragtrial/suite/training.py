"""Training as an experiment file asks for it: never on what the model will be tested on."""

from ragtrial.contracts import Progress, no_progress
from ragtrial.domain.experiment import TrainingSpec
from ragtrial.errors import InputError
from ragtrial.finetuning.registry import RegisteredModel
from ragtrial.suite.preparing import Prepared


def model_name(prepared: Prepared) -> str:
    """The name under which the experiment's model is registered.

    Raises:
        InputError: The experiment has no training section, or no name can be told from it.
    """
    spec = _spec(prepared)
    asked = [arm.embedding.model for arm in prepared.experiment.arms if arm.embedding.model.startswith("registry:")]
    name = spec.name or (asked[0].removeprefix("registry:").partition("@")[0] if asked else None)
    if name is None:
        raise InputError(f"{prepared.file.path}: training.name: no arm asks for a registered model, so say how the new one is called")
    return name


def _spec(prepared: Prepared) -> TrainingSpec:
    spec = prepared.experiment.training
    if spec is None:
        raise InputError(f"{prepared.file.path}: there is no 'training' section: add one with 'data' and 'base'")
    return spec


def train_model(prepared: Prepared, *, name: str, progress: Progress = no_progress) -> RegisteredModel:
    """Fine-tune as the experiment says and register the result as the next version of `name`."""
    raise NotImplementedError(name)
