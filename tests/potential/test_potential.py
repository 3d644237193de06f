"""The sum of fragments and binding: by hand, in parts, in other orders, and against its reference labels."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import yaml
from conftest import SYSTEMS, held_out, shipped
from made import made_model

from delta_server import load_potential
from delta_server.errors import GeometryError, InputError, ManifestError, NonFiniteError
from delta_server.gdml import CpuPredictor, load_model
from delta_server.potential import Potential
from delta_server.terms.base import Contribution, Frames
from delta_server.units import BOHR, KCAL_MOL


def test_the_composite_is_the_sum_done_by_hand(h2o_benzene: Path) -> None:
    x = held_out("h2o_benzene").positions
    models = [load_model(h2o_benzene.parent / f"{m}.npz") for m in ("water", "benzene", "binding")]
    water, benzene, binding = (
        CpuPredictor(m).predict(x[:, atoms])
        for m, atoms in zip(models, (slice(0, 3), slice(3, 15), slice(0, 15)), strict=True)
    )
    result = load_potential(h2o_benzene).compute(x)
    assert result.energy == pytest.approx(water.energy + benzene.energy + binding.energy, abs=1e-9)
    forces = np.concatenate([water.forces, benzene.forces], axis=1) + binding.forces
    assert result.forces == pytest.approx(forces, abs=1e-12)
    assert result.virial == pytest.approx(water.virial + benzene.virial + binding.virial, abs=1e-12)
    assert result.parts.energies["binding"] == pytest.approx(binding.energy, abs=1e-12)
    assert result.parts.binding_forces == pytest.approx(binding.forces, abs=1e-12)


@pytest.mark.parametrize(("system", "energy", "force"), [("h2o_benzene", 0.1, 0.2), ("na_benzene", 0.2, 0.4)])
def test_held_out_configurations_agree_with_their_labels(system: str, energy: float, force: float) -> None:
    """MAE in kcal/mol and kcal/mol/Å on configurations that no model was trained or validated on."""
    data = held_out(system)
    result = shipped(system).compute(data.positions)
    assert np.abs(result.energy / KCAL_MOL - data.energies).mean() < energy
    assert np.abs(result.forces / KCAL_MOL - data.forces).mean() < force
    binding = data.binding_energies()
    assert np.abs(result.parts.energies["binding"] / KCAL_MOL - binding).mean() < energy


@pytest.mark.parametrize("system", SYSTEMS)
def test_parts_add_up(system: str) -> None:
    potential = shipped(system)
    x = held_out(system, 4).positions
    whole, fragments, binding = (potential.compute(x, part) for part in ("all", "fragments", "binding"))
    assert whole.energy == pytest.approx(fragments.energy + binding.energy, abs=1e-9)
    assert whole.forces == pytest.approx(fragments.forces + binding.forces, abs=1e-12)
    assert whole.virial == pytest.approx(fragments.virial + binding.virial, abs=1e-12)
    assert whole.energy == pytest.approx(sum(whole.parts.energies.values()), abs=1e-9)
    assert set(whole.parts.energies) == set(fragments.parts.energies) | {"binding"}
    assert set(binding.parts.energies) == {"binding"}
    assert fragments.parts.binding_forces is None


def test_one_frame_has_no_frame_axis(h2o_benzene: Path) -> None:
    potential = load_potential(h2o_benzene)
    one, many = potential.compute(potential.reference), potential.compute(potential.reference[None])
    assert np.ndim(one.energy) == 0
    assert one.forces.shape == (15, 3)
    assert one.virial.shape == (3, 3)
    assert one.forces == pytest.approx(many.forces[0])
    assert one.parts.energies["water"] == pytest.approx(many.parts.energies["water"][0])


def test_an_ion_is_a_constant_energy_and_no_force(na_benzene: Path) -> None:
    potential = load_potential(na_benzene)
    x = held_out("na_benzene", 3).positions
    result = potential.compute(x, "fragments")
    entry = yaml.safe_load(na_benzene.read_text())["fragments"][0]
    assert result.parts.energies["sodium"] == pytest.approx(entry["energy"] * KCAL_MOL)
    assert (result.forces[:, 0] == 0).all()


def test_positions_are_not_changed_and_lists_do(h2o_benzene: Path) -> None:
    potential = load_potential(h2o_benzene)
    x = potential.reference.copy()
    before = x.copy()
    assert potential.compute(x.tolist()).energy == potential.compute(x).energy
    assert (x == before).all()


def write_manifest(folder: Path, **manifest: object) -> Path:
    path = folder / "manifest.yaml"
    path.write_text(yaml.safe_dump({"format": "delta-sgdml/1", "name": "made", "structure": "x.xyz", **manifest}))
    return path


@pytest.fixture
def three(tmp_path: Path) -> Path:
    """Three molecules whose atoms are interleaved, with binding terms for two of the three pairs."""
    import ase

    rng = np.random.default_rng(0)
    x = 1.4 * np.stack(np.meshgrid(*[np.arange(3)] * 2, [0], indexing="ij"), -1).reshape(-1, 3)
    x = x + 0.1 * rng.standard_normal(x.shape)
    ase.Atoms("CHNCHNCHN", x).write(tmp_path / "x.xyz")
    atoms = {"a": [0, 3, 6], "b": [1, 4, 7], "c": [8, 2, 5]}
    numbers = np.array([6, 1, 7] * 3)
    for name, members in {**atoms, "ab": atoms["a"] + atoms["b"], "cb": atoms["c"] + atoms["b"]}.items():
        identity = np.arange(len(members))[None]
        made_model(tmp_path / f"{name}.npz", numbers[members], x[members], identity, n_train=5, seed=len(name))
    return write_manifest(
        tmp_path,
        fragments=[{"name": n, "atoms": a, "model": f"{n}.npz"} for n, a in atoms.items()],
        binding=[{"model": "ab.npz", "between": ["a", "b"]}, {"model": "cb.npz", "between": ["c", "b"]}],
    )


def test_three_fragments_with_pairwise_binding(three: Path) -> None:
    potential = load_potential(three)
    x = potential.reference + 0.05 * np.random.default_rng(4).standard_normal((2, 9, 3))
    result = potential.compute(x)
    forces, energy = np.zeros_like(x), np.zeros(2)
    a, b, c = [0, 3, 6], [1, 4, 7], [8, 2, 5]
    for name, atoms in (("a", a), ("b", b), ("c", c), ("ab", a + b), ("cb", c + b)):
        p = CpuPredictor(load_model(three.parent / f"{name}.npz")).predict(x[:, atoms])
        forces[:, atoms] += p.forces
        energy += p.energy
    assert result.energy == pytest.approx(energy, abs=1e-12)
    assert result.forces == pytest.approx(forces, abs=1e-12)
    parts = result.parts.energies
    assert list(parts) == ["a", "b", "c", "binding", "binding_a_b", "binding_c_b"]
    assert parts["binding"] == pytest.approx(parts["binding_a_b"] + parts["binding_c_b"])


def test_one_fragment_over_all_atoms_serves_a_single_global_model(tmp_path: Path, h2o_benzene: Path) -> None:
    model, structure = (h2o_benzene.parent / name for name in ("binding.npz", "geometry.xyz"))
    path = write_manifest(
        tmp_path, fragments=[{"name": "full", "atoms": "0:15", "model": str(model)}], structure=str(structure)
    )
    potential = load_potential(path)
    x = held_out("h2o_benzene", 3).positions
    assert potential.compute(x).energy == pytest.approx(CpuPredictor(load_model(model)).predict(x).energy)
    with pytest.raises(ManifestError, match="no binding"):
        potential.compute(x, "binding")


def test_no_frames_and_no_such_part(h2o_benzene: Path) -> None:
    potential = load_potential(h2o_benzene)
    nothing = potential.compute(np.zeros((0, 15, 3)))
    assert nothing.energy.shape == (0,)
    assert nothing.forces.shape == (0, 15, 3)
    with pytest.raises(InputError, match="all, fragments, binding"):
        potential.compute(potential.reference, "bindings")  # type: ignore[arg-type]


def test_binding_terms_whose_names_would_collide(three: Path) -> None:
    data = yaml.safe_load(three.read_text())
    names = ["a_b", "c", "a", "b_c"]
    data["fragments"] = [{"name": n, "atoms": [i], "energy": 0.0, "energy_unit": "eV"} for i, n in enumerate(names)]
    data["binding"] = [{"model": "ab.npz", "between": ["a_b", "c"]}, {"model": "cb.npz", "between": ["a", "b_c"]}]
    three.write_text(yaml.safe_dump(data))
    with pytest.raises(ManifestError, match="binding_a_b_c"):
        load_potential(three)


@pytest.mark.parametrize("shape", [(14, 3), (2, 14, 3), (15,), (15, 2), (1, 2, 15, 3)])
def test_wrong_shapes_are_refused(h2o_benzene: Path, shape: tuple[int, ...]) -> None:
    with pytest.raises(GeometryError, match="expected"):
        load_potential(h2o_benzene).compute(np.ones(shape))


def test_positions_and_forces_that_are_not_finite(h2o_benzene: Path) -> None:
    potential = load_potential(h2o_benzene)
    x = np.stack([potential.reference] * 2)
    x[1, 4, 2] = np.nan
    with pytest.raises(GeometryError, match="atom 4 in frame 1"):
        potential.compute(x)
    x[1] = potential.reference
    x[1, 4] = x[1, 5]
    with pytest.raises(NonFiniteError, match=r"frame 1: .*benzene"):
        potential.compute(x)


@pytest.mark.parametrize(
    ("change", "cause"),
    [
        (lambda x: x / BOHR, "bohr were given where Å"),
        (lambda x: x * BOHR, "Å were read as bohr"),
        (lambda x: x[::-1], "another order of atoms"),
        (lambda x: x[[1, 0, *range(2, 15)]], "another order of atoms"),
        (lambda x: np.where(np.arange(15)[:, None] == 7, x + np.array([20.0, 0, 0]), x), "periodic wrapping"),
        (lambda x: np.where(np.arange(15)[:, None] == 7, x[8], x), "0.000 Å apart"),
    ],
)
def test_a_geometry_that_cannot_be_this_molecule(h2o_benzene: Path, change, cause: str) -> None:
    potential = load_potential(h2o_benzene)
    potential.check_geometry(potential.reference)
    with pytest.raises(GeometryError, match=cause):
        potential.check_geometry(change(potential.reference))


@pytest.mark.parametrize("system", SYSTEMS)
def test_reference_configurations_pass_the_geometry_check(system: str) -> None:
    potential = shipped(system)
    for frame in held_out(system).positions:
        potential.check_geometry(frame)


class _Stretched:
    """A term with a finite energy and finite forces, and what is asked for as its virial."""

    names, part, sites = ("odd",), "binding", np.arange(15)[None]

    def __init__(self, virial: float) -> None:
        self.virial = virial

    def evaluate(self, frames: Frames) -> Contribution:
        n = len(frames.positions)
        return Contribution(np.zeros((n, 1)), np.zeros((n, 1, 15, 3)), np.full((n, 1, 3, 3), self.virial))

    def expected_error(self, frames: Frames) -> None:
        return None


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_a_virial_that_is_not_finite_is_refused(h2o_benzene: Path, value: float) -> None:
    whole = load_potential(h2o_benzene)
    odd = Potential(whole.numbers, whole.reference, whole.fragments, [*whole.terms, _Stretched(value)])
    with pytest.raises(NonFiniteError, match="frame 0: the virial came out as not a number"):
        odd.compute(whole.reference)


@pytest.mark.parametrize("far", [1e9, 1e100, 1e300])
def test_an_atom_that_is_absurdly_far_takes_the_others_digits(h2o_benzene: Path, far: float) -> None:
    """At 1e100 Å the energy would be another by 0.1 eV, and finite."""
    potential = load_potential(h2o_benzene)
    x = potential.reference.copy()
    x[3, 1] = -far
    with pytest.raises(GeometryError, match=r"position of atom 3 in frame 0 is beyond 1e\+08 Å"):
        potential.compute(x)
    x[3, 1] = 1e7
    assert np.isfinite(potential.compute(x).energy)
