"""The verdict on one page for a slide, made when somebody asks for it."""

import streamlit as st

from ragtrial.report.live_summary import LiveSummary
from ragtrial.report.slide import as_html, as_pdf
from ragtrial.report.summary import Summary
from ragtrial_board.naming import download_name


def slide(content: Summary | LiveSummary) -> None:
    """Downloads of the verdict as one page: PDF, and HTML that holds everything it shows."""
    name = download_name("verdict")
    with st.container(horizontal=True, key="downloads-slide"):
        st.download_button(
            "Slide as PDF",
            lambda: as_pdf(content),
            file_name=f"{name}.pdf",
            mime="application/pdf",
            key="slide pdf",
            type="tertiary",
            on_click="ignore",
        )
        st.download_button(
            "Slide as HTML",
            lambda: as_html(content).encode(),
            file_name=f"{name}.html",
            mime="text/html",
            key="slide html",
            type="tertiary",
            on_click="ignore",
        )
