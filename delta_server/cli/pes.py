"""delta-sgdml pes: where the i-PI plug-in is."""

from __future__ import annotations

from importlib.util import find_spec


def pes() -> None:
    """Print the path of i-PI's plug-in.

    For <pes_path> in an i-PI input and for `i-pi-driver-py -P`.

    Example: i-pi-driver-py -m custom -P $(delta-sgdml pes) -o manifest=manifest.yaml -u -a delta
    """
    spec = find_spec("delta_server.server")
    assert spec is not None
    assert spec.submodule_search_locations is not None
    print(f"{next(iter(spec.submodule_search_locations))}/ipi_pes.py")
