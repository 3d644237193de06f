"""What a learning was asked for: ``learn.json``, written once by `delta-sgdml learn start`, and read strictly."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
from pydantic import Field, ValidationError, model_validator

from .._types import IntArray
from ..errors import InputError
from ..files.documents import Strict, first_error, read_text
from ..files.whole import write_json
from ..methods import Method, Option

SETTINGS = "learn.json"
OF_ASSEMBLY = "assembly.json"  # `assemblies.settings`

_Positive = Annotated[float, Field(gt=0)]
_Count = Annotated[int, Field(ge=1)]


class Settings(Strict):
    """What holds for all rounds of a learning.

    The molecule: ``numbers``, ``fragment`` (N,) and, of each fragment, names, charges and multiplicities. The aim:
    ``temperatures`` (K), ``force`` and ``energy``, largest mean absolute errors on the model's own dynamics
    (kcal/mol/Å, of the whole; kcal/mol, of the whole and of the binding), and ``budget``, labels of the complex at
    most. A round: ``replicas`` at each temperature, of so many ``picoseconds`` at first; ``test`` frames at each
    temperature are labelled to test the model, then at most ``picks`` that it would learn most from. ``first``:
    labels that a learning from a geometry begins with; ``points``: those of a data set that are trained on first;
    ``basis``: points of each model's file, fitted to all of its training points; 0: these themselves;
    ``bases``: of models by name.
    """

    format: Literal["delta-sgdml-learn/1"] = "delta-sgdml-learn/1"
    name: str = Field(min_length=1, max_length=200)
    numbers: tuple[Annotated[int, Field(ge=1, le=118)], ...] = Field(min_length=2)
    fragment: tuple[Annotated[int, Field(ge=0)], ...]
    names: tuple[str, ...]
    charges: tuple[int, ...]
    multiplicities: tuple[_Count, ...]
    temperatures: tuple[_Positive, ...] = Field(min_length=1)
    force: _Positive
    energy: _Positive
    budget: _Count
    labels: Literal["here", "elsewhere"] = "here"
    calculator: str
    options: dict[str, Option] = Field(default_factory=dict)
    theory: str = ""
    first: _Count
    points: _Count
    test: Annotated[int, Field(ge=4)]
    picks: _Count
    replicas: _Count
    picoseconds: _Positive
    timestep: _Positive
    basis: Annotated[int, Field(ge=0)] = 0
    bases: dict[str, Annotated[int, Field(ge=2)]] = Field(default_factory=dict)
    metric: Literal["inverse", "auto"] = "inverse"
    seed: Annotated[int, Field(ge=0)] = 0

    @model_validator(mode="after")
    def _goes_together(self) -> Settings:
        if len(self.fragment) != len(self.numbers) or {*self.fragment} != {*range(len(self.names))}:
            raise ValueError("fragment: expected a fragment for each atom, each of those named at least once")
        if not len(self.names) == len(self.charges) == len(self.multiplicities) > 1:
            raise ValueError(
                "names, charges and multiplicities: expected one of each for each of two fragments or more"
            )
        if sorted({*self.temperatures}) != list(self.temperatures):
            raise ValueError("temperatures: expected each once, the lowest first")
        return self

    @property
    def method(self) -> Method:
        """What labels here, or only makes the first geometries where labels are made elsewhere."""
        return Method(self.calculator, self.options)

    @property
    def atoms(self) -> list[IntArray]:
        """Atoms of each fragment."""
        fragment = np.array(self.fragment)
        return [np.flatnonzero(fragment == k) for k in range(len(self.names))]

    @property
    def test_labels(self) -> int:
        """Labels of the complex that one test takes."""
        return self.test * len(self.temperatures) + self.test_apart

    @property
    def test_apart(self) -> int:
        """Of them, those with the fragments placed from contact to 30 Å."""
        return max(4, self.test // 2)

    def describe(self) -> str:
        """In a line, what is asked for."""
        kelvins = ", ".join(f"{t:g}" for t in self.temperatures)
        return (
            f"{' and '.join(self.names)}, MAE of at most {self.force:g} kcal/mol/Å and {self.energy:g} kcal/mol at "
            f"{kelvins} K, with {self.budget} labels"
        )

    @classmethod
    def made(cls, **values: Any) -> Settings:
        """Settings of what a command was told. Raises InputError."""
        try:
            return cls(**values)
        except ValidationError as error:
            raise InputError(first_error(error)) from None

    def save(self, folder: Path) -> None:
        """Write them. Raises InputError."""
        write_json(folder / SETTINGS, self.model_dump(mode="json"))


def kelvins(text: str) -> tuple[float, ...]:
    """``"300,100"`` → (100, 300). Raises InputError."""
    try:
        values = sorted(float(piece) for piece in text.split(","))
    except ValueError:
        raise InputError(f"--temperatures {text!r}: expected numbers, as in '100,300'") from None
    if not all(0 < value < math.inf for value in values) or len({*values}) < len(values):
        raise InputError(f"--temperatures {text!r}: expected temperatures above 0 K, each once")
    return tuple(values)


def load_settings(folder: Path) -> Settings:
    """The settings of a learning in a folder. Raises InputError, one line that names the file and what is wrong."""
    path = folder / SETTINGS
    if (folder / OF_ASSEMBLY).exists():
        raise InputError(f"{folder}: the learning of an assembly; `learn assembly` goes on, `learn status` shows it")
    if not path.exists():
        raise InputError(f"{folder}: no learning there ({SETTINGS}); begin one with `delta-sgdml learn start`")
    text = read_text(path, "learning's settings", "JSON", InputError)
    try:
        return Settings.model_validate_json(text)
    except ValidationError as error:
        raise InputError(f"{path}: {first_error(error)}") from None
