"""The model registry beside the database."""

from pathlib import Path

from ragtrial.settings import read_settings
from ragtrial.suite.model_states import State, States, states_of
from ragtrial_board.told import told

TONES: dict[State, tuple[str, str]] = {"production": ("good", "✓"), "candidate": ("open", "▸"), "archived": ("calm", "○")}
"""Tone and sign of each state's badge."""


def registered() -> States:
    """What versions are now, in the experiment's registry, or the one in the usual place of the dashboard's folder."""
    given = told()
    return states_of(Path(given.registry) if given.registry is not None else Path(given.folder) / read_settings().registry)
