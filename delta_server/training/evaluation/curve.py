"""Learning curves: errors of a Δ-model against the number of its training points, with its own σ, λ and symmetry."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from ..._types import IntArray
from ...data.apart import placed_in
from ...data.dataset import Dataset
from ...errors import InputError
from ...gdml import CpuPredictor, Model
from ...loading import load_potential, read_model
from ...manifest import load_manifest
from ...potential import Potential
from ...terms.base import Term
from ...terms.sgdml import SgdmlTerm
from ..databases import Complex, Kind
from ..fit import fit
from ..labels import Labels
from ..record import Fitted, TrainingRecord, record_of
from ..tasks import binding_points
from .evaluate import Evaluation, evaluate


def learning_curve(manifest: Path, data: Dataset, which: IntArray, sizes: Sequence[int]) -> Iterator[Evaluation]:
    """Errors on configurations `which` of models trained anew on the first of the recorded training points.

    Each size counts the points of every model, those placed or pulled apart in proportion among them, or is all that
    a model has where it has fewer. Raises InputError where the manifest has no record, or one of other data.
    """
    record = record_of(manifest, data, "; a learning curve needs `delta-sgdml train`'s")
    described = load_manifest(manifest)
    potential = load_potential(described)
    settings = record.settings()
    train = np.random.default_rng(settings.seed).permutation(record.configurations("train", len(data)))
    if max(sizes) > len(train) or min(sizes) < 2:
        raise InputError(
            f"sizes {list(sizes)}: expected 2 to {len(train)} points, as many as the models were trained on"
        )
    system = Complex.of(data, "none" if settings.symmetry == "sgdml" else settings.symmetry)
    system = system.less(potential.terms, train)
    models = {name: read_model(described, entry) for name, entry in described.models().items()}
    for size in sizes:

        def refit(term: Term, size: int = size) -> Term:
            if not isinstance(term, SgdmlTerm):
                return term
            labels, fitted = _labels(system, record, term.names[0], train, size)
            whole, basis = models[term.names[0]], round(fitted.hyper.basis * len(labels) / fitted.n_train)
            hyper = replace(fitted.hyper, metric=whole.metric, basis=basis)
            model: Model = fit(labels, whole.permutations, hyper)
            return replace(term, predictor=CpuPredictor(model), load=None)

        smaller = Potential(
            potential.numbers,
            potential.reference,
            potential.fragments,
            [refit(term) for term in potential.terms],
            name=str(size),
            theory=potential.theory,
        )
        yield evaluate(smaller, data, which)


def _labels(system: Complex, record: TrainingRecord, term: str, train: IntArray, size: int) -> tuple[Labels, Fitted]:
    """Labels of one term of the manifest for `size` of its training points, and how it was fitted."""
    placed = placed_in(system.data)
    if term == "binding":
        fitted = record.model("binding")
        size = min(size, fitted.n_train)
        n_far, n_placed = (round(size * n / fitted.n_train) for n in (fitted.n_far, fitted.n_placed))
        bound, apart = train[~placed[train]], train[placed[train]]
        chosen = np.concatenate([bound[: size - n_placed], apart[:n_placed]])
        return binding_points(system, chosen, placed, n_far, record.settings().seed), fitted
    kind: Kind = next(k for k in system.kinds if term in {system.names[i] for i, _ in k.members})
    fitted = record.model(kind.name)
    return system.fragment_labels(kind, train[~placed[train]][: min(size, fitted.n_train)]), fitted
