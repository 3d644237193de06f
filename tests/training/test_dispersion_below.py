"""Dispersion below the binding: coefficients as dftd4 has them, and models that learn what it leaves."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from ase.build import molecule
from ase.units import Bohr
from conftest import bound

from delta_server import load_potential
from delta_server.data.apart import place
from delta_server.data.dataset import Dataset
from delta_server.errors import InputError
from delta_server.terms.base import Frames
from delta_server.training.baselines.calculator import Baseline
from delta_server.training.baselines.dispersion import dispersion_below
from delta_server.training.databases import Complex
from delta_server.training.tasks import Recipe
from delta_server.training.trainer import train
from delta_server.units import KCAL_MOL

interface = pytest.importorskip("dftd4.interface")

QUICK = Recipe(12, n_validation=10, choose_group=False, sigmas=(10.0,), lams=(1e-8,), robust=False, dispersion="pbe0")


def attracted() -> Dataset:
    """Two methanes, bound and placed, in which nothing but PBE0's dispersion binds."""
    data = bound("methane_dimer").take(np.arange(0, 2000, 40))
    x = np.concatenate(
        [data.positions, place(data.numbers, [data.atoms_of(k) for k in range(2)], data.positions, 30)]
    )
    zeros = np.zeros((len(x), 2))
    data = replace(
        data, positions=x, energies=np.arange(len(x), dtype=float), forces=0 * x, fragment_energies=zeros,
        fragment_forces=0 * x, run=np.repeat([0, 1], [len(data), 30]), index=None, split=None,
    )  # fmt: skip
    term = dispersion_below(Complex.of(data), "pbe0").term(Complex.of(data))
    told = term.evaluate(Frames(x))
    data.forces[:, term.sites[0]] = told.forces[:, 0] / KCAL_MOL
    return replace(data, energies=told.energies[:, 0] / KCAL_MOL)


def test_coefficients_of_two_benzenes() -> None:
    """Those of one benzene, but for what the other's charges change; triples without charges."""
    data = bound("benzene_dimer").take(np.arange(20))
    known = dispersion_below(Complex.of(data), "gfn2-xtb").options
    assert list(known.kinds.values()) == [[0] * 6 + [1] * 6] * 2
    benzene = molecule("C6H6")
    model = interface.DispersionModel(benzene.numbers, benzene.positions / Bohr)
    c6 = model.get_properties()["c6 coefficients"]
    assert known.c6 == pytest.approx(np.array([[c6[0, 0], c6[0, 6]], [c6[0, 6], c6[6, 6]]]), rel=0.02)
    assert known.r4r2 == pytest.approx([3.1049282, 2.007349])
    triples = model.get_dispersion(interface.DampingParam(s6=1.0, s8=0.0, s9=1.0, a1=0.0, a2=0.0), grad=False)[
        "energy"
    ]
    pairs = model.get_dispersion(interface.DampingParam(s6=1.0, s8=0.0, s9=0.0, a1=0.0, a2=0.0), grad=False)["energy"]
    x, k = benzene.positions / Bohr, known.kinds["benzene_1"]
    neutral = np.sqrt(known.c6_neutral)
    by_hand = 0.0
    for a in range(12):
        for b in range(a):
            for c in range(b):
                edges = x[a] - x[b], x[b] - x[c], x[c] - x[a]
                r = [np.linalg.norm(edge) for edge in edges]
                cosines = np.prod([-(edges[i] @ edges[i - 1]) / r[i] / r[i - 1] for i in range(3)])
                c9 = neutral[k[a], k[b]] * neutral[k[b], k[c]] * neutral[k[c], k[a]]
                by_hand += c9 * (1 + 3 * cosines) / np.prod(r) ** 3
    assert by_hand == pytest.approx(float(triples - pairs), rel=0.02)


def test_kinds_of_two_molecules() -> None:
    known = dispersion_below(Complex.of(bound("h2o_benzene").take(np.arange(20))), "pbe0").options
    assert known.kinds == {"water": [0, 1, 1], "benzene": [2] * 6 + [3] * 6}
    assert known.damping.a1 == pytest.approx(0.40085597)


def test_training_above_dispersion(tmp_path: Path) -> None:
    """The binding learns nothing more; the manifest adds it again, the record names it."""
    data = attracted()
    assert abs(data.binding_energies()).max() > 0.1
    manifest = train(data, tmp_path / "above", QUICK)
    (entry,) = yaml.safe_load(manifest.read_text())["terms"]
    assert (entry["kind"], len(entry["options"]["c6"])) == ("dispersion", 2)
    assert json.loads((tmp_path / "above/training.json").read_text())["dispersion"] == {"method": "pbe0"}
    potential = load_potential(manifest)
    parts = potential.compute(data.positions).parts.energies
    # the coefficients are of another configuration than those that made the labels
    assert parts["dispersion"] / KCAL_MOL == pytest.approx(data.binding_energies(), rel=1e-3, abs=1e-9)
    assert parts["binding"] / KCAL_MOL == pytest.approx(data.binding_energies(), abs=1e-3)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"dispersion": "no-such"}, "dispersion of 'no-such': expected gfn2-xtb or a functional that dftd4 knows"),
        ({"baseline": Baseline("d4", {"method": "pbe0"})}, "--dispersion and --baseline: both are below the binding"),
        ({"full": ("graph",)}, "global models"),
        ({"cutoff": 4.0}, "a cut-off of 4 Å, switched from 2 Å"),
    ],
)
def test_what_does_not_go_with_it(changes: dict[str, Any], words: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=words):
        train(attracted(), tmp_path, replace(QUICK, **changes))
