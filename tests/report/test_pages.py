"""What pages say, without a browser: words, pictures, tables, escaping."""

from __future__ import annotations

import base64
import re
from pathlib import Path

import pandas as pd
import pytest
from pages import HOSTILE, Page, render
from search_folders import unit_keys, write_searched_run

from qnas_ov.core.errors import QnasError
from qnas_ov.measure import RoundPlan, describe_protocol
from qnas_ov.pipeline import run_report
from qnas_ov.report import read_run


def test_the_page_tells_the_result(tmp_path: Path) -> None:
    folder = write_searched_run(tmp_path / "run")
    page, run = render(folder), read_run(folder)
    assert run.front is not None
    names = list(run.front["candidate"])
    assert "tiny on CPU" in page.words
    assert "5 networks on the verified front" in page.words
    assert "Asked for nothing else, qnas-ov package takes the knee:" in page.words
    assert "some 10⁶ in 21 seconds of measuring" in page.words
    assert "1 measurement failed" in page.words
    assert "A note on what was done otherwise." in page.words
    for name in names:
        assert f"qnas-ov package {folder} --select {name} --format ovms" in page.words
    assert "qnas-ov search --recipe recipe.yaml --out NEW_FOLDER" in page.words
    assert "is computed by 'x' (MatMul in f32)" in page.words
    assert "not finished" not in page.words
    assert len(page.of("article")) == len(names) + 2
    assert {a["data-figure"] for a in page.of("div") if "data-figure" in a} == {"front", "progress", "predictor-1"}


def test_the_page_tells_how_the_search_went(tmp_path: Path) -> None:
    words = render(write_searched_run(tmp_path / "run")).words
    assert "The search ended because 20 candidates were measured." in words
    assert "2 of 19 candidates were judged on the first validation samples alone" in words


@pytest.mark.parametrize("finished", [True, False])
def test_the_page_tells_how_latencies_were_measured(tmp_path: Path, finished: bool) -> None:
    """In the words of `qnas-ov benchmark`, with the rounds of the run's own recipe."""
    recipe = {"final_rounds": 4, "latency_precision": 0.02, "latency_max_rounds": 9}
    words = render(write_searched_run(tmp_path / "run", finished=finished, recipe=recipe)).words
    plan = RoundPlan(minimum=4, maximum=9, precision=0.02)
    assert " ".join(describe_protocol(plan, iterations=None)) in words
    assert ("count as ties" in words) == finished


def test_limits_and_load_of_the_machine_are_told_where_they_are_known(tmp_path: Path) -> None:
    assert "CPU time" not in render(write_searched_run(tmp_path / "old")).words
    limited = {"cgroup_cpus": 1.5, "load_1min": 0.7}
    assert "; limited to 1.5 CPUs; load 0.7" in render(write_searched_run(tmp_path / "one", machine=limited)).words
    free = {"cgroup_cpus": None, "load_1min": 0.2}
    assert "; no limit of CPU time; load 0.2" in render(write_searched_run(tmp_path / "two", machine=free)).words


def test_every_network_is_drawn(tmp_path: Path) -> None:
    page = render(write_searched_run(tmp_path / "run"))
    networks = read_run(tmp_path / "run").networks
    drawn = [a["title"] or "" for t, a in page.elements if t == "li" and (a.get("class") or "").startswith("cell")]
    per_network = len(unit_keys())
    assert len(drawn) == per_network * len(networks)
    for i, network in enumerate(networks.values()):
        titles = drawn[per_network * i : per_network * (i + 1)]
        for key, title in zip(unit_keys(), titles, strict=True):
            assert title.startswith(f"{key}: {network.policy.get(key, 'left out')}")
            assert (", ran in f32" in title) == (key in network.why)
    assert len(page.of("rect")) == len(drawn)


def test_tables_can_be_downloaded(tmp_path: Path) -> None:
    folder = write_searched_run(tmp_path / "run")
    links = {a["download"]: a["href"] or "" for a in render(folder).of("a") if a.get("download")}
    assert set(links) == {"pareto.csv", "baselines.csv", "evaluations.csv"}
    head, content = links["pareto.csv"].split(",", 1)
    assert head == "data:text/csv;base64"
    assert base64.b64decode(content).decode() == pd.read_csv(folder / "pareto.csv").to_csv(index=False)
    assert base64.b64decode(links["evaluations.csv"].split(",", 1)[1]).decode().count("\n") == 23


def test_an_unfinished_run_claims_no_front(tmp_path: Path) -> None:
    report = run_report([write_searched_run(tmp_path / "run", finished=False)])
    assert not report.finished
    page = Page(report.page)
    assert "This run is not finished." in page.words
    assert "20 of 20 evaluations are measured, all on validation data" in page.words
    assert "verified front" not in page.words
    assert f"qnas-ov search --resume --out {tmp_path / 'run'}" in page.words
    assert "--format" not in page.words
    assert not page.of("article")
    assert page.of("rect")


def test_rendering_again_gives_the_same_page(tmp_path: Path) -> None:
    folder = write_searched_run(tmp_path / "run")
    first = run_report([folder]).page.read_bytes()
    before = {p.name: p.read_bytes() for p in folder.iterdir() if p.is_file()}
    assert run_report([folder]).page.read_bytes() == first
    assert {p.name: p.read_bytes() for p in folder.iterdir() if p.is_file()} == before


@pytest.mark.parametrize("finished", [True, False])
def test_names_are_text(tmp_path: Path, finished: bool) -> None:
    folder = write_searched_run(tmp_path / "run", finished=finished, hostile=HOSTILE)
    page = render(folder)
    assert len(page.of("script")) == len(page.of("script", type="application/json")) + 2
    assert not page.of("img")
    assert not [a for _, a in page.elements if any(name.startswith("on") for name in a)]
    assert f"tiny{HOSTILE} on CPU" in page.text
    assert "49" not in page.text.split("tiny", 1)[1][: len(HOSTILE) + 5]


def test_the_page_may_load_nothing(tmp_path: Path) -> None:
    page = render(write_searched_run(tmp_path / "run"))
    (policy,) = [a["content"] or "" for a in page.of("meta") if a.get("http-equiv")]
    rules = dict(rule.strip().split(" ", 1) for rule in policy.split(";"))
    assert rules["default-src"] == "'none'"
    assert re.fullmatch(r"'sha256-\S+' 'sha256-\S+'", rules["script-src"])
    addresses = [v for _, a in page.elements for n in ("src", "href", "action", "srcset") if (v := a.get(n))]
    assert addresses
    assert all(v.startswith(("#", "data:")) for v in addresses)


BROKEN = {
    "space.json": ("{", '"metric"', "[]"),
    "machine.json": (
        "", "{}", '{"cpu": "x", "device": "CPU", "cores_usable": 2, "python": "3", "flags": 1, "packages": {}}',
    ),
    "recipe.yaml": ("model: [", "- a list"),
    "pareto.csv": ("", "candidate\nc001\n", "\x00\x01", None),
    "baselines.csv": ("baseline\n", None),
    "predictors.json": ("{", '{"latency_ms": {}}', None),
    "evaluations.sqlite": ("not a database, but long enough to be taken for one" * 100, "", None),
    "deploy/int8-f32/manifest.json": ("{", "{}", '{"units": 3}', None),
}  # fmt: skip


@pytest.mark.parametrize(("file", "content"), [(f, c) for f, texts in BROKEN.items() for c in texts])
def test_a_damaged_file_is_named(tmp_path: Path, file: str, content: str | None) -> None:
    folder = write_searched_run(tmp_path / "run")
    if content is None:
        (folder / file).unlink()
    else:
        (folder / file).write_text(content)
    if (file, content) == ("pareto.csv", None):  # then the run is not finished
        assert not run_report([folder]).finished
        return
    with pytest.raises(QnasError) as caught:
        run_report([folder])
    assert caught.value.exit_code == 2
    assert file in str(caught.value)
    assert "\n" not in str(caught.value)
    assert not (folder / "report.html").exists()


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda p: p / "nowhere", "is no run folder, it does not exist"),
        (lambda p: p, "is no run folder, it holds no recipe.yaml"),
    ],
)
def test_other_folders_are_refused(tmp_path: Path, make: object, message: str) -> None:
    with pytest.raises(QnasError, match=message):
        run_report([make(tmp_path)])  # type: ignore[operator]
    assert list(tmp_path.iterdir()) == []


def test_a_run_that_has_not_begun(tmp_path: Path) -> None:
    (tmp_path / "recipe.yaml").write_text("model: digits-vit\n")
    with pytest.raises(QnasError, match="has measured nothing yet"):
        run_report([tmp_path])


def test_a_page_takes_the_place_of_nothing_else(tmp_path: Path) -> None:
    folder = write_searched_run(tmp_path / "run")
    with pytest.raises(QnasError, match=r"must be a file that ends in \.html: got '.*pareto.csv'"):
        run_report([folder], out=folder / "pareto.csv")
    (tmp_path / "page.html").mkdir()
    with pytest.raises(QnasError, match="must be a file: it is a folder"):
        run_report([folder], out=tmp_path / "page.html")
    with pytest.raises(QnasError, match="cannot write"):
        run_report([folder], out=tmp_path / "no" / "page.html")
