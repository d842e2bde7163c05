"""A page that needs nothing else: its styles, scripts, plots and tables are inside, and it may load nothing.

The page's content security policy allows the two scripts whose digests it names and no others, and no request at all:
a name in a run that looks like markup is escaped, and could not run or load anything if it were not.
"""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Mapping
from functools import cache
from importlib import resources
from typing import Any

import jinja2
import pandas as pd
from markupsafe import Markup

from qnas_ov.report._words import chance, duration, label_of, number, signed, times

PLOTLY = "plotly-basic.min.js"
"""plotly.js 4.1.1, the bundle of npm's `plotly.js-basic-dist-min` as it is: a quarter of the whole of plotly.js."""


def render(template: str, *, figures: Mapping[str, Mapping[str, Any]], **view: Any) -> str:
    """Renders a page; everything in `view` and in the figures is escaped.

    Args:
        template: Name of the template.
        figures: Plots by the id under which the template places them.
        view: What else the template shows.
    """
    scripts = {name: _asset(name) for name in (PLOTLY, "page.js")}
    allowed = " ".join(f"'sha256-{_digest(script)}'" for script in scripts.values())
    policy = (
        f"default-src 'none'; script-src {allowed}; style-src 'unsafe-inline'; img-src data:; "
        "base-uri 'none'; form-action 'none'"
    )
    return (
        _environment()
        .get_template(template)
        .render(
            policy=policy,
            style=_trusted(_asset("page.css")),
            scripts=[_trusted(script) for script in scripts.values()],
            figures={name: _trusted(_embed(figure)) for name, figure in figures.items()},
            **view,
        )
    )


@cache
def _environment() -> jinja2.Environment:
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("qnas_ov.report"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {
        "number": number, "p": chance, "signed": signed, "times": times, "label": label_of,
        "duration": duration, "csv": csv_link,
    }  # fmt: skip
    return environment


@cache
def _asset(name: str) -> str:
    text = (resources.files("qnas_ov.report") / "assets" / name).read_text(encoding="utf-8")
    assert "</script" not in text
    assert "</style" not in text
    return text


def _digest(script: str) -> str:
    return base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()


def _trusted(text: str) -> Markup:
    """Marks text of our own as safe; everything else on a page is escaped."""
    return Markup(text)  # noqa: S704


def _embed(figure: Mapping[str, Any]) -> str:
    """JSON for the inside of a script element: no "<" that could end it."""
    text = json.dumps(figure, allow_nan=False, default=_plain, separators=(",", ":"))
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")


def _plain(value: Any) -> Any:
    return value.item()  # of NumPy's scalars


def csv_link(table: pd.DataFrame) -> str:
    """The table as the address of a download."""
    return f"data:text/csv;base64,{base64.b64encode(table.to_csv(index=False).encode()).decode()}"
