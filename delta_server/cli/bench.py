"""delta-sgdml bench: how fast the models of a manifest are."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from .common import JsonOption, ManifestArg, ThreadsOption, set_threads

if TYPE_CHECKING:
    from ..gdml.bench import Timing


def bench(
    manifest: ManifestArg,
    against: Annotated[
        Literal["sgdml"] | None, typer.Option(help="Time a rival in alternation, and compare its results.")
    ] = None,
    batches: Annotated[str, typer.Option("--batch", help="Batch sizes.", metavar="N,N,…")] = "1,8,32",
    seconds: Annotated[float, typer.Option(min=0.01, help="Time spent on each row.")] = 1.0,
    as_json: JsonOption = False,
    threads: ThreadsOption = 1,
) -> None:
    """Milliseconds a structure for each model and the sum, on displaced copies of the manifest's structure.

    Example: delta-sgdml bench models/h2o_benzene/manifest.yaml --against sgdml
    """
    set_threads(threads)
    import numpy as np

    from ..errors import InputError
    from ..gdml.bench import Timing, alternate, bench_term, sgdml_predictor
    from ..manifest import load_manifest
    from ..potential import load_potential, read_model

    if not all(b.strip().isdigit() and 0 < int(b) <= 4096 for b in batches.split(",")):
        raise InputError(f"--batch {batches!r}: expected sizes like 1,8,32")
    sizes = [int(b) for b in batches.split(",")]
    described = load_manifest(manifest)
    potential = load_potential(described)
    models = described.models()
    rng = np.random.default_rng(0)
    x = potential.reference + 0.03 * rng.standard_normal((max(sizes), *potential.reference.shape))

    terms = [
        (term, term.model, sgdml_predictor(term.path) if against else None)
        for term in (*potential.fragments, *potential.bindings)
        if not isinstance(term.model, float) and term.path is not None
    ]
    rows: list[Timing] = []
    if not as_json:
        print(f"{'term':16} {'batch':>5} {'ms':>9} {'sgdml ms':>9} {'ratio':>7}   max. difference of energy, force")
    for term, predictor, rival in terms:
        model = read_model(described, models[term.name])
        for size in sizes:
            positions = np.ascontiguousarray(x[:size, term.atoms])
            rows.append(
                bench_term(term.name, predictor, positions, seconds, rival, model.angstrom, model.electronvolt)
            )
            if not as_json:
                print(_row(rows[-1], f"{model.energy_unit}, {model.energy_unit}/{model.length_unit}"), flush=True)
    for size in sizes:
        frames = x[:size]
        (times,) = alternate([lambda frames=frames: potential.compute(frames)], seconds)  # type: ignore[misc]
        rows.append(Timing("sum", size, 1e3 * float(np.median(times)) / size))
        if not as_json:
            print(_row(rows[-1], ""), flush=True)
    if as_json:
        print(json.dumps({"name": potential.name, "threads": threads, "rows": [asdict(r) for r in rows]}))


def _row(t: Timing, units: str) -> str:
    line = f"{t.term:16} {t.batch:5d} {t.ms:9.3f}"
    if t.sgdml_ms is None or t.ratio is None:
        return line
    return f"{line} {t.sgdml_ms:9.3f} {t.ratio:7.1f}   {t.energy_difference:.1e}, {t.force_difference:.1e} ({units})"
