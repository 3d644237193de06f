"""What a made dimer's forces are: the formula, written out, one training point and permutation after the other.

    E = c + Σ_{m,g} 5/(3σ²) (1 + n) e^{−n} d·P_g w_m,    d = x − P_g x_m,    n = √5 |d| / σ,    x_ij = 1/r_ij

(kcal/mol and Å in the file.) Nothing of the package is used.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt
import yaml

Array = npt.NDArray[np.float64]

EV = 4184 / (6.022140857e23 * 1.6021766208e-19)  # in a kcal/mol, CODATA 2014


class Plain:
    """One model file in sGDML's form."""

    def __init__(self, path: Path) -> None:
        with np.load(path, allow_pickle=False) as file:
            self.x, self.w = file["R_desc"].T, file["R_d_desc_alpha"]
            self.perms = file["perms"].astype(int)
            self.sigma, self.std, self.c = (
                float(file[key].reshape(-1)[0]) if key in file else 1.0 for key in ("sig", "std", "c")
            )
        n = self.perms.shape[1]
        place = np.zeros((n, n), dtype=int)
        self.row, self.col = np.tril_indices(n, -1)
        place[self.row, self.col] = place[self.col, self.row] = np.arange(len(self.row))
        pairs = [place[p[self.row], p[self.col]] for p in self.perms]
        self.points = np.concatenate([self.x[:, p] for p in pairs])
        self.weights = np.concatenate([self.w[:, p] for p in pairs])

    def __call__(self, r: Array) -> tuple[float, Array]:
        """Energy, eV, and forces (N, 3), eV/Å, at positions (N, 3), Å."""
        between = r[self.row] - r[self.col]
        distance = np.sqrt((between**2).sum(1))
        d = 1 / distance - self.points
        n = np.sqrt(5 * (d**2).sum(1)) / self.sigma
        dw = (d * self.weights).sum(1)
        factor = 5 / (3 * self.sigma**2) * np.exp(-n)
        energy = self.std * (factor * (1 + n) * dw).sum() + self.c
        slope = (factor * (1 + n)) @ self.weights - (factor * 5 / self.sigma**2 * dw) @ d
        pull = (self.std * slope / distance**3)[:, None] * between  # −dE/dr of the pair's first atom
        forces = np.zeros_like(r)
        np.add.at(forces, self.row, pull)
        np.add.at(forces, self.col, -pull)
        return energy * EV, forces * EV


class PlainSum:
    """All models of a manifest."""

    def __init__(self, manifest: Path) -> None:
        entries = yaml.safe_load(manifest.read_text())
        self.terms: list[tuple[slice, Plain]] = []
        for entry in entries["fragments"]:
            first, last = map(int, entry["atoms"].split(":"))
            self.terms.append((slice(first, last), Plain(manifest.parent / entry["model"])))
        self.terms.append((slice(None), Plain(manifest.parent / entries["binding"]["model"])))

    def __call__(self, r: Array) -> tuple[float, Array, Array]:
        """Energy, eV, forces, eV/Å, virial, eV, at positions (N, 3), Å."""
        energy, forces = 0.0, np.zeros_like(r)
        for atoms, model in self.terms:
            e, f = model(r[atoms])
            energy += e
            forces[atoms] += f
        return energy, forces, r.T @ forces
