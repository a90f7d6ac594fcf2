"""The dashboard's pages, run without a browser."""

from __future__ import annotations

from pathlib import Path

from streamlit.testing.v1 import AppTest

APP = str(Path(__file__).parents[1] / "dashboard" / "app.py")
REVIEWS = b"text,label\n" + b"".join(
    b"%s plot %d,%s\n" % ((b"good", i, b"yes") if i % 2 else (b"bad", i, b"no")) for i in range(40)
)


def opened(view: str, study: str | None = None) -> AppTest:
    page = AppTest.from_file(APP, default_timeout=60)
    if study is not None:
        page.query_params["study"] = study
    page.run()
    return page if view == "submit" else page.switch_page(f"views/{view}.py").run()


def texts(page: AppTest) -> str:
    kinds = (page.markdown, page.caption, page.info, page.success, page.warning, page.error, page.subheader)
    return "\n".join(str(element.value) for kind in kinds for element in kind)
