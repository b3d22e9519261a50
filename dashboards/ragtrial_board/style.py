"""What every page begins with: the tab's icon, the width, and the style sheet."""

from pathlib import Path

import streamlit as st

from ragtrial.report.drawing import DARK, LIGHT
from ragtrial.report.svg import COLOURS

_ASSETS = Path(__file__).parent.parent / "assets"


def dress() -> None:
    """Set up the look of the page that is about to run."""
    st.set_page_config(page_title="ragtrial", layout="wide", page_icon=str(_ASSETS / "icon.png"))
    st.html(f"<style>{style_sheet()}</style>")


def style_sheet() -> str:
    """The style sheet, with colours of charts for light and dark."""
    colours = " ".join(f"--chart-{name}: light-dark({getattr(LIGHT, name)}, {getattr(DARK, name)});" for name in COLOURS)
    return f".stApp {{ {colours} }}\n" + (_ASSETS / "board.css").read_text(encoding="utf-8")


def style(name: str) -> None:
    """Add `assets/<name>.css` to the page that runs."""
    st.html(f"<style>{(_ASSETS / f'{name}.css').read_text(encoding='utf-8')}</style>")
