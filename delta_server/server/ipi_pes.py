"""i-PI PES plug-in: forces in i-PI's own process (FFDirect) or through its stock driver.

    <ffdirect name="delta"> <pes> custom </pes> <pes_path> …/ipi_pes.py </pes_path>
      <parameters> {manifest: models/h2o_benzene/manifest.yaml} </parameters> </ffdirect>

    i-pi-driver-py -m custom -P …/ipi_pes.py -o manifest=models/h2o_benzene/manifest.yaml -u -a delta

`part: fragments` or `part: binding` serves only that part; `uncertainty: True` adds expected errors to the extras.
Set OMP_NUM_THREADS=1 for both: the matrices of one structure are too small to share. `delta-sgdml pes` prints this
file's path. i-PI loads the file on its own, outside the package: imports are absolute.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from ipi.pes.dummy import Dummy_driver

from delta_server import load_potential
from delta_server._types import FloatArray
from delta_server.server.driver import extras_json
from delta_server.terms.base import Frames
from delta_server.units import BOHR, HARTREE

__DRIVER_NAME__ = "delta"
__DRIVER_CLASS__ = "DeltaDriver"

Reply = tuple[float, FloatArray, FloatArray, str]


class DeltaDriver(Dummy_driver):  # type: ignore[misc]
    """A Δ-model behind i-PI's PES interface; a batch of structures is one evaluation.

    manifest: path of the manifest. part: ``all``, ``fragments`` or ``binding``. uncertainty: extras ``error_<term>``
    too. The first structure must look like the manifest's (`Potential.check_geometry`).
    """

    def __init__(
        self, manifest: str = "", part: str = "all", uncertainty: bool | str = False, *args: Any, **kwargs: Any
    ) -> None:
        if not manifest:
            raise ValueError("the plug-in needs a manifest: -o manifest=FILE, or <parameters> {manifest: FILE}")
        self._potential = load_potential(manifest)
        if part not in ("all", "fragments", "binding"):
            raise ValueError(f"part is {part!r}, expected all, fragments or binding")
        if str(uncertainty).lower() not in ("true", "false"):
            raise ValueError(f"uncertainty is {uncertainty!r}, expected True or False")
        self._part: Any = part
        self._uncertainty = str(uncertainty).lower() == "true"  # `-o` gives text
        self._checked = False
        super().__init__(*args, **kwargs)

    def compute(self, cell: Any, pos: Any) -> Any:
        """One structure, or lists of them: atomic units in and out."""
        if isinstance(pos, list):
            return self._evaluate(np.stack(cell), np.stack(pos))
        return self._evaluate(np.asarray(cell)[None], np.asarray(pos)[None])[0]

    def _evaluate(self, h: FloatArray, positions: FloatArray) -> list[Reply]:
        """h: (F, 3, 3), columns are lattice vectors."""
        wrapped = Frames(positions * BOHR, h.transpose(0, 2, 1) * BOHR)
        frames, cells = self._potential.whole(
            wrapped, name="structure {} from i-PI".format if self._checked else None
        )
        if not self._checked:
            self._potential.check_geometry(frames[0], "first geometry from i-PI")
            self._checked = True
        result = self._potential.compute(frames, self._part, cells)
        errors = self._potential.uncertainty(frames, self._part, cells) if self._uncertainty else {}
        return [
            (
                float(result.energy[i]) / HARTREE,
                result.forces[i] * (BOHR / HARTREE),
                result.virial[i] / HARTREE,
                extra.decode(),
            )
            for i, extra in enumerate(extras_json(result, errors))
        ]
