"""Structures of files that claim what cannot be: refused at once, wherever a structure is read."""

from __future__ import annotations

import bz2
import gzip
import lzma
from collections.abc import Callable
from pathlib import Path

import pytest

from delta_server.errors import InputError
from delta_server.molecule.structures import iter_structures, read_structure
from delta_server.units import BOHR

GOOD = b"2\n\nH 0 0 0\nH 0 0 0.74\n"
COUNT = b"99999999999\n\nH 0 0 0\n"


def read_all(path: Path) -> object:
    return list(iter_structures(path))


@pytest.mark.timeout(20)
@pytest.mark.parametrize("read", [read_structure, read_all])
@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("first.xyz", COUNT),
        ("second.xyz", GOOD + COUNT),
        ("named.extxyz", COUNT),
        ("named.dat", COUNT),
        ("underscores.xyz", b"99_999_999_999\n\nH 0 0 0\n"),
        ("digits.xyz", GOOD + b"9" * 5000 + b"\n"),
        ("packed.xyz.gz", gzip.compress(COUNT, mtime=0)),
        ("packed.xyz.bz2", bz2.compress(GOOD + COUNT)),
        ("packed.xyz.xz", lzma.compress(COUNT)),
        ("columns.xyz", b"2\nProperties=species:S:1:pos:R:3:forces:R:99999999999\nH 0 0 0\nH 0 0 0.74\n"),
    ],
)
def test_more_than_the_file_has_bytes_for(
    tmp_path: Path, name: str, content: bytes, read: Callable[[Path], object]
) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(InputError, match=r"frame \d claims 9+ (atoms|columns), the file has"):
        read(tmp_path / name)


def test_what_is_no_archive(tmp_path: Path) -> None:
    (tmp_path / "a.xyz.gz").write_bytes(GOOD)
    with pytest.raises(InputError, match="cannot be read"):
        read_structure(tmp_path / "a.xyz.gz")


def test_a_name_that_is_too_long(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="File name too long"):
        read_structure(tmp_path / ("a" * 300))


@pytest.mark.parametrize("energy", ["-2X27.1", "1.2.3", "abc"])
def test_an_energy_that_is_none(tmp_path: Path, energy: str) -> None:
    path = tmp_path / "a.xyz"
    path.write_text(f"2\nProperties=species:S:1:pos:R:3 energy={energy}\nH 0 0 0\nH 0 0 0.74\n")
    with pytest.raises(InputError, match=f"frame 0: energy is '{energy}', expected a number"):
        list(iter_structures(path))


def test_units_and_cell_of_ipis_comment_line(tmp_path: Path) -> None:
    path = tmp_path / "a.pos_0.xyz"
    cells = ("20 30 40 90 90 90", "11 12 13 80 100 75")
    path.write_text(
        "".join(
            f"2\n# CELL(abcABC): {cell} Step: {10 * k} Bead: 0 positions{{atomic_unit}} cell{{atomic_unit}}\n"
            "H 0 0 0\nH 0 0 1.4\n"
            for k, cell in enumerate(cells)
        )
    )
    frames = list(iter_structures(path))
    for atoms, cell in zip([*frames, read_structure(path)], [*cells, cells[0]], strict=True):
        a, b, c, *angles = map(float, cell.split())
        assert atoms.cell.cellpar() == pytest.approx([a * BOHR, b * BOHR, c * BOHR, *angles])
        assert atoms.positions[1] == pytest.approx([0, 0, 1.4 * BOHR])
        assert not atoms.pbc.any()
        assert not atoms.info


@pytest.mark.parametrize("cell", ["9 9 9 90 90 90", "1 1 1 10 10 170 cell{angstrom}", "1 1 e 1 1 1 cell{angstrom}"])
def test_a_cell_that_is_none(tmp_path: Path, cell: str) -> None:
    path = tmp_path / "a.xyz"
    path.write_text(f"2\n# CELL(abcABC): {cell} positions{{angstrom}}\nH 0 0 0\nH 0 0 0.74\n")
    assert read_structure(path).cell.rank == 0


def test_frames_that_are_sound_are_read(tmp_path: Path) -> None:
    for name, data in {"a.xyz": 3 * GOOD, "a.xyz.gz": gzip.compress(3 * GOOD)}.items():
        (tmp_path / name).write_bytes(data)
        assert len(read_structure(tmp_path / name)) == 2
        assert [len(atoms) for atoms in iter_structures(tmp_path / name)] == [2, 2, 2]
