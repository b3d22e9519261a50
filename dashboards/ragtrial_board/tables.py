"""Tables that can be sorted, searched and downloaded."""

import io
from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd
import streamlit as st

from ragtrial_board.drawing import file_name


def table(
    key: str,
    rows: "Sequence[Mapping[str, Any]] | pd.DataFrame",
    *,
    columns: Mapping[str, Any] | None = None,
    caption: str | None = None,
    height: int | None = None,
) -> None:
    """A table with its downloads.

    Args:
        key: Names it on its page; the file that is downloaded, too.
        rows: Its rows, all with the same columns.
        columns: `st.column_config` of columns.
        caption: What it holds, below.
        height: In pixels; by default as high as its rows, up to ten of them.
    """
    frame = rows if isinstance(rows, pd.DataFrame) else pd.DataFrame(list(rows))
    name = file_name(key)
    st.dataframe(frame, column_config=dict(columns or {}), hide_index=True, height=height or "auto", width="stretch", key=f"table {key}")
    if caption:
        st.caption(caption)
    with st.container(horizontal=True, key=f"downloads-table-{name}"):
        st.download_button(
            "CSV",
            lambda: frame.to_csv(index=False).encode(),
            file_name=f"{name}.csv",
            mime="text/csv",
            key=f"csv {key}",
            type="tertiary",
            on_click="ignore",
        )
        st.download_button(
            "Parquet", lambda: _parquet(frame), file_name=f"{name}.parquet", key=f"parquet {key}", type="tertiary", on_click="ignore"
        )


def _parquet(frame: pd.DataFrame) -> bytes:
    buffer = io.BytesIO()
    frame.to_parquet(buffer, index=False)
    return buffer.getvalue()
