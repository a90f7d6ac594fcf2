"""The dashboard: `peltier dashboard` runs this file with Streamlit."""

from __future__ import annotations

from pathlib import Path

import streamlit as st

ICON = Path(__file__).with_name("icon.png")  # a local file: an icon by name is fetched from the internet

st.set_page_config(page_title="Peltier", page_icon=str(ICON), layout="wide")
page = st.navigation(
    [
        st.Page("views/submit.py", title="Submit", icon=":material/upload_file:", default=True),
        st.Page("views/progress.py", title="Progress", icon=":material/monitoring:"),
        st.Page("views/leaderboard.py", title="Leaderboard", icon=":material/leaderboard:"),
        st.Page("views/gates.py", title="Gates", icon=":material/grid_on:"),
        st.Page("views/recommendation.py", title="Recommendation", icon=":material/task_alt:"),
    ]
)
page.run()
