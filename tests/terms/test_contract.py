"""Every kind of term keeps the contract, and the contract notices a term that does not."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest
from conftest import ROOT, held_out, shipped

from delta_server import load_potential
from delta_server.checks import check_term
from delta_server.terms.base import Contribution, Frames, Term
from delta_server.terms.constant import ConstantTerm
from delta_server.terms.sgdml import SgdmlTerm

DIMER = ROOT / "models/methane_dimer/manifest.yaml"


def failures(term: Term, frames: Frames, **options: bool) -> set[str]:
    checks = list(check_term(term, frames, **options))
    assert len(checks) > 1
    return {check.name for check in checks if not check.passed}


@pytest.mark.parametrize("system", ["methane_dimer", "h2o_benzene", "na_benzene"])
def test_the_shipped_terms(system: str) -> None:
    potential = shipped(system)
    frames = Frames(held_out(system, 3).positions)
    kinds = set()
    for term in potential.terms:
        assert not failures(term, frames, exact=True), term.names
        kinds.add(type(term))
    assert kinds == ({SgdmlTerm, ConstantTerm} if system == "na_benzene" else {SgdmlTerm})


def test_equal_molecules_are_copies_of_one_term() -> None:
    potential = load_potential(DIMER)
    molecules, binding = potential.terms
    assert molecules.names == tuple(f.name for f in potential.fragments)
    assert molecules.sites.tolist() == [f.atoms.tolist() for f in potential.fragments]
    assert binding.sites.shape == (1, 10)
    assert "equal copies" in {check.name for check in check_term(molecules, Frames(potential.reference[None]))}


@pytest.mark.parametrize("backwards", [False, True])
def test_what_is_added_in_compiled_code_is_what_is_evaluated(backwards: bool) -> None:
    """For copies, several frames, and atoms that are not beside each other; to what is there already."""
    potential = load_potential(DIMER)
    term = potential.terms[0]
    assert isinstance(term, SgdmlTerm)
    x = held_out("methane_dimer", 3).positions
    if backwards:  # the last atom first
        x = np.ascontiguousarray(x[:, ::-1])
        term = replace(term, sites=potential.n_atoms - 1 - term.sites)
    told, forces, virials = term.evaluate(Frames(x)), np.ones(x.shape), np.ones((len(x), 3, 3))
    energies = term.add(Frames(x), forces, virials)
    if energies is None:
        pytest.skip("no compiled code")
    assert np.array_equal(energies, told.energies)
    expected = np.ones(x.shape)
    for k, site in enumerate(term.sites):
        expected[:, site] += told.forces[:, k]
    assert np.array_equal(forces, expected)
    assert np.array_equal(virials, 1 + told.virials[:, 0] + told.virials[:, 1])
    for wrong in (np.full(term.sites.shape, 10), np.full(term.sites.shape, -1), term.sites[:, :4].copy()):
        with pytest.raises(ValueError, match="add: sizes"):
            replace(term, sites=wrong).add(Frames(x), forces, virials)
    assert np.array_equal(forces, expected)


def test_copies_are_evaluated_in_one_call(monkeypatch: pytest.MonkeyPatch) -> None:
    potential = load_potential(DIMER)
    term, calls = potential.terms[0], []
    assert isinstance(term, SgdmlTerm)

    @dataclass
    class Counting:
        def predict(self, positions: np.ndarray) -> object:
            calls.append(positions.shape)
            return term.predictor.predict(positions)

    replace(term, predictor=Counting()).evaluate(Frames(np.stack([potential.reference] * 3)))
    assert calls == [(6, 5, 3)]


@dataclass(frozen=True)
class Wrong:
    """A term with one fault."""

    inner: Term
    fault: str

    names = property(lambda self: self.inner.names)
    part = property(lambda self: self.inner.part)
    sites = property(lambda self: self.inner.sites)

    def evaluate(self, frames: Frames) -> Contribution:
        if self.fault == "mutates":
            frames.positions[:] += 1e-3
        energies, forces, virials, _ = self.inner.evaluate(frames)
        if self.fault == "shape":
            return Contribution(energies[:, 0], forces, virials)
        if self.fault == "batch":
            energies = energies + energies.mean()
        if self.fault == "copies":
            energies = energies * (1 + np.arange(energies.shape[1]))
            forces = forces * (1 + np.arange(energies.shape[1]))[:, None, None]
            virials = virials * (1 + np.arange(energies.shape[1]))[:, None, None]
        if self.fault == "force":
            forces = forces * 1.01
        if self.fault == "virial":
            virials = -virials
        if self.fault == "field":
            energies = energies + frames.positions[:, self.sites, 0].sum(-1)
            forces = forces - np.array([1.0, 0, 0])
        if self.fault == "axis":
            x = frames.positions[:, self.sites] - frames.positions[:, self.sites].mean(2, keepdims=True)
            energies = energies + (x[..., 0] ** 2).sum(-1)
            forces = forces - 2 * x * np.array([1.0, 0, 0])
        return Contribution(energies, forces, virials)

    def add(self, frames: Frames, forces: np.ndarray, virials: np.ndarray) -> np.ndarray | None:
        """With the fault, energies alone."""
        return self.inner.evaluate(frames).energies if self.fault == "place" else None

    def expected_error(self, frames: Frames) -> np.ndarray | None:
        errors = self.inner.expected_error(frames)
        return -errors if self.fault == "error" and errors is not None else errors


@pytest.mark.parametrize(
    ("fault", "caught"),
    [
        ("mutates", "inputs not mutated"),
        ("shape", "shapes"),
        ("batch", "batch = single"),
        ("copies", "equal copies"),
        ("place", "in place"),
        ("error", "expected errors"),
        ("force", "forces = −dE/dr"),
        ("virial", "virial = −dE/dε"),
        ("field", "net force"),
        ("axis", "rotation"),
    ],
)
def test_each_fault_is_caught(fault: str, caught: str) -> None:
    potential = load_potential(DIMER)
    frames = Frames(held_out("methane_dimer", 2).positions)
    assert not failures(Wrong(potential.terms[0], "none"), frames)
    assert caught in failures(Wrong(potential.terms[0], fault), frames)


def test_check_says_which_term_breaks_the_contract(h2o_benzene: Path) -> None:
    from delta_server.checks import check_manifest

    names = [check.name for check in check_manifest(h2o_benzene) if check.passed]
    assert {"term water", "term benzene", "term binding"} <= set(names)
