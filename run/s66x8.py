"""What a level of theory costs in accuracy: binding energies of S66x8 beside CCSD(T)/CBS.

python run/s66x8.py s66x8.extxyz -o s66x8                       # GFN2-xTB, minutes
python run/s66x8.py s66x8.extxyz -o s66x8 --calculator pyscf --option xc=pbe0 --option basis=def2-svp --option disp=d4

The file (Řezáč, Riley, Hobza, J. Chem. Theory Comput. 7, 2427 (2011)) has a frame for each of 66 complexes at eight
distances, with `complex`, `factor`, `binding_energy_kcal_per_mol` and a column `fragment`. Writes OUTPUT/THEORY.json,
.md and .png; started again, it goes on.
"""

from __future__ import annotations

import argparse
import json
import re
from pathlib import Path

import ase.io
import numpy as np
from ase import Atoms
from ase.calculators.calculator import CalculationFailed

from delta_server.files.whole import write_whole
from delta_server.methods import Method, parse_options
from delta_server.units import KCAL_MOL

GROUPS = {"hydrogen bonds": (1, 23), "dispersion": (24, 46), "mixed": (47, 66)}


def binding_energy(method: Method, frame: Atoms) -> float | None:
    """kcal/mol; None where the calculator fails."""
    parts = [frame, *(frame[frame.arrays["fragment"] == k] for k in np.unique(frame.arrays["fragment"]))]
    try:
        whole, *alone = (method.make().get_potential_energy(Atoms(p.numbers, p.positions)) for p in parts)
    except (CalculationFailed, RuntimeError):
        return None
    return float(whole - sum(alone)) / KCAL_MOL


def table(rows: list[dict[str, float]]) -> tuple[list[float], dict[str, list[tuple[float, float]]]]:
    """Factors, and of each group the (mean error, mean absolute error) in kcal/mol at each."""
    factors = sorted({row["factor"] for row in rows})
    errors = {}
    for group, (first, last) in GROUPS.items() | {("all", (1, 66))}:
        errors[group] = []
        for factor in factors:
            e = [r["error"] for r in rows if r["factor"] == factor and first <= r["complex"] <= last]
            errors[group].append((float(np.mean(e)), float(np.abs(e).mean())) if e else (np.nan, np.nan))
    return factors, {group: errors[group] for group in (*GROUPS, "all")}


def markdown(theory: str, factors: list[float], errors: dict[str, list[tuple[float, float]]]) -> str:
    """Mean absolute errors, mean errors in brackets."""
    lines = [
        f"{theory}: MAE of binding energies, kcal/mol, mean error in brackets\n",
        f"| distance / equilibrium | {' | '.join(f'{factor:g}' for factor in factors)} |",
        f"|---|{'---|' * len(factors)}",
    ]
    lines += [f"| {g} | {' | '.join(f'{a:.2f} ({m:+.2f})' for m, a in row)} |" for g, row in errors.items()]
    return "\n".join(lines) + "\n"


def draw(path: Path, theory: str, factors: list[float], errors: dict[str, list[tuple[float, float]]]) -> None:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(6, 4), layout="constrained")
    axis = figure.subplots()
    axis.axhline(0, color="0.7", lw=0.8)
    for group, row in errors.items():
        axis.plot(factors, [mean for mean, _ in row], marker="o", label=group, color="k" if group == "all" else None)
    axis.set(xlabel="distance / equilibrium distance", ylabel="mean error of the binding energy (kcal/mol)")
    axis.set_title(f"{theory} on S66x8", fontsize="medium")
    axis.legend()
    figure.savefig(path, dpi=150)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("file", type=Path)
    parser.add_argument("-o", "--output", type=Path, required=True)
    parser.add_argument("--calculator", default="gfn2-xtb")
    parser.add_argument("--option", action="append", default=[], metavar="KEY=VALUE")
    parser.add_argument("--only", type=int, nargs="+", metavar="COMPLEX", help="numbers of complexes, 1 to 66")
    options = parser.parse_args()
    method = Method(options.calculator, parse_options(options.option))
    options.output.mkdir(exist_ok=True, parents=True)
    name = options.output / re.sub(r"[^\w.+-]+", "_", method.theory).strip("_")
    record = name.with_name(name.name + ".json")
    rows = json.loads(record.read_text())["rows"] if record.exists() else []
    done = {(row["complex"], row["factor"]) for row in rows}
    failed = 0
    for frame in ase.io.iread(options.file):
        key = int(frame.info["complex"]), float(frame.info["factor"])
        if key in done or (options.only and key[0] not in options.only):
            continue
        energy, reference = binding_energy(method, frame), float(frame.info["binding_energy_kcal_per_mol"])
        if energy is None:
            failed += 1
            print(f"complex {key[0]}, factor {key[1]:g}: failed")
            continue
        row = {"complex": key[0], "factor": key[1], "name": frame.info["name"].strip()}
        rows.append(row | {"reference": reference, "energy": energy, "error": energy - reference})
        write_whole(record, json.dumps({"theory": method.theory, "unit": "kcal/mol", "rows": rows}, indent=1))
    factors, errors = table(rows)
    text = markdown(method.theory, factors, errors)
    write_whole(name.with_name(name.name + ".md"), text)
    draw(name.with_name(name.name + ".png"), method.theory, factors, errors)
    print(text + (f"\nfailed: {failed}; the same command tries them again" if failed else ""), end="\n")


if __name__ == "__main__":
    main()
