"""Pages in a real browser: no errors, nothing loaded, nothing too wide, and what clicks and keys do."""

from __future__ import annotations

import itertools
import time
from functools import partial
from pathlib import Path

import pandas as pd
import pytest
from browser import DESKTOP, PHONE, Browser, find_browser
from pages import HOSTILE
from search_folders import write_searched_run

from qnas_ov.pipeline import run_report
from qnas_ov.report import read_run, render_sensitivity

KINDS = ("finished", "unfinished", "comparison", "sensitivity", "hostile")


def drawn(name: str) -> bool:
    """Whether plotly.js gave an element that id."""
    return "plotly" in name or name.startswith(("topdefs", "defs", "clip", "legend", "g", "xy"))


def point(browser: Browser, x: float, y: float) -> None:
    """Moves to a place in a plot and clicks, no faster than a hand: plotly.js passes over clicks before it hovers."""
    browser.hover(x + 40, y + 40)
    time.sleep(0.1)
    browser.hover(x, y)
    time.sleep(0.2)
    browser.click(x, y)


@pytest.fixture(scope="module")
def pages(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("pages")
    finished = write_searched_run(folder / "finished")
    other = write_searched_run(folder / "other", seed=1, recipe={"max_drop": 0.01})
    unfinished = write_searched_run(folder / "unfinished", finished=False)
    hostile = write_searched_run(folder / "hostile", hostile=HOSTILE)
    sensitivity = folder / "sensitivity.html"
    sensitivity.write_text(_sensitivity())
    return {
        "finished": run_report([finished]).page,
        "unfinished": run_report([unfinished]).page,
        "comparison": run_report([finished, other], out=folder / "comparison.html").page,
        "sensitivity": sensitivity,
        "hostile": run_report([hostile]).page,
    }


def _sensitivity() -> str:
    units = [f"encoder.layer.{i}.attention.attention.key+query+value{HOSTILE}" for i in range(30)]
    table = pd.DataFrame({"unit": units, "output_error": [0.1 / (1 + i) for i in range(30)], "params": 5, "macs": 1e6})
    table["accuracy_top1"] = 0.9
    table["saving_ms"], table["saving_ms_ci95_low"], table["saving_ms_ci95_high"] = 0.1, 0.05, 0.2
    policy = {
        "limit": "--max-drop 0.01", "quantity": "the drop of accuracy_top1", "float_units": units[:2],
        "ignored_scope": f"nncf.IgnoredScope(names=[\n    '{'x' * 300}',\n])", "validation": 0.004, "test": 0.006,
    }  # fmt: skip
    return render_sensitivity(
        {
            "model": "mine", "metric": "accuracy_top1", "inference_precision": "f32", "reference": 0.9,
            "all_int8": 0.8, "all_int8_error": 0.2, "num_samples": 50, "units": units, "policy": policy,
        },
        table,
    )  # fmt: skip


@pytest.mark.parametrize("size", [DESKTOP, PHONE], ids=["desktop", "phone"])
@pytest.mark.parametrize("kind", KINDS)
def test_a_page_works(browser: Browser, pages: dict[str, Path], kind: str, size: tuple[int, int]) -> None:
    browser.open(pages[kind], size)
    assert browser.ask("document.documentElement.scrollWidth") <= size[0]
    for plot in ("front", "progress", "error"):
        if browser.ask(f"!!document.querySelector('[data-figure={plot}]')"):
            assert browser.ask(f"document.querySelector('[data-figure={plot}]').getBoundingClientRect().width") > 250
    wrong = "[...document.querySelectorAll('.js-plotly-plot')].flatMap(p => Plotly.validate(p.data, p.layout) || [])"
    assert browser.ask(f"{wrong}.map(e => e.msg)") == []
    assert "owned" not in browser.ask("document.title")[:10]
    assert browser.ask("document.querySelectorAll('img, iframe, object').length") == 0
    assert browser.errors() == []
    assert browser.requests() == [pages[kind].resolve().as_uri()]


def test_a_broken_page_is_noticed(browser: Browser, tmp_path: Path) -> None:
    """What the test above relies on: errors, requests and overflow are seen."""
    page = tmp_path / "bad.html"
    page.write_text(
        "<!doctype html><meta name=viewport content='width=device-width'><div style='width:2000px'>wide</div>"
        "<img src='http://127.0.0.1:9/x.png'><script>console.error('one'); undefinedFunction()</script>"
    )
    browser.open(page, PHONE)
    browser.wait("document.images[0].complete")
    assert browser.ask("document.documentElement.scrollWidth") > 2000
    assert len(browser.errors()) >= 2
    assert "http://127.0.0.1:9/x.png" in browser.requests()


def test_pages_can_be_read_without_eyes(browser: Browser, pages: dict[str, Path]) -> None:
    for kind in KINDS:
        browser.open(pages[kind], DESKTOP)
        levels = browser.ask("[...document.querySelectorAll('h1,h2,h3,h4')].map(h => Number(h.tagName[1]))")
        assert levels[0] == 1
        assert levels.count(1) == 1
        assert all(after <= before + 1 for before, after in itertools.pairwise(levels)), (kind, levels)
        assert browser.ask("document.querySelectorAll('[role=img]:not([aria-label])').length") == 0
        assert browser.ask("[...document.querySelectorAll('button, a')].filter(b => !b.textContent.trim()).length") == 0
        ids = [i for i in browser.ask("[...document.querySelectorAll('body *[id]')].map(e => e.id)") if not drawn(i)]
        assert len(ids) == len(set(ids)), kind
        links = browser.ask(
            "[...document.querySelectorAll('a[href^=\"#\"]')].map(a => a.getAttribute('href').slice(1))"
        )
        assert set(links) <= set(ids), kind


SELECTED = (
    "[...document.querySelectorAll('.network')].filter(n => n.offsetParent).map(n => n.querySelector('h3').textContent)"
)
PLACE = """(name => {
  const plot = document.querySelector('[data-figure=front]'), layout = plot._fullLayout;
  const box = plot.getBoundingClientRect();
  for (const trace of plot.data) {
    const at = (trace.text || []).findIndex(text => text.startsWith(`<b>${name}</b>`));
    if (at >= 0 && trace.customdata)
      return [
        box.left + layout._size.l + layout.xaxis.d2p(trace.x[at]),
        box.top + layout._size.t + layout.yaxis.d2p(trace.y[at]),
      ];
  }
})"""


@pytest.mark.parametrize("size", [DESKTOP, PHONE], ids=["desktop", "phone"])
def test_a_click_on_a_point_shows_its_details(browser: Browser, pages: dict[str, Path], size: tuple[int, int]) -> None:
    run = read_run(pages["finished"].parent)
    assert run.front is not None
    browser.open(pages["finished"], size)
    shown = browser.ask(SELECTED)
    assert len(shown) == 1
    for name in [n for n in run.front["candidate"] if n not in (*shown, "int8-f32")][:2]:
        browser.ask(
            "document.querySelector('[data-figure=front]').scrollIntoView({behavior: 'instant', block: 'center'})"
        )
        x, y = browser.ask(f"{PLACE}('{name}')")
        browser.hover(x, y)
        browser.wait(f"document.querySelector('.hoverlayer').textContent.startsWith('{name}')")
        hover = browser.ask("document.querySelector('.hoverlayer').textContent")
        assert "INT8" in hover or "float" in hover
        browser.wait(f"{SELECTED}[0] === '{name}'", act=partial(point, browser, x, y))
        panel = browser.ask("document.querySelector('.network.selected').innerText")
        row = run.front.set_index("candidate").loc[name]
        assert f"{row['test_accuracy_top1']:.4f}" in panel
        assert f"{row['latency_ms']:.3f} ms" in panel
        assert f"--select {name} --format ovms" in panel
        assert browser.ask("document.querySelectorAll('.network.selected .cell').length") == len(run.space.units)
        browser.wait("(b => b.top < innerHeight && b.bottom > 0)(document.querySelector('.network.selected')"
                     ".getBoundingClientRect())")  # fmt: skip
        assert browser.ask("[...document.querySelectorAll('tr.selected th')].map(t => t.textContent)") == [name]
    browser.ask("document.querySelector('[data-figure=front]').scrollIntoView({behavior: 'instant', block: 'center'})")
    place = browser.ask(f"{PLACE}('float-f32')")
    browser.wait(f"{SELECTED}[0] === 'float-f32'", act=partial(point, browser, *place))
    assert "--select" not in browser.ask("document.querySelector('.network.selected').innerText")
    assert browser.errors() == []


def test_keys_reach_every_network(browser: Browser, pages: dict[str, Path]) -> None:
    browser.open(pages["finished"], DESKTOP)
    (first,) = browser.ask(SELECTED)
    browser.ask("document.querySelector('.network.selected [data-step=\"1\"]').focus()")
    seen = [first]
    for _ in range(6):
        browser.press("Enter", 13)
        browser.wait(f"{SELECTED}[0] !== '{seen[-1]}'")
        seen += browser.ask(SELECTED)
    assert len(set(seen)) == 6  # one more than the front has, and back to the first one of seven by the last key
    browser.ask("document.querySelector('#tables tbody a').focus()")
    name = browser.ask("document.activeElement.textContent")
    browser.press("Enter", 13)
    browser.wait(f"{SELECTED}[0] === '{name}'")
    browser.ask("document.querySelectorAll('.thumbs a')[1].click()")
    browser.wait(f"{SELECTED}[0] === document.querySelectorAll('.thumbs a b')[1].textContent")


def test_a_command_can_be_copied(browser: Browser, pages: dict[str, Path]) -> None:
    browser.open(pages["finished"], DESKTOP)
    browser.ask("document.querySelector('.network.selected [data-copy]').click()")
    browser.wait("document.querySelector('.network.selected [data-copy]').textContent !== 'copy'")


def test_paper_is_not_too_narrow(browser: Browser, pages: dict[str, Path], tmp_path: Path) -> None:
    try:
        for kind in ("finished", "comparison"):
            browser.open(pages[kind], (700, 900))
            browser.show_as("print")
            browser.wait("[...document.querySelectorAll('.js-plotly-plot')].every(p => p._fullLayout.width <= 690)")
            assert browser.ask("document.documentElement.scrollWidth") <= 700, kind
            assert browser.ask("[...document.querySelectorAll('.steps, .copy, nav')].every(e => !e.offsetParent)")
            browser.show_as("screen")
        assert browser.print(tmp_path / "page.pdf").startswith(b"%PDF")
    finally:
        browser.show_as("screen")


def test_a_missing_browser_fails_with_the_remedy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    monkeypatch.delenv("CHROMIUM", raising=False)
    with pytest.raises(AssertionError, match="tools/setup test"):
        find_browser()
