"""i-PI PES plug-in: forces in i-PI's own process (FFDirect) or through its stock driver.

    <ffdirect name="delta"> <pes> custom </pes> <pes_path> …/ipi_pes.py </pes_path>
      <parameters> {manifest: models/h2o_benzene/manifest.yaml} </parameters> </ffdirect>

    i-pi-driver-py -m custom -P …/ipi_pes.py -o manifest=models/h2o_benzene/manifest.yaml -u -a delta

`part: fragments` or `part: binding` serves only that part; `uncertainty: True` adds expected errors to the
extras; `threads: N` shares a prediction; `wrapped: False` says that i-PI puts no positions into its cell (pbc).
Set OMP_NUM_THREADS=1 for both: the matrices of one structure are too small to share. `delta-sgdml pes` prints
this file's path. i-PI loads the file on its own, outside the package: imports are absolute.

An error in i-PI's process is one line in its log, leaves a RESTART, and ends it with the exit code of a driver: i-PI
would wait for ever for a system whose thread has died.
"""

from __future__ import annotations

import os
import sys
import traceback
from typing import Any, NoReturn
from urllib.parse import unquote

import numpy as np
from ipi.pes.dummy import Dummy_driver
from ipi.utils.messages import info
from ipi.utils.softexit import softexit

from delta_server import load_potential
from delta_server._types import FloatArray
from delta_server.errors import DeltaError, InputError, NonFiniteError
from delta_server.server.driver import dump_geometry, extras_json
from delta_server.terms.base import Frames
from delta_server.units import BOHR, HARTREE

__DRIVER_NAME__ = "delta"
__DRIVER_CLASS__ = "DeltaDriver"

Reply = tuple[float, FloatArray, FloatArray, str]


class DeltaDriver(Dummy_driver):  # type: ignore[misc]
    """A Δ-model behind i-PI's PES interface; a batch of structures is one evaluation.

    manifest: path of the manifest, or file: and the path quoted as in a URL. part: ``all``, ``fragments`` or
    ``binding``. uncertainty: extras ``error_<term>`` too. threads: of a prediction. wrapped: whether i-PI may put
    positions into its cell (pbc). The first structures must look
    like the manifest's (`Potential.check_geometry`).
    """

    def __init__(
        self,
        manifest: str = "",
        part: str = "all",
        uncertainty: bool | str = False,
        threads: int | str = 1,
        wrapped: bool | str = True,
        *args: Any,
        **kwargs: Any,
    ) -> None:
        if not manifest:
            raise ValueError("the plug-in needs a manifest: -o manifest=FILE, or <parameters> {manifest: FILE}")
        if part not in ("all", "fragments", "binding"):
            raise ValueError(f"part is {part!r}, expected all, fragments or binding")
        for name, value in (("uncertainty", uncertainty), ("wrapped", wrapped)):
            if str(value).lower() not in ("true", "false"):
                raise ValueError(f"{name} is {value!r}, expected True or False")
        path = unquote(manifest.removeprefix("file:")) if manifest.startswith("file:") else manifest
        served: Any = part
        self._potential, self._part = load_potential(path, threads=int(threads), part=served), served
        self._uncertainty = str(uncertainty).lower() == "true"  # `-o` gives text
        self._periodic: Any = False if str(wrapped).lower() == "false" else None  # see `Potential.whole`
        self._checked = False
        super().__init__(*args, **kwargs)

    def compute(self, cell: Any, pos: Any) -> Any:
        """One structure, or lists of them: atomic units in and out."""
        try:
            with np.errstate(all="ignore"):  # what does not come out finite is told, once
                if isinstance(pos, list):
                    return self._evaluate(np.stack(cell), np.stack(pos))
                return self._evaluate(np.asarray(cell)[None], np.asarray(pos)[None])[0]
        except Exception as error:
            if softexit.hard_exit:  # this is the program i-pi, not the stock driver
                _end_ipi(error)
            raise

    def _evaluate(self, h: FloatArray, positions: FloatArray) -> list[Reply]:
        """h: (F, 3, 3), columns are lattice vectors."""
        wrapped = Frames(positions * BOHR, h.transpose(0, 2, 1) * BOHR)
        frames, cells = self._potential.whole(
            wrapped, self._periodic, "structure {} from i-PI".format if self._checked else None
        )
        if not self._checked:
            for i, frame in enumerate(frames):
                place = f" (structure {i} of the batch)" if len(frames) > 1 else ""
                self._potential.check_geometry(frame, f"first geometry from i-PI{place}")
            self._checked = True
        try:
            result = self._potential.compute(frames, self._part, cells)
            errors = self._potential.uncertainty(frames, self._part, cells) if self._uncertainty else {}
            extras = extras_json(result, errors)
        except NonFiniteError as error:
            raise NonFiniteError(f"{error}; {dump_geometry(self._potential.numbers, frames)}") from None
        return [
            (
                float(result.energy[i]) / HARTREE,
                result.forces[i] * (BOHR / HARTREE),
                result.virial[i] / HARTREE,
                extra.decode(),
            )
            for i, extra in enumerate(extras)
        ]


def _end_ipi(error: Exception) -> NoReturn:
    """Let i-PI write its RESTART, and end its process with the exit code of the error."""
    if isinstance(error, MemoryError):
        error = InputError(f"does not fit into memory: {error}")
    code = error.exit_code if isinstance(error, DeltaError) else 1
    if code == 1:
        traceback.print_exception(error, file=sys.stdout)
    message = str(error) if code != 1 else f"{type(error).__name__}: {' '.join(str(error).split())}"
    info(f" @delta: ended with code {code}: {message}")
    try:
        softexit.hard_exit = False  # threads of other systems end themselves, not the process
        softexit.cleanup(message=" @delta: no forces.")
    finally:
        sys.stdout.flush()
        os._exit(code)
