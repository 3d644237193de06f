"""What `python -m build` makes: a source archive and a wheel that run where nothing but their dependencies is."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import sysconfig
import tarfile
import venv
from pathlib import Path
from zipfile import ZipFile

import pytest

import delta_server

ROOT = Path(__file__).resolve().parent.parent
DOCUMENTS = ("README.md", "LICENSE")
SOURCES = ("pyproject.toml", *DOCUMENTS, "delta_server")
SHIPPED = (
    "py.typed",
    "gdml/compiled/_compiled.c",
    "gdml/compiled/_descriptor.h",
    "gdml/compiled/_loops.h",
    "analysis/report/page.html",
    "analysis/report/page.css",
    "analysis/report/page.js",
    "analysis/report/3Dmol-min.js",
    "analysis/report/3Dmol-LICENSE.txt",
)
WARNINGS = "error,ignore:`[tool."  # setuptools calls extensions in pyproject.toml experimental
BACKENDS = "from delta_server.gdml.sums.backends import backends; print(*backends())"


def run(*command: object, cwd: Path, **env: str) -> str:
    """What a command prints, away from this checkout and from what leads to it; warnings of Python are errors."""
    clean = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    done = subprocess.run(
        [*map(str, command)], cwd=cwd, env=clean | env, capture_output=True, text=True, timeout=240, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of the source archive and of the wheel made from it (without optimisation, which takes a minute)."""
    folder = tmp_path_factory.mktemp("built")
    for name in SOURCES:
        if (ROOT / name).is_dir():
            shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__", "*.so"))
        else:
            shutil.copy(ROOT / name, folder)
    compiler = folder / "cc"
    compiler.write_text(f'#!/bin/sh\nexec {os.environ.get("CC", "cc")} "$@" -O0\n')
    compiler.chmod(0o755)
    run(sys.executable, "-m", "build", "--no-isolation", cwd=folder, CC=str(compiler), PYTHONWARNINGS=WARNINGS)
    return folder / "dist"


def one(folder: Path, pattern: str) -> Path:
    (path,) = folder.glob(pattern)
    return path


def installed(archive: Path, folder: Path, *options: str, **env: str) -> Path:
    """bin/ of a new environment that has the archive, and of this one the dependencies, but not this checkout."""
    venv.create(folder, with_pip=False, symlinks=True)
    site = one(folder, "lib/python*/site-packages")
    (site / "dependencies.pth").write_text("\n".join({sysconfig.get_path("purelib"), sysconfig.get_path("platlib")}))
    pip = (sys.executable, "-m", "pip", "--python", folder / "bin/python", "install", "--quiet", "--no-compile")
    run(*pip, "--no-deps", "--no-index", *options, archive, cwd=folder, **env)
    return folder / "bin"


def test_the_archives_hold_all_that_the_package_needs(built: Path) -> None:
    name = f"delta_server-{delta_server.__version__}"
    with tarfile.open(built / f"{name}.tar.gz") as archive:
        source = {member.removeprefix(f"{name}/") for member in archive.getnames()}
    with ZipFile(one(built, "*.whl")) as wheel:
        files = set(wheel.namelist())
        metadata = wheel.read(f"{name}.dist-info/METADATA").decode()
    code = {path.relative_to(ROOT).as_posix() for path in (ROOT / "delta_server").rglob("*.py")}
    code |= {f"delta_server/{path}" for path in SHIPPED}
    assert code <= source
    assert code <= files
    assert {"pyproject.toml", *DOCUMENTS} <= source
    assert "\nLicense-Expression: MIT\n" in metadata


def test_the_wheel_runs_where_only_its_dependencies_are(built: Path, tmp_path: Path) -> None:
    wheel = one(built, "*.whl")
    bin_ = installed(wheel, tmp_path / "venv")
    where = run(bin_ / "python", "-c", "import delta_server; print(delta_server.__file__)", cwd=tmp_path)
    assert Path(where).is_relative_to(tmp_path)
    assert "portable" in run(bin_ / "python", "-c", BACKENDS, cwd=tmp_path)
    assert "-cp311-abi3-" in wheel.name
    assert "--socket" in run(bin_ / "delta-driver", "--help", cwd=tmp_path)
    assert delta_server.__version__ in run(bin_ / "delta-sgdml", "--version", cwd=tmp_path)
    assert ", 0 failed" in run(bin_ / "delta-sgdml", "check", ROOT / "models/h2o_benzene/manifest.yaml", cwd=tmp_path)


def test_without_a_compiler_the_slow_sums_do_the_work(built: Path, tmp_path: Path) -> None:
    bin_ = installed(one(built, "*.tar.gz"), tmp_path / "venv", "--no-build-isolation", CC="false")
    assert run(bin_ / "python", "-c", BACKENDS, cwd=tmp_path).split() == ["numpy"]
    checks = run(bin_ / "delta-sgdml", "check", ROOT / "models/h2o_benzene/manifest.yaml", cwd=tmp_path)
    assert ", 0 failed" in checks
    assert "compiled sums" in checks
