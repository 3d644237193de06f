"""Collective variables: numbers that say where a molecule is, from groups of atoms, in YAML or from a manifest.

groups:
  bowl: "60:70,88:98"              # half-open ranges as in a manifest
variables:
  R_CM: {distance: [c60, catcher], centre: mass}
  R_p:  {distance: [bowl, "98:118"]}      # atoms may stand in the place of a group
  tilt: {angle: ["0", "1", "2"]}
  turn: {dihedral: ["0", "1", "2", "3"]}
  h:    {height: [water, benzene]}

A distance (Å) is that of two groups' centres, an angle and a dihedral (degrees) of three and four centres, a height
(Å) that of a group's centre over the plane of another group's atoms. Centres are centroids, or with ``centre: mass``
centres of mass. The fragments of the manifest are groups by their names.
"""

from __future__ import annotations

from collections.abc import Iterable
from itertools import pairwise
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
import yaml
from pydantic import BeforeValidator, Field, ValidationError, model_validator

from ..._types import FloatArray, IntArray
from ...errors import InputError
from ...files.documents import Strict, first_error, read_yaml
from ...manifest import Manifest, Name, format_atoms, parse_atoms
from ...molecule.rings import corannulenes
from ...molecule.structures import read_structure
from ..trajectory import Block


def _atoms(value: Any) -> tuple[int, ...]:
    """Atoms as they may stand in a manifest; numbers in a list may be text."""
    if isinstance(value, list):
        value = [int(a) if isinstance(a, str) and a.isdecimal() and len(a) < 10 else a for a in value]
    return parse_atoms(value)


def _group(value: Any) -> Any:
    """A group's name as it is, or atoms."""
    return value if isinstance(value, str) and value[:1].isalpha() else _atoms(value)


AtomsOf = Annotated[tuple[int, ...], BeforeValidator(_atoms)]
Group = Annotated[str | tuple[int, ...], BeforeValidator(_group)]


class Variable(Strict):
    """One collective variable; just one of the four kinds."""

    distance: tuple[Group, Group] | None = None
    angle: tuple[Group, Group, Group] | None = None
    dihedral: tuple[Group, Group, Group, Group] | None = None
    height: tuple[Group, Group] | None = None
    centre: Literal["mass", "centroid"] = "centroid"

    @model_validator(mode="after")
    def _one_kind(self) -> Variable:
        kinds = [kind for kind in KINDS if getattr(self, kind) is not None]
        if len(kinds) != 1:
            raise ValueError(f"expected one of {', '.join(KINDS)}, found {', '.join(kinds) or 'none'}")
        return self

    @property
    def kind(self) -> str:
        return next(kind for kind in KINDS if getattr(self, kind) is not None)

    @property
    def groups(self) -> tuple[str | tuple[int, ...], ...]:
        groups: tuple[str | tuple[int, ...], ...] = getattr(self, self.kind)
        return groups

    @property
    def unit(self) -> str:
        return "Å" if self.kind in ("distance", "height") else "°"


KINDS = ("distance", "angle", "dihedral", "height")


class Variables(Strict):
    """Groups and variables by name; every group that a variable names is there."""

    groups: dict[Name, AtomsOf] = Field(default_factory=dict)
    variables: dict[Name, Variable] = Field(min_length=1)

    @model_validator(mode="after")
    def _known(self) -> Variables:
        for name, variable in self.variables.items():
            for group in variable.groups:
                if isinstance(group, str) and group not in self.groups:
                    known = ", ".join(self.groups) or "none"
                    raise ValueError(f"variable {name!r}: no group {group!r}; there are {known}")
        return self

    def atoms(self, group: str | tuple[int, ...]) -> IntArray:
        return np.array(self.groups[group] if isinstance(group, str) else group, dtype=np.intp)

    def check(self, n_atoms: int) -> None:
        """Raises InputError if a group holds an atom that is not there."""
        for name, variable in self.variables.items():
            largest = max(int(self.atoms(group).max()) for group in variable.groups)
            if largest >= n_atoms:
                raise InputError(f"variable {name!r}: atom {largest}, but the trajectory has {n_atoms}, from 0 on")

    def text(self) -> str:
        """As YAML, as `load_variables` reads it."""
        document = {
            "groups": {name: format_atoms(atoms) for name, atoms in self.groups.items()},
            "variables": {
                name: {
                    variable.kind: [g if isinstance(g, str) else format_atoms(g) for g in variable.groups],
                    "centre": variable.centre,
                }
                for name, variable in self.variables.items()
            },
        }
        return yaml.safe_dump(document, sort_keys=False, default_flow_style=None, width=110)

    def evaluate(self, positions: FloatArray, masses: FloatArray) -> dict[str, FloatArray]:
        """Every variable (n,) of positions (n, N, 3) in Å; masses (N,). Å and degrees."""
        return {name: self._value(variable, positions, masses) for name, variable in self.variables.items()}

    def _value(self, variable: Variable, positions: FloatArray, masses: FloatArray) -> FloatArray:
        weights = masses if variable.centre == "mass" else np.ones_like(masses)
        groups = [self.atoms(group) for group in variable.groups]
        centres = [(weights[g] / weights[g].sum()) @ positions[:, g] for g in groups]
        if variable.kind == "distance":
            distance: FloatArray = np.linalg.norm(centres[1] - centres[0], axis=1)
            return distance
        if variable.kind == "height":
            flat = positions[:, groups[1]] - centres[1][:, None]
            normal = np.linalg.svd(flat, full_matrices=False)[2][:, 2]
            height: FloatArray = np.abs(np.einsum("ni,ni->n", centres[0] - centres[1], normal))
            return height
        if variable.kind == "angle":
            return _angle(centres[0] - centres[1], centres[2] - centres[1])
        first, axis, last = (b - a for a, b in pairwise(centres))
        up, down = np.cross(first, axis), np.cross(axis, last)
        sine = np.einsum("ni,ni->n", np.cross(up, down), axis) / np.linalg.norm(axis, axis=1)
        return np.asarray(np.degrees(np.arctan2(sine, np.einsum("ni,ni->n", up, down))), dtype=np.float64)


def _angle(a: FloatArray, b: FloatArray) -> FloatArray:
    sine = np.linalg.norm(np.cross(a, b), axis=1)
    return np.asarray(np.degrees(np.arctan2(sine, np.einsum("ni,ni->n", a, b))), dtype=np.float64)


def along(variables: Variables, blocks: Iterable[Block], masses: FloatArray) -> dict[str, FloatArray]:
    """Every variable in every frame. Raises InputError for atoms that are not there, or without frames."""
    variables.check(len(masses))
    values = [variables.evaluate(block.positions, masses) for block in blocks]
    if not values:
        raise InputError("a trajectory without frames has no variables")
    return {name: np.concatenate([some[name] for some in values]) for name in values[0]}


def load_variables(path: Path, manifest: Manifest | None = None) -> Variables:
    """From YAML; fragments of a manifest are groups too. Raises InputError: one line with the file and the place."""
    data = read_yaml(path, "file of variables", InputError)
    if not isinstance(data, dict):
        raise InputError(f"{path}: expected `groups` and `variables`")
    own = data.get("groups") or {}
    if manifest is not None and isinstance(own, dict):
        data = {**data, "groups": {f.name: list(f.atoms) for f in manifest.fragments} | own}
    try:
        return Variables.model_validate(data)
    except ValidationError as error:
        raise InputError(f"{path}: {first_error(error)}") from None


def default_variables(manifest: Manifest) -> Variables:
    """R_CM: the distance of the centres of mass of the first two fragments. R_p, where just one fragment holds two
    corannulene bowls: the distance of the bowls' centroids.

    For the buckycatcher that is how wide the pincers are open: each bowl is the 20 carbons of one corannulene, its
    five-ring and the five six-rings about it, without hydrogens and without the linker. Centroids of all 20 rather
    than of the five-ring: they hardly move when a bowl breathes or inverts.

    Raises InputError for fewer than two fragments.
    """
    if len(manifest.fragments) < 2:
        raise InputError(f"{manifest.path}: one fragment has no distance to another; give --variables")
    groups = {fragment.name: fragment.atoms for fragment in manifest.fragments}
    first, second = (fragment.name for fragment in manifest.fragments[:2])
    variables = {"R_CM": Variable(distance=(first, second), centre="mass")}
    atoms = read_structure(manifest.resolve(manifest.structure))
    pairs = []
    for fragment in manifest.fragments:
        bowls = corannulenes(atoms.numbers, atoms.positions, np.array(fragment.atoms, dtype=np.intp))
        if len(bowls) == 2 and not set(bowls[0].tolist()) & set(bowls[1].tolist()):
            pairs.append(bowls)
    if len(pairs) == 1:
        groups |= {name: tuple(b.tolist()) for name, b in zip(("bowl_1", "bowl_2"), pairs[0], strict=True)}
        variables = {"R_p": Variable(distance=("bowl_1", "bowl_2")), **variables}
    return Variables(groups=groups, variables=variables)
