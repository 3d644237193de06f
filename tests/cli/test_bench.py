"""delta-sgdml bench: what it tells of a manifest, beside stock sgdml and a real i-PI."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from conftest import ROOT
from made_assembly import made_assembly, made_waters
from typer.testing import CliRunner

from delta_server.bench.growth import some_points
from delta_server.bench.prediction import sgdml_bytes
from delta_server.cli.main import app
from delta_server.gdml.file import load_model

MANIFEST = str(ROOT / "models/methane_dimer/manifest.yaml")


def bench(*options: str, manifest: str = MANIFEST) -> dict:
    result = CliRunner().invoke(app, ["bench", manifest, "--seconds", "0.01", "--batch", "1,2", "--json", *options])
    assert result.exit_code == 0, result.output
    return json.loads(result.stdout)


def test_rows_beside_sgdml_and_parts_of_models() -> None:
    found = bench("--against", "sgdml", "--points", "20")
    assert [(r["term"], r["batch"]) for r in found["rows"]] == [
        (term, batch) for term in ("methane_1", "binding") for batch in (1, 2)
    ]
    for row in found["rows"]:
        assert row["force_difference"] < 1e-6  # of the same 20 points
        assert row["ratio"] == pytest.approx(row["sgdml_ms"] / row["ms"], rel=1.0)
        assert 0 < row["roofline"] < 3
        assert row["method"]
        assert row["mae"] is None  # that of all points
    assert found["machine"]["flops"] > 1e8


def test_parts_of_models_of_other_descriptors_beside_sgdml() -> None:
    """Whose results are none to compare with: sgdml has the same points and coefficients, and 1/r."""
    found = bench("--against", "sgdml", "--points", "10", manifest=str(ROOT / "models/h2o_benzene/manifest.yaml"))
    assert [row["term"] for row in found["rows"]] == ["water"] * 2 + ["benzene"] * 2 + ["binding"] * 2
    assert all(row["sgdml_ms"] > 0 and row["force_difference"] is None for row in found["rows"])


def test_a_rival_that_does_not_fit_into_memory(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    """It gets fewer points; or is left out, where there is no room for one."""
    model = load_model(ROOT / "models/methane_dimer/binding.npz")
    for room, says in (
        (sgdml_bytes(some_points(model, 20)), "timed with 20 points"),
        (10**6, "not on this machine: one point needs 0.0 GB"),
    ):
        free = int(room / 0.799)
        monkeypatch.setattr("delta_server.training.solve.memory.available_memory", lambda _, free=free: free)
        result = CliRunner().invoke(
            app, ["bench", MANIFEST, "--seconds", "0.01", "--batch", "1", "--against", "sgdml"]
        )
        assert result.exit_code == 0, result.output
        assert f"binding: sgdml needs {sgdml_bytes(model) / 1e9:.1f} GB for 200 points" in result.output
        assert says in result.output


def test_a_calculator_beside_the_sum() -> None:
    found = bench("--against", "d4", "--option", "method=pbe0")
    assert [(row["name"], row["batch"]) for row in found["against"]] == [("d4", 1), ("d4", 2)]
    assert all(row["ms"] > 0 and row["ratio"] > 0 for row in found["against"])


def test_an_assembly_order_by_order(tmp_path: Path) -> None:
    box = str(made_assembly(tmp_path / "box", made_waters(27), 6.0))
    rows = bench(manifest=box)["rows"]
    assert [(r["term"], r["batch"]) for r in rows] == [
        (term, batch) for term in ("1_water", "2_water_water", "sum") for batch in (1, 2)
    ]
    assert all(row["ms"] > 0 for row in rows)
    result = CliRunner().invoke(app, ["bench", box, "--growth", str(tmp_path / "growth.png")])
    assert (result.exit_code, "run/molecules.py" in str(result.exception)) == (1, True)


def test_growth_and_steps(tmp_path: Path) -> None:
    found = bench("--growth", str(tmp_path / "growth.png"), "--steps", "20")
    axes = {g["axis"]: g for g in found["growth"]}
    assert axes["permutations"]["sizes"][-1] == 1152
    assert axes["training points"]["sizes"][-1] == 200
    assert all(ms > 0 for g in found["growth"] for ms in g["ms"])
    assert (tmp_path / "growth.png").stat().st_size > 10_000
    step = found["step"]
    assert step["steps"] >= 20
    assert step["total"] == pytest.approx(step["models"] + step["wire"] + step["ipi"])
    maes = {r["term"]: r["mae"] for r in found["rows"]}
    assert maes == {
        "methane_1": pytest.approx(0.00217, abs=1e-5),
        "binding": pytest.approx(0.00529, abs=1e-5),
        "sum": None,
    }
