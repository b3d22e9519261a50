"""The page that one writes first, as the peer of the dashboard: every row into pandas, sums there. Run by `board.py`.

It shows less than the dashboard does: means by arm of one metric live, and of all metrics offline.
"""

import os

import pandas as pd
import sqlalchemy as sa
import streamlit as st

engine = sa.create_engine(os.environ["NAIVE_URL"])
if st.query_params.get("page") == "live":
    with engine.connect() as connection:
        trials = pd.read_sql(sa.text("SELECT * FROM live_trials"), connection)
        scores = pd.read_sql(sa.text("SELECT trial, value FROM live_scores WHERE metric = 'nDCG@10'"), connection)
    joined = trials.merge(scores, left_on="id", right_on="trial", how="left")
    arm = st.selectbox("arm", sorted(joined["arm"].unique()))
    st.metric("mean nDCG@10", joined[joined["arm"] == arm]["value"].mean())
    st.line_chart(joined.assign(hour=(joined["at"] // 3600)).groupby(["hour", "arm"])["id"].count().unstack())
else:
    with engine.connect() as connection:
        trials = pd.read_sql(sa.text("SELECT id, arm, query_id FROM trials"), connection)
        scores = pd.read_sql(sa.text("SELECT trial_id, metric, value FROM scores"), connection)
    joined = scores.merge(trials, left_on="trial_id", right_on="id")
    metric = st.selectbox("metric", sorted(joined["metric"].unique()))
    st.bar_chart(joined[joined["metric"] == metric].groupby("arm")["value"].mean())
st.write("painted")
