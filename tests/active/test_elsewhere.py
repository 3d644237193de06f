"""Labels that come from elsewhere: what is handed out, what is taken in, and what contradicts what was asked."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from ase import Atoms
from ase.calculators.singlepoint import SinglePointCalculator
from ase.io import read, write
from toy import Toy, waters

from delta_server.active.asked import APART, Asked
from delta_server.active.elsewhere import Added, add, hand_out, settle
from delta_server.active.rounds import TO_LABEL, Round
from delta_server.active.settings import Settings, load_settings
from delta_server.data.dataset import load_dataset
from delta_server.errors import InputError

_FRAMES = 30


@pytest.fixture
def settings() -> Settings:
    return Settings.made(
        name="waters", numbers=(8, 1, 1, 8, 1, 1), fragment=(0, 0, 0, 1, 1, 1), names=("a", "b"), charges=(0, 0),
        multiplicities=(1, 1), temperatures=(100.0,), force=0.5, energy=0.3, budget=100, labels="elsewhere",
        calculator="emt", first=_FRAMES, points=100, test=4, picks=4, replicas=2, picoseconds=0.1, timestep=0.5,
    )  # fmt: skip


@pytest.fixture
def root(tmp_path: Path, settings: Settings) -> Path:
    """A learning that has asked for its first labels: of the complex, once apart, and of one molecule alone."""
    x = waters().positions + 0.02 * np.random.default_rng(1).standard_normal((_FRAMES, 6, 3))
    x[-1, 3:] += 8.0
    now = Round(tmp_path, 0)
    settings.save(tmp_path)
    (now.folder / "asked").mkdir(parents=True)
    bound = Asked.plain("first", (0, 1), x[:-1], 100.0, np.zeros(_FRAMES - 1))
    (bound + Asked.plain("first", (0, 1), x[-1:], APART, np.zeros(1))).save(now.asked_path("first"))
    Asked.plain("alone_a", (0,), 1.01 * x[:3, :3], 100.0, np.zeros(3)).save(now.asked_path("alone_a"))
    assert hand_out(tmp_path, now, settings) == 3 * _FRAMES + 3
    return tmp_path


def computed(root: Path, energy: float = 1.0, force: float = 1.0, **options: float) -> list[Path]:
    """What a cluster would send back, as files of its own, positions shifted as a whole and rounded."""
    paths = []
    for path in sorted((root / TO_LABEL).glob("*.extxyz")):
        frames = []
        for asked in read(path, ":"):
            atoms = Atoms(asked.numbers, np.round(asked.positions + 3.0, 5), calculator=Toy(**options))
            e, f = atoms.get_potential_energy(), atoms.get_forces()
            frames.append(Atoms(atoms.numbers, atoms.positions))
            frames[-1].calc = SinglePointCalculator(frames[-1], energy=energy * e, forces=force * f)
        paths.append(root / f"done_{path.name}")
        write(paths[-1], frames[::-1])
    return paths


def test_what_is_handed_out_says_its_electrons(root: Path) -> None:
    assert sorted(p.name for p in (root / TO_LABEL).iterdir()) == [
        "alone_a_a.extxyz", "first_a.extxyz", "first_b.extxyz", "first_complex.extxyz",
    ]  # fmt: skip
    first = read(root / TO_LABEL / "first_complex.extxyz", 0)
    assert first.info == {"frame": 0, "of": "complex", "charge": 0, "multiplicity": 1}


def test_labels_come_in_any_order_and_in_parts(root: Path) -> None:
    alone, *others = computed(root)
    assert add(root, [alone]) == Added(3, 0, 3 * _FRAMES)
    now = Round(root, 0)
    assert now.labels("first") is None
    assert now.labels("alone_a") is not None
    *begun, last = others
    half = root / "half.extxyz"
    write(half, read(last, ":10"))
    assert add(root, [*begun, half]) == Added(2 * _FRAMES + 10, 0, _FRAMES - 10)
    assert len(list((root / TO_LABEL).iterdir())) == 1
    assert add(root, [last]) == Added(_FRAMES - 10, 10, 0)
    data = now.labels("first")
    assert data is not None
    atoms = Atoms(data.numbers, data.positions[7], calculator=Toy())
    assert data.energies[7] * 0.04336411 == pytest.approx(atoms.get_potential_energy(), abs=1e-5)
    assert data.labelled_fragments
    assert data.run is not None
    assert (data.run > 0).sum() == 1  # the one apart
    with pytest.raises(InputError, match="no labels are awaited"):
        add(root, [last])


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (lambda a: a[[0, 2, 1, 3, 4, 5]], "no such geometry was asked for: some atom of the nearest one is"),
        (lambda a: a[[1, 0, 2, 3, 4, 5]], "asked for in another order of atoms"),
        (lambda a: a[:5], "was not asked for; asked were"),
        (lambda a: Atoms(a.numbers, a.positions * 1.8897), "no such geometry"),
    ],
    ids=["exchanged", "order", "other", "bohr"],
)
def test_other_atoms_or_geometries_are_refused(root: Path, spoil: object, words: str) -> None:
    wrong = []
    for atoms in read(computed(root)[-1], ":2"):
        spoilt = spoil(atoms)  # type: ignore[operator]
        spoilt.calc = SinglePointCalculator(spoilt, energy=1.0, forces=np.zeros((len(spoilt), 3)))
        wrong.append(spoilt)
    write(root / "wrong.extxyz", wrong)
    with pytest.raises(InputError, match=words):
        add(root, [root / "wrong.extxyz"])
    assert not (Round(root, 0).folder / "received").exists()


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"energy": 27.2114}, "forces = −dE/dr"),
        ({"force": -1.0}, "forces = −dE/dr"),
        ({"shift": 0.0, "force": 0.0}, "labels contradict"),
    ],
    ids=["hartree", "gradients", "no-forces"],
)
def test_labels_that_contradict_each_other_are_refused(root: Path, options: dict[str, float], words: str) -> None:
    with pytest.raises(InputError, match=words):
        add(root, computed(root, **options))
    assert Round(root, 0).labels("first") is None


def test_what_others_put_beside_the_geometries_stays_there(root: Path) -> None:
    """Results under names of their own, and over a file that was handed out."""
    paths = computed(root)
    home = root / TO_LABEL
    mine = home / "first_a_done.extxyz"
    paths[1].rename(mine)
    over = home / "first_b.extxyz"
    paths[2].replace(over)
    kept = mine.read_bytes(), over.read_bytes()
    add(root, [paths[0]])
    hand_out(root, Round(root, 0), load_settings(root))
    aside = home / "first_b_labelled_1.extxyz"
    assert (mine.read_bytes(), aside.read_bytes()) == kept
    assert len(read(over, ":")) == _FRAMES  # handed out anew
    assert add(root, [mine, aside, paths[3]]).missing == 0
    assert [p.name for p in sorted(home.iterdir())] == ["first_a_done.extxyz", "first_b_labelled_1.extxyz"]


def test_other_electrons_than_were_asked_for_are_refused(root: Path) -> None:
    path = root / TO_LABEL / "first_a.extxyz"
    frames = computed(root)[1]
    spoilt = read(frames, ":")
    for atoms in spoilt:
        atoms.info["charge"] = 1
    write(frames, spoilt)
    with pytest.raises(InputError, match=r"says charge 1, asked for was . with 0"):
        add(root, [frames])
    assert path.exists()


def test_what_came_whole_before_a_kill_is_put_together(root: Path) -> None:
    add(root, computed(root))
    now, settings = Round(root, 0), load_settings(root)
    before = now.labels_path("first").read_bytes()
    now.labels_path("first").unlink()
    assert settle(now, settings)
    assert np.array_equal(load_dataset(now.labels_path("first")).energies, _energies(before, root))
    assert not settle(now, settings)


def _energies(content: bytes, root: Path) -> np.ndarray:
    (root / "before.npz").write_bytes(content)
    return load_dataset(root / "before.npz").energies


def test_another_zero_of_energy_is_seen(root: Path) -> None:
    """The complex alone counts from another zero than its molecules."""
    alone, *molecules, whole = computed(root)
    frames = read(whole, ":")
    for atoms in frames:
        atoms.calc.results["energy"] += 12.0
    write(whole, frames)
    with pytest.raises(InputError, match="complex and fragments go together"):
        add(root, [alone, *molecules, whole])
