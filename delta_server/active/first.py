"""What a learning begins with: a model and its data; or the first geometries, of dynamics with the calculator, and
with the fragments apart."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np

from .._types import FloatArray, IntArray
from ..data.apart import place
from ..data.dataset import TEST, TRAIN, VALIDATION, Dataset
from ..data.labels import LabelTask
from ..data.sample import SamplePlan, sample
from ..data.structures import Structures
from ..errors import InputError
from ..files.whole import replacing
from ..manifest import load_manifest
from ..molecule.structures import read_structure
from ..training.record import RECORD, record_of
from ..training.reporter import Reporter
from .asked import APART, Asked
from .rounds import START_GEOMETRY, Round
from .settings import Settings

_APART = 0.25  # of the first labels, with the fragments from contact to 30 Å
_EQUILIBRATION = 200.0  # fs at each temperature
_EVERY = 20  # steps between frames
_RELAXATION = 100  # steps at most


def first_frames(root: Path, settings: Settings, stop: Callable[[], bool], reporter: Reporter) -> Asked | None:
    """What is labelled first; None where `stop` said so.

    The geometry is relaxed a little, and heated to one temperature after the other; then the fragments are placed as
    they were on the way. Raises InputError where the calculator fails.
    """
    n_apart = round(_APART * settings.first)
    n_bound = settings.first - n_apart
    x = read_structure(root / START_GEOMETRY).positions
    frames: list[FloatArray] = []
    kelvins: list[float] = []
    shares = np.diff(np.linspace(0, n_bound, len(settings.temperatures) + 1).round().astype(int))
    for turn, (kelvin, share) in enumerate(zip(settings.temperatures, shares.tolist(), strict=True)):
        plan = SamplePlan(
            kelvin, share, _EVERY, equilibration=_EQUILIBRATION, relaxation=_RELAXATION if turn == 0 else 0,
            seed=settings.seed + turn,
        )  # fmt: skip
        for atoms in sample(_task(settings, x), plan, stop):
            x = atoms.positions
            frames.append(x)
            kelvins.append(kelvin)
            reporter.progress("the first geometries", len(frames) / n_bound)
    if stop():
        return None
    x = np.array(frames)
    apart = place(np.array(settings.numbers), settings.atoms, x, n_apart, seed=settings.seed)
    everyone = range(len(settings.names))
    bound = Asked.plain("first", everyone, x, 1.0, np.zeros(len(x)))
    return replace(bound, temperature=np.array(kelvins)) + Asked.plain(
        "first", everyone, apart, APART, np.zeros(n_apart)
    )


def _task(settings: Settings, positions: FloatArray) -> LabelTask:
    """The complex, as the calculator of the dynamics needs it."""
    one: IntArray = np.zeros(1, dtype=np.intp)
    structures = Structures(
        np.array(settings.numbers, dtype=np.intp), positions[None], one, one,
        fragment=np.array(settings.fragment, dtype=np.intp), charges=settings.charges, names=settings.names,
    )  # fmt: skip
    return LabelTask(structures, settings.method, settings.charges, settings.multiplicities)


def begin_with(root: Path, manifest: Path, data: Dataset) -> Dataset:
    """Copy a trained model to where a learning has that of its first round; returns the data set with the sides that
    its configurations had in the training.

    Raises InputError where there is no record of the training, or it tells of other data or of fitted charges.
    """
    record, described = (
        record_of(manifest, data, ", which says what the model has learned from"),
        load_manifest(manifest),
    )
    if record.recipe().fitted_below:
        raise InputError(f"{manifest}: --dispersion and --electrostatics are not made anew here; train without them")
    split = np.full(len(data), TEST)
    split[record.configurations("train", len(data))] = TRAIN
    split[record.configurations("validation", len(data))] = VALIDATION
    folder = Round(root, 0).folder / "model"
    folder.mkdir(parents=True)
    files = {entry.model for entry in described.models().values()}
    for name in (described.structure, *sorted(files), Path(RECORD), Path(manifest.name)):
        if name.parent != Path():
            raise InputError(f"{manifest}: {name} lies in another folder; a learning begins with models beside it")
        with replacing(folder / ("manifest.yaml" if name.name == manifest.name else name.name)) as part:
            part.write_bytes((manifest.parent / name).read_bytes())
    return replace(data, split=split)
