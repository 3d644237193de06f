"""Errors on a model's own dynamics: a random sample of the frames of its runs, labelled by the reference.

Frames that a model is trained, validated and tested on lie between each other in time; those that its own dynamics
visits need not. Standard errors take the sampled frames for independent.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np

from ..._types import FloatArray, IntArray
from ...checks.tested import OwnErrors
from ...data.dataset import Dataset
from ...data.fragments import Reaction
from ...data.labels import LabelTask, label_in, working_file
from ...data.structures import Structures
from ...errors import InputError
from ...methods import Method
from ...potential import Potential
from .evaluate import Evaluation, PartErrors, evaluate


class OwnFrames(NamedTuple):
    """n frames of runs of one complex: positions (n, N, 3), Å, and the thermostat's temperature of each (n,), K, NaN
    where it is not known."""

    positions: FloatArray
    temperatures: FloatArray


class Labelled(NamedTuple):
    """What became of the frames: the labels of those that have some, which of the frames these are; the reactions of
    those that are no complex of these fragments any more; how many the reference failed on; the file of the labels.
    data is None where it was stopped, with `done` labels in the file."""

    data: Dataset | None
    which: IntArray
    reacted: list[Reaction]
    failed: int
    file: Path
    done: int


def draw(n: int, sample: int, seed: tuple[int, ...]) -> IntArray:
    """So many of n frames at random, each once, in order; all where there are fewer."""
    return np.sort(np.random.default_rng(seed).permutation(n)[:sample])


def label_frames(
    potential: Potential,
    frames: OwnFrames,
    method: Method,
    charges: tuple[int, ...],
    multiplicities: tuple[int, ...],
    folder: Path,
    *,
    processes: int = 1,
    stop: Callable[[], bool] = lambda: False,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> Labelled:
    """Label complex and fragments at all frames, or find the labels in the folder, in a file ``own-….npz`` whose name
    tells frames and method. Of a call that is stopped or killed the next goes on.

    charges, multiplicities: of each fragment. Raises InputError where nothing can be labelled.
    """
    fragment = np.zeros(potential.n_atoms, dtype=np.intp)
    for k, part in enumerate(potential.fragments):
        fragment[part.atoms] = k
    n = len(frames.positions)
    names = tuple(part.name for part in potential.fragments)
    every = Structures(
        potential.numbers, frames.positions, np.arange(n), np.zeros(n, dtype=np.intp), fragment, charges, names
    )
    reacted = every.reactions()
    whole = np.setdiff1d(np.arange(n), [reaction.configuration for reaction in reacted])
    if not len(whole):
        raise InputError(f"{potential.name}: fragments break or react in all {n} frames, first: {reacted[0].what}")
    task = LabelTask(every.take(whole), method, charges, multiplicities)
    file, outcome = label_in(
        folder, "own", task, processes=min(processes, len(whole)), stop=stop,
        progress=lambda done, failed: progress(done + failed, len(whole)),
    )  # fmt: skip
    data = outcome.data
    if data is None:
        return Labelled(None, whole, reacted, 0, working_file(file), outcome.done)
    which = np.arange(len(data)) if data.index is None else data.index
    return Labelled(data, which, reacted, len(whole) - len(which), file, len(which))


def by_temperature(potential: Potential, frames: OwnFrames, labelled: Labelled) -> Iterator[OwnErrors]:
    """The errors of each part at each temperature, the lowest first."""
    assert labelled.data is not None
    kelvins = frames.temperatures[labelled.which]
    for kelvin in np.unique(kelvins):  # all NaN count as one
        here = np.flatnonzero((kelvins == kelvin) | (np.isnan(kelvins) & np.isnan(kelvin)))
        evaluation = evaluate(potential, labelled.data, here)
        yield from errors_of(evaluation, None if np.isnan(kelvin) else float(kelvin))


def errors_of(evaluation: Evaluation, temperature: float | None = None) -> Iterator[OwnErrors]:
    """Mean errors of each part of an evaluation, and how sure they are."""
    for part in evaluation.parts:
        yield _errors_of(part, temperature)


def _errors_of(part: PartErrors, temperature: float | None) -> OwnErrors:
    energy, force = np.abs(part.energy_error), np.abs(part.force_error).mean((1, 2))
    return OwnErrors(
        part=part.name,
        temperature=temperature,
        n=part.n,
        energy_mae=float(energy.mean()),
        energy_mae_error=_standard_error(energy),
        energy_mean=part.energy_mean_error,
        force_mae=float(force.mean()),
        force_mae_error=_standard_error(force),
    )


def _standard_error(values: FloatArray) -> float:
    """Of the mean of independent values (n,); 0 of a single one, which tells nothing."""
    return float(values.std(ddof=1) / np.sqrt(len(values))) if len(values) > 1 else 0.0
