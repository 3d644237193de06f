"""What many molecules in a cell did in a run: density and cell, radial distribution functions, diffusion."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from ..._types import FloatArray, IntArray
from ...data.bodies import molecules_of
from ...errors import InputError
from ...files.documents import plain
from ...molecule.bonds import symbols
from ...molecule.lattice import Lattice
from ..statistics import Mean, correlated_mean, equilibration
from ..trajectory import OnFrames, Run, segments, spacing
from .diffusion import Diffusion, diffusion
from .distribution import Distribution, Histogram

_BLOCKS = 5  # of a run, whose spread tells errors
_FEWEST = 10  # frames of which there is a D
_DENSITY = 1.66053906660  # g/cm³ of 1 u/Å³


@dataclass(frozen=True)
class Liquid:
    """A run of an assembly in a cell.

    time: (n,) ps, NaN where nothing tells it; density: (n,) g/cm³, and its mean from `equilibrated` (ps) on; cell:
    means of the lengths (Å) and angles (degrees) a, b, c, α, β, γ; species: how many molecules of each; atoms and
    centres: radial distribution functions of elements and of centres of mass.
    """

    name: str
    temperature: float | None
    species: dict[str, int]
    time: FloatArray
    density: FloatArray
    equilibrated: float
    mean_density: Mean
    cell: tuple[Mean, ...]
    atoms: list[Distribution]
    centres: list[Distribution]
    diffusions: list[Diffusion]
    of_diffusion: str = ""  # why there is none, or of how much of the run

    def line(self) -> str:
        """Density and diffusion, for people."""
        some = ", ".join(f"{count} {name}" for name, count in self.species.items())
        edges = " × ".join(f"{length.value:.3f}" for length in self.cell[:3])
        texts = [f"{some}; density {self.mean_density.value:.4f} ± {self.mean_density.error:.4f} g/cm³ ({edges} Å)"]
        for d in self.diffusions:
            told = "no D: too short" if np.isnan(d.d) else f"D {d.d:.3f} ± {d.error:.3f} Å²/ps"
            texts.append(f"{d.species}: {told}" + (f" ({d.window[0]:.3g} to {d.window[1]:.3g} ps)" * (d.d == d.d)))
        texts += [self.of_diffusion] if self.of_diffusion else []
        for g in self.centres:
            texts.append(f"g({g.name}) highest at {g.peak()[0]:.2f} Å: {g.peak()[1]:.2f}")
        return f"{self.name}: " + "; ".join(texts)

    def as_dict(self) -> dict[str, object]:
        """Everything but the series of the density, for machines; None where there is no number."""

        def functions(of: list[Distribution]) -> object:
            return {g.name: {"r_A": plain(g.r), "g": plain(g.g), "error": plain(g.error)} for g in of}

        names = ("a_A", "b_A", "c_A", "alpha_deg", "beta_deg", "gamma_deg")
        return {
            "name": self.name,
            "temperature_K": self.temperature,
            "species": self.species,
            "equilibrated_ps": plain(self.equilibrated),
            "density_g_per_cm3": plain(self.mean_density._asdict()),
            "cell": {name: plain(mean._asdict()) for name, mean in zip(names, self.cell, strict=True)},
            "elements": functions(self.atoms),
            "centres_of_mass": functions(self.centres),
            "diffusion": {
                d.species: {
                    "D_A2_per_ps": plain(d.d), "error": plain(d.error), "window_ps": plain(d.window),
                    "lags_ps": plain(d.lags), "msd_A2": plain(d.msd),
                }
                for d in self.diffusions
            },
            "of_diffusion": self.of_diffusion or None,
        }  # fmt: skip


def analyze_liquid(
    run: Run,
    *,
    every: int = 1,
    skip: float | None = None,
    longest: float | None = None,
    width: float = 0.05,
    progress: OnFrames | None = None,
) -> Liquid:
    """Density, radial distribution functions, and diffusion of a run in a cell.

    every: takes every n-th frame. skip: ps at the start that are left out of all means; by default as long as the
    density takes to its equilibrium, where it changes. longest: ps, the longest lag, by default a tenth of what is
    left. width: Å, of the bins of r, which go to half of the narrowest cell.

    Raises InputError where a frame has no cell of three vectors.
    """
    run = replace(run, progress=progress)
    cells = run.cells(every)
    lattices = [Lattice.of(cell) for cell in cells]
    if any(lattice is None or len(lattice.vectors) < 3 for lattice in lattices):
        raise InputError(f"{run.path}: expected frames with a cell of three vectors, of a periodic assembly")
    if len(cells) < 2:
        raise InputError(f"{run.path}: {len(cells)} frame; expected two or more")
    volumes = np.abs(np.linalg.det(cells))
    density = _DENSITY * run.masses.sum() / volumes
    steps = run.steps[::every]
    time = run.time(steps)
    timed = bool(np.isfinite(time).all())
    if not timed and (skip is not None or longest is not None):
        raise InputError(
            f"{run.path}: ps to leave out, or of lags, and no time of its frames is known; say --timestep"
        )
    first = equilibration(density) if skip is None or not timed else int(np.searchsorted(time, time[0] + skip))
    if len(steps) - first < 2:
        raise InputError(f"{run.path}: {len(steps)} frames; leaving out the first {skip:g} ps leaves less than two")
    sites = _Sites.of(run)
    reach = min(lattice.least for lattice in lattices if lattice is not None) / 2
    if not 0 < width < reach:
        raise InputError(f"{run.path}: bins of {width:g} Å, and half of the narrowest cell is {reach:.3g} Å")
    elements, centres = sites.histograms(reach, width)
    paths = np.empty((len(steps), len(sites.species), 3))
    for block in run.finite_blocks(every):
        for k, x in zip(np.searchsorted(steps, block.steps).tolist(), block.positions, strict=True):
            lattice, middle = lattices[k], sites.centres(x)
            paths[k] = middle
            if k >= first and lattice is not None:
                elements.add(x, lattice, float(volumes[k]))
                centres.add(middle, lattice, float(volumes[k]))
    if run.unreadable:
        keep = ~np.isin(steps, list(run.unreadable))
        paths, time, cells, density = paths[keep], time[keep], cells[keep], density[keep]
        first = int(keep[:first].sum())
    diffusions, told = _diffusions(sites, paths[first:], cells[first:], time[first:], longest)
    return Liquid(
        run.name, run.temperature, sites.counts(), time, density,
        float(time[first]) if timed else np.nan, correlated_mean(density[first:]), _edges(cells[first:]),
        elements.distributions(_BLOCKS), centres.distributions(_BLOCKS), diffusions, told,
    )  # fmt: skip


@dataclass(frozen=True, eq=False)
class _Sites:
    """The molecules of a run: numbers and masses (N,), owner (N,) of each atom; species (M,), and their names."""

    numbers: IntArray
    masses: FloatArray
    owner: IntArray
    species: IntArray
    names: tuple[str, ...]

    @classmethod
    def of(cls, run: Run) -> _Sites:
        first = next(iter(run.finite_blocks())).positions[0]
        molecules, species, names = molecules_of(run.numbers, first)
        owner = np.empty(len(run.numbers), dtype=np.intp)
        for k, atoms in enumerate(molecules):
            owner[atoms] = k
        return cls(run.numbers, run.masses, owner, species, names)

    def counts(self) -> dict[str, int]:
        return dict(zip(self.names, np.bincount(self.species).tolist(), strict=True))

    def centres(self, x: FloatArray) -> FloatArray:
        """(M, 3) centres of mass of the molecules of atoms (N, 3), which are whole."""
        weights = np.bincount(self.owner, self.masses)
        sums = [np.bincount(self.owner, self.masses * x[:, axis]) for axis in range(3)]
        return np.stack(sums, axis=1) / weights[:, None]

    def histograms(self, reach: float, width: float) -> tuple[Histogram, Histogram]:
        """For the atoms by elements, and for the centres of mass by species."""
        kinds, element = np.unique(self.numbers, return_inverse=True)
        atoms = Histogram(element, self.owner, symbols(kinds), reach, width)
        return atoms, Histogram(self.species, np.arange(len(self.species)), self.names, reach, width)


def _edges(cells: FloatArray) -> tuple[Mean, ...]:
    """Means of a, b, c (Å), α, β, γ (degrees)."""
    from ase.geometry import cell_to_cellpar

    return tuple(correlated_mean(series) for series in np.array([cell_to_cellpar(cell) for cell in cells]).T)


def _diffusions(
    sites: _Sites, paths: FloatArray, cells: FloatArray, time: FloatArray, longest: float | None
) -> tuple[list[Diffusion], str]:
    """Of each species, against the whole's centre of mass; in the mean cell, where the cell changes. Of the longest
    stretch of evenly spaced frames; and what is to be said of that."""
    if not np.isfinite(time).all():
        return [], "no D: the time of the frames is not known (--timestep)"
    even = max(segments(time), key=lambda stretch: stretch.stop - stretch.start, default=slice(0, 0))
    told, frames = "", even.stop - even.start
    if frames < len(time):
        told = f"of {frames} of {len(time)} frames, the longest stretch without a gap"
    if frames < _FEWEST:
        return [], f"no D: {frames} evenly spaced frames, {_FEWEST} are the fewest"
    paths, cells, time = paths[even], cells[even], time[even]
    interval = spacing(time)
    fractions = paths @ np.linalg.inv(cells)
    turns = np.round(np.diff(fractions, axis=0))  # wrapped files jump by whole cells
    fractions[1:] -= np.cumsum(turns, axis=0)
    unwrapped = fractions @ cells.mean(0)
    masses = np.bincount(sites.owner, sites.masses)
    unwrapped -= np.einsum("m,tma->ta", masses / masses.sum(), unwrapped)[:, None]
    reach = longest or (time[-1] - time[0]) / 10
    found = [
        diffusion(name, unwrapped[:, sites.species == k], interval, reach, _BLOCKS)
        for k, name in enumerate(sites.names)
    ]
    return found, f"D {told}" if told else ""
