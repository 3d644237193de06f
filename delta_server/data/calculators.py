"""The electronic-structure methods that label: tblite's by their names, any other of ASE's by name or import path."""

from __future__ import annotations

import difflib
import inspect
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from importlib import import_module
from typing import TYPE_CHECKING, Any

import numpy as np

from .._types import IntArray
from ..errors import InputError
from ..files.documents import versions

if TYPE_CHECKING:
    from ase.calculators.calculator import Calculator

Option = bool | int | float | str

_TBLITE = {"gfn2-xtb": "GFN2-xTB", "gfn1-xtb": "GFN1-xTB", "ipea1-xtb": "IPEA1-xTB"}
_ACCURACY = 0.01  # of labels: forces to 5e-5 kcal/mol/Å where tblite's default, 1, leaves 5e-3; costs nothing
_SAID_ELSEWHERE = {"charge": "--charges", "multiplicity": "--multiplicity", "method": "--calculator"}
_NOBLE = np.array([0, 2, 10, 18, 36, 54, 86])


@dataclass(frozen=True)
class Method:
    """A calculator and its options.

    name: ``gfn2-xtb`` and its sisters; an ASE calculator's short name, ``emt``; or ``package.module:Class``.
    options: keyword arguments of the calculator.
    """

    name: str
    options: Mapping[str, Option] = field(default_factory=dict)

    @property
    def tblite(self) -> bool:
        return self.name.lower() in _TBLITE

    def load(self) -> type[Calculator]:
        """The calculator's class. Raises InputError where it, or an option of it, does not exist."""
        found: type[Calculator]
        if self.tblite:
            try:
                found = import_module("tblite.ase").TBLite
            except ImportError:
                raise InputError("tblite is not installed here: pip install 'delta-server[train]'") from None
            for key, better in _SAID_ELSEWHERE.items():
                if key in self.options:
                    raise InputError(f"{self.name}: --option {key} is said by {better}")
            unknown = sorted(set(self.options) - set(found.default_parameters))
            if unknown:  # tblite itself may crash on it
                raise self._unknown(unknown[0], found)
            return found
        try:
            if ":" in self.name:
                module, _, name = self.name.partition(":")
                found = getattr(import_module(module), name)
            else:
                from ase.calculators.calculator import get_calculator_class

                found = get_calculator_class(self.name.lower())
        except (ImportError, AttributeError, ValueError) as error:
            raise InputError(
                f"calculator {self.name!r}: {error}; expected gfn2-xtb, the name of a calculator that ase knows, "
                "such as emt, or package.module:Class"
            ) from None
        return found

    def _unknown(self, option: str, calculator: type[Calculator]) -> InputError:
        near = difflib.get_close_matches(option, calculator.default_parameters, n=1, cutoff=0.5)
        known = f"did you mean {near[0]}?" if near else f"known: {', '.join(calculator.default_parameters)}"
        return InputError(f"{self.name}: no option {option!r}; {known}")

    def make(self, charge: int = 0, multiplicity: int = 1) -> Calculator:
        """A calculator for a molecule of this charge. Raises InputError, and what the calculator itself raises."""
        calculator = self.load()
        options: dict[str, Any] = dict(self.options)
        if self.tblite:
            options = {"accuracy": _ACCURACY, "verbosity": 0, "method": _TBLITE[self.name.lower()]} | options
            options |= {"charge": charge, "multiplicity": multiplicity}
        elif charge or multiplicity != 1:
            known = {*inspect.signature(calculator).parameters, *getattr(calculator, "default_parameters", {})}
            for key, value, nothing in (("charge", charge, 0), ("multiplicity", multiplicity, 1)):
                if value == nothing:
                    continue
                if key not in known:
                    raise InputError(f"calculator {self.name!r} takes no {key}; it cannot label {key} {value}")
                options[key] = value
        return calculator(**options)

    @property
    def theory(self) -> str:
        """What to call labels of this method, with the version: ``GFN2-xTB (tblite 0.8.0)``."""
        package = "tblite" if self.tblite else self.load().__module__.split(".")[0]
        said = [_TBLITE.get(self.name.lower(), self.name), *(f"{k}={v}" for k, v in sorted(self.options.items()))]
        return " ".join(said + [f"({name} {version})" for name, version in versions(package).items()])

    def check(self, numbers: IntArray, charge: int, multiplicity: int, what: str) -> None:
        """Refuses electrons that cannot be. tblite itself would take them and compute something.

        numbers: (N,). what: the molecule, for the message. Raises InputError.
        """
        if not self.tblite:
            return
        if numbers.max() > 86:
            raise InputError(f"{what}: {self.name} knows the elements up to 86 (Rn), found {numbers.max()}")
        valence = int((numbers - _NOBLE[np.searchsorted(_NOBLE, numbers) - 1]).sum())
        if charge > valence:
            raise InputError(f"{what}: charge {charge} takes more than the {valence} valence electrons it has")
        if ((numbers > 56) & (numbers < 72)).any():  # xTB puts f electrons into the core
            return
        electrons = int(numbers.sum()) - charge
        if (electrons - multiplicity) % 2 == 0:
            raise InputError(
                f"{what}: charge {charge} leaves {electrons} electrons, which cannot have multiplicity "
                f"{multiplicity}: say other --charges, or --multiplicity {multiplicity + 1} for this fragment"
            )


def parse_options(pairs: Sequence[str]) -> dict[str, Option]:
    """``["accuracy=0.1", "method=GFN1-xTB"]`` → {accuracy: 0.1, …}; numbers and true/false are read as such."""
    options: dict[str, Option] = {}
    for pair in pairs:
        key, equals, text = pair.partition("=")
        if not equals or not key.strip().isidentifier() or key.strip() in options:
            raise InputError(f"--option {pair!r}: expected key=value, each key once")
        options[key.strip()] = _value(text.strip())
    return options


def _value(text: str) -> Option:
    if text.lower() in ("true", "false"):
        return text.lower() == "true"
    for kind in (int, float):
        try:
            number = kind(text)
        except ValueError:
            continue
        if math.isfinite(number):
            return number
    return text


def parse_integers(text: str, n: int, what: str) -> tuple[int, ...]:
    """``"1,0"`` → (1, 0). Raises InputError unless there are n, one for each fragment."""
    try:
        values = tuple(int(piece) for piece in text.split(","))
    except ValueError:
        raise InputError(f"{what} {text!r}: expected integers, as in '1,0'") from None
    if len(values) != n:
        raise InputError(f"{what} {text!r}: {len(values)} given, there are {n} fragments")
    return values
