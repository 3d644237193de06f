"""The kernel matrix of a fit and its factorisation by PyTorch, meant for a GPU.

The blocks are those of `assembly`. Of one point n there are here copies with equal atoms exchanged, x_g and u_g, and
with them the sums over pairs and permutations are matrix products, for many points m at once:

    (J_mᵀ d)_i = Σ_k (x_m − x_g)_ik u_m,ik        (J_{n,g}ᵀ d)_{g(i)} = Σ_k (x_m − x_g)_ik u_g,ik

    (J_mᵀ J_{n,g})_ij = δ_{j,g(i)} Σ_k u_m,ik u_g,ikᵀ − u_m,ik u_n,g(i)jᵀ,        g(k) = j.

Everything is float64, and nothing is added atomically: the same labels give the same bits.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, NamedTuple

from ..._types import FloatArray, IntArray
from ...gdml.descriptor.metric import Metric
from ...gdml.sums.torch_sum import index_on, numbers_on
from .cholesky import not_positive_definite
from .kernel import TEMPORARIES, KernelMatrix, Report

if TYPE_CHECKING:
    import torch
    from torch import Tensor

_EACH = 36  # numbers for one m, permutation and atom


class TorchMatrix:
    """`Panels` as a square (n, n) on a device, of which the lower triangle counts."""

    def __init__(self, square: Tensor) -> None:
        self.square = square

    @property
    def n(self) -> int:
        return len(self.square)

    def copy(self) -> TorchMatrix:
        return TorchMatrix(self.square.clone())

    def diagonal(self) -> FloatArray:
        """(n,) a copy."""
        found: FloatArray = self.square.diagonal().cpu().numpy().copy()
        return found

    def add_diagonal(self, values: FloatArray | float) -> None:
        """Add (n,) values, or one to all."""
        self.square.diagonal().add_(self._numbers(values))

    def factor(self, progress: Callable[[float], None] | None = None) -> None:
        """Replace the matrix A by L with A = L Lᵀ. Raises NotPositiveDefiniteError."""
        import torch

        factor, info = torch.linalg.cholesky_ex(self.square)
        if int(info):
            raise not_positive_definite(self.n)
        self.square = factor
        if progress:
            progress(1.0)

    def solve(self, y: FloatArray | Tensor) -> FloatArray:
        """A⁻¹ y after `factor`, y: (n,)."""
        found: FloatArray = self._backward(self.forward(self._numbers(y)[:, None]))[:, 0].cpu().numpy()
        return found

    def forward(self, y: Tensor) -> Tensor:
        """L⁻¹ y after `factor`, y: (n, k) on the device."""
        import torch

        found: Tensor = torch.linalg.solve_triangular(self.square, y, upper=False)
        return found

    def backward(self, y: FloatArray) -> FloatArray:
        """L⁻ᵀ y after `factor`, y: (n,)."""
        found: FloatArray = self._backward(self._numbers(y)[:, None])[:, 0].cpu().numpy()
        return found

    def add_product(self, a: Tensor) -> None:
        """Add A Aᵀ, A (n, k) on the device, before `factor`."""
        self.square.addmm_(a, a.T)

    def _backward(self, y: Tensor) -> Tensor:
        import torch

        found: Tensor = torch.linalg.solve_triangular(self.square.T, y, upper=True)
        return found

    def _numbers(self, values: FloatArray | Tensor | float) -> Tensor:
        import torch

        return torch.as_tensor(values, dtype=torch.float64, device=self.square.device)


class _Blocks(NamedTuple):
    """Covariances of M points m with one n, N atoms."""

    forces: Tensor  # (M, 3N, 3N) ⟨F_m, F_n⟩
    left: Tensor  # (M, 3N) ⟨F_m, E_n⟩
    right: Tensor  # (M, 3N) ⟨E_m, F_n⟩
    energies: Tensor  # (M,) ⟨E_m, E_n⟩


class TorchKernel:
    """`KernelMatrix` on a device."""

    def __init__(self, positions: FloatArray, permutations: IntArray, metric: Metric, device: torch.device) -> None:
        """positions: (M, N, 3) Å; permutations: (P, N)."""
        import torch

        self.positions, self.permutations, self.metric, self._device = positions, permutations, metric, device
        described = KernelMatrix(positions, permutations[:1], metric)
        self._n, self._x, self._u = positions.shape[1], self.numbers(described.x), self.numbers(described.u)
        # near the points, where |x_m − x_g|² = |x_m|² + |x_g|² − 2 x_m·x_g loses no digits
        self._centre = self._x.mean(0)
        p = index_on(permutations, device, flat=False)
        self._perms, self._inverse = p, torch.argsort(p, 1)
        self._pairs = p[:, :, None] * self._n + p[:, None]  # (P, N, N) where x_g,ik is in x_n
        # (N, P, N) where g takes atom i
        self._where = torch.nn.functional.one_hot(p.T, self._n).to(torch.float64)

    def numbers(self, values: FloatArray) -> Tensor:
        """An array, on the device."""
        return numbers_on(values, self._device)

    def zeros(self, energies: bool) -> TorchMatrix:
        """A matrix of this size."""
        n = len(self._x) * (3 * self._n + energies)
        return TorchMatrix(self._x.new_zeros(n, n))

    def matrix(self, sigma: float, energies: bool, report: Report | None = None) -> TorchMatrix:
        """Covariances of the labels (energies first, then forces), without λ."""
        matrix, m, rows = self.zeros(energies), len(self._x), 3 * self._n
        square, first = matrix.square, m * energies
        for n in range(m):
            columns = slice(first + rows * n, first + rows * (n + 1))
            for part, block in self._blocks(self._x[n], self._u[n], sigma, n):
                here = slice(first + rows * part.start, first + rows * part.stop)
                square[here, columns] = block.forces.reshape(-1, rows)
                if energies:
                    square[part, n] = block.energies
                    square[here, n] = block.left.reshape(-1)
                    square[columns, part] = block.right.T
            if report:
                report("kernel matrix", 1.0 - (1.0 - (n + 1) / m) ** 2)
        return matrix

    def columns(self, positions: FloatArray, sigma: float, energies: bool) -> Tensor:
        """Covariances of these points' labels (energies first, then forces) with those of others, (k, N, 3) Å: point
        by point, each with its energy first, where `energies`."""
        others = KernelMatrix(positions, self.permutations[:1], self.metric)
        m, rows = len(self._x), 3 * self._n
        first = m * energies
        out = self._x.new_empty(first + m * rows, len(positions), rows + energies)
        for n, (x, u) in enumerate(zip(self.numbers(others.x), self.numbers(others.u), strict=True)):
            for part, block in self._blocks(x, u, sigma):
                here = slice(first + rows * part.start, first + rows * part.stop)
                out[here, n, int(energies) :] = block.forces.reshape(-1, rows)
                if energies:
                    out[part, n, 0], out[part, n, 1:] = block.energies, block.right
                    out[here, n, 0] = block.left.reshape(-1)
        return out.reshape(len(out), -1)

    def _blocks(self, x_n: Tensor, u_n: Tensor, sigma: float, start: int = 0) -> Iterator[tuple[slice, _Blocks]]:
        """Of points m from `start` on, some at a time, with one of x_n (N, N) and u_n (3, N, N)."""
        x_g = x_n.reshape(-1)[self._pairs] - self._centre  # (P, N, N)
        u_g = u_n.reshape(3, -1)[:, self._pairs]  # (3, P, N, N)
        step = max(1, TEMPORARIES // (8 * _EACH * self._perms.numel()))
        for first in range(start, len(self._x), step):
            part = slice(first, min(first + step, len(self._x)))
            yield part, self._block(self._x[part] - self._centre, self._u[part], x_g, u_g, u_n, sigma)

    def _block(self, x_m: Tensor, u_m: Tensor, x_g: Tensor, u_g: Tensor, u_n: Tensor, sigma: float) -> _Blocks:
        import torch

        m, n, p = len(x_m), self._n, len(x_g)
        squared = x_m.square().sum((1, 2))[:, None] + x_g.square().sum((1, 2))
        squared = torch.addmm(squared, x_m.reshape(m, -1), x_g.reshape(p, -1).T, alpha=-2.0)
        distance = squared.clamp_min_(0.0).mul_(2.5).sqrt_().div_(sigma)  # every pair was met twice
        decay = distance.neg().exp_()
        bell = (1.0 + distance) * decay * (5.0 / (3.0 * sigma**2))  # (M, P)
        steep = decay * (25.0 / (3.0 * sigma**4))
        energies = ((1.0 + distance + distance.square() / 3.0) * decay).sum(1)

        # atom i is the first axis of all that follows, which are batches of products
        of_m = u_m.permute(2, 0, 1, 3).reshape(n, 3 * m, n)  # (i, m a, k)
        of_n = u_g.permute(2, 3, 0, 1).reshape(n, n, 3 * p)  # (i, k, b g)
        pull_m = torch.baddbmm(
            (u_m * x_m[:, None]).sum(3).permute(2, 0, 1).reshape(n, 3 * m, 1), of_m, x_g.permute(1, 2, 0), alpha=-1.0
        ).view(n, m, 3, p)
        pull_n = torch.baddbmm(
            (u_g * x_g).sum(3).permute(2, 0, 1).reshape(n, 1, 3 * p), x_m.permute(1, 0, 2), of_n, beta=-1.0
        ).view(n, m, 3, p)
        pull_n = pull_n.gather(0, self._inverse.T[:, None, None].expand(n, m, 3, p))  # of atom j of n
        left = torch.einsum("imap,mp->mia", pull_m, bell).reshape(m, -1)
        right = -torch.einsum("jmbp,mp->mjb", pull_n, bell).reshape(m, -1)

        pull_m.mul_(steep[:, None])
        second = torch.bmm(
            pull_m.permute(1, 0, 2, 3).reshape(m, 3 * n, p), pull_n.permute(1, 3, 0, 2).reshape(m, p, 3 * n)
        )
        del pull_m, pull_n
        forces = second.neg_().view(m, n, 3, n, 3)
        for i in range(n):
            met = torch.mm(of_m[i], of_n[i]).view(m, 3, 3, p).mul_(bell[:, None, None])
            met = torch.mm(met.view(9 * m, p), self._where[i]).view(m, 3, 3, n)
            forces[:, i] += met.transpose(2, 3)
            apart = of_m[i].view(m, 3, n)[:, :, self._inverse.T]  # (m, a, j, g)
            apart.mul_(bell[:, None, None])
            across = u_n[:, self._perms[:, i]].permute(2, 1, 0)  # (j, g, b)
            product = torch.bmm(apart.view(3 * m, n, p).transpose(0, 1), across)  # (j, m a, b)
            forces[:, i] -= product.view(n, m, 3, 3).permute(1, 2, 0, 3)
        return _Blocks(forces.view(m, 3 * n, 3 * n), left, right, energies)
