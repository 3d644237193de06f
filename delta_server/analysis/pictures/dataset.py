"""A picture of a data set: how its energies and forces are distributed, and how much of the forces is binding."""

from __future__ import annotations

from pathlib import Path

from ...data.dataset import Dataset
from ...data.inspect import Summary, lengths, names_of
from .canvas import BLACK, BLUE, GREEN, GREY, ORANGE, new_figure, save

_COLOURS = (ORANGE, GREEN, "#CC79A7", "#56B4E9", "#E69F00")


def plot_dataset(data: Dataset, summary: Summary, path: Path) -> None:
    """Histograms of |F| and |F_b| (arXiv 2511.01913, Fig. 5) and of the energies, as PNG, SVG or PDF by the ending.

    Raises InputError where matplotlib is missing or the path cannot be written.
    """
    import numpy as np

    figure = new_figure(9, 6.4)
    ((forces, per_atom), (energy, binding)) = figure.subplots(2, 2)
    figure.suptitle(f"{summary.name}: {summary.configurations} configurations, {summary.theory or 'theory not said'}")

    total = lengths(data.forces)
    bound = lengths(data.binding_forces()) if data.labelled_fragments else None
    low = max(1e-3, float(np.quantile(total if bound is None else bound, 0.001)))
    bins = np.geomspace(low, max(float(total.max()), 2 * low), 80)
    forces.hist(total.ravel(), bins, color=BLUE, alpha=0.7, label=f"|F|, mean {summary.mean_force:.2f}")
    if bound is not None:
        forces.hist(
            bound.ravel(), bins, color=ORANGE, alpha=0.7, label=f"|F_b|, mean {summary.mean_binding_force:.3f}"
        )
        forces.set_title(f"|F_b| / |F| = {summary.force_ratio:.3f}", fontsize="medium")
    forces.set_xscale("log")
    forces.set_xlabel("force on an atom (kcal/mol/Å)")
    forces.set_ylabel("atoms")
    forces.legend(fontsize="small", frameon=False)

    shown = total if bound is None else bound
    for k, name in enumerate(names_of(data)):
        atoms, colour = data.atoms_of(k), _COLOURS[k % len(_COLOURS)]
        per_atom.bar(atoms, shown[:, atoms].mean(0), color=colour, label=name)
    if not data.n_fragments:
        per_atom.bar(np.arange(data.n_atoms), shown.mean(0), color=BLUE)
    else:
        per_atom.legend(fontsize="small", frameon=False)
    per_atom.set_xlabel("atom")
    per_atom.set_ylabel(f"mean |F{'' if bound is None else '_b'}| (kcal/mol/Å)")

    energy.hist(data.energies - summary.energy.mean, 60, color=BLUE)
    energy.set_xlabel(f"E − mean (kcal/mol), mean {summary.energy.mean:.2f}")
    energy.set_ylabel("configurations")
    if summary.binding_energy is not None:
        binding.hist(data.binding_energies(), 60, color=GREEN)
        binding.axvline(0.0, color=GREY, lw=1, ls=":")
        binding.axvline(summary.binding_energy.mean, color=BLACK, lw=1, ls="--")
        binding.set_xlabel(f"binding energy (kcal/mol), mean {summary.binding_energy.mean:.2f}")
        binding.set_ylabel("configurations")
    else:
        binding.set_axis_off()
        binding.text(0.5, 0.5, "isolated fragments not labelled", ha="center", va="center", color=GREY)
    save(figure, path)
