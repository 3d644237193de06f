"""delta-sgdml bench: how fast the models of a manifest are."""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ..dataset.options import CalculatorOptions
from ..options import DeviceOption, JsonOption, ManifestArg, ThreadsOption, picture
from ..process import complain, set_threads

if TYPE_CHECKING:
    from ...bench.dynamics import StepCost, TransportCost
    from ...bench.growth import Growth
    from ...bench.prediction import Machine, Timing
    from ...gdml.model import Model
    from ...ipi.simulation import Simulation
    from ...manifest import Manifest
    from ...potential import Potential

_LEAST_STEPS = 200  # i-PI tells the time of a hundred steps at once
_SHARE = 0.8  # of the memory that is free, for the rival


def bench(
    manifest: ManifestArg,
    against: Annotated[
        str | None,
        typer.Option(
            help="Time a rival in alternation: sgdml, whose results are compared, or a calculator, of the sum.",
            metavar="NAME",
        ),
    ] = None,
    option: CalculatorOptions = [],  # noqa: B006
    charge: Annotated[int, typer.Option(help="Of the complex, for a calculator.")] = 0,
    batches: Annotated[str, typer.Option("--batch", help="Batch sizes.", metavar="N,N,…")] = "1,8,32",
    seconds: Annotated[  # named here: typer 0.27 takes a metavar that spells the name for it, in capitals
        float, typer.Option("--seconds", min=0.01, help="Time spent on each row (s).", metavar="SECONDS")
    ] = 1.0,
    steps: Annotated[
        int,
        typer.Option(
            min=0,
            help="Also run so many steps of i-PI: what a step takes; from 200 on also by which transport.",
            show_default="none",
        ),
    ] = 0,
    points: Annotated[
        int,
        typer.Option(min=0, help="Only N training points of each model, for sGDML's memory.", show_default="all"),
    ] = 0,
    growth: Annotated[
        Path | None,
        typer.Option(
            help="Picture of how the last model's time grows with points, permutations, structures, atoms.",
            callback=picture,
        ),
    ] = None,
    as_json: JsonOption = False,
    threads: ThreadsOption = 1,
    device: DeviceOption = "cpu",
) -> None:
    """Time each model of a manifest and their sum.

    Milliseconds a structure, on displaced copies of the manifest's structure. MAE: of each model's forces on its
    validation configurations (kcal/mol/Å), where the record of its training is beside it. roofline: the least that
    this machine could take, by what a matrix product and reading memory reach in the same run, of what was taken.
    Where sgdml would not fit into memory, a model is timed with fewer of its points, and a line says so. Of an
    assembly, in its cell: all molecules, all pairs and all triples together.

    Example: delta-sgdml bench models/h2o_benzene/manifest.yaml --against sgdml

    Example: delta-sgdml bench models/h2o_benzene/manifest.yaml --against gfn2-xtb --batch 1
    """
    set_threads(threads)
    import numpy as np

    from ...bench.growth import growth as measure_growth
    from ...bench.growth import some_points
    from ...bench.prediction import Machine, Timing, alternate, bench_term, gpu_of, sgdml_predictor
    from ...errors import InputError
    from ...gdml import make_predictor
    from ...loading import load_potential, read_model
    from ...manifest import load_manifest
    from ...methods import Method, parse_options
    from ...terms.calculator import Computer
    from ...terms.sgdml import SgdmlTerm
    from ...training.record import validation_mae
    from ...training.solve.memory import available_memory

    if not all(b.strip().isdigit() and 0 < int(b) <= 4096 for b in batches.split(",")):
        raise InputError(f"--batch {batches!r}: expected sizes like 1,8,32")
    sizes = [int(b) for b in batches.split(",")]
    described = load_manifest(manifest)
    potential = load_potential(described, threads=threads, device=device)
    models = described.models()
    maes = {name: validation_mae(described.resolve(entry.model)) for name, entry in models.items()}
    if growth and described.species:
        raise InputError("--growth is of one complex; run/molecules.py has the time of an assembly by its molecules")
    rng = np.random.default_rng(0)
    x = potential.reference + 0.03 * rng.standard_normal((max(sizes), *potential.reference.shape))

    stock, computer = against == "sgdml", None
    if against and not stock:
        computer = Computer(Method(against, parse_options(option)), potential.numbers, charge, 1, Path.cwd())
    terms = [(term.names, term.sites) for term in potential.terms if isinstance(term, SgdmlTerm)]
    machine, gpu = Machine.measure(), gpu_of(device)
    rows: list[Timing] = []
    named: set[str] = set()  # units
    if not as_json:
        print(_machine(machine))
        print(
            f"{'term':20} {'batch':>5} {'ms':>9} {'MAE':>8} {'roofline':>8}  {'by':22}"
            + (f" {'sgdml ms':>9} {'ratio':>7}  {'energy':>8} {'force':>8}" if stock else "")
        )
    for names, sites in terms:
        model = read_model(described, models[names[0]])
        n_whole = model.n_train
        if points:
            model = some_points(model, points)
        fits = True
        if stock:
            model, fits = _that_fits(names[0], model, available_memory(device))
        rival = sgdml_predictor(model, device) if stock and fits else None
        predictor = make_predictor(model, threads, device)
        limits = machine.at(model.n_bytes) if device == "cpu" else None
        for size in sizes:
            positions = np.ascontiguousarray(x[:size, sites[0]])
            units = model.angstrom, model.electronvolt
            same = model.metric.is_stock and (gpu is None or float(model.sigma).is_integer())
            named.add(f"{model.energy_unit} and {model.energy_unit}/{model.length_unit}")
            timing = bench_term(names[0], predictor, positions, seconds, rival, *units, limits, same, model.n_train)
            rows.append(replace(timing, mae=maes[names[0]] if model.n_train == n_whole else None))
            if not as_json:
                print(_row(rows[-1]), flush=True)
    for term in potential.terms if described.species else ():
        for size in sizes:
            (taken,) = alternate([lambda: term.evaluate(potential.in_cell(x[:size]))], seconds)  # noqa: B023
            ms = 1e3 * float(np.median(taken)) / size
            rows.append(Timing(term.names[0], size, ms, mae=maes.get(term.names[0])))
            if not as_json:
                print(_row(rows[-1]), flush=True)
    compared: list[dict[str, Any]] = []
    for size in () if points else sizes:
        frames, moves = x[:size], itertools.count(1)  # each time elsewhere: calculators remember
        calls: list[Callable[[], object]] = [
            lambda: potential.compute(frames + 1e-3 * next(moves), cells=potential.cell)  # noqa: B023
        ]
        if computer is not None:
            calls.append(lambda: computer(potential.in_cell(frames + 1e-3 * next(moves))))  # noqa: B023
        ours, *theirs = alternate(calls, seconds)
        rows.append(Timing("sum", size, 1e3 * float(np.median(ours)) / size))
        if not as_json:
            print(_row(rows[-1]), flush=True)
        for times in theirs:
            ms, ratio = 1e3 * float(np.median(times)) / size, float(np.median(np.divide(times, ours)))
            compared.append({"name": against, "batch": size, "ms": ms, "ratio": ratio})
            if not as_json:
                print(f"{against}, batch {size}: {ms:.3f} ms, {ratio:.1f} times the sum", flush=True)
    if stock and not as_json:
        print(
            f"(energy, force: largest differences, {'; '.join(sorted(named))}; "
            "–: another descriptor, or on a GPU another σ)"
        )
    cost = _steps(described, potential, steps) if steps else None
    transports = _transports(described, steps, threads) if steps >= _LEAST_STEPS else []
    if cost and not as_json:
        print(
            f"{cost.steps} steps of i-PI: {cost.total:.3f} ms a step, of it {cost.models:.3f} in the models, "
            f"{cost.wire:.3f} in the wire, {cost.ipi:.3f} in i-PI"
        )
    if transports and not as_json:
        direct, socket = transports
        print(
            f"{steps} steps by `run`: {direct.ms:.3f} ms in i-PI's process ({direct.cpu:.1f} s of CPU in all), "
            f"{socket.ms:.3f} through the socket ({socket.cpu:.1f}); ratio of ns/day {socket.ms / direct.ms:.2f}"
        )
    curves: list[Growth] = []
    if growth:
        (last, *_), sites = terms[-1]
        for curve in measure_growth(read_model(described, models[last]), x[:, sites[0]], 0.3 * seconds, threads):
            curves.append(curve)
            if not as_json:
                print(_growth(last, curve), flush=True)
        from ...analysis.pictures.growth import plot_growth

        plot_growth(curves, f"{potential.name}, {last}", growth)
        if not as_json:
            print(f"picture: {growth}")
    if as_json:
        found: dict[str, Any] = {
            "name": potential.name, "threads": threads, "device": device, "machine": machine._asdict(),
            "model_bytes": {n: read_model(described, e).n_bytes for n, e in models.items()},
            "rows": [asdict(r) for r in rows],
        }  # fmt: skip
        found |= {"against": compared} if compared else {}
        found |= {"step": cost._asdict()} if cost else {}
        found |= {"transports": [t._asdict() for t in transports]} if transports else {}
        found |= {"growth": [asdict(c) | {"exponent": c.exponent} for c in curves]} if curves else {}
        print(json.dumps(found))


def _that_fits(name: str, model: Model, memory: int) -> tuple[Model, bool]:
    """The model with as many points as stock sgdml has memory (bytes) for; false where that is none at all."""
    from ...bench.growth import some_points
    from ...bench.prediction import points_for_sgdml, sgdml_bytes

    room = int(_SHARE * memory)
    if (needed := sgdml_bytes(model)) <= room:
        return model, True
    needs = f"{name}: sgdml needs {needed / 1e9:.1f} GB for {model.n_train} points, {room / 1e9:.1f} GB may be taken"
    points = points_for_sgdml(model, room)
    if points == 0:
        least = sgdml_bytes(some_points(model, 1)) / 1e9
        complain(f"{needs}; not on this machine: one point needs {least:.1f} GB")
        return model, False
    complain(f"{needs}; timed with {points} points")
    return some_points(model, points), True


def _steps(described: Manifest, potential: Potential, steps: int) -> StepCost:
    from ...bench.dynamics import time_dynamics

    name = _simulation(described, steps).socket
    return time_dynamics(potential, lambda folder: _write(described, steps, folder), name)


def _transports(described: Manifest, steps: int, threads: int) -> list[TransportCost]:
    from ...bench.dynamics import time_transports

    return time_transports(described.path, lambda folder: _write(described, steps, folder), threads)


def _write(described: Manifest, steps: int, folder: Path) -> Path:
    """An input of so many steps, and its start geometry, in a folder."""
    from ...molecule.structures import read_structure, write_structure

    structure = read_structure(described.resolve(described.structure))
    write_structure(folder / "init.xyz", structure, bool(described.periodic))
    (folder / "input.xml").write_text(_simulation(described, steps).xml("init.xyz", "bench"), encoding="utf-8")
    return folder / "input.xml"


def _simulation(described: Manifest, steps: int) -> Simulation:
    from ...ipi.simulation import Simulation

    return Simulation(
        "bench", described.recorded, 100.0, steps * 5e-4, 0.5, binding=described.has_binding,
        periodic=bool(described.periodic),
    )  # fmt: skip


def _machine(machine: Machine) -> str:
    return f"this machine: {machine.flops / 1e9:.1f} GFLOPS (dgemm), {machine.bandwidth / 1e9:.1f} GB/s (read)"


def _row(t: Timing) -> str:
    mae = "" if t.mae is None else f"{t.mae:.4f}"
    roofline = "" if t.roofline is None else f"{t.roofline:.2f}"
    line = f"{t.term:20} {t.batch:5d} {t.ms:9.3f} {mae:>8} {roofline:>8}  {t.method:22}"
    if t.sgdml_ms is None or t.ratio is None:
        return line.rstrip()
    energy, force = (
        "–" if difference is None else f"{difference:.1e}" for difference in (t.energy_difference, t.force_difference)
    )
    return f"{line} {t.sgdml_ms:9.3f} {t.ratio:7.1f}  {energy:>8} {force:>8}"


def _growth(name: str, curve: Growth) -> str:
    pairs = "  ".join(f"{n}: {ms:.3g}" for n, ms in zip(curve.sizes, curve.ms, strict=True))
    exponent = "" if curve.exponent is None else f"  (exponent {curve.exponent:.2f} at the end)"
    return f"{name}, ms by {curve.axis}: {pairs}{exponent}"
