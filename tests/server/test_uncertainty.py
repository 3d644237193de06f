"""Expected errors on i-PI's wire: extras that are always the same keys, off unless asked for."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import pytest
import warm
from peer import Peer, header
from processes import Driver

from delta_server import load_potential
from delta_server.units import BOHR

from .conftest import StartDriver, System

TERMS = ("water", "benzene", "binding")
ERRORS = tuple(f"error_{name}" for name in (*TERMS, "total"))
DRIVER = str(Path(sys.executable).with_name("delta-driver"))


@pytest.fixture
def wet(trained: Path) -> System:
    potential = load_potential(trained / "manifest.yaml")
    return System(trained / "manifest.yaml", potential.numbers, potential.reference)


def serve(driver: Driver, peer: Peer, frames: np.ndarray) -> list[dict[str, float]]:
    connection = peer.accept()
    connection.handshake()
    extras = [connection.compute(frame).decoded[0] for frame in frames]
    connection.send(header("EXIT"))
    driver.finished()
    return extras


@pytest.mark.parametrize(("part", "served"), [("all", ERRORS), ("binding", ("error_binding", "error_total"))])
def test_extras_hold_expected_errors(
    start_driver: StartDriver, peer: Peer, wet: System, part: str, served: tuple[str, ...]
) -> None:
    frames = wet.frames(3)
    extras = serve(start_driver(wet.manifest, peer.address, "--uncertainty", "--part", part), peer, frames)
    for extra in extras:
        assert tuple(key for key in extra if key.startswith("error_")) == served
    potential = load_potential(wet.manifest)
    for extra, frame in zip(extras, frames * BOHR, strict=True):  # one by one, as they were asked for
        expected = potential.uncertainty(frame, part)  # type: ignore[arg-type]
        for key in served:
            assert extra[key] == pytest.approx(expected[key.removeprefix("error_")], rel=1e-6)
    assert len({extra["error_binding"] for extra in extras}) == 3


def test_there_are_none_unless_asked_for(start_driver: StartDriver, peer: Peer, wet: System) -> None:
    (extra,) = serve(start_driver(wet.manifest, peer.address), peer, wet.frames(1))
    assert not [key for key in extra if key.startswith("error_")]


def test_models_without_calibration_are_told_before_a_server_is_waited_for(dimer: System) -> None:
    command = [DRIVER, str(dimer.manifest), "--uncertainty", "--retry", "0"]
    done = warm.run(command)
    assert done.returncode == 2
    assert "first: the model has no error calibration; `delta-sgdml model calibrate" in done.stderr
    done = warm.run([*command, "--no-extras"])
    assert done.returncode == 2
    assert "--uncertainty goes with extras" in done.stderr


def test_the_plug_in_sends_them_too(wet: System) -> None:
    from delta_server.server.ipi_pes import DeltaDriver

    x = wet.frames(2)
    expected = load_potential(wet.manifest).uncertainty(x * BOHR)["binding"]
    for said in (True, "True", "true"):
        driver = DeltaDriver(str(wet.manifest), uncertainty=said, verbosity=False)
        extras = [json.loads(reply[3]) for reply in driver([np.zeros((3, 3))] * 2, list(x))]
        assert [extra["error_binding"] for extra in extras] == pytest.approx(expected, rel=1e-6)
    plain = json.loads(DeltaDriver(str(wet.manifest), verbosity=False)(np.zeros((3, 3)), x[0])[3])
    assert not [key for key in plain if key.startswith("error_")]
    with pytest.raises(ValueError, match="uncertainty is 'some'"):
        DeltaDriver(str(wet.manifest), uncertainty="some")
