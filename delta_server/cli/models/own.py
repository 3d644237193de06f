"""What `delta-sgdml evaluate --own` does: errors on a model's own dynamics, beside those that are held out."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from ...errors import InputError
from ..process import Stop, complain, complain_of
from ..progress import Progress

if TYPE_CHECKING:
    from ..._types import FloatArray, IntArray
    from ...analysis.trajectory import Run
    from ...checks.tested import OwnErrors, OwnRecord
    from ...data.dataset import Dataset
    from ...manifest import Manifest
    from ...potential import Potential
    from ...training.evaluation.own import OwnFrames

_HELD_OUT = 200  # configurations, unless -n says otherwise


@dataclass(frozen=True)
class OwnOptions:
    """The values of the command's options that go with --own."""

    runs: tuple[Path, ...]
    sample: int
    skip: float  # ps
    seed: int
    calculator: str
    options: tuple[str, ...]
    charges: str | None
    multiplicity: str | None
    processes: int
    number: int | None


def evaluate_own(manifest: Path, dataset: Path | None, options: OwnOptions, as_json: bool) -> None:
    """Label a sample of the runs' frames, print the errors, and leave the record beside the manifest."""
    from ...checks.tested import OwnRecord, digests_of, own_path
    from ...files.whole import write_json
    from ...loading import load_potential
    from ...manifest import load_manifest
    from ...methods import Method, parse_options
    from ...training.evaluation.evaluate import same_theory
    from ...training.evaluation.own import by_temperature, label_frames

    described = load_manifest(manifest)
    potential = load_potential(described)
    method = Method(options.calculator, parse_options(options.options))
    method.load()
    if not same_theory(potential.theory, method.theory):
        complain(f"warning: {potential.name} was made for {potential.theory!r}, the labels are of {method.theory!r}")
    data = _data_of(manifest, dataset)
    charges, multiplicities = _electrons(potential, data, options)
    frames = _sample(described, options)
    stop = Stop(lambda number: SystemExit(128 + number), "stopping after the frames that are being computed")
    folder = options.runs[0] if options.runs[0].is_dir() else options.runs[0].parent
    with Progress(len(frames.positions), "frames") as progress:
        labelled = label_frames(
            potential, frames, method, charges, multiplicities, folder, processes=options.processes, stop=stop,
            progress=lambda done, total: progress(done),
        )  # fmt: skip
    if labelled.data is None:
        complain(f"stopped; {labelled.done} labels are in {labelled.file}; the same command goes on")
        raise SystemExit(stop.exit_code)
    if labelled.reacted:
        first = labelled.reacted[0]
        complain(f"left out: fragments break or react in {len(labelled.reacted)} frames, as {first.what}")
    if labelled.failed:
        complain(f"left out: {method.name} failed on {labelled.failed} frames")
    record = OwnRecord(
        models=digests_of(described),
        run=", ".join(path.resolve().name for path in options.runs),
        theory=method.theory,
        sample=options.sample,
        seed=options.seed,
        failed=labelled.failed + len(labelled.reacted),
        own=tuple(by_temperature(potential, frames, labelled)),
        held_out=_held_out(potential, manifest, data, options.number),
    )
    told = {**record.model_dump(mode="json"), "labels": str(labelled.file)}
    if same_theory(potential.theory, method.theory) and _is_best(own_path(manifest), record):
        try:
            write_json(own_path(manifest), record.model_dump(mode="json"))
            told["record"] = str(own_path(manifest))
        except InputError as error:
            complain(f"no record for `check`: {error}")
    if as_json:
        print(json.dumps({"units": {"energy": "kcal/mol", "force": "kcal/mol/Ang"}, **told}, allow_nan=False))
        return
    _print(potential.name, record)
    print(f"\nlabels: {labelled.file}\nrecord: {told.get('record', 'none')}")


def _is_best(path: Path, record: OwnRecord) -> bool:
    """Whether the record that is there, if any, is of other models, or of no more frames."""
    from ...checks.tested import read_own

    try:
        before = read_own(path)
    except InputError:
        return True
    if before.models != record.models or before.frames <= record.frames:
        return True
    complain(
        f"{path} stays: a test on {before.frames} frames, this one is on {record.frames}; remove it to replace it"
    )
    return False


def _data_of(manifest: Path, dataset: Path | None) -> Dataset | None:
    """The data set that is given, or else the one beside the manifest that its record of the training names."""
    from ...data.dataset import fingerprint, load_dataset
    from ...training.record import RECORD, load_record

    if dataset is not None:
        return load_dataset(dataset)
    record = load_record(manifest.parent / RECORD)
    about = {} if record is None else record.content.get("dataset", {})
    beside = manifest.parent / str(about.get("name", ""))
    if record is None or not beside.is_file():
        return None
    data = load_dataset(beside)
    return data if fingerprint(data) == record.fingerprint else None


def _electrons(
    potential: Potential, data: Dataset | None, options: OwnOptions
) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Charges and multiplicities of the fragments: as asked, or the data set's. Raises InputError."""
    from ...methods import parse_integers

    k = len(potential.fragments)

    def of_each(said: str | None, option: str, there: IntArray | None, nothing: int) -> tuple[int, ...]:
        if said:
            return parse_integers(said, k, option)
        if data is None or there is None:
            return (nothing,) * k
        if k == 1:
            return (nothing + int((there - nothing).sum()),)
        known = {tuple(data.atoms_of(i).tolist()): int(value) for i, value in enumerate(there)}
        values = [known.get(tuple(sorted(part.atoms.tolist()))) for part in potential.fragments]
        if None in values:
            raise InputError(f"{data.name}: its fragments are not those of {potential.name}; say {option}")
        return tuple(value for value in values if value is not None)

    charges, spins = (None, None) if data is None else (data.charges, data.multiplicities)
    return (
        of_each(options.charges, "--charges", charges, 0),
        of_each(options.multiplicity, "--multiplicity", spins, 1),
    )


def _sample(manifest: Manifest, options: OwnOptions) -> OwnFrames:
    """Frames of every run, drawn at random; runs of one temperature, such as windows, share its frames. Raises
    InputError where there are none."""
    from collections import Counter

    import numpy as np

    from ...analysis.runs import find_runs, made_with
    from ...training.evaluation.own import OwnFrames, draw

    runs = find_runs(*options.runs)
    complain_of((run.name, note) for run in runs for note in made_with(run, manifest).notes)
    alike = Counter(run.temperature for run in runs)
    seen: Counter[float | None] = Counter()
    positions, kelvins = [], []
    for k, run in enumerate(runs):
        steps = run.steps
        if options.skip:
            steps = steps[~(run.time(steps) < options.skip)]
        share = options.sample
        if run.temperature is not None:
            share = (options.sample + seen[run.temperature]) // alike[run.temperature]
            seen[run.temperature] += 1
        chosen = steps[draw(len(steps), share, (options.seed, k))]
        found, places = _read(run, chosen)
        positions.append(found)
        states = run.states(places)
        kelvins.append(np.full(len(places), np.nan) if states is None else states)
    frames = OwnFrames(np.concatenate(positions), np.concatenate(kelvins))
    if not len(frames.positions):
        raise InputError(f"{options.runs[0]}: no frames after --skip {options.skip:g} ps")
    return frames


def _read(run: Run, steps: IntArray) -> tuple[FloatArray, IntArray]:
    """Positions (n, N, 3), Å, and steps (n,) of those of some frames that can be read."""
    import numpy as np

    found = [
        (block.positions[m], block.steps[m]) for block in run.blocks() if (m := np.isin(block.steps, steps)).any()
    ]
    if not found:
        return np.empty((0, len(run.numbers), 3)), np.empty(0, dtype=np.intp)
    return tuple(np.concatenate(parts) for parts in zip(*found, strict=True))


def _held_out(
    potential: Potential, manifest: Path, data: Dataset | None, number: int | None
) -> tuple[OwnErrors, ...]:
    """Errors on configurations that the models have not seen; none, and a word, where there is no data set."""
    import numpy as np

    from ...training.evaluation.evaluate import check_atoms, evaluate
    from ...training.evaluation.heldout import ModelSource, held_out
    from ...training.evaluation.own import errors_of

    if data is None:
        complain("no held-out errors: name the data set of the training behind the manifest")
        return ()
    check_atoms(potential.numbers, data, potential.name)
    which = held_out(data, [ModelSource(potential.name, manifest)]).which
    which = np.sort(np.random.default_rng(0).permutation(which)[: number or _HELD_OUT])
    return tuple(errors_of(evaluate(potential, data, which)))


def _print(name: str, record: OwnRecord) -> None:
    """Held-out and own errors side by side."""
    columns: dict[str, dict[str, OwnErrors]] = {}
    for row in record.held_out:
        columns.setdefault(f"held out ({row.n})", {})[row.part] = row
    for row in record.own:
        kelvin = "own" if row.temperature is None else f"own {row.temperature:g} K"
        columns.setdefault(f"{kelvin} ({row.n})", {})[row.part] = row
    parts = list(dict.fromkeys(row.part for row in (*record.held_out, *record.own)))
    print(f"{name} on {record.run}: MAE ± its standard error against {record.theory}")
    _print_block("energy (kcal/mol)", parts, columns, lambda r: f"{r.energy_mae:.3g} ± {r.energy_mae_error:.1g}")
    _print_block("energy, mean error", parts, columns, lambda r: f"{r.energy_mean:+.2g}")
    _print_block("force (kcal/mol/Å)", parts, columns, lambda r: f"{r.force_mae:.3g} ± {r.force_mae_error:.1g}")


def _print_block(
    title: str, parts: list[str], columns: dict[str, dict[str, OwnErrors]], text: Callable[[OwnErrors], str]
) -> None:
    width = max(20, *(len(part) + 2 for part in parts))
    print(f"\n{title:{width}}" + "".join(f"{head:>18}" for head in columns))
    for part in parts:
        cells = [text(rows[part]) if part in rows else "–" for rows in columns.values()]
        print(f"  {part:{width - 2}}" + "".join(f"{cell:>18}" for cell in cells))
