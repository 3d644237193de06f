"""n-mers of an assembly: which are taken, and that their labels are the remainders of a many-body expansion."""

from __future__ import annotations

from itertools import combinations
from pathlib import Path

import numpy as np
import pytest
import warm
from ase import Atoms
from ase.build import molecule
from ase.io import write
from conftest import ROOT
from made_assembly import CELL, made_waters

from delta_server.data.bodies import BEYOND, find_bodies, join, read_assembly
from delta_server.data.dataset import load_dataset
from delta_server.errors import InputError
from delta_server.gdml import load_model
from delta_server.gdml.uncertainty import Uncertainty
from delta_server.methods import Method
from delta_server.training.databases import Complex
from delta_server.units import KCAL_MOL


@pytest.fixture
def frames(tmp_path: Path) -> Path:
    """Two frames of waters in a cell, whose molecules are cut by it."""
    path = tmp_path / "box.extxyz"
    boxes = [made_waters(24, CELL, seed) for seed in range(2)]
    for box in boxes:
        box.wrap()
    write(path, boxes)
    return path


def bodies_of(frames: Path, output: Path, *options: str) -> list[str | Path]:
    return ["delta-sgdml", "dataset", "bodies", frames, "-o", output, *options]


def centres(positions: np.ndarray) -> np.ndarray:
    masses = Atoms("OH2").get_masses()
    return np.asarray(np.einsum("a,nkad->nkd", masses / masses.sum(), positions.reshape(len(positions), -1, 3, 3)))


def test_pairs_and_triples_are_taken_evenly_over_all_distances(frames: Path) -> None:
    assembly = read_assembly(frames)
    assert assembly.names == ("h2o",)
    assert len(assembly.molecules) == 24
    for order, cutoff in ((2, 4.9), (3, 11.5)):
        (bodies,) = find_bodies(assembly, order, cutoff, 80)
        assert bodies.name == "_".join(["h2o"] * order)
        r = centres(bodies.structures.positions)
        lengths = sum(np.linalg.norm(r[:, i] - r[:, j], axis=1) for i, j in combinations(range(order), 2))
        assert lengths == pytest.approx(bodies.lengths)
        assert lengths.max() < BEYOND * cutoff
        assert 8 < (lengths > cutoff).sum() < 60
        shares = np.histogram(lengths, 5)[0]
        assert shares.min() > 5
        assert set(bodies.structures.index.tolist()) == {0, 1}
        assert not bodies.structures.reactions()
    with pytest.raises(InputError, match="cell is too small"):
        find_bodies(assembly, 2, 7.0, 10)
    with pytest.raises(InputError, match="no 3 molecules"):
        find_bodies(assembly, 3, 2.0, 10)


def test_n_mers_of_several_trajectories_are_runs_of_their_own(frames: Path) -> None:
    kinds = find_bodies(read_assembly(frames), 2, 4.9, 20)
    (both,) = join([kinds, kinds])
    assert both.structures.run.tolist() == [0] * 20 + [1] * 20
    assert np.array_equal(both.structures.positions[20:], kinds[0].structures.positions)
    assert np.array_equal(both.lengths[:20], kinds[0].lengths)


def test_files_whose_molecules_have_their_atoms_in_another_order_do_not_join(tmp_path: Path) -> None:
    """The hydrogen of the OH before or behind the others: the elements are the same."""
    ethanol = molecule("CH3CH2OH")
    order = [*range(len(ethanol))]
    hydroxyl = next(i for i in order if ethanol.numbers[i] == 1 and ethanol.get_distance(i, 2) < 1.1)
    last = [i for i in order if i != hydroxyl] + [hydroxyl]
    kinds = []
    for number, way in enumerate((order, last)):
        pair = ethanol[way] + ethanol[way]
        pair.positions[len(order) :, 2] += 5.0
        write(tmp_path / f"{number}.xyz", pair)
        kinds.append(find_bodies(read_assembly(tmp_path / f"{number}.xyz"), 2, 8.0, 1))
    with pytest.raises(InputError, match="come in another order, or are bonded otherwise"):
        join(kinds)
    pair.positions[0] = np.nan
    write(tmp_path / "nan.xyz", pair)
    with pytest.raises(InputError, match="frame 0: positions are not finite"):
        read_assembly(tmp_path / "nan.xyz")


def test_those_that_a_model_knows_least_are_taken(frames: Path, tmp_path: Path) -> None:
    """Their expected errors are larger than of those that are taken by distance."""
    model = ROOT / "models/water/pairs/binding.npz"
    command = bodies_of(frames, tmp_path / "b", "--pairs", "4.9", "-n", "6", "-j", "1")
    done = warm.run([*command, "--least-known", model])
    assert done.returncode == 0, done.stderr
    expected = Uncertainty(load_model(model)).expected_error
    (evenly,) = find_bodies(read_assembly(frames), 2, 4.9, 6)
    chosen = load_dataset(tmp_path / "b/h2o_h2o.npz").positions
    assert len(chosen) == 6
    assert np.median(expected(chosen)) > 2 * np.median(expected(evenly.structures.positions))
    other = warm.run([*command, "--overwrite", "--least-known", ROOT / "models/h2o_benzene/binding.npz"])
    assert other.returncode == 2
    assert "none has the atoms of h2o_h2o; give a model for each kind" in other.stderr


def test_molecules_that_exchange_atoms_are_told(tmp_path: Path) -> None:
    boxes = [made_waters(8, CELL), made_waters(8, CELL)]
    x = boxes[1].positions
    x[[1, 4]] = x[[4, 1]]
    write(tmp_path / "box.extxyz", boxes)
    (bodies,) = find_bodies(read_assembly(tmp_path / "box.extxyz"), 2, 5.0, 30)
    assert bodies.structures.reactions()


def test_the_command_labels_what_pairs_leave(frames: Path, tmp_path: Path) -> None:
    output = tmp_path / "bodies"
    command = bodies_of(frames, output, "--pairs", "0", "--triples", "11.5", "-n", "1")
    done = warm.run([*command, "-j", "1"])
    assert done.returncode == 0, done.stderr
    assert "1 of h2o_h2o_h2o, GFN2-xTB" in done.stdout
    assert [path.name for path in output.iterdir()] == ["h2o_h2o_h2o.npz"]
    data, calculator = load_dataset(output / "h2o_h2o_h2o.npz"), Method("gfn2-xtb", {}).make(0, 1)
    x, remainder, forces = data.positions[0], 0.0, np.zeros((9, 3))
    for count, sign in ((1, 1.0), (2, -1.0), (3, 1.0)):
        for members in combinations(range(3), count):
            atoms = np.concatenate([np.arange(3 * k, 3 * k + 3) for k in members])
            nmer = Atoms(data.numbers[atoms], x[atoms], calculator=calculator)
            remainder += sign * nmer.get_potential_energy() / KCAL_MOL
            forces[atoms] += sign * nmer.get_forces() / KCAL_MOL
    assert data.binding_energies()[0] == pytest.approx(remainder, abs=1e-5)
    assert data.binding_forces()[0] == pytest.approx(forces, abs=1e-4)
    assert abs(remainder) > 1e-4
    assert Complex.of(data).full.order == 48  # hydrogens within three waters, and the waters among each other
    for options, words in (
        ([], "exists and is complete"),
        (["--triples", "0"], "nothing to label"),
        (["--pairs", "7"], "frame 0, 2 bodies: the cell is too small"),
        (["--charge", "na=1"], "no species 'na'; there are h2o"),
        (["--charge", "h2o=x"], "expected a whole number"),
    ):
        done = warm.run([*command, *options])
        assert done.returncode == 2
        assert words in done.stderr
        assert done.stderr.count("\n") == 1
