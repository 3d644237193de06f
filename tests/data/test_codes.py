"""The roads of ORCA and FHI-aims, from ase's configuration to a data set, with programs that stand in for them: they
read the inputs and write the outputs of these codes, and compute GFN2-xTB."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest
import warm

from delta_server.data.dataset import Dataset, load_dataset, save_dataset

SGDML = str(Path(sys.executable).with_name("delta-sgdml"))
COMPUTE = '''
import sys
from pathlib import Path
import numpy as np
from tblite.interface import Calculator
NUMBERS = {"H": 1, "C": 6}
def compute(symbols, positions, charge):
    """Energy (hartree) and gradient (hartree/bohr) at positions (N, 3) in Å."""
    xtb = Calculator("GFN2-xTB", np.array([NUMBERS[s] for s in symbols]), positions / 0.529177210903, charge=charge)
    xtb.set("verbosity", 0)
    xtb.set("accuracy", 0.01)
    answer = xtb.singlepoint()
    return float(answer.get("energy")), answer.get("gradient")
'''
ORCA = """
lines = Path(sys.argv[1]).read_text().splitlines()
assert "EnGrad" in lines[0], "no forces without it"
start = next(i for i, line in enumerate(lines) if line.startswith("*xyz"))
atoms = [line.split() for line in lines[start + 1 : lines.index("*")]]
symbols, positions = [a[0] for a in atoms], np.array([a[1:4] for a in atoms], dtype=float)
energy, gradient = compute(symbols, positions, float(lines[start].split()[1]))
print("Number of atoms                             ...    ", len(atoms))
print("CARTESIAN COORDINATES (ANGSTROEM)\\n---------------------------------")
for s, x in zip(symbols, positions):
    print(s, *x)
print(f"FINAL SINGLE POINT ENERGY  {energy:.12f}")
rows = "\\n".join(f"{v:.12f}" for v in gradient.ravel())
text = f"#\\n# The current gradient in Eh/bohr\\n#\\n{rows}\\n#\\n# The atomic numbers and current coordinates\\n#\\n"
Path(sys.argv[1]).with_suffix(".engrad").write_text(text)
print("ORCA TERMINATED NORMALLY")
"""
AIMS = """
control = dict(line.split(None, 1) for line in Path("control.in").read_text().splitlines() if " " in line.strip())
assert control["compute_forces"].strip() == ".true."
atoms = [line.split() for line in Path("geometry.in").read_text().splitlines() if line.startswith("atom ")]
symbols, positions = [a[4] for a in atoms], np.array([a[1:4] for a in atoms], dtype=float)
energy, gradient = compute(symbols, positions, float(control.get("charge", 0)))
hartree, bohr = 27.211386245988, 0.529177210903
print("| Number of atoms                   :", len(atoms))
print("| Number of spin channels           : 1\\n| Number of Kohn-Sham states (occupied + empty): 20")
print("The structure contains 5 atoms, and a total of 10.000 electrons.")
print("Atomic structure:\\n|       Atom                x [A]            y [A]            z [A]")
for i, (s, x) in enumerate(zip(symbols, positions), 1):
    print(f"| {i}: Species {s}", *x)
print("Begin self-consistency iteration #    1\\n")
print(f"| Electronic free energy        : {energy * hartree:.12f} eV")
print("Total atomic forces (unitary forces cleaned) [eV/Ang]:")
for i, g in enumerate(gradient, 1):
    print("|", i, *(f"{-v * hartree / bohr:.12f}" for v in g))
print("Have a nice day.")
"""


@pytest.mark.parametrize(
    ("code", "program", "options"),
    [
        ("orca", ORCA, ["orcasimpleinput=PBE0 D4 def2-TZVP EnGrad"]),
        ("aims", AIMS, ["xc=pbe", "species_dir=light"]),
    ],
)
def test_from_the_configuration_to_the_data_set(
    code: str,
    program: str,
    options: list[str],
    methane_dimer_data: Dataset,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    save_dataset(tmp_path / "in.npz", methane_dimer_data.take(np.arange(1)))
    (tmp_path / "program.py").write_text(COMPUTE + program)
    (tmp_path / "ase.ini").write_text(f"[{code}]\ncommand = {sys.executable} {tmp_path}/program.py\n")
    (tmp_path / "light").mkdir()
    for name in ("01_H", "06_C"):
        (tmp_path / "light" / f"{name}_default").write_text(f"  species {name[3:]}\n")
    command = [SGDML, "dataset", "label", "in.npz", "-o", "out.npz", "--relabel", "-j", "1", "--calculator", code]
    monkeypatch.setenv("ASE_CONFIG_PATH", str(tmp_path / "ase.ini"))
    done = warm.run([*command, *(word for option in options for word in ("--option", option))], tmp_path)
    assert done.returncode == 0, done.stderr
    made, known = load_dataset(tmp_path / "out.npz"), methane_dimer_data
    assert made.theory.startswith(code)
    assert made.energies == pytest.approx(known.energies[:1], abs=1e-3)
    assert made.forces == pytest.approx(known.forces[:1], abs=1e-2)
    assert made.isolated()[1] == pytest.approx(known.isolated()[1][:1], abs=1e-3)
