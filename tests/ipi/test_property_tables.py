"""Property tables as i-PI writes them, and what crashes make of them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from delta_server.errors import InputError
from delta_server.ipi.tables import extras_of, read_properties

HEADER = (
    "# column   1     --> step : The current simulation time step.\n"
    "# column   2     --> time{femtosecond} : The elapsed simulation time.\n"
    "# column   3     --> temperature{kelvin}(O) : The current temperature.\n"
    "# column   4     --> temperature{kelvin} : The current temperature.\n"
    "# column   5     --> temperature(bead=0){kelvin} : The current temperature.\n"
    "# cols.    6-8   --> atom_x{nanometer}(atom=1) : The position (x,y,z) of a particle given its index.\n"
    "# column   9     --> volume : The volume of the cell box.\n"
    "# column  10     --> pressure_md{megapascal} : The pressure.\n"
)


def row(step: int) -> str:
    return f"  {step} {step / 2} 1 300 2 0.1 0.2 0.3 1000 7 \n"


def table(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "sim.out"
    path.write_bytes(text.encode("utf-8", "surrogateescape"))
    return path


def test_a_column_is_name_unit_and_selection(tmp_path: Path) -> None:
    found = read_properties(table(tmp_path, HEADER + row(0) + row(2) + row(4)))
    assert found["time"] == pytest.approx([0, 1e-3, 2e-3])  # ps
    assert found["temperature"].tolist() == [300] * 3
    assert found["temperature(O)"].tolist() == [1] * 3
    assert found["temperature(bead=0)"].tolist() == [2] * 3
    assert found["atom_x(atom=1)"] == pytest.approx(np.tile([1.0, 2.0, 3.0], (3, 1)))  # Å
    assert found["volume"] == pytest.approx(148.18471726)  # Å³
    assert found["pressure_md"].tolist() == [7] * 3  # of no quantity that is converted


@pytest.mark.parametrize("only", ["temperature{kelvin}(H)", "temperature(nm=0){kelvin}", "temperature(0)"])
def test_a_selection_alone_is_not_the_temperature(tmp_path: Path, only: str) -> None:
    path = table(tmp_path, f"# column   1     --> step : .\n# column   2     --> {only} : .\n0 5\n1 6\n")
    assert read_properties(path).get("temperature") is None


def test_atomic_units_where_the_header_names_none(tmp_path: Path) -> None:
    text = "# column   1     --> step : .\n# column   2     --> time : .\n# column 3 --> temperature : .\n"
    found = read_properties(table(tmp_path, text + "0 0 1e-3\n2 41.341373 1e-3\n"))
    assert found["time"][1] == pytest.approx(1e-3)
    assert found["temperature"] == pytest.approx(315.77466)


def test_a_unit_that_is_none_is_refused_where_it_is_asked_for(tmp_path: Path) -> None:
    path = table(tmp_path, "# column 1 --> step : .\n# column 2 --> time{hour} : .\n0 0\n1 1\n")
    found = read_properties(path)
    assert found["step"].tolist() == [0, 1]
    with pytest.raises(InputError, match=r"sim\.out: column time: 'hour' is no unit of time"):
        _ = found["time"]


def test_what_i_pi_says_of_itself_above_the_header(tmp_path: Path) -> None:
    """<properties verbosity='high'>."""
    about = "### Git information:\n###    i-PI version: 3.3.1\n###\n"
    assert read_properties(table(tmp_path, about + HEADER + row(0) + row(2)))["step"].tolist() == [0, 2]


@pytest.mark.parametrize(
    "damage",
    [
        "\0" * 500 + row(4),
        "\0" * 20 + "\n",
        row(4)[:17] + row(4),  # broken off, and the resumed run behind it
        row(4)[:-8] + "\n",
        "  4 2.0 1 300 2 0.1 0.2x 0.3 1000 7\n",
        "\udcff\udc80 4\n",
    ],
)
def test_damaged_lines_are_left_out_and_told(tmp_path: Path, damage: str) -> None:
    text = HEADER + row(0) + row(2) + damage + row(6) + row(8)
    found = read_properties(table(tmp_path, text))
    assert found["step"].tolist() == [0, 2, 6, 8]
    assert found.damaged == (11,)
    assert found.notes == ("sim.out: line 11 is damaged and left out",)


def test_a_course_that_was_given_up(tmp_path: Path) -> None:
    """Killed after step 8, and resumed from step 4 with another stride."""
    text = HEADER + "".join(map(row, (0, 2, 4, 6, 8, 5, 10)))
    assert read_properties(table(tmp_path, text))["step"].tolist() == [0, 2, 4, 5, 10]


def test_parts_with_other_headers_are_not_mixed(tmp_path: Path) -> None:
    same = HEADER + row(0) + HEADER + row(2)
    assert read_properties(table(tmp_path, same))["step"].tolist() == [0, 2]
    other = HEADER + row(0) + HEADER.replace("femto", "pico") + row(2)
    with pytest.raises(InputError, match="the header in line 11 is another"):
        read_properties(table(tmp_path, other))


def test_extras_with_damage(tmp_path: Path) -> None:
    path = tmp_path / "sim.energy_x_0"
    records = [f" #EXTRAS(energy_x)# Step: {s} \n {v} \n" for s, v in ((0, 1.0), (2, "\0\0"), (4, "1.2.3"), (6, 2.0))]
    path.write_text("".join(records))
    extras = extras_of(path)
    assert (extras.steps.tolist(), extras.values.tolist(), extras.damaged) == ([0, 6], [1, 2], (4, 6))
    path.write_text("".join(f" #EXTRAS(dipole)# Step: {s} \n 1 2 3 \n" for s in range(20)))
    with pytest.raises(InputError, match="one number a step"):
        extras_of(path)
