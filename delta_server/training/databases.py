"""The databases W(1), W(2), … of the isolated fragments and W(b) of their binding (arXiv 2511.01913, Sec. IV)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np

from .._types import FloatArray, IntArray
from ..data.dataset import Dataset
from ..data.fragments import fragment_names
from ..errors import InputError
from ..symmetry.bond_graph import Group, Symmetry, complex_group, equal_fragments, molecule_group
from ..terms.base import Term
from .baselines.remainder import remainder
from .labels import Labels

_FAR = (30.0, 40.0, 60.0, 100.0)  # Å, where there is no binding, whatever the method


@dataclass(frozen=True, eq=False)
class Kind:
    """Fragments that are the same molecule, and so share a model.

    ``members``: number in the data set and atoms of each, in the order of the first. ``group``: its symmetry.
    """

    name: str
    members: tuple[tuple[int, IntArray], ...]
    group: Group

    @property
    def is_ion(self) -> bool:
        return len(self.members[0][1]) == 1


@dataclass(frozen=True, eq=False)
class Complex:
    """What a data set is about: its fragments, sorted into kinds, and the symmetry of the whole."""

    data: Dataset
    names: tuple[str, ...]
    kinds: tuple[Kind, ...]
    products: Group  # of the fragments' groups
    full: Group  # with exchanges of equal fragments
    left: Dataset | None = None  # the same with a baseline taken off the labels that are used

    @property
    def learned(self) -> Dataset:
        """With the labels that models are fitted to."""
        return self.left or self.data

    def less(
        self, terms: Sequence[Term], which: IntArray, report: Callable[[float], object] = lambda done: None
    ) -> Complex:
        """The same, less what terms below the models say, for some configurations (`remainder`)."""
        return replace(self, left=remainder(self.learned, terms, which, report))

    @classmethod
    def of(cls, data: Dataset, symmetry: Symmetry = "graph") -> Complex:
        """Bonds are those of the configuration of lowest energy.

        Raises InputError for a data set with no labels of isolated fragments, or fewer than two.
        """
        fragment = data.isolated()[0]
        if data.n_fragments < 2:
            raise InputError(
                f"{data.name}: one fragment; a Δ-model needs at least two (`delta-sgdml dataset fragments`)"
            )
        x = data.positions[data.energies.argmin()]
        atoms = [np.flatnonzero(fragment == i) for i in range(data.n_fragments)]
        names = data.fragment_names or fragment_names(data.numbers, atoms)
        kinds, ordered = [], list(atoms)
        for members in equal_fragments(atoms, data.numbers, x):
            for i, order in members:
                ordered[i] = atoms[i][order]
            first = members[0][0]
            group = molecule_group(data.numbers[ordered[first]], x[ordered[first]], symmetry)
            name = names[first] if len(members) == 1 else names[first].removesuffix("_1")
            kinds.append(Kind(name, tuple((i, ordered[i]) for i, _ in members), group))
        by_fragment = {i: kind.group for kind in kinds for i, _ in kind.members}
        groups = [by_fragment[i] for i in range(data.n_fragments)]
        products = complex_group(ordered, groups, data.numbers, x, exchange=False)
        full = complex_group(ordered, groups, data.numbers, x, exchange=symmetry != "none")
        return cls(data, tuple(names), tuple(kinds), products, full)

    @cached_property
    def atoms(self) -> dict[int, IntArray]:
        """The atoms of each fragment, equal ones in one order: as models and manifests have them."""
        return {i: atoms for kind in self.kinds for i, atoms in kind.members}

    def atoms_of(self, model: str) -> IntArray:
        """The atoms that a model's labels are of, those of the first of equal fragments: a kind, or all."""
        first = {kind.name: kind.members[0][1] for kind in self.kinds}
        return first.get(model, np.arange(self.data.n_atoms))

    @cached_property
    def equivalent(self) -> list[IntArray]:
        """The class of each atom of each fragment, in the order of `atoms`, numbered throughout: atoms that a
        molecule's group exchanges are of one class, and so are those of equal molecules."""
        classes = [np.empty(0, dtype=np.intp)] * len(self.names)
        count = 0
        for kind in self.kinds:
            exchanged = np.unique(kind.group.permutations.min(0), return_inverse=True)[1]
            for i, _ in kind.members:
                classes[i] = count + exchanged
            count += int(exchanged.max()) + 1
        return classes

    def charge(self, fragment: int) -> int:
        """Its net charge; 0 where the data set does not say."""
        return 0 if self.data.charges is None else int(self.data.charges[fragment])

    @property
    def models(self) -> dict[str, str]:
        """The model of each fragment of several atoms, by the fragment's name: equal ones share one."""
        return {self.names[i]: kind.name for kind in self.kinds if not kind.is_ion for i, _ in kind.members}

    def fragment_labels(self, kind: Kind, which: IntArray) -> Labels:
        """W(f): configuration j of `which` gives the fragment j mod k of the k of this kind."""
        _, energies, forces = self.learned.isolated()
        x = np.empty((len(which), len(kind.members[0][1]), 3))
        f, e = np.empty_like(x), np.empty(len(which))
        for turn, (i, atoms) in enumerate(kind.members):
            mine = slice(turn, None, len(kind.members))
            rows = which[mine]
            x[mine], f[mine], e[mine] = self.data.positions[rows][:, atoms], forces[rows][:, atoms], energies[rows, i]
        return Labels(kind.name, self.data.numbers[kind.members[0][1]], x, e, f, self.data.theory)

    def binding_labels(self, which: IntArray) -> Labels:
        """W(b): what the isolated fragments leave."""
        part = self.learned.take(which)
        return Labels(
            "binding", part.numbers, part.positions, part.binding_energies(), part.binding_forces(), part.theory
        )

    def full_labels(self, which: IntArray) -> Labels:
        """The whole complex, for a single global model."""
        part = self.data.take(which)
        return Labels("full", part.numbers, part.positions, part.energies, part.forces, part.theory)

    def apart(self, which: IntArray, rng: np.random.Generator) -> Labels:
        """Configurations pulled 30 to 100 Å apart in random directions, of no binding energy and force.

        Forces near the minimum cannot tell where the binding is zero; these points do.
        """
        fragment = self.data.isolated()[0]
        x = self.data.positions[which].copy()
        for n, r in enumerate(x):
            for f in range(1, self.data.n_fragments):
                direction = rng.standard_normal(3)
                away = f * _FAR[n % len(_FAR)] * direction / np.linalg.norm(direction)
                r[fragment == f] += r[fragment == 0].mean(0) - r[fragment == f].mean(0) + away
        return Labels("binding", self.data.numbers, x, np.zeros(len(x)), np.zeros_like(x), self.data.theory)

    def ion_energy(self, kind: Kind) -> float:
        """kcal/mol. Raises InputError where it is not constant."""
        energies: FloatArray = self.learned.isolated()[1][:, kind.members[0][0]]
        if np.ptp(energies) > 1e-3:
            raise InputError(
                f"{self.data.name}: the energy of the ion {kind.name} varies by {np.ptp(energies):.3g} kcal/mol; "
                "alone it is a constant: label it again"
            )
        return float(energies.mean())
