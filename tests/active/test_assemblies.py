"""`delta-sgdml learn assembly`: waters whose pairs are learned from the cluster's own dynamics."""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import ase.io
import numpy as np
import pytest
import warm
import yaml
from conftest import ROOT

from delta_server import load_potential
from delta_server.active.assemblies.kinds import Nmers, kinds_of, write_manifest
from delta_server.active.assemblies.loop import learn
from delta_server.active.assemblies.settings import AssemblySettings
from delta_server.active.dynamics import load
from delta_server.active.loop import SPENT, STOPPED
from delta_server.data.dataset import TRAIN, VALIDATION, load_dataset, save_dataset
from delta_server.errors import InputError
from delta_server.gdml import load_model
from delta_server.gdml.uncertainty import Uncertainty
from delta_server.methods import Method
from delta_server.training.record import record_beside
from delta_server.training.reporter import Silent
from delta_server.training.tasks import Recipe
from delta_server.training.trainer import train
from delta_server.units import KCAL_MOL

SGDML = str(Path(sys.executable).with_name("delta-sgdml"))
CUTOFF = 6.5


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The manifest of six waters with a small model of their pairs, beside the data of that, pairs.npz."""
    folder = tmp_path_factory.mktemp("cluster")
    pairs = load_dataset(ROOT / "models/water/bodies/h2o_h2o.npz")
    save_dataset(folder / "pairs.npz", pairs.take(np.arange(0, len(pairs), len(pairs) // 80)))
    train(folder / "pairs.npz", folder / "pairs", Recipe(40, n_validation=20, sigmas=(4.0,), lams=(1e-6,)))
    waters = next(a for a in ase.io.iread(ROOT / "models/water/clusters.extxyz") if len(a) == 18)
    ase.io.write(folder / "six.extxyz", waters)
    entries = {
        "format": "delta-sgdml/1",
        "name": "six",
        "structure": "six.extxyz",
        "periodic": False,
        "species": {"water": {"model": "pairs/h2o.npz", "count": 6}},
        "binding": [{"between": ["water", "water"], "model": "pairs/binding.npz", "cutoff": CUTOFF, "switch": 1.0}],
    }
    (folder / "six.yaml").write_text(yaml.safe_dump(entries))
    return folder / "six.yaml"


def settings(cluster: Path, **changes: Any) -> AssemblySettings:
    """Two rounds that learn, and a third that finds the budget spent."""
    given = {
        "manifest": str(cluster), "datasets": (str(cluster.with_name("pairs.npz")),), "temperatures": (200.0, 300.0),
        "force": 0.01, "energy": 0.001, "budget": 36, "calculator": "gfn2-xtb", "test": 4, "picks": 6, "replicas": 1,
        "picoseconds": 0.03, "timestep": 0.5,
    }  # fmt: skip
    return AssemblySettings.made(**given | changes)


def run(root: Path, asked: AssemblySettings, stop: Callable[[], bool] = lambda: False) -> str:
    asked.settle(root)
    return learn(root, asked, Silent(), stop=stop).kind


def files(root: Path) -> dict[str, bytes | str]:
    """What a learning has made, without the times that it took."""
    arrays: dict[str, bytes | str] = {}
    for path in sorted(root.rglob("*.npz")):
        with np.load(path) as content:
            arrays[path.relative_to(root).as_posix()] = b"".join(content[name].tobytes() for name in content.files)
    for path in sorted(root.rglob("round.json")):
        content = {k: v for k, v in json.loads(path.read_text()).items() if k not in ("seconds", "files")}
        arrays[path.relative_to(root).as_posix()] = json.dumps(content)
    return arrays


@pytest.fixture(scope="module")
def learned(cluster: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a learning that was run to its end, its budget."""
    root = tmp_path_factory.mktemp("learned")
    assert run(root, settings(cluster)) == SPENT
    return root


def test_a_round_tests_before_it_learns(learned: Path, cluster: Path) -> None:
    """Labels are the calculator's, errors those of the models before; a label trains or validates for good."""
    assert [p.name for p in sorted((learned / "rounds").iterdir())] == ["00", "01", "02", "03"]
    begun = load_dataset(learned / "rounds/00/2_water_water.npz")
    assert np.bincount(np.asarray(begun.split), minlength=3).tolist()[:2] == [40, 20]
    sides = begun
    for number in (1, 2):
        before, now = (learned / f"rounds/{n:02d}" for n in (number - 1, number))
        record = json.loads((now / "round.json").read_text())
        pairs = kinds_of(before / "manifest.yaml")[0]
        potential = load_potential(pairs.trained)
        rows = {(row["temperature"], row["part"]): row for row in record["test"]["2_water_water"]}
        for kelvin in (200.0, 300.0):
            data = load_dataset(now / f"test_2_water_water_{kelvin:g}K.npz")
            assert len(data) == 4
            parts = potential.compute(data.positions).parts.energies["binding"] / KCAL_MOL
            mae = np.abs(parts - data.binding_energies()).mean()
            assert rows[kelvin, "binding"]["energy_mae"] == pytest.approx(mae, rel=1e-6)
        atoms = ase.Atoms(data.numbers, data.positions[0], calculator=Method("gfn2-xtb").make())
        assert atoms.get_potential_energy() / KCAL_MOL == pytest.approx(float(data.energies[0]), abs=1e-3)
        after = load_dataset(now / "2_water_water.npz")
        assert after.split is not None
        assert sides.split is not None
        assert np.array_equal(after.split[: len(sides)], sides.split)
        assert np.array_equal(after.positions[: len(sides)], sides.positions)
        new = after.split[len(sides) :]
        assert {TRAIN, VALIDATION} == {*new.tolist()}
        assert len(new) == 8 + len(load_dataset(now / "picked_2_water_water.npz"))
        trained = record_beside(now / "2_water_water/manifest.yaml")
        assert trained.recipe().n_train == (after.split == TRAIN).sum()
        sides = after
    last = load_potential(learned / "rounds/03/manifest.yaml")
    first = load_potential(cluster)
    assert np.abs(last.compute(last.reference).forces - first.compute(first.reference).forces).max() > 1e-4
    record = json.loads((learned / "rounds/03/round.json").read_text())
    assert record["spent"] <= 36
    assert record["ending"]["kind"] == SPENT
    assert "2_water_water at 300 K: MAE" in record["ending"]["line"]


def test_what_is_picked_is_known_least(learned: Path, cluster: Path) -> None:
    """Less than pairs at random, in the same frames: one half of the pairs, the other of the molecules."""
    seen, (pairs,) = load(learned / "rounds/01/dynamics.npz"), kinds_of(cluster)
    potential = load_potential(cluster)
    molecules = {"water": [f.atoms for f in potential.fragments]}
    some = Nmers(pairs, potential, molecules, {}).drawn(seen.positions, 200, [1, 2])
    assert some.species == ("water", "water")
    assert some.lengths.max() < CUTOFF
    known = Uncertainty(load_model(pairs.model))
    picked = load_dataset(learned / "rounds/01/picked_2_water_water.npz")
    alone = Uncertainty(load_model(pairs.model.with_name("h2o.npz")))

    def largest(x: np.ndarray) -> np.ndarray:
        return np.array([known.expected_error(x).max(), alone.expected_error(x.reshape(-1, 3, 3)).max()])

    assert (largest(picked.positions) > 0.999 * largest(some.structures.positions)).all()
    mean = known.expected_error(some.structures.positions).mean()
    assert np.sort(known.expected_error(picked.positions))[-3:].min() > 2 * mean


def test_stopped_anywhere_it_comes_to_the_same_end(learned: Path, cluster: Path, tmp_path: Path) -> None:
    asked, ends = settings(cluster), []
    while not ends or ends[-1] == STOPPED:
        turns = iter(range(7 + 5 * len(ends)))
        ends.append(run(tmp_path, asked, lambda turns=turns: next(turns, None) is None))  # type: ignore[misc]
    assert len(ends) > 5
    assert files(tmp_path) == files(learned)


def test_a_dispersion_below_goes_with_the_models(tmp_path: Path) -> None:
    """Its coefficients are found anew in the data; cut-offs and kinds of atoms stay the assembly's."""
    crystal = ROOT / "models/benzene_crystal/crystal.yaml"
    folder = tmp_path / "2_benzene_benzene"
    shutil.copytree(crystal.with_name("pairs"), folder)
    trained = yaml.safe_load((folder / "manifest.yaml").read_text())
    (of_pairs,) = trained["terms"]
    of_pairs["options"]["c6"][0][0] = 33.0
    (folder / "manifest.yaml").write_text(yaml.safe_dump(trained))
    pairs = kinds_of(crystal)[0].model.parent
    write_manifest(tmp_path / "manifest.yaml", crystal, {pairs: folder})
    (told,) = yaml.safe_load((tmp_path / "manifest.yaml").read_text())["terms"]
    (begun,) = yaml.safe_load(crystal.read_text())["terms"]
    assert told["options"]["c6"][0][0] == 33.0
    told["options"]["c6"][0][0] = begun["options"]["c6"][0][0]
    assert told == begun
    potential = load_potential(tmp_path / "manifest.yaml")
    assert [name for term in potential.terms for name in term.names] == [
        "1_benzene", "2_benzene_benzene", "dispersion",
    ]  # fmt: skip
    of_pairs["options"]["kinds"] = {"c6h6_1": [0] * 12, "c6h6_2": [0] * 12}
    (folder / "manifest.yaml").write_text(yaml.safe_dump(json.loads(json.dumps(trained))))
    with pytest.raises(InputError, match="its kinds of atoms are not those of"):
        write_manifest(tmp_path / "manifest.yaml", crystal, {pairs: folder})


def test_a_budget_that_grows(learned: Path, cluster: Path) -> None:
    """What was tested when the budget ended is learned in the round after; a smaller one is refused."""
    root = learned.with_name("more")  # manifests name files by relative paths
    shutil.copytree(learned, root)
    assert run(root, settings(cluster, budget=48)) == SPENT
    ended = json.loads((root / "rounds/03/round.json").read_text())
    last = json.loads((root / "rounds/04/round.json").read_text())
    assert (ended["spent"], last["spent"], last["ending"]["kind"]) == (36, 44, SPENT)
    with pytest.raises(InputError, match="began with budget 48, not 40"):
        run(root, settings(cluster, budget=40))


def test_the_command_killed_and_gone_on_with(cluster: Path, tmp_path: Path) -> None:
    """Ends well where errors are as asked in two rounds running."""
    easy = ("--temperatures", "200", "--force", "20", "--energy", "5", "--test", "4", "--time", "0.02", "-j", "1")
    command = [
        SGDML, "learn", "assembly", cluster, cluster.with_name("pairs.npz"), "-o", "dir", "--replicas", "1", *easy,
    ]  # fmt: skip
    for number in range(3):
        job = warm.start(command, tmp_path, tmp_path / "out")
        while job.poll() is None and len([*tmp_path.glob("dir/rounds/*/*.npz")]) <= number:
            pass
        job.kill()
        job.wait(60)
    done = warm.run(command, tmp_path)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == [
        "dir: errors are as asked in rounds 1 and 2",
        "dir/rounds/02/manifest.yaml",
    ]
    assert load_potential(tmp_path / "dir/rounds/02/manifest.yaml").n_atoms == 18
    told = warm.run([SGDML, "learn", "status", "dir"], tmp_path).stdout
    assert "errors are as asked in rounds 1 and 2; 8 of 600 labels" in told
    assert told.count("2_water_water") == 6  # of two rounds: the pairs, and their two molecules
    page = warm.run([SGDML, "learn", "report", "dir"], tmp_path)
    assert (page.returncode, page.stderr.count("\n")) == (2, 1)
    assert "dir: the learning of an assembly; `learn assembly` goes on" in page.stderr
    other = warm.run([*command, "--seed", "1"], tmp_path)
    assert (other.returncode, other.stderr.count("\n")) == (2, 1)
    assert "assembly.json: began with seed 0, not 1; say the same, or another -o" in other.stderr


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"manifest": str(ROOT / "models/h2o_benzene/manifest.yaml")}, "expected the manifest of an assembly"),
        (
            {"datasets": (str(ROOT / "models/water/bodies/h2o_h2o_h2o.npz"),)},
            "none of the data sets .* has its 6 atoms",
        ),
        ({"datasets": (str(ROOT / "models/water/bodies/h2o_h2o.npz"),)}, "were trained on another data set"),
        ({"calculator": "gfn1-xtb"}, "2_water_water: its labels are GFN2-xTB .*, not GFN1-xTB"),
        ({"budget": 7}, "a budget of 7 labels: the test of one round takes 8"),
    ],
)
def test_what_cannot_be_begun(cluster: Path, tmp_path: Path, changes: dict[str, Any], words: str) -> None:
    with pytest.raises(InputError, match=words):
        run(tmp_path, settings(cluster, **changes))
    settings(cluster).settle(tmp_path)  # said again, and better
