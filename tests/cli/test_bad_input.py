"""Bad input through the real commands: the documented exit code, one line that says why, nothing left behind."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import warm
from ase import Atoms
from ase.io import read, write
from made import made_manifest, made_model

from delta_server.units import BOHR

DRIVER = [str(Path(sys.executable).with_name("delta-driver"))]
SGDML = [str(Path(sys.executable).with_name("delta-sgdml"))]
FIRM = [
    "manifest.yaml",
    "--retry",
    "0",
    "--log-level",
    "error",
]  # no server is waited for, nothing but errors is said

NUMBERS = [8, 1, 1, 7, 1]
POSITIONS = np.array([[0.0, 0.0, 0.0], [0.96, 0.0, 0.0], [-0.24, 0.93, 0.0], [0.0, 0.0, 3.0], [1.0, 0.0, 3.0]])
INPUT = "<simulation>{}</simulation>"
SOCKET = "<ffsocket name='{}' mode='unix'><address>{}</address></ffsocket>"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A sound potential, its structure and an i-PI input."""
    for name, atoms in (("water", slice(0, 3)), ("amine", slice(3, 5)), ("both", slice(0, 5))):
        numbers = NUMBERS[atoms]
        made_model(tmp_path / f"{name}.npz", numbers, POSITIONS[atoms], [range(len(numbers))], n_train=4, seed=1)
    fragments = [
        {"name": "water", "atoms": "0:3", "model": "water.npz"},
        {"name": "amine", "atoms": "3:5", "model": "amine.npz"},
    ]
    made_manifest(tmp_path, NUMBERS, POSITIONS, fragments, {"model": "both.npz"})
    (tmp_path / "input.xml").write_text(INPUT.format(SOCKET.format("", "nobody")))
    return tmp_path


def state(folder: Path) -> dict[str, str]:
    """Every file under a folder with a digest of its content."""
    return {
        path.relative_to(folder).as_posix(): sha256(path.read_bytes()).hexdigest() if path.is_file() else ""
        for path in folder.rglob("*")
    }


def call(folder: Path, *command: str) -> subprocess.CompletedProcess[str]:
    """The command's end; it must come soon, without a traceback, and leave the folder as it was."""
    before = state(folder)
    done = warm.run(command, folder)
    assert "Traceback" not in done.stdout + done.stderr
    assert state(folder) == before
    return done


def fails(folder: Path, *command: str, code: int, words: tuple[str, ...] | str) -> None:
    """The command ends with the code, one line on stderr that holds the words, and nothing on stdout."""
    done = call(folder, *command)
    assert done.returncode == code, done.stderr
    lines = done.stderr.splitlines()
    assert len(lines) == 1, done.stderr
    assert lines[0].isprintable()
    for word in (words,) if isinstance(words, str) else words:
        assert word in lines[0]
    assert done.stdout == ""


def rewrite(path: Path, **changes: Any) -> None:
    with np.load(path) as data:
        arrays = {key: data[key] for key in data.files}
    np.savez(path, **{key: value for key, value in (arrays | changes).items() if value is not None})


def edit(path: Path, old: str, new: str) -> None:
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new, 1))


# The potential

POTENTIALS: dict[str, tuple[Callable[[Path], object], tuple[str, ...]]] = {
    "no-manifest": (lambda d: (d / "manifest.yaml").unlink(), ("manifest.yaml", "no such manifest")),
    "pipe-for-manifest": (lambda d: pipe(d / "manifest.yaml"), ("manifest.yaml", "regular file")),
    "text-for-manifest": (lambda d: (d / "manifest.yaml").write_text("hello"), ("manifest.yaml", "mapping")),
    "python-in-manifest": (lambda d: edit(d / "manifest.yaml", "0:3", "!!python/name:os.abort"), ("tag",)),
    "unknown-key": (lambda d: edit(d / "manifest.yaml", "binding:", "bindin:"), ("'bindin'", "'binding'?")),
    "overlapping-atoms": (lambda d: edit(d / "manifest.yaml", "3:5", "2:5"), ("atom 2", "'water'", "'amine'")),
    "unit-contradiction": (
        lambda d: edit(d / "manifest.yaml", "both.npz", "both.npz\n  units: {energy: eV}"),
        ("eV",),
    ),
    "wrong-hash": (lambda d: edit(d / "manifest.yaml", "both.npz", f"both.npz\n  sha256: {'a' * 64}"), ("sha256",)),
    "no-model": (lambda d: (d / "amine.npz").unlink(), ("amine.npz", "no such model")),
    "pipe-for-model": (lambda d: pipe(d / "amine.npz"), ("amine.npz", "regular file")),
    "truncated-model": (lambda d: cut(d / "both.npz"), ("both.npz", "not a whole .npz")),
    "pickle-in-model": (
        lambda d: rewrite(d / "both.npz", perms=np.array([Hostile()], dtype=object)),
        ("both.npz", "'perms'"),
    ),
    "nan-weights": (lambda d: rewrite(d / "both.npz", R_d_desc_alpha=np.full((4, 10), np.nan)), ("not finite",)),
    "dataset": (lambda d: rewrite(d / "water.npz", type="d"), ("water.npz", "data set")),
    "control-characters": (lambda d: rewrite(d / "water.npz", r_unit="\x1b[31m\nAng"), ("water.npz", "length unit")),
    "no-structure": (lambda d: (d / "geometry.xyz").unlink(), ("geometry.xyz", "no such structure")),
    "element-order": (
        lambda d: write(d / "geometry.xyz", Atoms([1, 8, 1, 7, 1], POSITIONS)),
        ("water", "O in the model, H there"),
    ),
    "coincident-atoms": (lambda d: write(d / "geometry.xyz", Atoms(NUMBERS, 0 * POSITIONS)), ("0.000 Å apart",)),
}


class Hostile:
    """Leaves a file in the working directory when it is unpickled."""

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (Path("executed"),)


def pipe(path: Path) -> None:
    path.unlink()
    os.mkfifo(path)


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-200])


@pytest.mark.parametrize(
    ("command", "case"),
    [("driver", case) for case in POTENTIALS]
    + [("predict", case) for case in ("unknown-key", "pickle-in-model", "nan-weights", "element-order")],
)
def test_a_potential_that_is_none(folder: Path, command: str, case: str) -> None:
    spoil, words = POTENTIALS[case]
    spoil(folder)
    called = {
        "driver": [*DRIVER, *FIRM],
        "predict": [*SGDML, "predict", "manifest.yaml", "frames.xyz", "-o", "o.xyz", "--overwrite"],
    }
    write(folder / "frames.xyz", Atoms(NUMBERS, POSITIONS))
    fails(folder, *called[command], code=2, words=words)


@pytest.mark.parametrize(
    ("case", "as_json"),
    [("no-manifest", False), ("no-manifest", True), ("truncated-model", False), ("element-order", True)],
)
def test_check_says_what_is_wrong(folder: Path, case: str, as_json: bool) -> None:
    """A report on stdout, and exit code 2."""
    spoil, words = POTENTIALS[case]
    spoil(folder)
    done = call(folder, *SGDML, "check", "manifest.yaml", *["--json"] * as_json)
    assert done.returncode == 2
    assert done.stderr == ""
    if as_json:
        report = json.loads(done.stdout)
        assert report["passed"] is False
        failures = [check["found"] for check in report["checks"] if not check["passed"]]
    else:
        failures = [line for line in done.stdout.splitlines() if line.startswith("FAIL")]
    assert any(all(word in failure for word in words) for failure in failures)


def test_run_starts_nothing_for_a_potential_that_is_none(folder: Path) -> None:
    cut(folder / "both.npz")
    fails(folder, *SGDML, "run", "input.xml", "manifest.yaml", "--dir", "new", code=2, words="both.npz")


# Addresses and i-PI inputs


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--socket", "nonsense"], ("'nonsense'", "unix:NAME")),
        (["--socket", "unix:"], ("'unix:'", "unix:NAME")),
        (["--socket", "tcp:localhost:1"], ("'tcp:localhost:1'", "inet:HOST:PORT")),
        (["--socket", "inet:localhost"], ("inet:HOST:PORT",)),
        (["--socket", "inet:localhost:http"], ("inet:HOST:PORT",)),
        (["--socket", "inet:localhost:-1"], ("inet:HOST:PORT",)),
        (["--socket", "inet:localhost:²"], ("inet:HOST:PORT",)),
        (["--socket", "inet:localhost:0"], ("port 0", "1 to 65535")),
        (["--socket", "inet:localhost:65536"], ("port 65536", "1 to 65535")),
        (["--socket", "unix:" + "x" * 200], ("bytes", "107", "shorter name")),
        (["--socket", "shm:" + "å" * 60], ("bytes", "107")),
        (["--socket", "unix:x", "--sockets-prefix", "/" + "p" * 120], ("bytes", "107")),
        (["--socket", "unix:x\n\x1b[31my" * 20], ("bytes",)),
        (["--socket", "unix:x", "--input", "input.xml"], ("--socket or --input",)),
        (["--ffsocket", "x"], ("--ffsocket", "--input")),
        (["--log-file", "nowhere/log"], ("--log-file nowhere/log", "No such file")),
        (["--log-file", "."], ("--log-file .", "directory")),
        (["--log-file", "manifest.yaml/log"], ("--log-file", "Not a directory")),
    ],
    ids=lambda value: " ".join(value)[:30].encode("unicode_escape").decode() if isinstance(value, list) else "",
)
def test_options_that_cannot_be(folder: Path, options: list[str], words: tuple[str, ...]) -> None:
    fails(folder, *DRIVER, *FIRM, *options, code=2, words=words)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (None, "input.xml: cannot be read: No such file"),
        (b"\xff\xfe\x00<", "input.xml: is not text"),
        ("", "input.xml: not well-formed"),
        ("<simulation>", "not well-formed"),
        ("<simulation>&x;</simulation>", "not well-formed"),
        ("format: delta-sgdml/1\n", "not well-formed"),
        ("<html></html>", "<html>"),
        ("<!DOCTYPE x [<!ENTITY a 'b'>]>" + INPUT.format(SOCKET.format("", "&a;")), "ENTITY"),
        ("<!DOCTYPE x SYSTEM 'file:///etc/passwd'>" + INPUT.format(SOCKET.format("", "x")), "DOCTYPE"),
        (INPUT.format(""), "input.xml: has no <ffsocket>"),
        (INPUT.format(SOCKET.format("one", "a") + SOCKET.format("two", "b")), "several <ffsocket>: one, two"),
        (INPUT.format(SOCKET.format("", "a" * 200)), "107"),
        (INPUT.format("<ffsocket mode='pigeon'/>"), "'pigeon'"),
        (INPUT.format("<ffsocket mode='inet'><port>http</port></ffsocket>"), "<port> is 'http'"),
        (INPUT.format("<ffsocket mode='inet'><port>70000</port></ffsocket>"), "port 70000"),
    ],
    ids=[
        "missing",
        "binary",
        "empty",
        "cut",
        "undefined-entity",
        "yaml",
        "html",
        "entity",
        "doctype",
        "none",
        "several",
        "long",
        "mode",
        "port",
        "range",
    ],
)
def test_inputs_of_ipi_that_cannot_be(folder: Path, text: str | bytes | None, words: str) -> None:
    path = folder / "input.xml"
    path.unlink()
    if text is not None:
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
    fails(folder, *DRIVER, *FIRM, "--input", "input.xml", code=2, words=words)


def test_an_ffsocket_that_is_not_there(folder: Path) -> None:
    (folder / "input.xml").write_text(INPUT.format(SOCKET.format("one", "a") + SOCKET.format("two", "b")))
    fails(
        folder, *DRIVER, *FIRM, "--input", "input.xml", "--ffsocket", "three", code=2, words=("'three'", "one, two")
    )


@pytest.mark.parametrize(
    ("text", "words"),
    [(None, "No such file"), ("<simulation>", "not well-formed"), ("<a/>", "<a>"), (INPUT.format(""), "<ffsocket>")],
    ids=["missing", "cut", "other", "no-ffsocket"],
)
def test_run_starts_nothing_for_an_input_that_cannot_be(folder: Path, text: str | None, words: str) -> None:
    if text is not None:
        (folder / "bad.xml").write_text(text)
    fails(folder, *SGDML, "run", "bad.xml", "manifest.yaml", "--dir", "new", code=2, words=("bad.xml", words))


def test_nobody_at_the_address(folder: Path) -> None:
    fails(folder, *DRIVER, *FIRM, "--socket", f"unix:{folder}/none", code=3, words=("no server within 0 s", "i-PI"))


def test_a_log_on_a_full_disk_costs_the_log_alone(folder: Path) -> None:
    """It is said once, and the reason for the end comes out all the same."""
    done = call(
        folder, *DRIVER, "manifest.yaml", "--retry", "0", "--socket", f"unix:{folder}/none", "--log-file", "/dev/full"
    )
    log, reason = done.stderr.splitlines()
    assert done.returncode == 3
    assert "the log cannot be written" in log
    assert "no server within 0 s" in reason


@pytest.mark.parametrize("level", ["error", "debug"])
def test_exit_codes_survive_a_full_stderr(folder: Path, level: str) -> None:
    command = [*DRIVER, "manifest.yaml", "--retry", "0", "--socket", f"unix:{folder}/none", "--log-level", level]
    assert warm.start(command, folder, Path(os.devnull), Path("/dev/full")).wait(60) == 3


# Structures to predict


def frames(folder: Path, *atoms: Atoms) -> str:
    write(folder / "frames.xyz", list(atoms))
    return "frames.xyz"


MOLECULE = Atoms(NUMBERS, POSITIONS)
BAD_FRAMES: dict[str, tuple[Callable[[Path], str], int, tuple[str, ...]]] = {
    "missing": (lambda d: "frames.xyz", 2, ("frames.xyz", "no such file")),
    "folder": (lambda d: ".", 2, ("regular file",)),
    "pipe": (lambda d: (os.mkfifo(d / "p"), "p")[1], 2, ("p: is no regular file",)),
    "standard-input": (lambda d: "-", 2, ("-: no such file",)),
    "empty": (lambda d: ((d / "e.xyz").write_text(""), "e.xyz")[1], 2, ("e.xyz",)),
    "binary": (lambda d: ((d / "b.xyz").write_bytes(b"\xff\0\1" * 99), "b.xyz")[1], 2, ("b.xyz", "frame 0")),
    "manifest": (lambda d: "manifest.yaml", 2, ("manifest.yaml", "cannot read")),
    "cut": (lambda d: cut_frames(d), 2, ("frames.xyz", "frame 1")),
    "other-molecule": (
        lambda d: frames(d, Atoms("OH2", POSITIONS[:3])),
        6,
        ("frame 0", "OHH", "OHHNH in this order"),
    ),
    "other-order": (lambda d: frames(d, MOLECULE[[1, 0, 2, 3, 4]]), 6, ("frame 0", "HOHNH", "OHHNH")),
    "later-frame": (lambda d: frames(d, MOLECULE, MOLECULE, MOLECULE[:3]), 6, ("frame 2", "OHH")),
    "bohr": (lambda d: frames(d, Atoms(NUMBERS, POSITIONS / BOHR)), 6, ("frame 0", "bohr")),
    "nanometres": (lambda d: frames(d, Atoms(NUMBERS, POSITIONS / 10)), 6, ("frame 0", "apart")),
    "nan": (lambda d: frames(d, Atoms(NUMBERS, POSITIONS * np.nan)), 6, ("frame 0", "not finite")),
    "later-nan": (lambda d: frames(d, MOLECULE, Atoms(NUMBERS, POSITIONS * np.nan)), 6, ("frame 1", "not finite")),
    "collapsed": (lambda d: frames(d, MOLECULE, Atoms(NUMBERS, 0 * POSITIONS)), 7, ("frame 1", "not a number")),
}


def cut_frames(folder: Path) -> str:
    path = folder / frames(folder, MOLECULE, MOLECULE)
    path.write_text(path.read_text()[:-60])
    return path.name


@pytest.mark.parametrize(
    ("case", "output"),
    [(case, "o.xyz") for case in BAD_FRAMES] + [(case, None) for case in ("missing", "later-frame", "later-nan")],
)
def test_structures_that_cannot_be(folder: Path, case: str, output: str | None) -> None:
    make, code, words = BAD_FRAMES[case]
    if output:
        (folder / output).write_text("what was there before\n")
    name = make(folder)
    fails(
        folder,
        *SGDML,
        "predict",
        "manifest.yaml",
        name,
        *(["-o", output, "--overwrite"] if output else []),
        code=code,
        words=words,
    )


def test_weights_beyond_all_measure(folder: Path) -> None:
    rewrite(folder / "both.npz", R_d_desc_alpha=np.full((4, 10), 1e308), std=1e9)
    name = frames(folder, MOLECULE)
    fails(folder, *SGDML, "predict", "manifest.yaml", name, code=7, words=("frame 0", "binding", "not a number"))


@pytest.mark.parametrize(
    ("output", "words"),
    [
        ("nowhere/o.xyz", ("nowhere/o.xyz", "No such file")),
        ("manifest.yaml/o.xyz", ("manifest.yaml/o.xyz", "Not a directory")),
        (".", ("directory",)),
        ("/dev/full", ("/dev/full", "No space left")),
    ],
    ids=["folder-missing", "folder-is-file", "is-folder", "full"],
)
def test_outputs_that_cannot_be(folder: Path, output: str, words: tuple[str, ...]) -> None:
    name = frames(folder, MOLECULE)
    fails(folder, *SGDML, "predict", "manifest.yaml", name, "-o", output, code=2, words=words)


def test_a_disk_that_fills_up_leaves_what_was_there(folder: Path) -> None:
    """Half of the output fits: an earlier one stays, no part of the new one does."""
    name = frames(folder, *[MOLECULE] * 200)
    (folder / "o.xyz").write_text("what was there before\n")
    limited = ["sh", "-c", 'ulimit -f 16; exec "$@"', "sh"]
    command = [*SGDML, "predict", "manifest.yaml", name, "-o", "o.xyz", "--overwrite"]
    fails(folder, *limited, *command, code=2, words=("o.xyz", "File too large"))


def test_a_device_is_written_to_and_not_replaced(folder: Path) -> None:
    name = frames(folder, MOLECULE)
    (folder / "device").symlink_to("/dev/null")
    assert warm.run([*SGDML, "predict", "manifest.yaml", name, "-o", "device"], folder).returncode == 0
    assert (folder / "device").is_symlink()
    assert Path("/dev/null").is_char_device()


@pytest.mark.parametrize("options", [[], ["--json"]], ids=["table", "json"])
@pytest.mark.parametrize("command", ["predict", "check"])
def test_standard_output_on_a_full_disk(folder: Path, command: str, options: list[str]) -> None:
    arguments = [*SGDML, command, "manifest.yaml", *([frames(folder, MOLECULE)] if command == "predict" else [])]
    assert warm.start([*arguments, *options], folder, Path("/dev/full"), folder / "err").wait(60) == 2
    (line,) = (folder / "err").read_text().splitlines()
    assert "No space left" in line


def test_a_terminal_without_greek(folder: Path) -> None:
    """σ, → and − come out as their numbers where the output cannot show them."""
    name = frames(folder, MOLECULE)
    ascii_only = {**os.environ, "PYTHONIOENCODING": "ascii"}
    for arguments in (["predict", "manifest.yaml", name, "-o", "o.xyz"], ["check", "manifest.yaml"]):
        done = subprocess.run(
            [*SGDML, *arguments], cwd=folder, env=ascii_only, capture_output=True, text=True, timeout=60
        )
        assert done.stderr == ""
        assert "\\u" in done.stdout
    assert len(read(folder / "o.xyz")) == 5


# The command line itself


@pytest.mark.parametrize(
    ("command", "words"),
    [
        (DRIVER, "Missing argument"),
        ([*DRIVER, "manifest.yaml", "--retry", "nan"], "'--retry'"),
        ([*DRIVER, "manifest.yaml", "--threads", "0"], "'--threads'"),
        ([*DRIVER, "manifest.yaml", "--part", "most"], "'--part'"),
        ([*DRIVER, "manifest.yaml", "--prot", "all"], "--prot"),
        ([*SGDML, "predikt"], "predikt"),
        ([*SGDML, "run", "input.xml", "manifest.yaml", "--drivers", "0"], "'--drivers'"),
        ([*SGDML, "check", "manifest.yaml", "--treads", "1"], "--treads"),
    ],
    ids=lambda value: " ".join(value[-2:])[-24:] if isinstance(value, list) else "",
)
def test_usage(folder: Path, command: list[str], words: str) -> None:
    """How it is used, and one line with what was wrong."""
    done = call(folder, *command)
    assert done.returncode == 2
    (line,) = (line for line in done.stderr.splitlines() if line.startswith("Error: "))
    assert words in line
    assert "Usage: " in done.stderr
    assert done.stdout == ""
