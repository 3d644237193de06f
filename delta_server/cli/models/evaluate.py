"""delta-sgdml evaluate: errors on labelled configurations, alone or against a single global model."""

from __future__ import annotations

import json
import math
import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ...errors import InputError
from ..dataset.options import CalculatorOption, CalculatorOptions, ChargesOption, MultiplicityOption
from ..options import (
    DeviceOption,
    JsonOption,
    ManifestArg,
    OverwriteOption,
    ThreadsOption,
    check_new,
    plot_option,
)
from ..process import complain, set_threads
from ..progress import Progress
from ..tables import blocks
from .own import OwnOptions, evaluate_own

if TYPE_CHECKING:
    from ...data.dataset import Dataset
    from ...potential import Potential
    from ...training.evaluation.evaluate import Evaluation, Improvement, PartErrors
    from ...training.evaluation.heldout import HeldOut, ModelSource


def evaluate(
    manifest: ManifestArg,
    dataset: Annotated[
        Path | None,
        typer.Argument(help="Data set (.npz); with --own the training's, if need be.", metavar="DATASET"),
    ] = None,
    own: Annotated[
        list[Path],
        typer.Option(
            metavar="RUN",
            help="Instead, label frames of this run or sweep of the model; repeatable.",
            show_default=False,
        ),
    ] = [],  # noqa: B006
    sample: Annotated[int, typer.Option(min=1, help="With --own: frames of each temperature, at random.")] = 40,
    skip: Annotated[
        float, typer.Option(min=0.0, help="With --own: ps at the beginning to leave out.", show_default="none")
    ] = 0.0,
    seed: Annotated[int, typer.Option(min=0, help="With --own: of the random choice.")] = 0,
    calculator: CalculatorOption = "gfn2-xtb",
    option: CalculatorOptions = [],  # noqa: B006
    charges: ChargesOption = None,
    multiplicity: MultiplicityOption = None,
    processes: Annotated[
        int | None, typer.Option("-j", "--processes", min=1, help="With --own: processes.", show_default="all cores")
    ] = None,
    against: Annotated[
        list[str],
        typer.Option(
            help="A rival: manifest, model file (.npz), or calculator by name, with --option; repeatable.",
            show_default=False,
        ),
    ] = [],  # noqa: B006  # typer's way
    number: Annotated[
        int | None, typer.Option("-n", "--number", min=1, help="Configurations, drawn at random.", show_default="all")
    ] = None,
    everything: Annotated[
        bool, typer.Option("--all", help="Evaluate also what was trained and validated on.")
    ] = False,
    plot: Annotated[Path | None, plot_option("Draw parity and error curves")] = None,
    curve: Annotated[
        str | None, typer.Option(metavar="N,N,…", help="Learning curve: train anew on so many points.")
    ] = None,
    overwrite: OverwriteOption = False,
    as_json: JsonOption = False,
    threads: ThreadsOption = 1,
    device: DeviceOption = "cpu",
) -> None:
    """Errors of energy and forces (kcal/mol, Å) on a data set.

    MAE and RMSE of the sum, of each fragment and of the binding, on configurations that were not trained or validated
    on.

    With --own on the model's own dynamics: a random sample of the frames of its runs is labelled by the reference
    (GFN2-xTB, or another --calculator), complex and fragments, and the errors stand beside the held-out ones. Labels
    are kept in the run's folder (own-….npz): the same command asks for none twice, and goes on after Ctrl-C. What
    came of it is kept beside the manifest (own.json), where `check` looks for it.

    Example: delta-sgdml evaluate models/h2o_benzene/manifest.yaml models/h2o_benzene/dataset.npz --plot errors.png

    Example: delta-sgdml evaluate models/h2o_benzene/manifest.yaml --own demo/sweep --sample 40
    """
    set_threads(threads)
    if own:
        if against or everything or plot or curve:
            raise InputError("--own goes without --against, --all, --plot and --curve")
        options = OwnOptions(
            tuple(own), sample, skip, seed, calculator, tuple(option), charges, multiplicity,
            processes or len(os.sched_getaffinity(0)), number,
        )  # fmt: skip
        evaluate_own(manifest, dataset, options, as_json)
        return
    if dataset is None:
        raise InputError("give a data set to evaluate on, or the model's own run: --own RUN")
    from ...data.dataset import load_dataset
    from ...loading import load_potential
    from ...training.evaluation.evaluate import aligned, check_atoms, improvements
    from ...training.evaluation.evaluate import evaluate as errors_of
    from ...training.evaluation.heldout import ModelSource

    check_new(plot, overwrite)
    if plot is not None and curve:
        check_new(_beside(plot), overwrite)
    data = load_dataset(dataset)
    potential = load_potential(manifest, threads=threads, device=device)
    check_atoms(potential.numbers, data, potential.name)
    loaded = [(potential, ModelSource(potential.name, manifest))]
    rivals = {}  # calculators, whose energies count from zeros of their own
    for name in against:
        if _is_file(name):
            loaded.append(_rival(Path(name), data, {source.name for _, source in loaded}))
        else:
            rivals[name] = _calculator(name, option, data)
    for rival, source in loaded:
        _compare_theories(source.name, rival.theory, data)
    held = _choose(data, [source for _, source in loaded], number, everything)

    found = []
    for rival, _ in loaded:
        with Progress(len(held.which), f"configurations, {rival.name}") as progress:
            found.append(errors_of(rival, data, held.which, progress))
    for rival in rivals.values():
        with Progress(len(held.which), f"configurations, {rival.name}") as progress:
            found.append(aligned(errors_of(rival, data, held.which, progress)))
    mine, others = found[0], found[1:]
    gains = {other.name: list(improvements(mine, other)) for other in others}
    learned = _learn(manifest, data, held, curve) if curve else []
    if as_json:
        _draw(found, data, plot, learned)
        said = _as_dict(data, held, found, gains, plot)
        print(json.dumps(said | {"curve": [e.as_dict() for e in learned]}, allow_nan=False))
        return
    _print_choice(data, held)
    for evaluation in found:
        print()
        _print_errors(evaluation)
    for name, rows in gains.items():
        print()
        for row in rows:
            print(f"{mine.name} against {name}, {row.part}: {_gains(row)}")
    if len(others) > 1:
        _print_ladder([*others, mine])
    if learned:
        _print_curve(learned)
    print(f"\nworst forces of {mine.name}, by configuration:")
    for worst in mine.worst():
        print(
            f"  {worst.configuration:8d}  force RMSE {worst.force_rmse:.3f} kcal/mol/Å, "
            f"energy {worst.energy_error:+.3f} kcal/mol"
        )
    if plot is not None:
        _draw(found, data, plot, learned)
        print(f"picture: {plot}")


def _draw(found: list[Evaluation], data: Dataset, plot: Path | None, learned: list[Evaluation]) -> None:
    if plot is not None:
        from ...analysis.pictures.error import plot_curve, plot_errors

        plot_errors(found, data.name or "the data set", plot)
        if learned:
            plot_curve(learned, _beside(plot))


def _beside(plot: Path) -> Path:
    """The picture of the learning curve."""
    return plot.with_stem(f"{plot.stem}_curve")


def _learn(manifest: Path, data: Dataset, held: HeldOut, curve: str) -> list[Evaluation]:
    from ...training.evaluation.curve import learning_curve

    if not all(n.strip().isdigit() for n in curve.split(",")):
        raise InputError(f"--curve {curve!r}: expected numbers of training points like 25,50,100")
    sizes = sorted({int(n) for n in curve.split(",")})
    learned = []
    with Progress(len(sizes), "sizes of the learning curve") as progress:
        for evaluation in learning_curve(manifest, data, held.which, sizes):
            learned.append(evaluation)
            progress(len(learned))
    return learned


def _print_curve(learned: list[Evaluation]) -> None:
    columns = [
        [part.name, "energy MAE  force MAE", *(f"{p.energy_mae:.4f}  {p.force_mae:9.4f}" for p in same)]
        for part, same in zip(learned[0].parts, zip(*(e.parts for e in learned), strict=True), strict=True)
    ]
    print()
    for line in blocks(["points", "", *(evaluation.name for evaluation in learned)], columns):
        print(line)


def _print_ladder(found: list[Evaluation]) -> None:
    """What each of several models has that the one before it lacks: of single models their symmetry and their metric,
    of a Δ-model the splitting."""
    print("\ntotal, MAE (kcal/mol, kcal/mol/Å), and how much of the one above each leaves out")
    width = max(len(evaluation.name) for evaluation in found)
    print(f"{'':{width}}  {'energy':>9} {'force':>9}  {'energy':>7} {'force':>7}")
    for n, each in enumerate(e.total for e in found):
        before = found[max(n - 1, 0)].total
        gains = (1 - each.energy_mae / before.energy_mae, 1 - each.force_mae / before.force_mae) if n else ()
        shares = " ".join(f"{100 * gain:5.0f} %" for gain in gains)
        print(f"{found[n].name:{width}}  {each.energy_mae:9.4f} {each.force_mae:9.4f}  {shares}".rstrip())


def _is_file(rival: str) -> bool:
    return Path(rival).suffix in (".npz", ".yaml", ".yml") or Path(rival).exists()


def _calculator(name: str, option: list[str], data: Dataset) -> Potential:
    """A calculator as a rival. Raises InputError."""
    from ...methods import Method, parse_options
    from ...training.baselines.calculator import calculator_potential

    rival = calculator_potential(Method(name, parse_options(option)), data)
    _compare_theories(name, rival.theory, data)
    return rival


def _rival(path: Path, data: Dataset, taken: set[str]) -> tuple[Potential, ModelSource]:
    """A manifest's potential or a single model's, called by the file's stem, and where its record may be."""
    from ...gdml import load_model
    from ...loading import load_potential
    from ...manifest import load_manifest
    from ...training.evaluation.evaluate import as_potential, check_atoms
    from ...training.evaluation.heldout import ModelSource

    name = path.stem if path.stem != "manifest" else path.absolute().parent.name
    name = f"{path.absolute().parent.name}/{path.name}" if name in taken else name
    name = str(path) if name in taken else name
    if path.suffix == ".npz":
        model = load_model(path)
        return as_potential(model, data, name), ModelSource(name, path, model.provenance)
    potential = load_potential(load_manifest(path).model_copy(update={"name": name}))
    check_atoms(potential.numbers, data, name)
    return potential, ModelSource(name, path)


def _compare_theories(name: str, theory: str, data: Dataset) -> None:
    from ...training.evaluation.evaluate import same_theory

    if not same_theory(theory, data.theory):
        complain(
            f"warning: {name} was made for {theory!r}, the labels are of {data.theory!r}: "
            "the errors hold their difference"
        )


def _choose(data: Dataset, sources: list[ModelSource], number: int | None, everything: bool) -> HeldOut:
    import numpy as np

    from ...training.evaluation.heldout import HeldOut, held_out

    if everything:
        held = HeldOut(np.arange(len(data)), 0, ("--all: nothing left out, whatever the models were trained on",))
    else:
        held = held_out(data, sources)
    if number is None or number >= len(held.which):
        return held
    drawn = np.sort(np.random.default_rng(0).permutation(held.which)[:number])
    return HeldOut(
        drawn, held.left_out, (*held.notes, f"{number} drawn at random of {len(held.which)} that are left")
    )


def _print_choice(data: Dataset, held: HeldOut) -> None:
    name = data.name or "data set"
    print(f"{name}: {len(held.which)} of {len(data)} configurations evaluated, {held.left_out} left out")
    for note in held.notes:
        print(f"  {note}")


def _print_errors(evaluation: Evaluation) -> None:
    width = max(16, *(len(part.name) for part in evaluation.parts), len(evaluation.name))
    print(f"{evaluation.name:{width}}  {'energy (kcal/mol)':>21}  {'force (kcal/mol/Å)':>21}  {'relative':>8}")
    print(f"{'':{width}}  {'MAE':>10} {'RMSE':>10}  {'MAE':>10} {'RMSE':>10}  {'RMSE':>8}")
    for part in evaluation.parts:
        print(f"{part.name:{width}}  {_errors(part)}")
    if evaluation.note:
        print(f"  {evaluation.note}")


def _errors(part: PartErrors) -> str:
    energy = f"{part.energy_mae:10.4f} {part.energy_rmse:10.4f}"
    relative = "–" if math.isnan(part.force_relative) else f"{100 * part.force_relative:.2f} %"
    return f"{energy}  {part.force_mae:10.4f} {part.force_rmse:10.4f}  {relative:>8}"


def _gains(row: Improvement) -> str:
    def said(gain: float) -> str:
        return "–" if math.isnan(gain) else f"{100 * abs(gain):.0f} % {'lower' if gain >= 0 else 'higher'}"

    return f"energy MAE {said(row.energy)}, force MAE {said(row.force)}"


def _as_dict(
    data: Dataset, held: HeldOut, found: list[Evaluation], gains: dict[str, list[Improvement]], plot: Path | None
) -> dict[str, object]:
    from ...files.documents import plain

    return {
        "units": {"energy": "kcal/mol", "force": "kcal/mol/Ang", "force_relative": "1", "improvement": "1"},
        "dataset": {"name": data.name, "theory": data.theory, "configurations": len(data)},
        "evaluated": held.which.tolist(),
        "left_out": held.left_out,
        "notes": list(held.notes),
        "models": [evaluation.as_dict() for evaluation in found],
        "improvement_of_the_first": {
            name: [{"part": g.part, "energy": plain(g.energy), "force": plain(g.force)} for g in rows]
            for name, rows in gains.items()
        },
        "picture": str(plot) if plot else None,
    }
