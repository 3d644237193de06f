"""Collective variables: numbers that say where a molecule is, from groups of atoms, in YAML or from a manifest.

groups:
  bowl: "60:70,88:98"              # half-open ranges as in a manifest
variables:
  R_CM: {distance: [c60, catcher], centre: mass}
  R_p:  {distance: [bowl, "98:118"]}      # atoms may stand in the place of a group
  tilt: {angle: ["0", "1", "2"]}
  turn: {dihedral: ["0", "1", "2", "3"]}
  h:    {height: [water, benzene]}
  n:    {coordination: [water, benzene], r_0: 3.5}

A distance (Å) is that of two groups' centres, an angle and a dihedral (degrees) of three and four centres, a height
(Å) that of a group's centre over the plane of another group's atoms, a coordination the number of contacts closer
than about r_0 (Å) between the atoms of two groups. Centres are centroids, or with ``centre: mass`` centres of mass.
The fragments of the manifest are groups by their names.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from itertools import combinations, pairwise
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
import yaml
from pydantic import BeforeValidator, Field, ValidationError, model_validator

from .._types import FloatArray, IntArray
from ..errors import InputError
from ..files.documents import Strict, first_error, read_yaml
from ..manifest import Manifest, Name
from ..molecule.ranges import format_atoms, parse_atoms
from ..molecule.rings import corannulenes
from ..molecule.structures import read_structure
from . import kinds
from .measure import Measure


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
    """One collective variable; just one of the kinds. r_0: Å, of a coordination."""

    distance: tuple[Group, Group] | None = None
    angle: tuple[Group, Group, Group] | None = None
    dihedral: tuple[Group, Group, Group, Group] | None = None
    height: tuple[Group, Group] | None = None
    coordination: tuple[Group, Group] | None = None
    r_0: float | None = Field(default=None, ge=0.01, le=1000, allow_inf_nan=False)
    centre: Literal["mass", "centroid"] = "centroid"

    @model_validator(mode="after")
    def _one_kind(self) -> Variable:
        given = [kind for kind in KINDS if getattr(self, kind) is not None]
        if len(given) != 1:
            raise ValueError(f"expected one of {', '.join(KINDS)}, found {', '.join(given) or 'none'}")
        if (self.coordination is None) != (self.r_0 is None):
            raise ValueError("r_0 (Å), how far a contact reaches, and coordination go together")
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
        return {"distance": "Å", "height": "Å", "coordination": "1"}.get(self.kind, "°")

    @property
    def turn(self) -> float:
        """After which it is the same again; 0 for never."""
        return 360.0 if self.kind == "dihedral" else 0.0

    @property
    def function(self) -> kinds.Function:
        """Of the vectors that it is made of (`kinds`)."""
        if self.r_0 is not None:
            return kinds.coordination(self.r_0)
        of_kind: kinds.Function = getattr(kinds, self.kind)
        return of_kind

    def as_dict(self) -> dict[str, Any]:
        """As it may stand in YAML."""
        document = {
            self.kind: [g if isinstance(g, str) else format_atoms(g) for g in self.groups],
            "centre": self.centre,
        }
        return document if self.r_0 is None else document | {"r_0": self.r_0}


KINDS = ("distance", "angle", "dihedral", "height", "coordination")


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
            self._check_groups(name, variable)
        return self

    def _check_groups(self, name: str, variable: Variable) -> None:
        """Raise ValueError for groups between which there is nothing to measure."""
        groups = [self.atoms(group) for group in variable.groups]
        if variable.kind == "height" and len(groups[1]) < 3:
            raise ValueError(f"variable {name!r}: a plane needs three atoms, found {len(groups[1])}")
        if variable.kind == "coordination" and not len(_pairs(*groups)[0]):
            raise ValueError(f"variable {name!r}: its groups are the same atom; expected two")
        for a, b in combinations(groups, 2) if variable.kind != "coordination" else ():
            if np.array_equal(np.sort(a), np.sort(b)):
                raise ValueError(f"variable {name!r}: two of its groups are the same atoms")

    def atoms(self, group: str | tuple[int, ...]) -> IntArray:
        return np.array(self.groups[group] if isinstance(group, str) else group, dtype=np.intp)

    def check_reach(self, name: str, low: float, high: float, where: str) -> None:
        """Raise InputError where a variable is nowhere between low and high. where: for the message."""
        variable = self.variables[name]
        least, most = {"angle": (0.0, 180.0), "dihedral": (-math.inf, math.inf)}.get(variable.kind, (0.0, math.inf))
        if variable.kind == "coordination":
            most = len(_pairs(*map(self.atoms, variable.groups))[0])
        if low > most or high < least:
            never = low if low > most else high
            raise InputError(f"{where}: {name} is never {never:g}, but from {least:g} to {most:g}")

    def check(self, n_atoms: int) -> None:
        """Raises InputError if a group holds an atom that is not there."""
        for name, variable in self.variables.items():
            largest = max(int(self.atoms(group).max()) for group in variable.groups)
            if largest >= n_atoms:
                raise InputError(f"variable {name!r}: atom {largest}, but the trajectory has {n_atoms}, from 0 on")

    def merged(self, *others: Variables) -> Variables:
        """With the groups and variables of others."""
        groups, variables = dict(self.groups), dict(self.variables)
        for other in others:
            groups |= other.groups
            variables |= other.variables
        return Variables(groups=groups, variables=variables)

    def text(self) -> str:
        """As YAML, as `load_variables` reads it."""
        document = {
            "groups": {name: format_atoms(atoms) for name, atoms in self.groups.items()},
            "variables": {name: variable.as_dict() for name, variable in self.variables.items()},
        }
        return yaml.safe_dump(document, sort_keys=False, default_flow_style=None, width=110)

    def evaluate(
        self, positions: FloatArray, masses: FloatArray, cells: FloatArray | None = None
    ) -> dict[str, FloatArray]:
        """Every variable (n,) of positions (n, N, 3) in Å; masses (N,). Å and degrees. cells: as for a `Measure`."""
        return {name: self.measure(name, masses).values(positions, cells) for name in self.variables}

    def measure(self, name: str, masses: FloatArray) -> Measure:
        """One of the variables, of a complex whose atoms have these masses (N,)."""
        variable = self.variables[name]
        groups = tuple(self.atoms(group) for group in variable.groups)
        if variable.kind == "coordination":
            pairs = _pairs(*groups)
            return Measure(variable.function, pairs, len(pairs[0]), groups)
        of_atoms = masses if variable.centre == "mass" else np.ones_like(masses)
        unit = np.eye(len(masses))
        centres = [(of_atoms[g] / of_atoms[g].sum()) @ unit[g] for g in groups]
        if variable.kind == "height":  # a plane's own atoms are as they are
            vectors = np.concatenate([[centres[0] - centres[1]], unit[groups[1]] - centres[1]])
            return Measure(variable.function, vectors, 1, groups)
        vectors = np.stack([centres[b] - centres[a] for a, b in _STEPS[variable.kind]])
        return Measure(variable.function, vectors, len(vectors), groups)


_STEPS = {
    "distance": ((0, 1),),
    "angle": ((1, 0), (1, 2)),
    "dihedral": tuple(pairwise(range(4))),
}
"""Of kinds that are made of centres: from which to which its vectors go."""


def _pairs(first: IntArray, second: IntArray) -> tuple[IntArray, IntArray]:
    """Each atom of one group with each of another, but none with itself."""
    a, b = np.repeat(first, len(second)), np.tile(second, len(first))
    return a[a != b], b[a != b]


def load_variables(path: Path, manifest: Manifest | None = None) -> Variables:
    """From YAML; fragments of a manifest are groups too. Raises InputError: one line with the file and the place."""
    data = read_yaml(path, "file of variables", InputError)
    if not isinstance(data, dict):
        raise InputError(f"{path}: expected `groups` and `variables`")
    return read_variables(data, str(path), manifest)


def read_variables(data: Mapping[str, Any], source: str, manifest: Manifest | None = None) -> Variables:
    """From what stands in YAML, under `groups` and `variables`. source: for messages. As `load_variables`."""
    own = data.get("groups") or {}
    if manifest is not None and isinstance(own, dict):
        data = {**data, "groups": {f.name: list(f.atoms) for f in manifest.fragments} | own}
    try:
        return Variables.model_validate(data)
    except ValidationError as error:
        raise InputError(f"{source}: {first_error(error)}") from None


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
