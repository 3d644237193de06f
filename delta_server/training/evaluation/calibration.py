"""Expected errors for models that are trained: found on what validated them, and added to their files."""

from __future__ import annotations

import re
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ..._types import FloatArray
from ...data.dataset import Dataset, fingerprint, load_dataset
from ...errors import InputError
from ...files.whole import Replacements, sha256_of
from ...gdml.model import Model
from ...gdml.uncertainty import Calibration, Uncertainty
from ...loading import load_potential, read_model
from ...manifest import Manifest, ModelEntry, load_manifest
from ...units import KCAL_MOL
from ..baselines.remainder import remainder
from ..record import RECORD, TrainingRecord, load_record
from .evaluate import check_atoms
from .expected_errors import calibrate, force_rmse, rank_correlation

_ARRAY = "error_calibration.npy"


@dataclass(frozen=True)
class Calibrated:
    """The calibration of one model file, on n configurations, and how good it is."""

    name: str
    path: Path
    calibration: Calibration
    n: int
    rank_correlation: float  # of expected and true errors, Spearman's
    force_rmse: float  # kcal/mol/Å

    @classmethod
    def of(cls, name: str, path: Path, model: Model, positions: FloatArray, forces: FloatArray) -> Calibrated:
        """positions, forces: (n, N, 3), Å and kcal/mol/Å. Raises InputError as `calibrate`."""
        calibration = calibrate(model, positions, forces * KCAL_MOL)
        errors = force_rmse(model, positions, forces * KCAL_MOL) / KCAL_MOL
        rho = rank_correlation(Uncertainty(model, calibration).expected_error(positions), errors)
        return cls(name, path, calibration, len(positions), rho, float(np.sqrt((errors**2).mean())))


def calibrate_files(manifest: Path, dataset: Path) -> list[Calibrated]:
    """Calibrate every model of a manifest on the configurations that validated it, and write that down.

    The record ``training.json`` beside the manifest says which they are. Model files get one more array, and the
    digests in manifest and record are brought up to date: all of it or nothing.

    Raises InputError, ManifestError or ModelFileError.
    """
    listed, data = load_manifest(manifest), load_dataset(dataset)
    potential = load_potential(listed)  # all is as the manifest says
    check_atoms(potential.numbers, data, potential.name)
    record = _record(manifest.parent / RECORD, data)
    part = data.take(record.configurations("validation", len(data)))
    part = remainder(part, potential.terms, np.arange(len(part)))
    labels: dict[Path, tuple[str, ModelEntry, list[FloatArray], list[FloatArray]]] = {}
    for name, entry, positions, forces in _labels(listed, part):  # fragments that are alike share a file
        _, _, x, f = labels.setdefault(listed.resolve(entry.model), (name, entry, [], []))
        x.append(positions)
        f.append(forces)
    calibrated = [
        Calibrated.of(name, path, read_model(listed, entry), np.concatenate(x), np.concatenate(f))
        for path, (name, entry, x, f) in labels.items()
    ]
    _write(manifest, record, calibrated)
    return calibrated


def _record(path: Path, data: Dataset) -> TrainingRecord:
    """The record of the training on this data set. Raises InputError."""
    record = load_record(path)
    if record is None:
        raise InputError(f"{path}: no such record of the training; it says which configurations validated")
    if record.fingerprint is None:
        raise InputError(f"{path}: is no record of `delta-sgdml train`, which says what validated")
    if record.fingerprint != fingerprint(data):
        raise InputError(f"{path}: tells of another data set; give the one that the models were trained on")
    return record


def _labels(manifest: Manifest, data: Dataset) -> Iterator[tuple[str, ModelEntry, FloatArray, FloatArray]]:
    """Name, entry, positions and forces (n, N, 3), Å and kcal/mol/Å, of every model.

    Raises InputError for sets of atoms of which there are no labels.
    """
    if manifest.species:
        raise InputError(f"{manifest.path}: an assembly; calibrate the manifests that its models were trained with")
    alone = {frozenset(data.atoms_of(k).tolist()) for k in range(data.n_fragments)}
    models, atoms = manifest.models(), {f.name: list(f.atoms) for f in manifest.fragments}
    for fragment in (f for f in manifest.fragments if f.model):
        mine = atoms[fragment.name]
        if len(mine) < data.n_atoms and frozenset(mine) not in alone:
            raise InputError(f"{data.name}: has no labels of {fragment.name} alone, its fragments are others")
        forces = data.forces if len(mine) == data.n_atoms else data.isolated()[2]
        yield fragment.name, models[fragment.name], data.positions[:, mine], forces[:, mine]
    for binding in manifest.binding:
        parts = [atoms[f] for f in binding.between or ()] or [list(range(data.n_atoms))]
        mine = [atom for part in parts for atom in part]
        if len(mine) < data.n_atoms:
            raise InputError(f"{data.name}: has no labels of {binding.name}, which is between some of its fragments")
        yield binding.name, binding, data.positions[:, mine], data.binding_forces()[:, mine]


def _write(manifest: Path, record: TrainingRecord, calibrated: list[Calibrated]) -> None:
    """New files in the places of the old, all of them or none. Raises InputError."""
    text = manifest.read_text(encoding="utf-8")
    try:
        with Replacements() as files:
            for each in calibrated:
                before, part = sha256_of(each.path), files.beside(each.path)
                _with_calibration(each.path, part, each.calibration)
                after = sha256_of(part)
                text = re.sub(before, after, text, flags=re.IGNORECASE)
                record = record.with_model(before, sha256=after, calibration=list(each.calibration))
            files.beside(manifest).write_text(text, encoding="utf-8")
            files.beside(record.path).write_text(record.text(), encoding="utf-8")
    except OSError as error:
        raise InputError(f"{error.filename}: cannot be written: {error.strerror}; nothing was changed") from None


def _with_calibration(source: Path, target: Path, calibration: Calibration) -> None:
    """A copy of a model file, of whatever form, with this calibration in place of any other."""
    with zipfile.ZipFile(source) as old, zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED) as new:
        for member in old.infolist():
            if member.filename != _ARRAY:
                new.writestr(member, old.read(member))
        with new.open(zipfile.ZipInfo(_ARRAY), "w") as stream:  # no time of day: equal files for equal numbers
            np.lib.format.write_array(stream, np.array(calibration))
