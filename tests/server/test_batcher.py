"""Requests that wait together become one batch: who evaluates, what each gets back, who bears an error."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from processes import DEADLINE, wait_until

from delta_server import load_potential
from delta_server.errors import GeometryError, NonFiniteError
from delta_server.potential import Parts, Result
from delta_server.server.batcher import Batcher, Evaluation, Evaluator
from delta_server.terms.base import Frames

from .conftest import System


class Recorder:
    """Evaluates by another, and remembers: how many frames, in which thread. The first one can be held."""

    def __init__(self, evaluate: Callable[[Frames], Evaluation]) -> None:
        self.evaluate = evaluate
        self.sizes: list[int] = []
        self.threads: list[int] = []
        self.gate = threading.Event()

    def __call__(self, frames: Frames) -> Evaluation:
        self.sizes.append(len(frames.positions))
        self.threads.append(threading.get_ident())
        assert self.gate.wait(DEADLINE)
        return self.evaluate(frames)


def waiting(batcher: Batcher, n: int) -> None:
    wait_until(lambda: len(batcher._waiting) == n, f"{n} requests to wait")


def ask(pool: ThreadPoolExecutor, batcher: Batcher, recorder: Recorder, requests: list[Frames]) -> list[Future]:
    """The first request is being evaluated while the others come, in their order."""
    futures = [pool.submit(batcher, requests[0])]
    wait_until(lambda: bool(recorder.sizes), "the first evaluation")
    for i, frames in enumerate(requests[1:], start=1):
        futures.append(pool.submit(batcher, frames))
        waiting(batcher, i)
    recorder.gate.set()
    return futures


def same(found: Evaluation, alone: Evaluation) -> None:
    """In every part, to the last bit; expected errors up to rounding."""
    for a, b in zip(found.result[:3], alone.result[:3], strict=True):
        assert np.array_equal(a, b)
    assert found.result.parts.energies.keys() == alone.result.parts.energies.keys()
    for name, energy in alone.result.parts.energies.items():
        assert np.array_equal(found.result.parts.energies[name], energy)
    if alone.result.parts.binding_forces is None:
        assert found.result.parts.binding_forces is None
    else:
        assert found.result.parts.binding_forces is not None
        assert np.array_equal(found.result.parts.binding_forces, alone.result.parts.binding_forces)
    assert found.errors.keys() == alone.errors.keys()
    for name, error in alone.errors.items():
        assert found.errors[name] == pytest.approx(error, rel=1e-3)  # what is left of large numbers


def squares(frames: Frames) -> Evaluation:
    """A potential whose numbers tell which frame they belong to: E = Σ x²."""
    x = frames.positions
    energy = (x**2).sum((1, 2))
    result = Result(energy, -2 * x, np.zeros((len(x), 3, 3)), Parts({"all": energy}, None))
    return Evaluation(result, {})


def test_a_lone_request_is_evaluated_at_once_by_its_own_thread() -> None:
    recorder = Recorder(squares)
    recorder.gate.set()
    batcher = Batcher(recorder)
    for n in (1, 4):
        assert len(batcher(Frames(np.ones((n, 2, 3)))).result.energy) == n
    assert recorder.sizes == [1, 4]
    assert set(recorder.threads) == {threading.get_ident()}


def test_what_comes_meanwhile_is_one_batch() -> None:
    recorder = Recorder(squares)
    batcher = Batcher(recorder)
    rng = np.random.default_rng(0)
    requests = [Frames(rng.standard_normal((n, 5, 3))) for n in (1, 2, 1, 3)]
    with ThreadPoolExecutor(4) as pool:
        futures = ask(pool, batcher, recorder, requests)
        for future, frames in zip(futures, requests, strict=True):
            same(future.result(DEADLINE), squares(frames))
    assert recorder.sizes == [1, 6]
    assert batcher.evaluations == 2
    assert batcher.seconds > 0


@pytest.mark.parametrize("part", ["all", "fragments", "binding"])
def test_each_gets_what_it_would_have_got_alone(h2o_benzene: Path, part: str) -> None:
    """Parts, binding forces and expected errors too."""
    potential = load_potential(h2o_benzene)
    evaluator = Evaluator(potential, part, uncertainty=True)  # type: ignore[arg-type]
    recorder = Recorder(evaluator)
    rng = np.random.default_rng(1)
    x = potential.reference
    requests = [Frames(x + 0.03 * rng.standard_normal((n, *x.shape))) for n in (1, 1, 3)]
    with ThreadPoolExecutor(3) as pool:
        futures = ask(pool, Batcher(recorder), recorder, requests)
        for future, frames in zip(futures, requests, strict=True):
            same(future.result(DEADLINE), evaluator(frames))
    assert recorder.sizes == [1, 4]


def test_many_threads_for_long(dimer: System) -> None:
    """No request is lost, exchanged or left behind, whoever comes when."""
    potential = load_potential(dimer.manifest)
    evaluator = Evaluator(potential)
    batcher = Batcher(evaluator)

    def client(seed: int) -> int:
        rng = np.random.default_rng(seed)
        for _ in range(100):
            frames = Frames(dimer.positions + 0.02 * rng.standard_normal((1 + seed % 3, *dimer.positions.shape)))
            same(batcher(frames), evaluator(frames))
        return seed

    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(client, range(8), timeout=DEADLINE)) == list(range(8))
    assert batcher.evaluations <= 800
    assert not batcher._busy


@pytest.mark.parametrize(
    ("spoil", "error", "reason"),
    [
        (lambda x: np.where(np.arange(6)[:, None] == 4, x[1], x), NonFiniteError, "frame 1: "),
        (lambda x: np.where(np.arange(6)[:, None] == 4, np.nan, x), GeometryError, "atom 4 in frame 1 is not finite"),
    ],
    ids=["forces", "positions"],
)
def test_an_error_is_the_culprits_alone(
    dimer: System, spoil: Callable[[np.ndarray], np.ndarray], error: type[Exception], reason: str
) -> None:
    """And tells the frame by its number in the culprit's own request."""
    evaluator = Evaluator(load_potential(dimer.manifest))
    recorder = Recorder(evaluator)
    batcher = Batcher(recorder)
    good = [Frames(dimer.positions[None] + 0.01 * i) for i in range(3)]
    bad = Frames(np.stack([dimer.positions, spoil(dimer.positions)]))
    with ThreadPoolExecutor(4) as pool:
        first, second, culprit, last = ask(pool, batcher, recorder, [good[0], good[1], bad, good[2]])
        for future, frames in zip((first, second, last), good, strict=True):
            same(future.result(DEADLINE), evaluator(frames))
        with pytest.raises(error, match=reason):
            culprit.result(DEADLINE)
    assert recorder.sizes == [1, 4, 1, 2, 1]
    same(batcher(good[0]), evaluator(good[0]))  # and it goes on
