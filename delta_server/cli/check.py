"""delta-sgdml check: everything that can be wrong with a manifest and its models."""

from __future__ import annotations

import json
from typing import Annotated

import typer

from .options import JsonOption, ManifestArg


def check(
    manifest: ManifestArg,
    walk: Annotated[
        bool, typer.Option("--walk/--no-walk", help="Relax, and walk a little: some seconds.", show_default="walk")
    ] = True,
    as_json: JsonOption = False,
) -> None:
    """Check a manifest and its models.

    Files, elements, units, derivatives and invariances; whether relaxing and a short walk at the temperature of the
    training stay within what the models know; whether they were tested on their own dynamics. Ends with 2 if anything
    fails.

    Example: delta-sgdml check models/h2o_benzene/manifest.yaml
    """
    from ..checks import check_manifest

    checks = []
    for item in check_manifest(manifest, walk=walk):
        checks.append(item)
        if not as_json:
            word = "FAIL" if not item.passed else "warn" if item.warning else "pass"
            print(f"{word}  {item.name:24s}  {item.found}", flush=True)
    failed = sum(not c.passed for c in checks)
    if as_json:
        print(json.dumps({"passed": failed == 0, "checks": [c.as_dict() for c in checks]}))
    else:
        warnings = sum(c.warning for c in checks)
        warned = f", {warnings} of them with a warning" if warnings else ""
        print(f"{len(checks) - failed} passed{warned}, {failed} failed")
    if failed:
        raise SystemExit(2)
