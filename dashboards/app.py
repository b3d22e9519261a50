"""The dashboard: which pages there are. Started by `ragtrial dashboard`."""

from pathlib import Path

import streamlit as st

from ragtrial_board.beginning import begin, run

HERE = Path(__file__).parent

PAGES = {
    "verdict": "Verdict",
    "compare": "Compare arms",
    "queries": "Queries",
    "live": "Live",
    "cost": "Cost and speed",
    "judges": "Judges",
    "models": "Models and drift",
}
HIDDEN = {"query": "Query", "labelling": "Labelling queue"}


def _page(name: str, title: str) -> st.Page:
    path = HERE / "pages" / f"{name}.py"
    return st.Page(path, title=title, url_path=name, default=name == "verdict", visibility="hidden" if name in HIDDEN else "visible")


pages = {name: _page(name, title) for name, title in {**PAGES, **HIDDEN}.items() if (HERE / "pages" / f"{name}.py").is_file()}
page = st.navigation(list(pages.values()), position="hidden")
run(page, begin(pages, needs="feedback" if page.url_path == "labelling" else "read"))  # labelling shows no results
