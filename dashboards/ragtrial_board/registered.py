"""The model registry beside the database."""

from pathlib import Path

from ragtrial.settings import read_settings
from ragtrial.suite.model_states import State, States, states_of
from ragtrial_board.told import told

TONES: dict[State, tuple[str, str]] = {"production": ("good", "✓"), "candidate": ("open", "▸"), "archived": ("calm", "○")}
"""Tone and sign of each state's badge."""


def registered() -> States:
    """What versions are now, in that registry."""
    return states_of(registry_folder())


def registry_folder() -> Path:
    """The registry of the experiment that was opened, or the one in the usual place of the dashboard's folder."""
    given = told()
    return Path(given.registry) if given.registry is not None else Path(given.folder) / read_settings().registry


def registry_said() -> str:
    """Which registry that is, for people: below the experiment's folder, or else its name alone, for not every visitor may know the rest."""
    folder, above = registry_folder().absolute(), Path(told().folder).absolute()
    return str(folder.relative_to(above)) if folder.is_relative_to(above) else folder.name
