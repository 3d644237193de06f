"""Rotation against bodies whose diffusion is known."""

from __future__ import annotations

import made_runs
import numpy as np
import pytest
from made_runs import chained, correlated
from scipy.spatial.transform import Rotation as Turn

from delta_server.analysis.rotation.curves import curves, decays
from delta_server.analysis.rotation.diffusion import Rotation, rotation
from delta_server.analysis.rotation.rigid import Orientations, body_frame, fit, orientations
from delta_server.analysis.rotation.turns import turns
from delta_server.analysis.trajectory import Block
from delta_server.errors import InputError

DT = 0.02  # ps between frames


def as_orientations(rotations: np.ndarray, dt: float = DT) -> Orientations:
    n = len(rotations)
    return Orientations(np.arange(n), np.arange(n) * dt, rotations, np.zeros(n))


def brownian(axes: tuple[float, float, float], n: int, seed: int) -> np.ndarray:
    return made_runs.brownian(axes, n, seed, DT)


def caged(width: float, relaxation: float, n: int, seed: int) -> np.ndarray:
    """Orientations exp(φ), φ an Ornstein–Uhlenbeck process of the given standard deviation (rad) and time (ps)."""
    phi = correlated(n, relaxation / DT, seed, width, (3,))
    return Turn.from_rotvec(phi).as_matrix()


def measured(rotations: np.ndarray, dt: float = DT) -> Rotation:
    return rotation(as_orientations(rotations, dt), dt)


@pytest.mark.parametrize("d", [0.01, 0.5, 3.0])
def test_an_isotropic_body(d: float) -> None:
    """Slow, faster, and fast enough to turn round many times; C_1 and C_2 agree."""
    found = measured(brownian((d, d, d), 30000, seed=int(100 * d)))
    assert found.d is not None, found.refused
    assert abs(found.d.value - d) < 3 * found.d.error < 0.15 * d
    assert found.notes == ()
    assert found.d_c1 is not None
    assert abs(found.d_c1.value - d) < 3.5 * found.d_c1.error
    assert found.d_c2 is not None
    assert abs(found.d_c2.value - d) < 3.5 * found.d_c2.error
    if d == 3.0:
        assert found.msad.max() > (4 * np.pi) ** 2


@pytest.mark.parametrize("seed", [1, 2])
def test_correlations_that_are_gone_at_long_lags_tell_all_the_same(seed: int) -> None:
    """Of the lags of the MSAD's window only those count at which every block still knows C_l."""
    found = measured(brownian((0.03, 0.03, 0.03), 25000, seed))
    assert found.window is not None
    assert found.window[1] * 2 * 0.03 > 1.2  # C_1 below e^−1.2
    for value in (found.d_c1, found.d_c2):
        assert value is not None
        assert abs(value.value - 0.03) < 3.5 * value.error


def test_an_anisotropic_body() -> None:
    axes = (0.1, 0.4, 1.0)
    found = measured(brownian(axes, 60000, seed=5))
    assert found.d is not None
    assert abs(found.d.value - 0.5) < 3 * found.d.error < 0.08
    for value, d in zip(found.axes_body, axes, strict=True):
        assert abs(value.value - d) < 3.5 * value.error < 0.2
    assert found.notes == ()
    # over all of SO(3) the axes of the body point everywhere, so that those of space are alike
    assert np.ptp([v.value for v in found.axes_space]) < 0.2


def test_stated_errors_are_the_spread_between_runs() -> None:
    found = [measured(brownian((0.5, 0.5, 0.5), 6000, seed=100 + k)).d for k in range(24)]
    values = np.array([f.value for f in found if f is not None])
    errors = np.array([f.error for f in found if f is not None])
    assert len(values) == 24
    assert errors.mean() == pytest.approx(values.std(ddof=1), rel=0.4)
    assert abs(values.mean() - 0.5) < 3 * values.std(ddof=1) / np.sqrt(24)


def test_free_decays_are_those_of_the_closed_form() -> None:
    axes = (0.1, 0.4, 1.0)
    frames = as_orientations(brownian(axes, 60000, seed=6))
    found = curves(frames, np.array([5, 20, 60]), DT)
    for mine, closed in zip((found.c1, found.c2), decays(np.array(axes), found.lags), strict=True):
        error = mine.std(0, ddof=1) / np.sqrt(len(mine))
        assert (np.abs(mine.mean(0) - closed) < 4 * error).all()
    same = decays(np.full(3, 0.5), np.array([0.7]))
    assert same[0][0] == pytest.approx(np.exp(-2 * 0.5 * 0.7))
    assert same[1][0] == pytest.approx(np.exp(-6 * 0.5 * 0.7))


def test_a_caged_body_is_refused_or_unmasked() -> None:
    """Its orientation stays. Where lags are short its summed angle stands still, later it walks."""
    short = measured(caged(0.15, 0.2, 20000, seed=1))
    assert short.d is None
    assert short.refused is not None
    assert "caged" in short.refused
    wide = measured(caged(0.8, 0.3, 100000, seed=2))
    assert wide.c1[-1] == pytest.approx(wide.c1[len(wide.c1) // 2], abs=0.03)  # a plateau
    assert wide.d is None or any("C_1 decays" in note and "2604.21512" in note for note in wide.notes)
    assert wide.d is not None, wide.refused  # the case that misleads


@pytest.mark.parametrize("inertia", [False, True])
def test_the_stride_between_frames_does_not_matter(inertia: bool) -> None:
    """Every frame, every second, fourth and eighth: the same D_r, from the same body."""
    if inertia:  # the angular velocity remembers for 0.2 ps; D = ω² τ
        memory, speed = 0.2, 1.5
        velocity = correlated(80000, memory / DT, 7, speed, (3,))
        frames = as_orientations(chained(Turn.from_rotvec(velocity * DT).as_matrix()))
    else:
        frames = as_orientations(brownian((0.5, 0.5, 0.5), 80000, seed=8))
    values = []
    for every in (1, 2, 4, 8):
        found = rotation(frames.every(every), every * DT)
        assert found.d is not None, found.refused
        assert found.notes == ()
        values.append(found.d)
    for other in values[1:]:
        assert abs(other.value - values[0].value) < 3 * max(other.error, values[0].error)
        assert other.value == pytest.approx(values[0].value, rel=0.1)
    if inertia:
        # D = ∫⟨ω(0) ω(t)⟩ dt of the discrete process, per axis
        keep = np.exp(-DT / memory)
        assert values[0].value == pytest.approx(speed**2 * DT * (0.5 + keep / (1 - keep)), rel=0.1)


def test_strides_too_coarse_to_unwrap_are_refused() -> None:
    frames = as_orientations(brownian((0.5, 0.5, 0.5), 40000, seed=9))
    found = rotation(frames.every(40), 40 * DT)
    assert found.d is None
    assert found.refused is not None
    assert "too coarse" in found.refused


def test_a_swinging_body_is_told_to_run_longer() -> None:
    steps = Turn.from_rotvec(np.tile([0.05, 0.0, 0.0], (3000, 1))).as_matrix()
    found = measured(chained(steps))
    assert found.refused is not None
    assert "run longer" in found.refused
    assert found.slope == pytest.approx(2, abs=1e-6)


def test_gaps_are_not_unwrapped() -> None:
    """Two halves with a gap between them, over which it turned by anything."""
    a, b = brownian((0.5,) * 3, 20000, seed=10), brownian((0.5,) * 3, 20000, seed=11)
    frames = as_orientations(np.concatenate([a, b]))
    frames.steps[20000:] += 500
    found = rotation(frames, DT)
    assert found.d is not None
    assert abs(found.d.value - 0.5) < 3 * found.d.error < 0.1


def molecule() -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(3)
    return rng.standard_normal((8, 3)) * [2.0, 1.5, 1.0], rng.uniform(1, 16, 8)


def test_the_fit_finds_the_rotation() -> None:
    shape, masses = molecule()
    truth = Turn.random(50, random_state=1).as_matrix()
    moved = np.einsum("nij,aj->nai", truth, shape) + np.arange(50)[:, None, None]
    found, rmsd = fit(shape, moved, masses)
    assert found == pytest.approx(truth, abs=1e-10)
    assert rmsd == pytest.approx(0, abs=1e-6)
    single, _ = Turn.align_vectors(
        moved[7] - masses @ moved[7] / masses.sum(), shape - masses @ shape / masses.sum(), masses
    )
    assert found[7] == pytest.approx(single.as_matrix(), abs=1e-8)
    mirrored, rmsd = fit(shape, moved * [1, 1, -1], masses)
    assert np.linalg.det(mirrored) == pytest.approx(1)
    assert rmsd.min() > 0.3
    plane = shape * [1, 1, 0]  # benzene: the sign of the third axis is not in the data
    assert fit(plane, np.einsum("nij,aj->nai", truth, plane), masses)[0] == pytest.approx(truth, abs=1e-8)


def test_a_guest_in_a_turning_host() -> None:
    """From positions with vibrations: relative to the host, the guest diffuses as it was made to, whatever the host
    and the laboratory do."""
    shape, masses = molecule()
    n, noise = 12000, np.random.default_rng(4)
    own = brownian((0.3, 0.3, 0.3), n, seed=12)
    host = brownian((0.2, 0.2, 0.2), n, seed=13)
    guest_atoms = np.einsum("nij,njk,ak->nai", host, own, shape)
    host_atoms = np.einsum("nij,aj->nai", host, 2 * shape) + 1.0
    positions = np.concatenate([guest_atoms, host_atoms], axis=1) + 0.01 * noise.standard_normal((n, 16, 3))
    blocks = [
        Block(np.arange(n)[a : a + 1000], DT * np.arange(n)[a : a + 1000], positions[a : a + 1000])
        for a in range(0, n, 1000)
    ]
    mass, guest, frame = np.tile(masses, 2), np.arange(8), np.arange(8, 16)
    relative = rotation(orientations(blocks, mass, guest, frame), DT)
    assert relative.d is not None
    assert abs(relative.d.value - 0.3) < 3 * relative.d.error < 0.1
    laboratory = rotation(orientations(blocks, mass, guest), DT)
    assert laboratory.d is not None
    assert abs(laboratory.d.value - 0.5) < 3 * laboratory.d.error < 0.15
    assert relative.rmsd == pytest.approx(0.01 * np.sqrt(3 * 2), rel=0.35)  # noise of the frame and of the reference


def test_bodies_without_three_angles_are_refused() -> None:
    masses = np.ones(3)
    for positions in (np.zeros((1, 3)), np.outer([0.0, 1.0, 2.2], [1.0, 1.0, 0.0])):
        with pytest.raises(InputError, match="on a line"):
            body_frame(positions, masses[: len(positions)])


def jumping(waits: np.ndarray, angle: float, n: int, seed: int) -> np.ndarray:
    """A continuous-time random walk on SO(3): after each wait (ps) a jump by an angle (rad) about any axis."""
    axes = np.random.default_rng(seed).standard_normal((len(waits) + 1, 3))
    axes *= angle / np.linalg.norm(axes, axis=1)[:, None]
    places = chained(Turn.from_rotvec(axes).as_matrix(), seed)
    return places[np.searchsorted(np.cumsum(waits), DT * np.arange(n))]


ANGLE = 1.2  # rad, of jumps
JUMP = 2 - ANGLE / np.tan(ANGLE / 2)  # D_r times the mean wait


def test_turns_of_a_free_body_tell_its_diffusion() -> None:
    """By any angle, and without memory: persistence is exchange."""
    free = as_orientations(brownian((0.5, 0.5, 0.5), 30000, seed=21))
    for angle in (30, 60, 90):
        found = turns(free, [slice(0, 30000)], DT, angle)
        assert found.d is not None
        assert abs(found.d.value - 0.5) < 3 * found.d.error < 0.06
        assert found.ratio is not None
        assert abs(found.ratio.value - 1) < 3 * found.ratio.error < 0.2
        assert not found.intermittent


def test_a_poisson_walk_turns_at_its_own_rate() -> None:
    """Waits of a mean of 0.5 ps: exchange and persistence are exponential, C_l = exp(−(1 − ⟨P_l⟩) t/τ)."""
    tau, n = 0.5, 60000
    found = measured(jumping(np.random.default_rng(22).exponential(tau, 2800), ANGLE, n, seed=22))
    counted = found.turns[-1]
    assert counted.number == pytest.approx(n * DT / tau, abs=4 * np.sqrt(n * DT / tau))
    for value, expected in ((counted.d, JUMP / tau), (counted.exchange, tau), (counted.persistence, tau)):
        assert value is not None
        assert abs(value.value - expected) < 3 * value.error < 0.25 * expected
    assert not counted.intermittent
    assert found.d is not None
    assert abs(found.d.value - ANGLE**2 / 6 / tau) < 3.5 * found.d.error
    c = np.cos(ANGLE)
    for series, error, kept in (
        (found.c1, found.c1_error, (1 + 2 * c) / 3),
        (found.c2, found.c2_error, (1 + 2 * c + 2 * (2 * c * c - 1)) / 5),
    ):
        closed = np.exp(-(1 - kept) * found.lags / tau)
        assert (np.abs(series - closed) < 4 * error + 1e-3).all()
    assert found.notes == ("C_2 decays 1.5 times slower than the MSAD says, and counted turns agree with the MSAD: "
                           "it turns by jumps",)  # fmt: skip


def test_waits_of_a_power_law_are_intermittent() -> None:
    """Waits t with (1 + t)^−γ longer ones: persistence has γ − 1, and the MSAD sees nothing of it."""
    gamma, n = 2.5, 60000
    waits = np.random.default_rng(23).random(4000) ** (-1 / gamma) - 1
    found = measured(jumping(waits, ANGLE, n, seed=23))
    counted = found.turns[-1]
    assert counted.intermittent
    exchange, persistence = np.expm1(1 / gamma), np.expm1(1 / (gamma - 1))  # 1/e is left
    for value, expected in (
        (counted.d, JUMP * (gamma - 1)),
        (counted.exchange, exchange),
        (counted.persistence, persistence),
        (counted.ratio, persistence / exchange),
    ):
        assert value is not None
        assert abs(value.value - expected) < 3 * value.error < 0.6 * expected
    some = slice(1, 45)
    assert counted.persistence_left[some] == pytest.approx((1 + counted.time[some]) ** (1 - gamma), abs=0.06)
    assert found.d is not None
    assert found.d.value == pytest.approx(ANGLE**2 / 6 * (gamma - 1), rel=0.15)
    assert "intermittent" in found.line()


def test_a_rotor_turns_in_equal_times_and_a_cage_never() -> None:
    speed, angle = 1.0, np.radians(60)  # rad/ps
    n = 20000
    rotor = measured(chained(Turn.from_rotvec(np.tile([speed * DT, 0, 0], (n, 1))).as_matrix())).turns[-1]
    assert rotor.number == pytest.approx(n * DT * speed / angle, rel=0.02)
    assert rotor.d is not None
    assert rotor.d.value == pytest.approx((2 - angle / np.tan(angle / 2)) * speed / angle, rel=0.03)
    assert rotor.exchange is not None
    assert rotor.exchange.value == pytest.approx(angle / speed, rel=0.06)
    assert set(rotor.exchange_left[np.abs(rotor.time * speed / angle - 1) > 0.06]) == {0.0, 1.0}
    cage = measured(caged(0.15, 0.2, 20000, seed=1))
    assert cage.turns[-1].number == 0
    assert cage.turns[-1].d is None
    assert "no turn of 60°" in cage.line()
