"""The architecture's one-way arrows, and what may not be written where, read from the source itself."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import networkx as nx
import pytest

import delta_server

PACKAGE = Path(delta_server.__file__).parent
FILES = sorted(PACKAGE.rglob("*.py"))
LAYERS = (
    {"units", "errors", "_types"},
    {"files"},
    {"molecule"},
    {"ipi", "symmetry", "manifest", "methods"},
    {"gdml", "variables"},
    {"terms"},
    {"potential"},
    {"loading"},
    {"calculator"},
    {"dynamics", "lookout", "ase_plugin"},
    {"server", "checks"},
    {"data"},
    {"training"},
    {"active"},
    {"sweep", "bench"},
    {"analysis"},
    {"cli"},
)
FACADE = {
    "DeltaCalculator": "calculator",
    "Potential": "potential",
    "Result": "potential",
    "load_potential": "loading",
}
HEAVY = {"torch", "sgdml", "matplotlib", "ipi", "ase", "scipy"}
HEAVY_ALLOWED = {
    "server/ipi_pes.py": {"ipi"},
    "sweep/bias_pes.py": {"ipi"},
    "calculator.py": {"ase"},
    "ase_plugin.py": {"ase"},
    "methods/dft.py": {"ase"},
}
BLIND = {"eval", "exec", "os.system", "pickle.load", "pickle.loads"} | {
    f"yaml.{name}" for name in ("unsafe_load", "full_load", "load_all", "full_load_all")
}

AT_REST = ("numpy", "ase", "torch", "sgdml", "matplotlib", "ipi", "scipy", "yaml", "pydantic")


def name_of(path: Path) -> str:
    return path.relative_to(PACKAGE).as_posix()


def unit(path: Path) -> str:
    """The package or module of the architecture that a file belongs to; "" for delta_server itself."""
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py").replace("__init__", "")


def layer(name: str) -> int:
    return next(i for i, names in enumerate(LAYERS) if name in names)


@cache
def tree(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"))


def imports(node: ast.AST, path: Path) -> Iterator[tuple[str, str]]:
    """(absolute module, name) of every import under a node; the name is "" for ``import module``."""
    package = ["delta_server", *path.relative_to(PACKAGE).parts[:-1]]
    for n in ast.walk(node):
        if isinstance(n, ast.Import):
            yield from ((alias.name, "") for alias in n.names)
        elif isinstance(n, ast.ImportFrom):
            base = package[: len(package) - n.level + 1] if n.level else []
            module = ".".join([*base, *(n.module or "").split(".")]).strip(".")
            yield from ((module, alias.name) for alias in n.names)


def ours(node: ast.AST, path: Path) -> Iterator[str]:
    """The units of the architecture that are imported under a node."""
    for module, name in imports(node, path):
        parts = module.split(".")
        if parts[0] == "delta_server":
            found = parts[1] if len(parts) > 1 else FACADE.get(name, name)
            if found not in ("", "__version__"):
                yield found


def on_import(node: ast.AST) -> Iterator[ast.stmt]:
    """The import statements that run with the module: not in a function, not for the type checker alone."""
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.Import | ast.ImportFrom):
            yield child
        type_checking = isinstance(child, ast.If) and "TYPE_CHECKING" in ast.unparse(child.test)
        if not type_checking and not isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef):
            yield from on_import(child)


def test_every_module_has_its_place() -> None:
    known = set().union(*LAYERS)
    assert {unit(path) for path in FILES} - {""} <= known
    assert len(FILES) > 20


def test_arrows_point_down() -> None:
    """Wherever an import stands, functions and TYPE_CHECKING included."""
    wrong = []
    for path in FILES:
        here = unit(path)
        imported = set(ours(tree(path), path)) - {here}
        against = {name for name in imported if layer(name) >= layer(here)} if here else imported & {"cli"}
        wrong += [f"{name_of(path)} imports {name}" for name in against]
    assert not wrong


def module_of(path: Path) -> str:
    """``delta_server.gdml.model`` for its file, ``delta_server.gdml`` for the folder's own."""
    parts = path.relative_to(PACKAGE.parent).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def test_files_form_no_circle() -> None:
    """Wherever an import stands: one in a function, or for the type checker alone, counts as well."""
    graph = nx.DiGraph()
    modules = {module_of(path): path for path in FILES}
    for module, path in modules.items():
        for base, name in imports(tree(path), path):
            needed = f"{base}.{name}" if f"{base}.{name}" in modules else base
            if needed in modules and needed != module and name != "__version__":
                graph.add_edge(module, needed)
    assert graph.number_of_edges() > len(FILES)
    assert not list(nx.simple_cycles(graph))


def test_folders_and_modules_stay_small() -> None:
    for folder in {path.parent for path in FILES}:
        files = [path for path in folder.iterdir() if path.is_file() and path.suffix != ".so"]
        assert len(files) <= 14, f"{name_of(folder)}: {len(files)} files"
    lengths = {name_of(path): len(path.read_text(encoding="utf-8").splitlines()) for path in FILES}
    assert not {name: length for name, length in lengths.items() if length > 400}


def test_heavy_modules_are_imported_where_they_are_needed() -> None:
    wrong = []
    for path in FILES:
        allowed = HEAVY_ALLOWED.get(name_of(path), set())
        for statement in on_import(tree(path)):
            roots = {module.split(".")[0] for module, _ in imports(statement, path)}
            if roots & HEAVY - allowed:
                wrong.append(f"{name_of(path)}: {ast.unparse(statement)}")
    assert not wrong


def test_only_the_command_line_prints_and_exits() -> None:
    ends = ("print", "input", "exit", "quit", "sys.exit", "os._exit")
    wrong = []
    for path in FILES:
        for node in ast.walk(tree(path)) if unit(path) != "cli" else ():
            called = isinstance(node, ast.Call) and dotted(node.func) in ends
            raised = isinstance(node, ast.Raise) and node.exc is not None and "SystemExit" in ast.unparse(node.exc)
            in_ipi = name_of(path) == "server/ipi_pes.py"  # which ends i-PI's process
            if (called and not in_ipi) or raised:
                wrong.append(f"{name_of(path)}:{node.lineno}: {ast.unparse(node)}")
    assert not wrong


def test_nothing_is_unpickled_evaluated_or_loaded_blindly() -> None:
    assert not [f"{name_of(path)}: {what}" for path in FILES for what in trusting(path)]


def trusting(path: Path) -> Iterator[str]:
    """What in a file would run what it reads."""
    module = tree(path)
    safe = {
        c.name for c in ast.walk(module) if isinstance(c, ast.ClassDef) and "SafeLoader" in map(base_name, c.bases)
    } | {"SafeLoader"}
    yield from {m for m, _ in imports(module, path)} & {"pickle", "marshal", "shelve", "dill"}
    for node in ast.walk(module):
        wrong = False
        if isinstance(node, ast.keyword) and node.arg == "allow_pickle":
            wrong = ast.unparse(node.value) != "False"
        elif isinstance(node, ast.Call):
            called = dotted(node.func)
            wrong = called in BLIND or any(
                k.arg == "shell" and ast.unparse(k.value) != "False" for k in node.keywords
            )
            if called == "yaml.load":
                loaders = {base_name(k.value) for k in node.keywords if k.arg == "Loader"}
                loaders |= {base_name(argument) for argument in node.args[1:]}
                wrong = wrong or not loaders or not loaders <= safe
        if wrong:
            yield f"{node.lineno}: {ast.unparse(node)}"


def base_name(node: ast.expr) -> str:
    return dotted(node).split(".")[-1]


def dotted(node: ast.expr) -> str:
    """`a.b.c` as it stands there, much faster than ast.unparse; of what is more than names, the names after it."""
    if isinstance(node, ast.Attribute):
        return f"{dotted(node.value)}.{node.attr}"
    return node.id if isinstance(node, ast.Name) else ""


@pytest.mark.parametrize(
    ("statement", "absent"),
    [
        ("import delta_server", AT_REST),
        ("import delta_server.errors, delta_server.units", AT_REST),
        ("import delta_server.server.driver", ("torch", "sgdml", "matplotlib", "ipi", "ase")),
        ("from delta_server import load_potential", ("torch", "sgdml", "matplotlib", "ipi", "ase")),
        ("import delta_server.cli.driver, delta_server.cli.main", AT_REST[:7]),
        (
            "import sys\nsys.argv[1:] = ['--help']\n"
            "try: runpy.run_module('delta_server.cli.driver', run_name='__main__', alter_sys=True)\n"
            "except SystemExit: pass",
            AT_REST[:7],
        ),
    ],
    ids=["package", "errors", "server", "potential", "commands", "driver-help"],
)
def test_what_an_import_brings_along(statement: str, absent: tuple[str, ...]) -> None:
    """In a fresh interpreter, as far as this package is to blame: what site starts with does not count."""
    code = (
        f"import runpy, sys\nbefore = set(sys.modules)\n{statement}\nprint('|', *sorted(set(sys.modules) - before))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    loaded = {name.split(".")[0] for name in done.stdout.rpartition("|")[2].split()}
    assert "delta_server" in loaded
    assert not loaded & set(absent)
