"""The sum over training points, of `Expansion`, by PyTorch on any of its devices.

With a = √5/σ, y = a (x − centre), y_m the same of a training point, v_m = a w_m / 3, d = y − P_g y_m and n = |d|, the
formula of `Expansion` has no constants:

    E = Σ_{m,g} (1 + n) e^{−n} d·P_g v_m,      −∂E/∂y = Σ_{m,g} e^{−n} (d·P_g v_m) d − (1 + n) e^{−n} P_g v_m

and for energy constraints with coefficients α_m (Chmiela et al., Nat. Commun. 9, 3887 (2018), Matérn 5/2 kernel)

    E += Σ_{m,g} (1 + n + n²/3) e^{−n} α_m,    −∂E/∂y += Σ_{m,g} (1 + n) e^{−n} (α_m / 3) d.

Everything is float64 (TF32, a form of float32, plays no part): weights reach 1e11 and cancel. What limits a GPU is
the number of kernels it is sent where structures are few, and the products where they are many. So structures are the
last axis of coefficients, and one product takes all of them; representations of one dimension share a batched
product, padded to the most copies of any where that is not much more. Nothing is added atomically: the same positions
give the same bits.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from ..._types import FloatArray, IntArray
from ..model import Model
from .basis import Basis
from .contraction import work_of
from .cosets import Cosets, Method
from .expansion import invariant_mean

if TYPE_CHECKING:
    import torch
    from torch import Tensor

_PADDING = 2.0  # ratio of the largest to the smallest of what is padded to one size


class _Product(NamedTuple):
    """Representations of one dimension d, k of them, their copies padded to n."""

    rows: Tensor  # (k, n, d · 2M): y_m and v_m
    part: slice  # of the coefficients, k · n · d
    place: Tensor  # (k, d, d): where element ij of each A_ρ, at [j, i], goes among the rows of the tables' product


class TorchSum:
    """`Expansion` and its `Contraction`, on a device."""

    def __init__(self, model: Model, device: torch.device, method: Method | None) -> None:
        perms = model.metric.permutations(model.permutations)
        centre = invariant_mean(model.descriptors, perms)
        # Å from here on: x → x/L; and lengths of descriptor space in σ/√5
        unit = np.sqrt(5.0) / model.sigma
        self._unit = float(unit * model.angstrom)
        points, weights = (model.descriptors - centre) * unit, model.weights * (unit / 3.0)
        self._centre = numbers_on(centre[:, None] / model.angstrom, device)
        self._norms = numbers_on(np.einsum("md,md->m", points, points), device)
        self._own = numbers_on(np.einsum("md,md->m", points, weights), device)
        self._alphas = None if model.energy_weights is None else numbers_on(model.energy_weights, device)

        cosets = Cosets.of(model.permutations, model.metric, method)
        basis, copies = cosets.basis, cosets.count
        self._permuting = _Permuting(cosets, device) if copies > 1 else None
        self._transform = None if basis.is_plain else _Transform(basis, device)
        self._products = _products(basis, np.stack([basis.forward(points), basis.forward(weights)]), device)
        self._tables = [numbers_on(table, device) for table in basis.tables]
        self._table_rows = int(np.prod([len(table) for table in basis.tables]))
        # temporaries: what there is of each training point and element at once, and of each coefficient
        rows, held = max(self._table_rows, len(basis.place)), 3 if basis.is_plain else 5
        self.bytes_per_query = 8 * copies * (held * 2 * len(points) * rows + 5 * self._products[-1].part.stop)
        self.method, self.fallback = f"{cosets.method}, torch", cosets.fallback
        work = work_of(basis, len(points))
        self.work = work._replace(flops=copies * work.flops)

    def __call__(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """E (B,) and −∂E/∂x (D, B) at the descriptors (D, B), which are left alone."""
        y = (x - self._centre).mul_(self._unit)
        norms = y.square().sum(0)
        query = y if self._permuting is None else self._permuting.of(y)
        if self._permuting is not None:
            norms = self._permuting.each(norms)
        if self._transform is None:
            energy, pull, rest = self._contract(query, norms)
        else:
            energy, pull, rest = self._contract(self._transform.forward(query), norms)
            rest = self._transform.backward(rest)
        if self._permuting is not None:
            energy, pull, rest = self._permuting.sum(energy, pull, rest)
        return energy, y.mul_(pull).sub_(rest).mul_(self._unit)

    def _contract(self, query: Tensor, norms: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """E (B,), the coefficient of y in −∂E/∂y (B,), and minus the rest of it, in the basis.

        query: (coefficients, B), y in the basis; norms: (B,) its squares.
        """
        import torch

        m = len(self._norms)
        products = self._elements(query)
        squared, slope = products[..., :m], products[..., m:]
        n = torch.add(norms[:, None] + self._norms, squared, alpha=-2.0).clamp_min_(0.0).sqrt_()
        decay = n.neg().exp_()
        slope.sub_(self._own)
        pull, bell = torch.mul(slope, decay, out=squared), torch.addcmul(decay, n, decay, out=slope)
        energy = torch.addcmul(pull, n, pull)
        if self._alphas is not None:
            energy.addcmul_(torch.addcmul(bell, n.square_(), decay, value=1 / 3), self._alphas)
            pull.addcmul_(bell, self._alphas, value=1 / 3)
        return energy.sum((0, 2)), pull.sum((0, 2)), self._combined(products)

    def _elements(self, query: Tensor) -> Tensor:
        """⟨y, P_g y_m⟩, then ⟨y, P_g v_m⟩, (P, B, 2M)."""
        import torch

        batch, width = query.shape[1], 2 * len(self._norms)
        if self._transform is None:
            return torch.mm(query.T, self._products[0].rows[0])[None]
        products = query.new_zeros(self._table_rows, batch, width)
        for rows, part, place in self._products:
            k, n, d = len(rows), rows.shape[1], place.shape[1]
            blocks = torch.bmm(query[part].view(k, n, d * batch).transpose(1, 2), rows)
            products[place] = blocks.view(k, d, batch, d, width).transpose(2, 3)
        first, second = self._tables
        return _transformed(products, first.T, second.T)

    def _combined(self, factors: Tensor) -> Tensor:
        """The sum of P_g y_m and P_g v_m with these factors (P, B, 2M): coefficients (…, B)."""
        import torch

        batch, width = factors.shape[1:]
        if self._transform is None:
            return torch.mm(self._products[0].rows[0], factors[0].T)
        factors = _transformed(factors, *self._tables)
        combined = factors.new_empty(self._products[-1].part.stop, batch)
        for rows, part, place in self._products:
            k, n, d = len(rows), rows.shape[1], place.shape[1]
            own = factors[place].transpose(2, 3).reshape(k, d * batch, d * width)
            torch.bmm(rows, own.transpose(1, 2), out=combined[part].view(k, n, d * batch))
        return combined


class _Permuting:
    """Queries permuted by one element of each coset."""

    def __init__(self, cosets: Cosets, device: torch.device) -> None:
        self._count = cosets.count
        self._inverse = index_on(cosets.inverse.T, device)
        # where entry d lies in each permuted force
        self._back = index_on((cosets.representatives * self._count + np.arange(self._count)[:, None]).T, device)

    def of(self, y: Tensor) -> Tensor:
        """P_s⁻¹ y (D, R · B)."""
        return y.index_select(0, self._inverse).view(len(y), -1)

    def each(self, norms: Tensor) -> Tensor:
        return norms.repeat(self._count)

    def sum(self, energy: Tensor, pull: Tensor, stacked: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Over the cosets."""
        dim, batch = len(stacked), stacked.shape[1] // self._count
        back = stacked.view(-1, batch).index_select(0, self._back).view(dim, -1, batch)
        return energy.view(-1, batch).sum(0), pull.view(-1, batch).sum(0), back.sum(1)


class _Transform:
    """`Basis.forward` and `backward`, with coefficients in the order of the products, padded as they are."""

    def __init__(self, basis: Basis, device: torch.device) -> None:
        blocks, total = basis.blocks, 0
        self._vectors: list[tuple[slice, Tensor]] = []  # (k, size, size) of k blocks of one size
        begin = np.cumsum([0, *(entries.size for entries, _ in blocks)])
        moved = np.empty(begin[-1], dtype=np.intp)  # from (block, orbit, entry) to (block, entry, orbit), padded
        for group in _grouped([(entries.shape[1], len(entries)) for entries, _ in blocks]):
            size, most = len(blocks[group[0]][1]), max(len(blocks[b][0]) for b in group)
            for k, b in enumerate(group):
                orbit, entry = np.ogrid[: len(blocks[b][0]), :size]
                moved[begin[b] : begin[b + 1]] = (total + (k * size + entry) * most + orbit).reshape(-1)
            part = slice(total, total + len(group) * size * most)
            self._vectors.append((part, numbers_on(np.stack([blocks[b][1] for b in group]), device)))
            total = part.stop

        coefficients = _padded_order(basis)
        real = coefficients >= 0
        places = moved[basis.order]
        # padding takes whatever is there: its rows are zero, and nothing is made of what comes back for it
        entries, home, back = np.zeros(total, np.intp), np.empty_like(moved), np.zeros(total, np.intp)
        flat = np.concatenate([e.reshape(-1) for e, _ in blocks])
        entries[moved], home[flat] = flat, moved
        back[places[coefficients[real]]] = np.flatnonzero(real)
        self._entries, self._home, self._back = (index_on(i, device) for i in (entries, home, back))
        self._order = index_on(np.where(real, places[coefficients], 0), device)

    def forward(self, y: Tensor) -> Tensor:
        """Coefficients (…, B) of (D, B)."""
        return self._apply(y.index_select(0, self._entries), transposed=True).index_select(0, self._order)

    def backward(self, coefficients: Tensor) -> Tensor:
        """(D, B) of coefficients (…, B)."""
        return self._apply(coefficients.index_select(0, self._back), transposed=False).index_select(0, self._home)

    def _apply(self, parts: Tensor, transposed: bool) -> Tensor:
        import torch

        done = torch.empty_like(parts)
        for part, vectors in self._vectors:
            shape = (*vectors.shape[:2], -1)
            by = vectors.transpose(1, 2) if transposed else vectors
            torch.bmm(by, parts[part].view(shape), out=done[part].view(shape))
        return done


def _grouped(sizes: Sequence[tuple[int, int]]) -> list[list[int]]:
    """Which of (size, count) go together: those of one size whose counts may be padded to the largest."""
    groups: list[list[int]] = []
    for i in sorted(range(len(sizes)), key=lambda i: sizes[i]):
        if groups and sizes[groups[-1][0]][0] == sizes[i][0] and sizes[i][1] <= _PADDING * sizes[groups[-1][0]][1]:
            groups[-1].append(i)
        else:
            groups.append([i])
    return groups


def _padded_order(basis: Basis) -> IntArray:
    """Which of the basis's coefficients (ρ, i, copy) stands at (group, ρ, copy, i), −1 for padding."""
    starts, parts = np.cumsum([0, *(d * n for d, n in basis.shapes)]), []
    for group in _grouped(basis.shapes):
        d, most = basis.shapes[group[0]][0], max(basis.shapes[r][1] for r in group)
        padded = np.full((len(group), most, d), -1, dtype=np.intp)
        for k, r in enumerate(group):
            padded[k, : basis.shapes[r][1]] = np.arange(starts[r], starts[r + 1]).reshape(d, -1).T
        parts.append(padded.reshape(-1))
    return np.concatenate(parts)


def _products(basis: Basis, rows: FloatArray, device: torch.device) -> list[_Product]:
    """rows: (2, M, D) of y_m and v_m, in the basis."""
    starts = np.cumsum([0, *(d * n for d, n in basis.shapes)])
    places = np.split(basis.place, np.cumsum([d * d for d, _ in basis.shapes])[:-1])
    products, begin = [], 0
    for group in _grouped(basis.shapes):
        d, most = basis.shapes[group[0]][0], max(basis.shapes[r][1] for r in group)
        padded = np.zeros((len(group), most, d * rows.shape[0] * rows.shape[1]))
        for k, r in enumerate(group):
            n = basis.shapes[r][1]
            part = rows[:, :, starts[r] : starts[r + 1]].reshape(*rows.shape[:2], d, n)
            padded[k, :n] = part.transpose(3, 2, 0, 1).reshape(n, -1)
        place = np.stack([places[r].reshape(d, d).T for r in group])
        end = begin + len(group) * most * d
        products.append(_Product(numbers_on(padded, device), slice(begin, end), index_on(place, device, flat=False)))
        begin = end
    return products


def _transformed(values: Tensor, first: Tensor, second: Tensor) -> Tensor:
    """(a b, …) → (a' b', …) by first (a', a) and second (b', b)."""
    import torch

    rest, parts = values.shape[1:], values.view(first.shape[1], second.shape[1], -1)
    if second.numel() > 1:
        parts = torch.bmm(second.expand(len(parts), *second.shape), parts)
    if first.numel() > 1:
        parts = torch.mm(first, parts.reshape(len(parts), -1))
    return parts.view(-1, *rest)


def numbers_on(array: FloatArray, device: torch.device) -> Tensor:
    """A copy of an array on a device, in float64."""
    import torch

    return torch.tensor(array, dtype=torch.float64, device=device)


def index_on(array: IntArray, device: torch.device, flat: bool = True) -> Tensor:
    """A copy of indices on a device."""
    import torch

    return torch.tensor(array.reshape(-1) if flat else array, dtype=torch.int64, device=device)
