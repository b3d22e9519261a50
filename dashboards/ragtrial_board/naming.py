"""Names of files that people download."""

import re

import streamlit as st


def slug(text: str) -> str:
    """A text as a part of a file's name or of a style sheet's class."""
    return re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-") or "ragtrial"


def download_name(key: str) -> str:
    """The name of a file without its ending: which evaluation or live experiment it is of, and what it holds."""
    live = st.query_params.get("live")
    of = f"live {live}" if live else st.query_params.get("evaluation", "")
    return slug(f"{of} {key}")
