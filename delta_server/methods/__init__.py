"""Calculators by name: tblite's and dftd4's by those of their methods, any other of ase's by name or import path."""

from __future__ import annotations

import difflib
import inspect
import math
import re
import shlex
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from .._types import FloatArray, IntArray
from ..errors import InputError
from ..files.documents import versions

if TYPE_CHECKING:
    from ase import Atoms
    from ase.calculators.calculator import Calculator

Option = bool | int | float | str

_TBLITE = {"gfn2-xtb": "GFN2-xTB", "gfn1-xtb": "GFN1-xTB", "ipea1-xtb": "IPEA1-xTB"}
_ACCURACY = 0.01  # of labels: forces to 5e-5 kcal/mol/Å where tblite's default, 1, leaves 5e-3; costs nothing
_SAID_ELSEWHERE = {"charge": "--charges", "multiplicity": "--multiplicity", "method": "--calculator"}
_SPIN_BY_ATOMS = ("aims", "nwchem")  # these take it as magnetic moments of the atoms
_CHARGE_BY_ATOMS = ("dftd4",)  # these as charges of the atoms
_CHARGE_BY_INFO = ("so3krates_torch.calculator",)  # and these, with the spin, as atoms.info
_NAMED = dict.fromkeys(_TBLITE, ("tblite.ase", "TBLite")) | {
    "d4": ("dftd4.ase", "DFTD4"),
    "pyscf": ("delta_server.methods.dft", "PySCF"),
}
_EXTRAS = {"tblite": "train", "dftd4": "d4"}  # of this package, by what they install
_NOBLE = np.array([0, 2, 10, 18, 36, 54, 86])


@dataclass(frozen=True)
class Method:
    """A calculator and its options.

    name: ``gfn2-xtb`` and its sisters; ``d4``, the dispersion of a functional; ``pyscf``; an ASE calculator's
    short name, ``emt``; or ``package.module:Class``, or a function there that returns a calculator.
    options: keyword arguments of the calculator.
    """

    name: str
    options: Mapping[str, Option] = field(default_factory=dict)

    @property
    def tblite(self) -> bool:
        return self.name.lower() in _TBLITE

    def load(self) -> type[Calculator]:
        """The calculator's class, or a function that makes one. Raises InputError where it, or an option of it, does
        not exist."""
        calculator: type[Calculator]
        module, _, name = self.name.partition(":")
        if known := _NAMED.get(self.name.lower()):
            module, name = known
        try:
            if name:
                calculator = getattr(import_module(module), name)
                if not callable(calculator):
                    raise InputError(f"calculator {self.name!r}: {name} is no class and no function that makes one")
            else:
                from ase.calculators.calculator import get_calculator_class

                calculator = get_calculator_class(self.name.lower())
        except (ImportError, AttributeError, ValueError) as error:
            package = module.split(".")[0]
            if package in _EXTRAS and isinstance(error, ImportError):
                extra = f"pip install 'delta-server[{_EXTRAS[package]}]'"
                raise InputError(f"{package} is not installed here: {extra}") from None
            raise InputError(
                f"calculator {self.name!r}: {error}; expected gfn2-xtb, d4, pyscf, the name of a calculator that ase "
                "knows, such as emt, or package.module:Class"
            ) from None
        if check := getattr(calculator, "check_options", None):
            for key in ("charge", "multiplicity"):
                if key in self.options:
                    raise InputError(f"{self.name}: --option {key} is said by {_SAID_ELSEWHERE[key]}")
            check(self.options)
        elif known:
            self._check_options(calculator)
        elif (taken := _KEYWORDS.get(_way(calculator) or "")) and (unknown := sorted(set(self.options) - taken)):
            raise InputError(f"{self.name}: no option {unknown[0]!r}; known: {', '.join(sorted(taken))}")
        return calculator

    def _check_options(self, calculator: type[Calculator]) -> None:
        """Raise InputError for an option that there is not, which the package itself may crash on."""
        for key, better in _SAID_ELSEWHERE.items() if self.tblite else ():
            if key in self.options:
                raise InputError(f"{self.name}: --option {key} is said by {better}")
        if unknown := sorted(set(self.options) - set(calculator.default_parameters)):
            raise self._unknown(unknown[0], calculator)
        if not self.tblite and not {"method", "params_tweaks"} & set(self.options):
            raise InputError(f"{self.name}: of which functional? Expected the option method, as in method=pbe0")

    def _unknown(self, option: str, calculator: type[Calculator]) -> InputError:
        near = difflib.get_close_matches(option, calculator.default_parameters, n=1, cutoff=0.5)
        known = f"did you mean {near[0]}?" if near else f"known: {', '.join(calculator.default_parameters)}"
        return InputError(f"{self.name}: no option {option!r}; {known}")

    @property
    def counterpoise(self) -> bool:
        """Whether labels are to be corrected for what fragments gain from each other's basis functions."""
        return self.name.lower() == "pyscf" and bool(self.options.get("counterpoise", False))

    def make(
        self, charge: int = 0, multiplicity: int = 1, home: Path | None = None, *, labels: bool = False
    ) -> Calculator:
        """A calculator for a molecule of this charge.

        home: the folder from which files are named in the options and in the calculator's command, where it will run
        in another. labels: whether who asks makes labels, and so the counterpoise correction. Raises InputError, and
        what the calculator itself raises.
        """
        calculator = self.load()
        if self.counterpoise and not labels:
            raise InputError(
                f"{self.name}: counterpoise=true corrects labels of a complex and its fragments, as dataset label "
                "and learn make them; a calculator alone has no fragments: leave it out"
            )
        options: dict[str, Any] = dict(self.options)
        if self.tblite:
            options = {"accuracy": _ACCURACY, "verbosity": 0, "method": _TBLITE[self.name.lower()]} | options
            options |= {"charge": charge, "multiplicity": multiplicity}
        else:
            options |= self._electrons(calculator, charge, multiplicity)
        if home is None:
            return calculator(**options)
        made = calculator(**{key: _located(value, home) for key, value in options.items()})
        profile = getattr(made, "profile", None)
        if isinstance(command := getattr(profile, "command", None), str):
            profile.command = _located(command, home)  # type: ignore[union-attr]
        return made

    def _electrons(self, calculator: type[Calculator], charge: int, multiplicity: int) -> dict[str, Any]:
        """Charge and multiplicity as a calculator takes them. Raises InputError where it does not."""
        way = _way(calculator)
        given = _WAYS[way](charge, multiplicity) if way else {}
        for key in sorted(set(given) & set(self.options) - {"reference", "spin"}):
            option = "--charges" if "charge" in key else "--multiplicity"
            raise InputError(f"{self.name}: --option {key} is said by {option}, for the complex and each fragment")
        if way:
            return {key: value for key, value in given.items() if value is not None and key not in self.options}
        known = {*inspect.signature(calculator).parameters, *getattr(calculator, "default_parameters", {})}
        for key, value, nothing in (("charge", charge, 0), ("multiplicity", multiplicity, 1)):
            if value == nothing:
                continue
            if key not in known:
                raise InputError(f"calculator {self.name!r} takes no {key}; it cannot label {key} {value}")
            if key in self.options:
                option = "--charges" if key == "charge" else "--multiplicity"
                raise InputError(
                    f"{self.name}: --option {key} is said by {option}, for the complex and each fragment"
                )
            given[key] = value
        return given

    @property
    def by_files(self) -> bool:
        """Whether the calculator runs a program through files in a folder."""
        from ase.calculators.calculator import FileIOCalculator
        from ase.calculators.genericfileio import GenericFileIOCalculator

        made = self.load()
        return isinstance(made, type) and issubclass(made, FileIOCalculator | GenericFileIOCalculator)

    def prepare(self, atoms: Atoms, charge: int, multiplicity: int) -> None:
        """Give atoms what some calculators read from them, not from their options: the charge, the spin."""
        way = _way(self.load())
        if charge and way in _CHARGE_BY_ATOMS:
            atoms.set_initial_charges(np.full(len(atoms), charge / len(atoms)))
        if way in _CHARGE_BY_INFO:
            atoms.info |= {"charge": charge, "total_spin": (multiplicity - 1) / 2}
        if (moments := self.moments(len(atoms), multiplicity)) is not None:
            atoms.set_initial_magnetic_moments(moments)

    def moments(self, n_atoms: int, multiplicity: int) -> FloatArray | None:
        """(N,) magnetic moments of the atoms for calculators that take the spin so; None for the others."""
        if self.tblite or multiplicity == 1 or _way(self.load()) not in _SPIN_BY_ATOMS:
            return None
        return np.full(n_atoms, (multiplicity - 1) / n_atoms)

    @property
    def theory(self) -> str:
        """The name of the method in a data set, with its version: ``GFN2-xTB (tblite 0.8.0)``."""
        calculator = self.load()
        packages = getattr(calculator, "packages", (calculator.__module__.split(".")[0],))
        words = [_TBLITE.get(self.name.lower(), self.name), *(f"{k}={v}" for k, v in sorted(self.options.items()))]
        return " ".join(words + [f"({name} {version})" for name, version in versions(*packages).items()])

    def check(self, numbers: IntArray, charge: int, multiplicity: int, what: str) -> None:
        """Refuse electrons that cannot be. tblite itself would take them and compute something.

        numbers: (N,). what: the molecule, for the message. Raises InputError.
        """
        if not self.tblite:
            if _way(calculator := self.load()) or hasattr(calculator, "packages"):
                self._check_parity(numbers, charge, multiplicity, what)
            return
        if numbers.max() > 86:
            raise InputError(f"{what}: {self.name} knows the elements up to 86 (Rn), found {numbers.max()}")
        valence = int((numbers - _NOBLE[np.searchsorted(_NOBLE, numbers) - 1]).sum())
        if charge > valence:
            raise InputError(f"{what}: charge {charge} takes more than the {valence} valence electrons it has")
        if ((numbers > 56) & (numbers < 72)).any():  # xTB puts f electrons into the core
            return
        self._check_parity(numbers, charge, multiplicity, what)

    def _check_parity(self, numbers: IntArray, charge: int, multiplicity: int, what: str) -> None:
        electrons = int(numbers.sum()) - charge
        if (electrons - multiplicity) % 2 == 0:
            raise InputError(
                f"{what}: charge {charge} leaves {electrons} electrons, which cannot have multiplicity "
                f"{multiplicity}: say another charge (--charges) or multiplicity (--multiplicity) for this fragment, "
                f"such as {multiplicity + 1}"
            )


_WAYS: Mapping[str, Callable[[int, int], dict[str, Any]]] = {
    "orca": lambda q, m: {"charge": q, "mult": m},
    "gaussian": lambda q, m: {"charge": q, "mult": m},
    "psi4": lambda q, m: {"charge": q, "multiplicity": m, "reference": None if m == 1 else "uhf"},
    "qchem": lambda q, m: {"charge": q, "multiplicity": m},
    "aims": lambda q, m: {
        "charge": q or None,
        "spin": None if m == 1 else "collinear",
        "fixed_spin_moment": None if m == 1 else m - 1,
    },
    "nwchem": lambda q, m: {"charge": q or None},
    "dftd4": lambda q, m: {},
    "so3krates_torch.calculator": lambda q, m: {},
}
"""Charge and multiplicity as the keywords of calculators that do not list them; None leaves one out."""


_KEYWORDS = {"orca": {"charge", "command", "directory", "mult", "orcablocks", "orcasimpleinput", "profile"}}
"""Of calculators that drop the others without a word, where these can be listed."""


def _way(calculator: type[Calculator]) -> str | None:
    """Which of `_WAYS` is a calculator's, or its base class's."""
    bases: tuple[type, ...] = getattr(calculator, "__mro__", ())  # a function that makes one has none
    for base in bases:
        package, _, name = base.__module__.rpartition(".")
        if package == "ase.calculators" and name in _WAYS:
            return name
        if package in (*_CHARGE_BY_ATOMS, *_CHARGE_BY_INFO):
            return package
    return None


def _located(value: Any, home: Path) -> Any:
    """A text with each word that names a file seen from `home` made absolute; anything else as it is."""
    if not isinstance(value, str):
        return value
    try:
        words = shlex.split(value)
    except ValueError:
        return value
    for word in words:
        with suppress(OSError, ValueError):
            if not Path(word).is_absolute() and word not in (".", "..") and (home / word).exists():
                value = re.sub(rf"(?<![^\s\"']){re.escape(word)}(?![^\s\"'])", str(home / word), value)
    return value


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
