"""The kinds of pairs and triples of an assembly: their data, the trainings of their models, their n-mers in dynamics,
and the manifest with models that were trained anew."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from ..._types import FloatArray, IntArray
from ...data.bodies import Assembly, Bodies, find_bodies, join
from ...data.dataset import TEST, TRAIN, VALIDATION, Dataset
from ...data.imports import concatenate
from ...errors import InputError
from ...files.documents import read_yaml
from ...files.whole import sha256_of, write_whole
from ...gdml import load_model
from ...manifest import BindingEntry, Manifest, load_manifest
from ...potential import Potential
from ...training.baselines.dispersion import NAME as DISPERSION
from ...training.record import record_of
from ..acquisition import pick_for
from ..dynamics import Sampled
from ..teaching import SHARE

_CANDIDATES = 2000  # n-mers that are chosen from: of all frames, and again of those where a replica was stopped


@dataclass(frozen=True)
class Kind:
    """Pairs or triples of one kind: a term of the assembly's manifest, and the manifest that its training wrote."""

    name: str
    between: tuple[str, ...]
    cutoff: float  # Å
    model: Path
    trained: Path


def kinds_of(manifest: Path) -> list[Kind]:
    """Those of an assembly's manifest. Raises InputError where it is of none."""
    read = load_manifest(manifest)
    if not read.species or not read.binding:
        raise InputError(f"{manifest}: expected the manifest of an assembly, with `species` and their `binding`")
    return [_kind(read, binding) for binding in read.binding]


def _kind(manifest: Manifest, binding: BindingEntry) -> Kind:
    model = manifest.resolve(binding.model)
    return Kind(binding.name, binding.between or (), binding.cutoff or 0.0, model, model.with_name("manifest.yaml"))


def model_files(manifest: Path) -> dict[str, Path]:
    """The file of each model of a manifest, by the name of its term."""
    read = load_manifest(manifest)
    return {name: read.resolve(entry.model).resolve() for name, entry in read.models().items()}


def charges_of(data: Dataset, between: Sequence[str]) -> dict[str, int]:
    """The net charges of species, from the data set of their n-mers."""
    charges = (0,) * len(between) if data.charges is None else tuple(int(q) for q in data.charges)
    return dict(zip(between, charges, strict=True))


def begun(kind: Kind, numbers: IntArray, datasets: Mapping[str, Dataset]) -> Dataset:
    """The data set that a kind's model was trained on, with the sides that it had then.

    numbers: of its atoms. Raises InputError where it is none of those.
    """
    fitting = {name: data for name, data in datasets.items() if np.array_equal(data.numbers, numbers)}
    if not fitting:
        raise InputError(
            f"{kind.name}: none of the data sets {', '.join(datasets)} has its {len(numbers)} atoms; give the one "
            f"that {kind.model} was trained on"
        )
    data = next(iter(fitting.values()))
    record = record_of(kind.trained, data, f", from which {kind.name} goes on")
    recipe = record.recipe()
    if recipe.baseline is not None or recipe.electrostatics:
        raise InputError(
            f"{kind.name}: its models lie above a baseline or electrostatics, which are made anew from the data; "
            "learn such n-mers by hand (dataset bodies --least-known)"
        )
    split = np.full(len(data), TEST)
    split[record.configurations("train", len(data))] = TRAIN
    split[record.configurations("validation", len(data))] = VALIDATION
    return replace(data, split=split, name=kind.name)


def more(data: Dataset, new: Sequence[Dataset], seed: Sequence[int]) -> Dataset:
    """A kind's data with new labels, of which a share validates."""
    assert data.split is not None
    mixed = np.random.default_rng(seed).permutation(sum(map(len, new)))
    split = np.concatenate([data.split, np.where(mixed % SHARE == 0, VALIDATION, TRAIN)])
    run = np.zeros(len(data), dtype=np.intp) if data.run is None else data.run
    parts = [replace(part, split=None, index=None) for part in (data, *new)]
    joined = concatenate(parts, [part.name for part in parts])
    later = np.full(len(mixed), run.max(initial=0) + 1, dtype=np.intp)
    return replace(joined, split=split, run=np.concatenate([run, later]), name=data.name)


@dataclass(frozen=True, eq=False)
class Nmers:
    """The n-mers of a kind in an assembly's own dynamics. molecules: of its species; singles: models of those that
    have theirs from the kind's training."""

    kind: Kind
    potential: Potential
    molecules: Mapping[str, Sequence[IntArray]]
    singles: Mapping[str, Path]

    def drawn(self, frames: FloatArray, count: int, seed: Sequence[int]) -> Bodies:
        """So many at random, evenly over the distances within the cut-off. frames: (F, N, 3) Å. Raises InputError
        where there are none."""
        names = tuple(dict.fromkeys(self.kind.between))
        molecules = [atoms for name in names for atoms in self.molecules[name]]
        species = np.repeat(np.arange(len(names)), [len(self.molecules[name]) for name in names])
        cell = np.zeros((3, 3)) if self.potential.cell is None else self.potential.cell
        cells = np.broadcast_to(cell, (len(frames), 3, 3))
        assembly = Assembly(self.potential.numbers, frames, cells, molecules, species, names)
        order = len(self.kind.between)
        for bodies in find_bodies(assembly, order, self.kind.cutoff, count, seed, beyond=1.0):
            if bodies.species == self.kind.between:
                return bodies
        raise InputError(f"{self.kind.name}: no such molecules come within {self.kind.cutoff:g} Å of each other")

    def least_known(self, seen: Sampled, count: int, seed: Sequence[int]) -> Bodies:
        """So many of those that the kind's models know least of, each with those before it learned: half of them for
        the molecules, where the assembly has their models from the same training."""
        parts = [[self.drawn(seen.positions, _CANDIDATES, [*seed, 0])]]
        if len(last := np.flatnonzero(seen.last)):
            parts.append([self.drawn(seen.positions[last], _CANDIDATES, [*seed, 1])])
        (bodies,) = join(parts)
        x, each = bodies.structures.positions, bodies.structures.molecules()
        share = count // 2 if self.singles else count
        chosen = [pick.configuration for pick in pick_for(load_model(self.kind.model), x, share)]
        for name, model in self.singles.items():
            places = [atoms for of, atoms in zip(self.kind.between, each, strict=True) if of == name]
            alone = np.concatenate([x[:, atoms] for atoms in places])
            picks = pick_for(load_model(model), alone, (count - share) // len(self.singles))
            chosen += [pick.configuration % len(x) for pick in picks]
        return bodies.take(np.unique(chosen))


def _dispersion(before: Path, kinds: Mapping[str, list[int]], trained: Sequence[Path]) -> dict[str, Any]:
    """The coefficients of a dispersion that a training found anew in its data, for the kinds of atoms of an
    assembly's manifest; none where no training did. Raises InputError where its kinds are others."""
    for folder in trained:
        for term in read_yaml(folder / "manifest.yaml", "manifest", InputError).get("terms", []):
            if term["kind"] != DISPERSION:
                continue
            options = term["options"]
            if not all(of_species in options["kinds"].values() for of_species in kinds.values()):
                raise InputError(
                    f"{before}: {DISPERSION}: its kinds of atoms are not those of {folder}/manifest.yaml"
                )
            return {key: options[key] for key in ("c6", "c6_neutral", "r4r2", "damping")}
    return {}


def write_manifest(path: Path, before: Path, trained: Mapping[Path, Path]) -> None:
    """An assembly's manifest with models that were trained anew in place of those of before, and the dispersion that
    these lie above.

    trained: the new folder of each training's folder. Raises InputError.
    """
    import yaml

    read = load_manifest(before)
    body = read_yaml(before, "manifest", InputError)

    def here(file: Path) -> str:
        return os.path.relpath(file, path.parent)

    body["structure"] = here(read.resolve(read.structure))
    bindings = body["binding"] if isinstance(body["binding"], list) else [body["binding"]]
    for entry in (*body["species"].values(), *bindings):
        if "model" in entry:
            model = read.resolve(Path(entry["model"]))
            new = trained.get(model.parent, model.parent) / model.name
            entry["model"] = here(new)
            if "sha256" in entry:
                entry["sha256"] = sha256_of(new)
    for entry in body.get("terms", []):
        if entry["kind"] == DISPERSION:
            entry["options"] |= _dispersion(before, entry["options"]["kinds"], list(trained.values()))
    path.parent.mkdir(parents=True, exist_ok=True)
    write_whole(path, yaml.safe_dump(body, sort_keys=False, allow_unicode=True))
