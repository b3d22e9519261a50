"""The files of pairs that a training names, read before anything that takes seconds: a faulty line is told at once."""

from collections.abc import Sequence
from pathlib import Path

from ragtrial.domain.pair import Pair
from ragtrial.errors import Problem, ValidationError
from ragtrial.formats.experiment import load_experiment
from ragtrial.formats.pairs import read_pairs


def check_files(experiment: Path) -> None:
    """Refuse an experiment file, and files of pairs that it names, with every fault of all of these.

    Raises:
        ValidationError: There are faults.
    """
    file = load_experiment(experiment)
    if file.experiment.training is not None:
        read_pair_files([file.folder / path for path in file.experiment.training.pairs])


def read_pair_files(paths: Sequence[Path]) -> tuple[Pair, ...]:
    """The pairs of all files, in order.

    Raises:
        ValidationError: With every fault of all files.
    """
    pairs: list[Pair] = []
    problems: list[Problem] = []
    for path in paths:
        try:
            pairs += read_pairs(path)
        except ValidationError as error:
            problems += error.problems
    if problems:
        raise ValidationError(problems)
    return tuple(pairs)
