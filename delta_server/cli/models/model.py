"""delta-sgdml model: what is in a model file, another form of it, and how far it can be trusted."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from ..help import App
from ..options import DatasetArg, JsonOption, ManifestArg, OverwriteOption, check_new
from ..process import set_threads
from ..progress import Line
from . import manifest as manifest_

if TYPE_CHECKING:
    from ...gdml import Model

app = App("Look into model files, convert, calibrate and combine them.")

FileArg = Annotated[Path, typer.Argument(help="Model file (.npz).", metavar="FILE", show_default=False)]
LengthOption = Annotated[
    str | None,
    typer.Option("--length-unit", help="Where the file carries none: Ang or bohr.", metavar="UNIT"),
]
EnergyOption = Annotated[
    str | None,
    typer.Option("--energy-unit", help="Where the file carries none, such as kcal/mol.", metavar="UNIT"),
]

_NO_ZERO = "none: trained on forces alone (use_E is False), its energies have no zero"


@dataclass(frozen=True)
class _Info:
    """What `info` says; σ in 1/length, c and the standard deviation of the labels in the units of the file."""

    file: str
    form: str
    name: str
    theory: str
    formula: str
    atoms: int
    training_points: int
    permutations: int
    descriptor: str
    sigma: float
    lam: float | None
    energies_in_fit: bool
    has_energies: bool
    offset: float
    scale: float
    length_unit: str
    energy_unit: str
    calibration: tuple[float, float, float] | None
    bytes_on_disk: int
    bytes_in_memory: int
    sha256: str

    def lines(self) -> list[tuple[str, str]]:
        error = "not calibrated; `delta-sgdml model calibrate` does it"
        if self.calibration is not None:
            length, a, b = self.calibration
            error = f"{a:.4g} s^{b:.4g} {self.energy_unit}/{self.length_unit}, s of length {length:g}"
        return [
            ("file", f"{self.file} ({self.form})"),
            ("name", self.name or "–"),
            ("theory", self.theory or "–"),
            ("molecule", f"{self.formula}, {self.atoms} atoms"),
            ("training points", f"{self.training_points}{', energies in the fit' * self.energies_in_fit}"),
            ("permutations", f"{self.permutations}"),
            ("descriptor", self.descriptor),
            ("σ", f"{self.sigma:g}"),
            ("λ", "unknown" if self.lam is None else f"{self.lam:.3g}"),
            ("c", f"{self.offset:.8g} {self.energy_unit}" if self.has_energies else _NO_ZERO),
            ("std of labels", f"{self.scale:.6g} ({self.energy_unit}, {self.energy_unit}/{self.length_unit})"),
            ("expected error", error),
            ("on disk", _size(self.bytes_on_disk)),
            ("in memory", f"{_size(self.bytes_in_memory)} (descriptors and weights)"),
            ("sha256", self.sha256),
        ]


@app.command()
def info(
    file: FileArg,
    length_unit: LengthOption = None,
    energy_unit: EnergyOption = None,
    as_json: JsonOption = False,
) -> None:
    """Show what a model file holds.

    Molecule, training points, permutations, hyperparameters, units, sizes and digest.

    Example: delta-sgdml model info models/h2o_benzene/binding.npz
    """
    from ase.symbols import Symbols

    from ...files.whole import sha256_of
    from ...gdml import form_of, load_model

    model = load_model(file, length_unit=length_unit, energy_unit=energy_unit)
    found = _Info(
        file=str(file),
        form=form_of(file),
        name=model.name,
        theory=model.theory,
        formula=Symbols(model.numbers).get_chemical_formula(),
        atoms=model.n_atoms,
        training_points=model.n_train,
        permutations=len(model.permutations),
        descriptor=str(model.metric),
        sigma=model.sigma,
        lam=model.lam,
        energies_in_fit=model.energy_weights is not None,
        has_energies=model.has_energies,
        offset=model.offset,
        scale=model.scale,
        length_unit=model.length_unit,
        energy_unit=model.energy_unit,
        calibration=model.calibration,
        bytes_on_disk=file.stat().st_size,
        bytes_in_memory=model.n_bytes,
        sha256=sha256_of(file),
    )
    if as_json:
        print(json.dumps(asdict(found)))
    else:
        for label, text in found.lines():
            print(f"{label:16}  {text}")


@app.command()
def convert(
    file: FileArg,
    output: Annotated[Path, typer.Option("-o", "--output", help="File to write (.npz).", show_default=False)],
    to: Annotated[
        Literal["native", "sgdml"] | None,
        typer.Option(
            help="Form to write: training geometries and coefficients, or what stock sgdml reads.",
            show_default="the other form",
        ),
    ] = None,
    length_unit: LengthOption = None,
    energy_unit: EnergyOption = None,
    overwrite: OverwriteOption = False,
    as_json: JsonOption = False,
) -> None:
    """Write a model in another form, and compare the two.

    They are compared on displaced training geometries.

    Example: delta-sgdml model convert models/h2o_benzene/binding.npz -o binding.native.npz
    """
    from ...errors import InputError, ModelFileError
    from ...files.whole import sha256_of
    from ...gdml import compare, form_of, load_model, save_model, with_coefficients

    if output.is_dir() or (output.exists() and not output.is_file()):
        raise InputError(f"{output}: is no regular file, expected the name of a file to write")
    if not output.parent.is_dir():
        raise InputError(f"{output}: no such directory: {output.parent}")
    model: Model = load_model(file, length_unit=length_unit, energy_unit=energy_unit)
    if output.exists() and output.samefile(file):
        raise InputError(f"{output}: is the model itself; write to another file and move it when all is well")
    check_new(output, overwrite)
    form = form_of(file)
    to = to or ("sgdml" if form == "native" else "native")
    try:
        with Line(elsewhere=None) as line:
            written = (
                model
                if to == "sgdml"
                else with_coefficients(model, lambda done: line.update(f"geometries and coefficients: {done:.0%}"))
            )
    except ModelFileError as error:
        raise ModelFileError(f"{file}: {error}") from None
    save_model(output, written, to)

    difference = compare(model, load_model(output))
    sizes = file.stat().st_size, output.stat().st_size
    digest = sha256_of(output)
    if as_json:
        result = {"file": str(output), "form": to, "from": form, "bytes": sizes[1], "bytes_before": sizes[0]}
        print(json.dumps({**result, "sha256": digest, "difference_kcal_mol_angstrom": difference._asdict()}))
        return
    print(f"{file} ({form}, {_size(sizes[0])}) → {output} ({to}, {_size(sizes[1])})")
    print(
        f"largest difference: {difference.energy:.1e} kcal/mol, {difference.forces:.1e} kcal/mol/Å "
        f"(rounding alone: {difference.energy_rounding:.1e}, {difference.forces_rounding:.1e})"
    )
    print(f"sha256: {digest}")
    print("a manifest that names this file by its sha256 wants the new one")


@app.command()
def calibrate(manifest: ManifestArg, dataset: DatasetArg, as_json: JsonOption = False) -> None:
    """Add expected errors to the models of a manifest.

    How their force errors go with the distance to their training points, on the configurations that validated them.
    `delta-sgdml train` does so by itself.

    Example: delta-sgdml model calibrate demo/h2o_benzene/manifest.yaml models/h2o_benzene/dataset.npz
    """
    set_threads(1)
    from ...training.evaluation.calibration import calibrate_files

    found = calibrate_files(manifest, dataset)
    if as_json:
        rows = [asdict(each) | {"path": str(each.path), "calibration": list(each.calibration)} for each in found]
        print(json.dumps({"force_rmse_unit": "kcal/mol/Ang", "models": rows}))
        return
    print(f"{'model':16}  {'expected error':>18}  {'length':>8}  {'on':>6}  {'force RMSE':>10}  rank correlation")
    for each in found:
        length, a, b = each.calibration
        print(
            f"{each.name:16}  {f'{a:.4g} s^{b:.3g}':>18}  {length:8g}  {each.n:6d}  {each.force_rmse:10.4f}  "
            f"{each.rank_correlation:16.2f}"
        )
    print("(errors in kcal/mol/Å; s: with this length; on: configurations; correlation of expected and true errors)")
    print(f"written into the models, {manifest} and its training.json")


app.command("manifest")(manifest_.manifest)


def _size(n: int) -> str:
    return f"{n / 1e6:.2f} MB" if n >= 1e6 else f"{n / 1e3:.1f} kB"
