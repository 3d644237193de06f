"""The manifest: which models make up the potential of a complex.

format: delta-sgdml/1
name: h2o_benzene
structure: geometry.xyz            # element order; a sane geometry that checks start from
fragments:
  - {name: water,   atoms: "0:3",  model: water.npz}
  - {name: benzene, atoms: "3:15", model: benzene.npz}
binding: {model: binding.npz}

An assembly, many molecules of a few species, has `species` in place of `fragments` (`SpeciesEntry`).
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BeforeValidator, Field, PrivateAttr, ValidationError, model_validator

from .errors import ManifestError
from .files.documents import Strict, first_error, read_yaml, short
from .molecule.ranges import MAX_ATOMS, format_atoms, parse_atoms
from .units import energy_in_ev, length_in_angstrom

FORMAT = "delta-sgdml/1"


def _known(lookup: Any) -> AfterValidator:
    def check(unit: str) -> str:
        lookup(unit)
        return unit

    return AfterValidator(check)


def _file_path(path: Path) -> Path:
    try:
        usable = b"\0" not in os.fsencode(path) and path.name != ""
    except UnicodeEncodeError:
        usable = False
    if not usable:
        raise ValueError(f"expected the path of a file, found {short(str(path))}")
    return path


EnergyUnit = Annotated[str, _known(energy_in_ev)]
LengthUnit = Annotated[str, _known(length_in_angstrom)]
Atoms = Annotated[tuple[int, ...], BeforeValidator(parse_atoms)]
Digest = Annotated[str, Field(pattern=r"^[0-9a-fA-F]{64}$")]
FilePath = Annotated[Path, AfterValidator(_file_path)]
CalculatorName = Annotated[str, Field(min_length=1, max_length=200)]
NAME = r"^[A-Za-z][A-Za-z0-9_\-]{0,63}$"
Name = Annotated[str, Field(pattern=NAME)]


class Units(Strict):
    """Units of a model whose file carries none, or as a check on one that does."""

    length: LengthUnit | None = None
    energy: EnergyUnit | None = None


class ModelEntry(Strict):
    """A model file and what is known of it."""

    model: FilePath
    units: Units = Units()
    sha256: Digest | None = None


class FragmentEntry(Strict):
    """A molecule of the complex: a model, a calculator of ase, or for an ion a constant energy. charge, multiplicity:
    for calculators, whatever it is made of."""

    name: Name
    atoms: Atoms
    model: FilePath | None = None
    units: Units = Units()
    sha256: Digest | None = None
    energy: float | None = Field(default=None, strict=True, allow_inf_nan=False)
    energy_unit: EnergyUnit | None = None
    calculator: CalculatorName | None = None
    options: dict[str, Any] = Field(default_factory=dict)
    charge: int = Field(default=0, strict=True)
    multiplicity: int = Field(default=1, strict=True, ge=1)

    @model_validator(mode="after")
    def _one_kind(self) -> FragmentEntry:
        if sum(kind is not None for kind in (self.model, self.energy, self.calculator)) != 1:
            raise ValueError(
                f"fragment {self.name!r}: expected either `model`, `calculator` or `energy` (a constant, for an ion)"
            )
        if self.options and self.calculator is None:
            raise ValueError(f"fragment {self.name!r}: `options` go with a `calculator`")
        if self.energy is not None and len(self.atoms) > 1:
            raise ValueError(f"fragment {self.name!r}: `energy` is for a single ion; without forces atoms fly apart")
        if self.energy is not None and self.energy_unit is None:
            raise ValueError(f"fragment {self.name!r}: `energy` needs an `energy_unit`, say eV or kcal/mol")
        if self.model is None and (self.units != Units() or self.sha256):
            raise ValueError(f"fragment {self.name!r}: `units` and `sha256` go with a `model`")
        if self.model is not None and self.energy_unit is not None:
            raise ValueError(f"fragment {self.name!r}: `energy_unit` goes with `energy`; a model takes `units`")
        if self.name in ("binding", "total") or self.name.startswith("binding_"):
            raise ValueError(f"fragment {self.name!r}: 'total' and names that start with 'binding' are taken")
        return self


class SpeciesEntry(Strict):
    """Equal molecules of an assembly: `count` of them, behind those of the species before, or the `atoms` of all of
    them, one molecule after the other. A model, or for an ion a constant energy."""

    count: int | None = Field(default=None, strict=True, ge=1, le=MAX_ATOMS)
    atoms: Atoms | None = None
    model: FilePath | None = None
    units: Units = Units()
    sha256: Digest | None = None
    energy: float | None = Field(default=None, strict=True, allow_inf_nan=False)
    energy_unit: EnergyUnit | None = None

    @model_validator(mode="after")
    def _one_kind(self) -> SpeciesEntry:
        if (self.count is None) == (self.atoms is None):
            raise ValueError("expected either `count` (of molecules, in the structure's order) or `atoms`")
        if (self.model is None) == (self.energy is None):
            raise ValueError("expected either `model` or `energy` (a constant, for an ion)")
        if (self.energy is None) != (self.energy_unit is None):
            raise ValueError("`energy` and `energy_unit`, say eV or kcal/mol, go together; a model takes `units`")
        return self


class BindingEntry(ModelEntry):
    """A binding model, of the whole complex or of the fragments in `between`, in that order; or of all pairs or
    triples of these species. `cutoff`, and its last part `switch`: Å (`terms.switch`)."""

    between: tuple[Name, ...] | None = Field(default=None, min_length=2)
    cutoff: float | None = Field(default=None, gt=0, le=1000, strict=True)
    switch: float | None = Field(default=None, gt=0, strict=True, allow_inf_nan=False)

    @property
    def name(self) -> str:
        if self.cutoff is not None and self.between is not None:
            return "_".join((str(len(self.between)), *self.between))
        return "binding" if self.between is None else "binding_" + "_".join(self.between)

    def check_cutoff(self, where: str) -> None:
        """Raise ValueError unless there is a cut-off, with a switch that is its last part."""
        if self.cutoff is None or self.switch is None:
            raise ValueError(f"{where}: expected a `cutoff` and, its last part, a `switch`, both in Å")
        if self.switch > self.cutoff:
            raise ValueError(f"{where}: its switch of {self.switch:g} Å is longer than its cutoff")


class TermEntry(Strict):
    """A term of another kind (`delta_server.terms`), over the whole complex or over some fragments, in that order.

    Of the kind ``calculator``: a `calculator` of ase, for both parts with `part: all`, with the whole in the frame's
    cell where it is `periodic` (`terms.calculator`).
    """

    kind: Name
    name: Name
    part: Literal["fragments", "binding", "all"] = "binding"
    over: Annotated[tuple[Name, ...] | None, BeforeValidator(lambda value: None if value == "all" else value)] = None
    options: dict[str, Any] = Field(default_factory=dict)
    calculator: CalculatorName | None = None
    periodic: bool = Field(default=False, strict=True)

    @model_validator(mode="after")
    def _calculator_or_not(self) -> TermEntry:
        if (self.kind == "calculator") != (self.calculator is not None):
            raise ValueError(f"term {self.name!r}: kind `calculator` and a `calculator`, say gfn2-xtb, go together")
        if self.calculator is None and (self.part == "all" or self.periodic):
            raise ValueError(f"term {self.name!r}: `part: all` and `periodic` are for the kind `calculator`")
        if self.periodic and self.part == "fragments":
            raise ValueError(f"term {self.name!r}: fragments are isolated; `periodic` is for the binding")
        return self


def _as_list(value: Any) -> Any:
    if value is None:
        return []
    return value if isinstance(value, list) else [value]


class Manifest(Strict):
    """A validated manifest; paths as written, `resolve` makes them relative to the manifest's folder."""

    format: Literal["delta-sgdml/1"]
    name: str = Field(min_length=1, max_length=200)
    theory: str = ""
    structure: FilePath
    fragments: tuple[FragmentEntry, ...] = ()
    species: dict[Name, SpeciesEntry] = Field(default_factory=dict)
    periodic: bool | None = Field(default=None, strict=True)
    binding: Annotated[tuple[BindingEntry, ...], BeforeValidator(_as_list)] = ()
    terms: tuple[TermEntry, ...] = ()
    _path: Path = PrivateAttr(default=Path())

    def model_post_init(self, context: Any) -> None:
        """context: the path of the file that was validated."""
        if isinstance(context, Path):
            self._path = context

    @property
    def path(self) -> Path:
        """Where the manifest was read from."""
        return self._path

    def resolve(self, path: Path) -> Path:
        return self.path.parent / path

    def models(self) -> dict[str, ModelEntry]:
        """The model files by the name of their term; ions have none."""
        entries = {
            f.name: ModelEntry(model=f.model, units=f.units, sha256=f.sha256) for f in self.fragments if f.model
        }
        entries |= {
            f"1_{name}": ModelEntry(model=s.model, units=s.units, sha256=s.sha256)
            for name, s in self.species.items()
            if s.model
        }
        return entries | {b.name: b for b in self.binding}

    @property
    def n_atoms(self) -> int:
        return sum(len(f.atoms) for f in self.fragments)

    @property
    def n_terms(self) -> int:
        return len(self.fragments) + len(self.species) + len(self.binding) + len(self.terms)

    @property
    def recorded(self) -> tuple[str, ...]:
        """What runs record the energies of, beside the binding: the fragments; of an assembly, each kind of n-mer."""
        if not self.species:
            return tuple(f.name for f in self.fragments)
        return (*(f"1_{name}" for name in self.species), *(b.name for b in self.binding))

    @property
    def has_binding(self) -> bool:
        physical = (term.part for term in self.terms if term.kind != "bias")
        return bool(self.binding) or any(part != "fragments" for part in physical)

    @model_validator(mode="after")
    def _complex_or_assembly(self) -> Manifest:
        if bool(self.fragments) == bool(self.species):
            raise ValueError("expected either `fragments` or `species`, one at least")
        if self.species:
            check_assembly(self)
        else:
            self._check_complex()
        return self

    def _check_complex(self) -> None:
        if self.periodic is not None:
            raise ValueError("`periodic` goes with `species`; models of a complex are isolated")
        names = [f.name for f in self.fragments]
        if len(set(names)) < len(names):
            raise ValueError(f"fragment names must differ, found {', '.join(names)}")
        owner: dict[int, str] = {}
        for fragment in self.fragments:
            for atom in fragment.atoms:
                if atom in owner:
                    raise ValueError(f"atom {atom} is in fragment {owner[atom]!r} and in {fragment.name!r}")
                owner[atom] = fragment.name
        missing = sorted(set(range(max(owner) + 1)) - set(owner))
        if missing:
            raise ValueError(
                f"atoms {format_atoms(tuple(missing))} are in no fragment; each must be in one, counted from 0"
            )
        if len(self.binding) > 1 and any(b.between is None for b in self.binding):
            raise ValueError("binding: in a list each term needs `between: [a, b]`")
        for binding in self.binding:
            if (binding.cutoff or binding.switch) and (len(names) != 2 or binding.between is not None):
                raise ValueError("binding: `cutoff` and `switch` are for two fragments, without `between`")
            if binding.cutoff or binding.switch:
                binding.check_cutoff("binding")
            for name in binding.between or ():
                if name not in names:
                    raise ValueError(f"binding between {name!r}: no such fragment; there are {', '.join(names)}")
            if len(set(binding.between or ())) < len(binding.between or ()):
                raise ValueError(f"binding between {list(binding.between or ())}: a fragment is named twice")
        terms = [b.name for b in self.binding]
        if len(set(terms)) < len(terms):
            raise ValueError(f"binding: two terms would be called {max(terms, key=terms.count)!r}; rename a fragment")
        for term in self.terms:
            if term.kind == "bias" and (term.part, term.over) != ("binding", None):
                raise ValueError(f"term {term.name!r}: a bias is its own part; it takes neither `part` nor `over`")
            if term.name in ("binding", "bias", "total") or term.name.startswith("binding_"):
                raise ValueError(f"term {term.name!r}: 'total', 'bias' and names like 'binding' are taken")
            for name in term.over or ():
                if name not in names:
                    raise ValueError(f"term over {name!r}: no such fragment; there are {', '.join(names)}")
            if len(set(term.over or ())) < len(term.over or ()) or term.over == ():
                raise ValueError(f"term over {list(term.over or ())}: expected fragments, each once, or all")
            if term.part != "fragments" and term.calculator and len(term.over or names) < 2:
                raise ValueError(f"term {term.name!r}: over one fragment; a binding takes two or more")
        others = [*names, *(term.name for term in self.terms)]
        others += [f"{t.name}_{f}" for t in self.terms if t.calculator for f in t.over or names]
        if len(set(others)) < len(others):
            raise ValueError(f"terms: two would be called {max(others, key=others.count)!r}; rename one")
        sets = [frozenset(b.between or ()) for b in self.binding]
        if len(set(sets)) < len(sets):
            raise ValueError("binding: two terms are between the same fragments")


def check_assembly(manifest: Manifest) -> None:
    """Raise ValueError where species, their pairs and triples, and other terms do not fit together."""
    if manifest.periodic is None:
        raise ValueError("species: expected `periodic`: true (every structure has a cell) or false (a cluster)")
    there = ", ".join(manifest.species)
    sets: dict[tuple[str, ...], str] = {}
    for binding in manifest.binding:
        between = binding.between or ()
        where = f"binding between {list(between)}"
        if len(between) not in (2, 3):
            raise ValueError(f"{where}: expected `between` two or three species; there are {there}")
        if unknown := [name for name in between if name not in manifest.species]:
            raise ValueError(f"{where}: no species {unknown[0]!r}; there are {there}")
        binding.check_cutoff(where)
        if tuple(sorted(between)) in sets:
            raise ValueError(f"{where}: two terms are between these species")
        sets[tuple(sorted(between))] = where
    for members, where in sets.items():
        for i in range(len(members) if len(members) == 3 else 0):
            pair = members[:i] + members[i + 1 :]
            if pair not in sets:
                raise ValueError(f"{where}: three bodies without the two of {list(pair)}: add their binding, too")
    for term in manifest.terms:
        if term.over is not None:
            raise ValueError(f"term {term.name!r}: in an assembly a term is over all")
        if term.name in ("binding", "total"):
            raise ValueError(f"term {term.name!r}: this name is taken")
    names = [term.name for term in manifest.terms]
    if len(set(names)) < len(names):
        raise ValueError(f"terms: two would be called {max(names, key=names.count)!r}; rename one")


def load_manifest(path: str | Path) -> Manifest:
    """Read and validate a manifest.

    Raises ManifestError: one line with the file, the place in it, what was expected and what was found.
    """
    path = Path(path)
    data = read_yaml(path, "manifest", ManifestError)
    if not isinstance(data, dict):
        raise ManifestError(f"{path}: expected a mapping that starts with `format: {FORMAT}`")
    if data.get("format") != FORMAT:
        raise ManifestError(f"{path}: format is {short(data.get('format'))}, expected {FORMAT!r}")
    try:
        return Manifest.model_validate(data, context=path)
    except ValidationError as error:
        raise ManifestError(f"{path}: {first_error(error)}") from None
