"""delta-sgdml check: everything that can be wrong with a manifest and its models."""

from __future__ import annotations

import json

from .options import JsonOption, ManifestArg


def check(manifest: ManifestArg, as_json: JsonOption = False) -> None:
    """Check a manifest and its models.

    Files, elements, units, derivatives and invariances. Ends with 2 if anything fails.

    Example: delta-sgdml check models/h2o_benzene/manifest.yaml
    """
    from ..checks import check_manifest

    checks = []
    for item in check_manifest(manifest):
        checks.append(item)
        if not as_json:
            print(f"{'pass' if item.passed else 'FAIL'}  {item.name:24s}  {item.found}", flush=True)
    failed = sum(not c.passed for c in checks)
    if as_json:
        print(json.dumps({"passed": failed == 0, "checks": [c.as_dict() for c in checks]}))
    else:
        print(f"{len(checks) - failed} passed, {failed} failed")
    if failed:
        raise SystemExit(2)
