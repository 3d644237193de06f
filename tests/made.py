"""Makers of models and manifests: valid files of any size, with no chemistry in them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import yaml
from ase import Atoms
from ase.io import write

from delta_server.gdml.descriptor.pairs import pair_permutations


def made_model(
    path: Path,
    numbers: npt.ArrayLike,
    positions: npt.ArrayLike,
    permutations: npt.ArrayLike,
    n_train: int,
    seed: int,
    *,
    sigma: float = 10.0,
    noise: float = 0.05,
    size: float = 1.0,
    offset: float = -100.0,
) -> Path:
    """An sGDML file (type ``m``) of random weights over geometries around (N, 3) `positions` in Å.

    permutations: (P, N), among equal elements. noise: of the training geometries, Å. size: of the energy's
    slope along a descriptor entry, kcal/mol·Å, whatever n_train and P are: far too soft to move an atom. offset: of
    the energy, kcal/mol.
    """
    rng = np.random.default_rng(seed)
    numbers, positions = np.asarray(numbers), np.asarray(positions, dtype=float)
    permutations = np.asarray(permutations)
    row, col = np.tril_indices(len(numbers), -1)
    n_pairs, n_perms = len(row), len(permutations)
    descriptors = np.empty((n_pairs, n_train))
    for m in range(n_train):
        x = positions + noise * rng.standard_normal(positions.shape)
        descriptors[:, m] = 1 / np.linalg.norm(x[row] - x[col], axis=1)
    weights = rng.standard_normal((n_train, n_pairs)) * size * 0.6 * sigma**2 / np.sqrt(n_train * n_perms)
    offsets = n_pairs * np.arange(n_perms)[:, None]
    np.savez(
        path,
        type="m",
        dataset_name="made",
        dataset_theory="none",
        z=numbers.astype(np.uint8),
        R_desc=descriptors,
        R_d_desc_alpha=weights,
        perms=permutations,
        tril_perms_lin=(pair_permutations(permutations) + offsets).flatten("F"),
        sig=sigma,
        std=1.0,
        c=offset,
        r_unit="Ang",
        e_unit="kcal/mol",
    )
    return path


def cyclic_permutations(n_atoms: int, order: int) -> npt.NDArray[np.intp]:
    """(order, n_atoms): the first `order` atoms turned around in a ring, the others left where they are."""
    permutations = np.tile(np.arange(n_atoms), (order, 1))
    for shift, row in enumerate(permutations):
        row[:order] = np.roll(row[:order], -shift)
    return permutations


def made_manifest(
    folder: Path,
    numbers: npt.ArrayLike,
    positions: npt.ArrayLike,
    fragments: Sequence[dict[str, Any]],
    binding: dict[str, Any] | None = None,
) -> Path:
    """``manifest.yaml`` and its structure in `folder`; the model files are named in `fragments` and `binding`."""
    write(folder / "geometry.xyz", Atoms(numbers, positions))
    entries = {"format": "delta-sgdml/1", "name": folder.name, "structure": "geometry.xyz", "fragments": fragments}
    path = folder / "manifest.yaml"
    path.write_text(yaml.safe_dump(entries | ({"binding": binding} if binding else {})))
    return path


def made_dimer(folder: Path) -> Path:
    """The manifest of two waters, ``first`` and ``second``, with a binding: computed in no time."""
    water = np.array([[0.0, 0.0, 0.0], [0.96, 0.0, 0.0], [-0.24, 0.93, 0.0]])
    positions = np.concatenate([water, water + np.array([0.3, 0.4, 2.9])])
    numbers = np.array([8, 1, 1, 8, 1, 1])
    made_model(folder / "water.npz", numbers[:3], water, [[0, 1, 2], [0, 2, 1]], n_train=5, seed=1)
    made_model(folder / "binding.npz", numbers, positions, [range(6)], n_train=5, seed=2)
    fragments = [{"name": n, "atoms": a, "model": "water.npz"} for n, a in (("first", "0:3"), ("second", "3:6"))]
    return made_manifest(folder, numbers, positions, fragments, {"model": "binding.npz"})
