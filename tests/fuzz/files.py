"""Hostile files: models, data sets and manifests, spoilt in their bytes, in their arrays or in their words.

Whatever is read is either refused with one line, or gives what the formula gives for the numbers in it.
"""

from __future__ import annotations

import io
import random
import re
import warnings
from pathlib import Path
from typing import Any

import ase.io
import numpy as np
import numpy.typing as npt
import yaml
from ase import Atoms
from ase.calculators.singlepoint import SinglePointCalculator
from made import made_manifest, made_model

from delta_server import load_potential
from delta_server.data.imports import FileUnits, import_files
from delta_server.errors import DeltaError
from delta_server.gdml import load_model, make_predictor

from .plain import Plain, PlainSum

Arrays = dict[str, Any]
WATER = np.array([[0.0, 0.0, 0.0], [0.96, 0.0, 0.0], [-0.24, 0.93, 0.0]])
NUMBERS = np.array([8, 1, 1, 8, 1, 1])
POSITIONS = np.concatenate([WATER, WATER + np.array([0.3, 0.4, 2.9])])
WILD = (np.nan, np.inf, -np.inf, 0.0, -1.0, 1e308, -1e308, 1e-308, 1e200, 1e-200, 2.0**63)


def made_dimer(folder: Path) -> Path:
    """Manifest of two waters with a binding."""
    made_model(folder / "water.npz", NUMBERS[:3], WATER, [[0, 1, 2], [0, 2, 1]], n_train=5, seed=1)
    made_model(folder / "binding.npz", NUMBERS, POSITIONS, [range(6)], n_train=5, seed=2)
    fragments = [{"name": n, "atoms": a, "model": "water.npz"} for n, a in (("first", "0:3"), ("second", "3:6"))]
    return made_manifest(folder, NUMBERS, POSITIONS, fragments, {"model": "binding.npz"})


def spoil_bytes(rng: random.Random, data: bytes) -> bytes:
    """Bits turned, a piece left out, doubled, overwritten, or the end cut off."""
    spoilt, at = bytearray(data), rng.randrange(len(data))
    length = rng.choice((1, 2, 8, 100))
    match rng.randrange(5):
        case 0:
            for _ in range(length):
                spoilt[rng.randrange(len(data))] ^= 1 << rng.randrange(8)
        case 1:
            del spoilt[at : at + length]
        case 2:
            spoilt[at:at] = spoilt[at : at + length]
        case 3:
            spoilt[at : at + length] = rng.randbytes(length)
        case 4:
            del spoilt[at:]
    return bytes(spoilt)


def spoil_array(rng: random.Random, array: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """Another shape, dtype or content."""
    match rng.randrange(9):
        case 0 if array.dtype.kind in "fiu" and array.size:
            spoilt = array.astype(float).copy()
            spoilt.flat[rng.randrange(spoilt.size)] = rng.choice(WILD)
            return spoilt
        case 1 if array.ndim:
            return array[: len(array) // 2]
        case 2 if array.ndim:
            return np.concatenate([array, array])
        case 3:
            return array[None]
        case 4:
            with np.errstate(all="ignore"), warnings.catch_warnings(action="ignore"):  # a complex loses a part
                return array.astype(rng.choice(("f4", "i1", "u8", "f2", "?", "S3", "U3", "c16", "f16", "<M8[s]")))
        case 5:
            return np.array(rng.choice(("", "m", "d", "Ang", "kcal/mol", "\ud800", "x" * 20_000)))
        case 6:
            return np.frombuffer(b"\xff\xff\xff\x7f" * 2, dtype="<U2")  # characters that do not exist
        case 7 if array.size:
            spoilt = array.copy()
            spoilt.flat[rng.randrange(array.size)] = spoilt.flat[rng.randrange(array.size)]
            return spoilt
        case _:
            return np.zeros(rng.choice((0, 1, 3)), dtype=array.dtype)


def spoil_arrays(rng: random.Random, arrays: Arrays) -> bytes:
    """An archive of arrays of which some are spoilt, left out or renamed."""
    arrays = dict(arrays)
    for _ in range(rng.choice((1, 1, 1, 2, 3))):
        key = rng.choice(list(arrays))
        try:
            spoilt = spoil_array(rng, np.asarray(arrays.pop(key)))
        except (ValueError, TypeError, OverflowError):
            continue  # NumPy knows no such array: the key is left out
        if rng.random() < 0.9:
            arrays[key if rng.random() < 0.95 else key + "_"] = spoilt
        if not arrays:
            break
    out = io.BytesIO()
    rng.choice((np.savez, np.savez_compressed))(out, **arrays)
    return out.getvalue()


class ModelFuzz:
    """Model files in sGDML's form and in the native one."""

    def __init__(self, manifest: Path) -> None:
        self.path = manifest.parent / "spoilt.npz"
        whole = (manifest.parent / "water.npz").read_bytes()
        with np.load(io.BytesIO(whole), allow_pickle=False) as file:
            arrays = dict(file)
        rng = np.random.default_rng(0)
        shared = {key: arrays[key] for key in ("type", "z", "perms", "sig", "std", "c", "r_unit", "e_unit")}
        native = shared | {
            "format": "delta-sgdml-model/1",
            "R_train": WATER + 0.05 * rng.standard_normal((4, 3, 3)),
            "alphas_F": rng.standard_normal((4, 3, 3)),
            "alphas_E": rng.standard_normal(4),
            "error_calibration": np.array([1.0, 1.0, 0.5]),
        }
        other = native | {"format": "delta-sgdml-model/2", "metric": np.array([1.5, 0.1]), "scales": np.ones(3),
                          "pairs": np.array([3, 6, 7])}  # fmt: skip
        self.forms: tuple[Arrays, ...] = (arrays, native, other)
        self.whole = tuple(self._written(form) for form in self.forms)
        self.right = self.refused = 0

    @staticmethod
    def _written(arrays: Arrays) -> bytes:
        out = io.BytesIO()
        np.savez(out, **arrays)
        return out.getvalue()

    def case(self, seed: int) -> None:
        rng = random.Random(seed)
        form = rng.choice((0, 0, 1, 2))
        if rng.random() < 0.4:
            self.path.write_bytes(spoil_bytes(rng, self.whole[form]))
        else:
            self.path.write_bytes(spoil_arrays(rng, self.forms[form]))
        try:
            with np.errstate(all="ignore"):  # as `load_potential` does
                model = load_model(self.path)
                if model.n_atoms != 3:
                    return
                prediction = make_predictor(model).predict(WATER[None] * 1.02)
        except DeltaError:
            self.refused += 1
            return
        if form == 0 and model.energy_weights is None and model.n_train:
            with np.errstate(all="ignore"):
                energy, forces = Plain(self.path)(WATER * 1.02)
            if np.isfinite(forces).all() and np.abs(forces).max() < 1e6 and np.abs(energy) < 1e6:
                size = max(1.0, float(np.abs(forces).max()))
                assert abs(float(prediction.energy[0]) - energy) < 1e-7 * max(1.0, abs(energy))
                assert np.abs(prediction.forces[0] - forces).max() < 1e-7 * size
                self.right += 1


class DataFuzz:
    """Data sets as sGDML's archives and as extended xyz."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        rng = np.random.default_rng(0)
        frames = POSITIONS + 0.03 * rng.standard_normal((3, 6, 3))
        self.arrays: Arrays = {
            "type": "d", "name": "made", "theory": "none", "z": NUMBERS.astype(np.uint8), "R": frames,
            "E": rng.standard_normal((3, 1)), "F": rng.standard_normal((3, 6, 3)), "r_unit": "Ang",
            "e_unit": "kcal/mol",
        }  # fmt: skip
        self.archive = ModelFuzz._written(self.arrays)
        out = []
        for x, e, f in zip(frames, self.arrays["E"][:, 0], self.arrays["F"], strict=True):
            out.append(Atoms(NUMBERS, x))
            out[-1].calc = SinglePointCalculator(out[-1], energy=float(e), forces=f)
        ase.io.write(folder / "data.extxyz", out)
        self.text = (folder / "data.extxyz").read_text()
        self.read = self.refused = 0

    def case(self, seed: int) -> None:
        rng = random.Random(seed)
        if seed % 2:
            path = self.folder / "spoilt-data.npz"
            spoilt = spoil_arrays(rng, self.arrays) if rng.random() < 0.6 else spoil_bytes(rng, self.archive)
            path.write_bytes(spoilt)
        else:
            path = self.folder / "spoilt-data.extxyz"
            text = self.text.encode()
            path.write_bytes(spoil_words(rng, self.text).encode() if rng.random() < 0.6 else spoil_bytes(rng, text))
        try:
            data = import_files([path], FileUnits())
        except DeltaError:
            self.refused += 1
            return
        for values in (data.positions, data.energies, data.forces):
            assert np.isfinite(values).all()
            assert len(values) == len(data)
        self.read += 1


WORDS = ("99999999999", "-1", "0", "1e400", "nan", "inf", "-2X27.1", "", "\ud7ff", "H", "Xx", "\x00", "1_000", "٣",
         '"', "energy=-2X27.1", "forces:R:99999999", "T", "true", "a" * 3000, "1.5", "[", "{", "- a", "&a", "*a",
         "!!python/object:os.system x", "null", "../../etc/passwd", "/dev/zero", "0:999999999", "[0, 0]",
         "\n")  # fmt: skip


def spoil_words(rng: random.Random, text: str) -> str:
    """Words of a text in the place of others, or lines left out, doubled and exchanged."""
    for _ in range(rng.choice((1, 1, 2, 3))):
        pieces = re.split(r"(\s+|[=:,{}\[\]])", text)
        at = rng.randrange(len(pieces))
        match rng.randrange(4):
            case 0:
                pieces[at] = rng.choice(WORDS)
            case 1:
                pieces[at] = rng.choice(pieces)
            case 2:
                del pieces[at]
            case 3:
                lines = text.splitlines(keepends=True)
                line = rng.randrange(len(lines)) if lines else 0
                lines[line : line + 1] = lines[line : line + 1] * rng.choice((0, 2))
                pieces = lines
        text = "".join(pieces)
    return text


class ManifestFuzz:
    """Manifests, with files that are sound."""

    def __init__(self, manifest: Path) -> None:
        self.path = manifest.parent / "spoilt.yaml"
        self.text = manifest.read_text()
        energy, self.forces, _ = PlainSum(manifest)(POSITIONS)
        self.energy = energy
        self.right = self.refused = 0

    def case(self, seed: int) -> None:
        rng = random.Random(seed)
        if rng.random() < 0.8:
            self.path.write_text(spoil_words(rng, self.text), encoding="utf-8", errors="surrogateescape")
        else:
            self.path.write_bytes(spoil_bytes(rng, self.text.encode()))
        try:
            potential = load_potential(self.path)
            result = potential.compute(POSITIONS)
        except DeltaError:
            self.refused += 1
            return
        assert potential.describe().isprintable()
        same = {k: v for k, v in yaml.safe_load(self.text).items() if k in ("fragments", "binding")}
        if same == {k: v for k, v in yaml.safe_load(self.path.read_text()).items() if k in same}:
            assert abs(float(result.energy) - self.energy) < 1e-7
            assert np.abs(result.forces - self.forces).max() < 1e-7
            self.right += 1
