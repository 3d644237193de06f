"""Energy, forces and virial from one sGDML model by PyTorch, meant for a GPU.

All in float64, with the model's parameters resident: positions go to the device, one array of results comes back.
A CUDA graph launches what a batch size takes in one go once that size was seen twice.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from threading import Lock
from typing import TYPE_CHECKING

import numpy as np

from .._types import FloatArray
from .descriptor.metric import Metric
from .model import Model
from .predictor import Prediction
from .sums.contraction import Work
from .sums.cosets import Method
from .sums.torch_sum import TorchSum, index_on, numbers_on

if TYPE_CHECKING:
    import torch
    from torch import Tensor

_CPU_BYTES = 128 * 2**20  # of temporaries; on a GPU no more than an eighth of what is free and
_GPU_BYTES = 2 * 2**30
_GRAPH_BYTES = 256 * 2**20  # temporaries of a batch above which kernels take longer than their launches
_GRAPHS = 8  # batch sizes that are kept as CUDA graphs


class TorchPredictor:
    """The `Predictor` on a torch device: the same numbers as `CpuPredictor` up to rounding."""

    def __init__(self, model: Model, device: torch.device, method: Method | None = None) -> None:
        """method: as in `Expansion`."""
        self.numbers = model.numbers
        self._device = device
        self._offset = model.offset * model.electronvolt
        self._scale = model.scale * model.electronvolt
        self._pairs = _Pairs(model.metric, device)
        self._sum = TorchSum(model, device, method)
        self._bytes = self._sum.bytes_per_query + 8 * 6 * model.n_atoms**2
        budget, self._graphs = _CPU_BYTES, None
        if device.type == "cuda":
            import torch

            budget = min(_GPU_BYTES, torch.cuda.mem_get_info(device)[0] // 8)
            self._graphs = _Graphs(self._evaluate, device, _GRAPH_BYTES // self._bytes)
        self._chunk = max(1, budget // self._bytes)

    @property
    def work(self) -> Work:
        """What a structure takes at least."""
        return self._sum.work

    @property
    def method(self) -> str:
        """How permutations are summed over, and by what."""
        return self._sum.method

    @property
    def fallback(self) -> str | None:
        """See `Expansion`."""
        return self._sum.fallback

    def predict(self, positions: FloatArray) -> Prediction:
        """See `Predictor`. Large batches are cut so that temporaries stay within what the device has to spare."""
        import torch

        batch, n = positions.shape[:2]
        if not batch:
            return Prediction(np.zeros(0), np.zeros((0, n, 3)), np.zeros((0, 3, 3)))
        given = torch.from_numpy(np.require(positions, np.float64, ["C", "W"]))
        rows = np.concatenate(
            [self._results(given[start : start + self._chunk]) for start in range(0, batch, self._chunk)],
            axis=1,
        )
        return Prediction(
            rows[0].copy(),
            np.ascontiguousarray(rows[1 : 1 + 3 * n].T).reshape(batch, n, 3),
            np.ascontiguousarray(rows[1 + 3 * n :].T).reshape(batch, 3, 3),
        )

    def _results(self, positions: Tensor) -> FloatArray:
        """(1 + 3N + 9, B) of positions (B, N, 3) on the host."""
        if self._graphs is not None:
            return self._graphs(positions)
        results: FloatArray = self._evaluate(positions).numpy()
        return results

    def _evaluate(self, positions: Tensor) -> Tensor:
        """Energy, forces and virial of a structure in each column, of positions (B, N, 3) on the device."""
        import torch

        placed = (positions - positions.mean(1, keepdim=True)).permute(1, 2, 0).contiguous()
        x, minus_slope_over_r, apart = self._pairs.describe(placed)
        energy, gradient = self._sum(x)
        forces = self._pairs.forces(gradient.mul_(self._scale), minus_slope_over_r, apart)
        product = (placed[:, :, None] * forces[:, None]).sum(0)
        virial = (product + product.transpose(0, 1)).mul_(0.5)
        energy = energy.mul_(self._scale).add_(self._offset)
        return torch.cat([energy[None], forces.flatten(0, 1), virial.flatten(0, 1)])


class _Pairs:
    """What a metric makes of the distances, as `Descriptor`, and forces from what pulls along each."""

    def __init__(self, metric: Metric, device: torch.device) -> None:
        n, pairs = metric.n_atoms, metric.pairs
        row, col = np.divmod(pairs, n)
        # of each atom, its pairs with others, and which end of them it is; padded with the first, of no weight
        ends, which = np.concatenate([row, col]), np.tile(np.arange(len(pairs)), 2)
        sign = np.repeat([1.0, -1.0], len(pairs))
        order = np.argsort(ends, kind="stable")
        counts = np.bincount(ends, minlength=n)
        place = np.arange(len(order)) - np.repeat(np.cumsum(counts) - counts, counts)
        pair, signs = np.zeros((n, counts.max()), dtype=np.intp), np.zeros((n, counts.max()))
        pair[ends[order], place], signs[ends[order], place] = which[order], sign[order]
        self._shape = pair.shape
        self._row, self._col = index_on(row, device), index_on(col, device)
        self._pair = index_on(pair.reshape(-1), device)
        self._sign = numbers_on(signs[:, :, None, None], device)
        self._power, self._decay = metric.power, metric.decay
        self._scales = None if metric.scales is None else numbers_on(metric.scales[:, None], device)

    def describe(self, placed: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """x and −(dx/dr)/r (D, B) and the differences r_i − r_j (D, 3, B), of centred positions (N, 3, B) in Å."""
        apart = placed.index_select(0, self._row) - placed.index_select(0, self._col)
        inverse = apart.square().sum(1).rsqrt_()
        x = inverse if self._power == 1.0 else inverse.pow(self._power)
        if self._decay:
            x = x * inverse.reciprocal().mul_(-self._decay).exp_()
        if self._scales is not None:
            x = x * self._scales
        return x, (inverse * self._power).add_(self._decay).mul_(inverse).mul_(x), apart

    def forces(self, minus_gradient: Tensor, minus_slope_over_r: Tensor, apart: Tensor) -> Tensor:
        """(N, 3, B) from −∂E/∂x (D, B): a pair whose energy falls as x grows is pulled together."""
        pulls = apart.mul_((minus_gradient * minus_slope_over_r)[:, None])
        each = pulls.index_select(0, self._pair).view(*self._shape, *pulls.shape[1:])
        return each.mul_(self._sign).sum(1).neg_()


class _Graphs:
    """Launches of a batch size seen before, all at once as a CUDA graph; one by one where that is not possible.

    Sizes beyond `largest` or after the first few are launched one by one, as is everything once a capture has failed
    (which is warned of). Threads take turns.
    """

    def __init__(self, evaluate: Callable[[Tensor], Tensor], device: torch.device, largest: int) -> None:
        """evaluate: a function of positions (B, N, 3) on the device that never waits for it."""
        import torch

        self._evaluate, self._device, self._largest = evaluate, device, largest
        self._seen: set[int] = set()
        self._graphs: dict[int, tuple[torch.cuda.CUDAGraph, Tensor, Tensor]] = {}
        self._possible, self._lock = True, Lock()  # a graph's input and output are there once
        with torch.cuda.device(device):
            self._stream, self._pool = torch.cuda.Stream(), torch.cuda.graph_pool_handle()  # type: ignore[no-untyped-call]

    def __call__(self, positions: Tensor) -> FloatArray:
        """What `evaluate` gives for positions on the host, there as well."""
        import torch

        with self._lock, torch.cuda.device(self._device):
            if graph := self._graph(positions):
                replayed, given, results = graph
                given.copy_(positions)
                replayed.replay()
            else:
                results = self._evaluate(positions.to(self._device))
            on_host: FloatArray = results.cpu().numpy()
            return on_host

    def _graph(self, positions: Tensor) -> tuple[torch.cuda.CUDAGraph, Tensor, Tensor] | None:
        size = len(positions)
        if size in self._graphs:
            return self._graphs[size]
        if not self._possible or size > self._largest or len(self._graphs) == _GRAPHS:
            return None
        if size not in self._seen:
            self._seen.add(size)
            return None
        try:
            self._graphs[size] = self._captured(positions.to(self._device))
        except RuntimeError as error:  # what torch raises for everything that CUDA refuses
            self._possible = False
            reason = str(error).partition("\n")[0]
            warnings.warn(f"{self._device}: no CUDA graphs, kernels are launched one by one: {reason}", stacklevel=2)
            return None
        return self._graphs[size]

    def _captured(self, given: Tensor) -> tuple[torch.cuda.CUDAGraph, Tensor, Tensor]:
        """Capture a graph as PyTorch's notes on CUDA semantics do: warm up beside the default stream, then record.

        Graphs share memory: none needs what it left there, but for its results, which are copied out before the next.
        """
        import torch

        graph, ours = torch.cuda.CUDAGraph(), torch.cuda.current_stream()
        self._stream.wait_stream(ours)
        with torch.cuda.stream(self._stream):
            for _ in range(3):
                self._evaluate(given)
            with torch.cuda.graph(graph, pool=self._pool, stream=self._stream):
                results = self._evaluate(given)
        ours.wait_stream(self._stream)
        return graph, given, results
