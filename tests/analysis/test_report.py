"""The page: well-formed, alone in the world, and with the numbers in it that the analysis finds."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from ase.data import atomic_masses
from made_ladder import DT, MODELS, D, made_ladder, moving
from made_runs import write_run

from delta_server.analysis.energies import analyze_energies
from delta_server.analysis.free_energy.sampling import samples_of
from delta_server.analysis.free_energy.surface import common_grid, surface
from delta_server.analysis.report.collect import Choices, Report, ReportSource, WhileRunning, collect
from delta_server.analysis.report.movie import movie_of
from delta_server.analysis.report.page import About, Page, frames_within, make_page
from delta_server.analysis.report.tables import msad_at, ratio_table
from delta_server.analysis.rotation.diffusion import Rotation, rotation
from delta_server.analysis.rotation.rigid import orientations
from delta_server.analysis.stability import stability
from delta_server.analysis.statistics import windows
from delta_server.analysis.trajectory import runs_in
from delta_server.errors import InputError
from delta_server.files.documents import plain
from delta_server.manifest import load_manifest
from delta_server.molecule.structures import read_structure
from delta_server.variables.definition import default_variables

N, BROKEN, SLOW = 1500, 900, 0.5
ABOUT = About("2026-01-01", "delta-sgdml report <here>", {"delta-server": "0.1.0"})
VOID = {"meta", "link", "img", "input", "br", "hr", "path", "source"}
START = read_structure(MODELS / "geometry.xyz").positions


class Parsed(HTMLParser):
    """Every tag closed in order, every id once; what is loaded or linked, and the text of scripts."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.scripts: list[str] = []
        self.text = ""
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        assert len(dict(attrs)) == len(attrs), (tag, "an attribute twice")
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)
        if tag == "script":
            self.scripts.append("")

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag, (tag, self.getpos())

    def handle_data(self, data: str) -> None:
        if self.open and self.open[-1] == "script":
            self.scripts[-1] += data
        else:
            self.text += data

    def data_of(self, name: str) -> str:
        """Of the link that saves a file of this name."""
        href = next(str(a["href"]) for tag, a in self.tags if tag == "a" and a.get("download") == name)
        return base64.b64decode(href.partition("base64,")[2]).decode()


def source(folder: Path, name: str, **more: object) -> ReportSource:
    manifest = load_manifest(MODELS / "manifest.yaml")
    return ReportSource(name, folder, tuple(runs_in(folder)), manifest, start=START, **more)  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def chosen() -> Choices:
    manifest = load_manifest(MODELS / "manifest.yaml")
    return Choices(default_variables(manifest), ("R_CM",), np.arange(3), np.arange(3, 15), frames=40)


@pytest.fixture(scope="module")
def two(tmp_path_factory: pytest.TempPathFactory, chosen: Choices) -> Report:
    """Two models at 300 K; of the slower one a bond breaks, and it is called what no page should take for a tag."""
    folder = tmp_path_factory.mktemp("two")
    fast = made_ladder(folder / "fast", (300.0, 400.0), N)
    slow = made_ladder(folder / "slow", (300.0, 400.0), N, seed=7, d=SLOW, broken=BROKEN)
    record = fast.record.model_dump(mode="json")
    sources = [
        source(fast.folder, "fast", record=record, absent=("400K has not run yet",)),
        source(slow.folder, "<i>"),
    ]
    return collect(sources, chosen)


@pytest.fixture(scope="module")
def page(two: Report) -> Page:
    return make_page(two, ABOUT)


def test_it_is_html_that_loads_nothing(page: Page) -> None:
    parsed = Parsed(page.html)
    ids = [a["id"] for _, a in parsed.tags if "id" in a]
    assert len(set(ids)) == len(ids)
    loaded = [(t, a[k]) for t, a in parsed.tags for k in ("src", "href", "srcset", "data", "action") if k in a]
    assert len([1 for tag, _ in loaded if tag == "img"]) >= 6
    for tag, where in loaded:
        assert str(where).startswith("data:") or (tag == "a" and str(where)[1:] in ids), (tag, str(where)[:60])
    assert "http" not in page.html.partition("<style>")[2].partition("</style>")[0]
    policy = next(str(a["content"]) for t, a in parsed.tags if a.get("http-equiv") == "Content-Security-Policy")
    assert "default-src 'none'" in policy
    assert "http" not in policy
    saved = [a["download"] for tag, a in parsed.tags if tag == "a" and "download" in a]
    assert len(set(saved)) == len(saved) == 8
    assert {"report.json", "stability.csv", "rotation_by_lag.csv"} <= set(saved)
    assert all(a.get("alt") for tag, a in parsed.tags if tag == "img")
    assert len(page.html) < 5e6


def test_names_are_text(page: Page) -> None:
    """Whatever a folder, a command or a model is called."""
    parsed = Parsed(page.html)
    assert "i" not in {tag for tag, _ in parsed.tags}
    assert "fast against <i>" in parsed.text
    assert "delta-sgdml report <here>" in parsed.text
    assert "as it was <typed>" in parsed.text


def test_it_says_what_was_run_and_what_was_not(page: Page) -> None:
    text = Parsed(page.html).text
    record = load_manifest(MODELS / "manifest.yaml")
    for said in (
        "400K has not run yet",
        "format: delta-sgdml/1",
        record.theory,
        "31415",
        "1 of 2 trajectories failed",
    ):
        assert said in text, said


def test_its_data_are_what_the_analysis_finds(two: Report, page: Page, chosen: Choices) -> None:
    """Number by number, from the link in the page."""
    said = json.loads(Parsed(page.html).data_of("report.json"))
    assert said == page.data
    fast, slow = said["runs"]
    run, other = (s.runs[0] for s in two.sources)
    masses = atomic_masses[run.numbers]
    turned = rotation(orientations(run.blocks(), masses, np.arange(3), np.arange(3, 15)), DT)
    assert fast["rotation"]["msad"] == turned.msad.tolist()
    assert fast["rotation"]["d"] == plain({"value": turned.d.value, "error": turned.d.error})  # type: ignore[union-attr]
    assert fast["energies"] == analyze_energies(run).as_dict()
    assert fast["stability"]["examined"] == list(stability(run, start=START).examined)
    assert chosen.variables is not None
    mine = samples_of(run, chosen.variables).equilibrated()
    its = samples_of(other, chosen.variables).take(slice(0, BROKEN)).equilibrated()
    edges = fast["free_energy"]["edges"]
    grid = common_grid([mine, its], ["R_CM"], len(edges[0]) - 1)
    assert slow["free_energy"]["edges"] == edges == [grid[0].tolist()]
    for found, samples in ((fast, mine), (slow, its)):
        expected = surface(samples, ["R_CM"], grid).as_dict()
        assert {**found["free_energy"], "name": ""} == {**expected, "name": ""}
    rows = Parsed(page.html).data_of("rotation_by_lag.csv").splitlines()
    assert len(rows) == 1 + len(fast["rotation"]["lags"]) + len(slow["rotation"]["lags"])


def test_what_was_made_comes_out(two: Report) -> None:
    """D of both models within three errors, also of the one that broke, and their ratio."""
    for part, made in zip(two.parts, (D, SLOW), strict=True):
        found = part.rotation
        assert found is not None
        assert found.d is not None, found.refused
        assert abs(found.d.value - made) < 3 * found.d.error < 0.6 * made
    table = ratio_table(two)
    assert table is not None
    ((label, models, *_, rates),) = table.rows
    assert (label, models) == ("300 K", "fast / <i>")
    value, error = map(float, rates.split(" ± "))
    assert abs(value - D / SLOW) < 3 * error


def test_nothing_after_the_failure_counts(two: Report) -> None:
    broken = two.parts[1]
    assert broken.stability is not None
    assert broken.stability.step == BROKEN * 20
    assert "H14 broke" in str(broken.stability.cause)
    assert broken.energies is not None
    assert broken.energies.time[-1] == pytest.approx((BROKEN - 1) * DT)
    assert broken.trace is not None
    assert len(broken.trace) == BROKEN
    assert broken.movie is not None
    assert broken.movie.broken
    assert broken.movie.time[-1] <= BROKEN * DT + 1e-9


def test_what_was_seen_while_it_ran_counts_if_it_is_earlier(two: Report, chosen: Choices) -> None:
    fast = two.sources[0]
    told = {fast.runs[0].name: WhileRunning("unstable", "the expected force error is 3 eV/Å", 8000)}
    (part,) = collect([replace(fast, told=told)], chosen).parts
    assert part.stability is not None
    assert part.stability.failed == pytest.approx(4.0)
    assert "seen while it ran" in str(part.stability.cause)
    assert part.trace is not None
    assert len(part.trace) == 400


def test_the_movie_is_the_trajectory_turned(two: Report, page: Page) -> None:
    """What the viewer reads: the ring stands still, and no distance is changed."""
    script = next(s for s in Parsed(page.html).scripts if s.startswith('{"'))
    movies = json.loads(script)
    assert movies["guest"] == [0, 1, 2]
    assert movies["sources"] == ["fast", "<i>"]
    run, movie = two.sources[0].runs[0], movies["movies"][0]
    whole = np.frombuffer(base64.b64decode(movie["packed"]), "<i2").reshape(-1, 15, 3)
    shown = whole * movie["unit"]
    assert 20 < len(shown) == len(movie["time"]) <= 40
    every = -(-N // 40)
    written = np.concatenate([block.positions for block in run.blocks(every)])
    np.testing.assert_allclose(movie["time"], np.arange(0, N, every) * DT, atol=1e-4)
    for i, j in ((0, 1), (0, 5), (2, 14)):
        distance = np.linalg.norm(written[:, i] - written[:, j], axis=1)
        np.testing.assert_allclose(np.linalg.norm(shown[:, i] - shown[:, j], axis=1), distance, atol=3e-3)
    assert np.ptp(shown[:, 3:], axis=0).max() < 4e-3
    assert np.ptp(shown[:, 0], axis=0).max() > 0.1
    assert np.ptp(written[:, 3:], axis=0).max() > 1.0


def test_room_for_frames() -> None:
    assert frames_within(15, 2, 100) == 100
    few = frames_within(148, 100, 1000)
    assert 8 * 148 * 100 * few <= 4e6
    assert few > 20


def test_what_cannot_be_had_is_one_line(tmp_path: Path, chosen: Choices) -> None:
    """Ten frames, and no molecule that turns: a page all the same."""
    symbols = read_structure(MODELS / "geometry.xyz").symbols
    write_run(tmp_path / "short", moving(10, 3), symbols, prefix="300K_md")
    short = source(tmp_path / "short", "short")
    few = collect([short], replace(chosen, guest=None, host=None))
    assert set(few.parts[0].missing) == {"free energy", "rotation"}
    text = Parsed(make_page(few, ABOUT).html).text
    assert "no free energy anywhere: no bin holds 10 samples" in text
    assert "300K_md:" not in text  # the name of a file
    assert "which molecule turns?" in text
    with pytest.raises(InputError, match="no temperature has run yet"):
        collect([replace(short, runs=())], chosen)


def test_runs_of_other_atoms_are_refused(two: Report, tmp_path: Path, chosen: Choices) -> None:
    write_run(tmp_path / "other", moving(5, 3), "C", prefix="300K_md")
    with pytest.raises(InputError, match="other atoms"):
        collect([two.sources[0], source(tmp_path / "other", "other")], chosen)


def test_windows_keep_the_mean() -> None:
    time, values = np.arange(1003.0), np.random.default_rng(0).standard_normal(1003)
    at, mean, low, high = windows(time, values, 100)
    assert len(at) <= 100
    sizes = np.diff(np.append(np.arange(0, 1003, 11), 1003))
    assert np.average(mean, weights=sizes) == pytest.approx(values.mean())
    assert (low.min(), high.max()) == (values.min(), values.max())
    assert ((low <= mean) & (mean <= high)).all()


@pytest.mark.parametrize("power", [1.0, 2.0])
def test_msad_between_lags(power: float) -> None:
    """Of a power law, exactly."""
    lags = np.array([0.1, 1.0, 7.0])
    one = Rotation("", 300.0, 0.1, 0.1, lags, 6 * lags**power, 0.1 * lags)
    assert msad_at(one, 0.5).value == pytest.approx(6 * 0.5**power)


def test_two_variables_and_the_whole_ladder(
    tmp_path: Path, chosen: Choices, make_variables: Callable[[], object]
) -> None:
    """Maps, and a surface by MBAR: one figure for each temperature and one for all."""
    ladder = made_ladder(tmp_path / "ladder", (280.0, 300.0, 400.0), 300)
    choices = replace(chosen, variables=make_variables(), over=("R_CM", "tilt"), mbar=290.0, bins=5)  # type: ignore[arg-type]
    found = collect([source(ladder.folder, "ladder")], choices)
    assert found.labels == ["280 K", "300 K"]
    (whole,) = found.ladders
    assert whole.temperature == 290
    drawn = make_page(found, ABOUT)
    names = [picture.name for picture in drawn.pictures]
    assert [n for n in names if n.startswith("free")] == [
        "free_energy_280K", "free_energy_300K", "free_energy_290K_from_all_temperatures"
    ]  # fmt: skip
    assert drawn.data["mbar"][0]["variables"] == ["R_CM", "tilt"]


@pytest.fixture
def make_variables(tmp_path: Path) -> Callable[[], object]:
    from delta_server.variables.definition import load_variables

    path = tmp_path / "v.yaml"
    path.write_text(
        "groups: {water: '0:3', benzene: '3:15'}\nvariables:\n  R_CM: {distance: [water, benzene], centre: mass}\n"
        "  tilt: {angle: ['1', '0', benzene]}\n"
    )
    return lambda: load_variables(path)


def test_a_movie_without_a_number_is_refused(tmp_path: Path) -> None:
    positions = np.full((4, 15, 3), np.nan)
    write_run(tmp_path, positions, read_structure(MODELS / "geometry.xyz").symbols, prefix="300K_md")
    with pytest.raises(InputError, match="no finite frame"):
        movie_of(runs_in(tmp_path)[0], None)
