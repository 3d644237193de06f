"""The torch backend against the NumPy one, on torch's CPU; on a GPU as well where there is one."""

from __future__ import annotations

import builtins
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from conftest import SYSTEMS, shipped, shipped_model, shipped_models
from made import cyclic_permutations, made_model
from test_basis import GROUPS

from delta_server import load_potential
from delta_server.errors import InputError
from delta_server.gdml import CpuPredictor, Model, Prediction, load_model, make_predictor, torch_predictor
from delta_server.gdml.devices import find_device
from delta_server.gdml.torch_predictor import TorchPredictor, _Graphs
from delta_server.units import KCAL_MOL

torch = pytest.importorskip("torch")
CPU = torch.device("cpu")
needs_gpu = pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA GPU")


@pytest.fixture(autouse=True)
def _one_thread() -> Any:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def assert_same(found: Prediction, expected: Prediction, energy: float = 1e-5, force: float = 1e-5) -> None:
    """energy: kcal/mol; force: kcal/mol/Å."""
    assert [a.shape for a in found] == [a.shape for a in expected]
    assert all(a.dtype == np.float64 and a.flags.c_contiguous and a.flags.writeable for a in found)
    assert np.abs(found.energy - expected.energy).max(initial=0) / KCAL_MOL < energy
    assert np.abs(found.forces - expected.forces).max(initial=0) / KCAL_MOL < force
    assert np.abs(found.virial - expected.virial).max(initial=0) / KCAL_MOL < 10 * force


def geometries(model: Model, n: int) -> np.ndarray:
    assert model.training_positions is not None
    rng = np.random.default_rng(0)
    x = model.training_positions[rng.integers(model.n_train, size=n)] * model.angstrom
    return x + 0.03 * rng.standard_normal(x.shape)


# the largest groups take seconds to prepare, and are in the whole potentials below
LARGE = {("c60_buckycatcher", "binding"), ("no3_corona", "binding"), ("no3_corona", "corona")}
MODELS = [p for p in shipped_models() if (p.parent.name, p.stem) not in LARGE]


@pytest.mark.parametrize("path", MODELS, ids=lambda p: f"{p.parent.name}-{p.stem}")
def test_shipped_models(path: Path) -> None:
    model = shipped_model(path)
    x = geometries(model, 3)
    numpy, torched = CpuPredictor(model), TorchPredictor(model, CPU)
    # energy constraints have weights of 1e8 that cancel
    assert_same(torched.predict(x), numpy.predict(x), energy=1e-5 if model.energy_weights is None else 1e-4)
    assert (torched.numbers == model.numbers).all()
    assert torched.work == pytest.approx(numpy.work)
    assert torched.method.partition(",")[0] == numpy.method.partition(",")[0]


def made(elements: np.ndarray, folder: Path, constrained: bool = False, n_train: int = 7) -> tuple[Model, np.ndarray]:
    """A model with these permutations of carbons on a line that is none, and geometries."""
    n = elements.shape[1]
    x = np.stack([1.4 * np.arange(n), np.cos(np.arange(n)), np.sin(2.0 * np.arange(n))], 1)
    model = load_model(made_model(folder / "made.npz", np.full(n, 6), x, elements, n_train, seed=4))
    rng = np.random.default_rng(5)
    if constrained:
        model = replace(model, energy_weights=rng.standard_normal(n_train))
    return model, x + 0.05 * rng.standard_normal((5, n, 3))


@pytest.mark.parametrize("elements", GROUPS.values(), ids=GROUPS)
@pytest.mark.parametrize("constrained", [False, True])
def test_groups(elements: np.ndarray, constrained: bool, tmp_path: Path) -> None:
    """Real, complex and quaternionic representations, one and two factors, and permuted queries in their place."""
    model, x = made(elements, tmp_path, constrained)
    expected = CpuPredictor(model).predict(x)
    for method in ("plain", "fourier", None):
        torched = TorchPredictor(model, CPU, method)  # type: ignore[arg-type]
        assert torched.method == f"{method}, torch" or method is None or len(elements) == 1
        for batch in (0, 1, 5):
            part = Prediction(*(a[:batch] for a in expected))
            assert_same(torched.predict(x[:batch]), part, energy=1e-9, force=1e-9)


def test_no_group_is_summed_all_the_same(tmp_path: Path) -> None:
    model, x = made(np.array([[0, 1, 2], [1, 2, 0]]), tmp_path)
    torched = TorchPredictor(model, CPU, "fourier")
    assert torched.method == "permuted queries (no group), torch"
    assert torched.fallback == "no group"
    assert_same(torched.predict(x), CpuPredictor(model).predict(x), 1e-9, 1e-9)


def test_forces_and_virial_are_derivatives_of_the_energy(tmp_path: Path) -> None:
    model, x = made(GROUPS["S3xD4"], tmp_path, constrained=True)
    predict = TorchPredictor(model, CPU).predict
    at, h = x[0], 1e-4
    steps = h * np.eye(at.size).reshape(-1, *at.shape)
    slope = (predict(at + steps).energy - predict(at - steps).energy) / (2 * h)
    here = predict(at[None])
    assert np.abs(slope).max() > 0.01
    assert -slope.reshape(at.shape) == pytest.approx(here.forces[0], abs=1e-6)
    strains = h * np.einsum("kab,nb->kna", np.eye(9).reshape(9, 3, 3), at)
    slope = (predict(at + strains).energy - predict(at - strains).energy) / (2 * h)
    assert -slope.reshape(3, 3) == pytest.approx(here.virial[0], abs=1e-5)


@pytest.mark.parametrize("method", ["plain", "fourier"])
def test_batches_are_cut(method: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model, x = made(GROUPS["S3wrC2"], tmp_path, constrained=True)
    whole = TorchPredictor(model, CPU, method)
    monkeypatch.setattr(torch_predictor, "_CPU_BYTES", 2 * whole._bytes)
    cut = TorchPredictor(model, CPU, method)
    assert cut._chunk == 2
    sizes = []
    monkeypatch.setattr(cut, "_evaluate", lambda part: sizes.append(len(part)) or whole._evaluate(part))
    assert_same(cut.predict(x), whole.predict(x), 1e-9, 1e-9)
    assert sizes == [2, 2, 1]


def peak(predictor: TorchPredictor, x: np.ndarray) -> int:
    """Bytes that torch held at most during a prediction, beyond what it held before."""
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU], profile_memory=True) as profile:
        predictor.predict(x)
    held = [e.nbytes() for e in profile.profiler.kineto_results.events() if e.name() == "[memory]"]
    return int(np.cumsum(held).max())


@pytest.mark.filterwarnings("ignore:.*Profiler clears events")  # PyTorch 2.11; there is one cycle
@pytest.mark.parametrize(("order", "method"), [(8, "plain"), (8, "fourier"), (60, "fourier")])
def test_temporaries_are_what_batches_are_cut_by(order: int, method: Any, tmp_path: Path) -> None:
    model, x = made(cyclic_permutations(60, order), tmp_path, constrained=True, n_train=50)
    torched = TorchPredictor(model, CPU, method)
    found = peak(torched, x)
    assert 0.3 * torched._bytes * len(x) < found < torched._bytes * len(x)


def test_what_is_given_is_left_alone(tmp_path: Path) -> None:
    model, x = made(GROUPS["C3"], tmp_path)
    torched, expected = TorchPredictor(model, CPU), CpuPredictor(model).predict(x)
    x.flags.writeable = False
    assert_same(torched.predict(x), expected, 1e-9, 1e-9)
    wide = np.zeros((len(x), 6, 3), dtype=np.float64)
    wide[:, ::2] = x  # atoms of a larger molecule, not side by side in memory
    before = wide.copy()
    assert_same(torched.predict(wide[:, ::2]), expected, 1e-9, 1e-9)
    assert (wide == before).all()


def test_same_bits_again(tmp_path: Path) -> None:
    model, x = made(GROUPS["S4"], tmp_path)
    torched = TorchPredictor(model, CPU)
    once, again = torched.predict(x), torched.predict(x)
    assert all((a == b).all() for a, b in zip(once, again, strict=True))


def test_a_training_point_itself_and_one_far_away(tmp_path: Path) -> None:
    model, x = made(GROUPS["C2"], tmp_path)
    described = 1 / np.array([np.linalg.norm(x[0][i] - x[0][j]) for i, j in ((1, 0), (2, 0), (2, 1))])
    here = replace(model, descriptors=np.tile(described, (model.n_train, 1)))
    assert_same(TorchPredictor(here, CPU).predict(x), CpuPredictor(here).predict(x), 1e-9, 1e-9)
    far = TorchPredictor(replace(model, sigma=1e-6), CPU).predict(x)
    assert np.isfinite(far.forces).all()
    assert np.abs(far.forces).max() < 1e-200


@pytest.mark.parametrize("system", SYSTEMS)
def test_a_whole_potential(system: str) -> None:
    manifest = Path(__file__).parents[2] / "models" / system / "manifest.yaml"
    numpy, torched = shipped(system), load_potential(manifest, device="torch-cpu")
    assert all(isinstance(t.predictor, TorchPredictor) for t in torched.bindings)
    x = numpy.reference + 0.02 * np.random.default_rng(1).standard_normal((2, *numpy.reference.shape))
    expected, found = numpy.compute(x), torched.compute(x)
    assert np.abs(found.energy - expected.energy).max() < 1e-6
    assert np.abs(found.forces - expected.forces).max() < 1e-6
    assert np.abs(found.virial - expected.virial).max() < 1e-5
    assert found.parts.energies.keys() == expected.parts.energies.keys()


# --- devices


def test_torch_on_the_cpu() -> None:
    assert find_device("torch-cpu") == CPU


@pytest.mark.parametrize(
    "device", ["gpu", "cuda:", "cuda:-1", "cuda:x", "cuda:0 ", "CUDA", "cpu:0", "", "cuda:99999"]
)
def test_names_of_no_device(device: str) -> None:
    with pytest.raises(InputError, match=r"expected cpu, cuda, cuda:N \(N from 0\) or auto"):
        find_device(device)


@pytest.fixture
def count(monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> int:
    """GPUs that torch says there are."""
    monkeypatch.setattr(torch.cuda, "is_available", lambda: request.param > 0)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: request.param)
    return int(request.param)


@pytest.mark.parametrize("count", [0], indirect=True)
def test_no_gpu(count: int, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    assert find_device("auto") is None
    monkeypatch.setattr(torch.version, "cuda", None)
    with pytest.raises(InputError, match=r"'cuda': PyTorch \S+ finds no CUDA GPU here \(a build without CUDA\)"):
        find_device("cuda")
    monkeypatch.setattr(torch.version, "cuda", "12.8")
    with pytest.raises(InputError, match=r"'cuda:1': .*\(no driver or no GPU\); take --device cpu"):
        find_device("cuda:1")
    model, _ = made(GROUPS["C2"], tmp_path)
    assert isinstance(make_predictor(model, device="auto"), CpuPredictor)


def test_torch_says_why_there_is_no_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    def unavailable() -> bool:
        import warnings

        warnings.warn("CUDA initialization: the driver is too old", stacklevel=2)
        return False

    monkeypatch.setattr(torch.cuda, "is_available", unavailable)
    assert find_device("auto") is None
    with pytest.raises(InputError, match="the driver is too old"):
        find_device("cuda")


@pytest.mark.parametrize(
    ("count", "device", "found"),
    [
        (1, "auto", 0), (1, "cuda", 0), (1, "cuda:0", 0), (2, "cuda:1", 1),
        (1, "cuda:1", r"'cuda:1': only cuda:0 is there"), (2, "cuda:2", r"'cuda:2': cuda:0 to cuda:1 are there"),
    ],
    indirect=["count"],
)  # fmt: skip
def test_numbers_of_gpus(count: int, device: str, found: int | str) -> None:
    if isinstance(found, int):
        assert find_device(device) == torch.device("cuda", found)
    else:
        with pytest.raises(InputError, match=found):
            find_device(device)


@pytest.mark.parametrize(
    "error", [ModuleNotFoundError("No module named 'torch'"), OSError("libcublas.so.12: absent")]
)
def test_no_torch(error: Exception, monkeypatch: pytest.MonkeyPatch) -> None:
    real = builtins.__import__

    def failing(name: str, *args: Any, **kwargs: Any) -> Any:
        if name == "torch":
            raise error
        return real(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", failing)
    monkeypatch.delitem(sys.modules, "torch")
    assert find_device("auto") is None
    for device in ("cuda", "torch-cpu"):
        with pytest.raises(
            InputError, match=f"'{device}' needs PyTorch, which does not load here.*pip install torch"
        ):
            find_device(device)


# --- CUDA graphs


class Recorder:
    """In place of torch.cuda where there is no GPU: a graph runs once more what it was captured from."""

    def __init__(self, refuses: bool = False) -> None:
        self.refuses, self.evaluations, self.replays = refuses, 0, 0

    def __getattr__(self, name: str) -> Any:
        """Streams, contexts and pools, which do nothing."""
        return lambda *args, **kwargs: self if name == "Stream" else nullcontext(self)

    def wait_stream(self, other: object) -> None: ...

    def current_stream(self) -> Recorder:
        return self

    def CUDAGraph(self) -> SimpleNamespace:  # noqa: N802
        return SimpleNamespace()

    @contextmanager
    def graph(self, graph: SimpleNamespace, pool: object, stream: object) -> Iterator[None]:
        if self.refuses:
            raise RuntimeError("CUDA error: operation not permitted when stream is capturing\nand much more")
        yield
        given, results = self.last

        def replay() -> None:
            self.replays += 1
            results.copy_(2.0 * given)

        graph.replay = replay

    def evaluate(self, given: torch.Tensor) -> torch.Tensor:
        self.evaluations += 1
        self.last = given, 2.0 * given
        return self.last[1]


def test_what_is_captured_and_what_is_not(monkeypatch: pytest.MonkeyPatch) -> None:
    cuda = Recorder()
    monkeypatch.setattr(torch, "cuda", cuda)
    monkeypatch.setattr(torch_predictor, "_GRAPHS", 2)
    graphs = _Graphs(cuda.evaluate, CPU, largest=9)
    for turn, size in enumerate([1, 1, 10, 10, 10, 4, 1, 4, 4, 5, 5, 5]):
        given = torch.full((size, 2, 3), float(turn + 1), dtype=torch.float64)
        assert (graphs(given) == 2.0 * (turn + 1)).all()
    assert sorted(graphs._graphs) == [1, 4]
    assert cuda.replays == 4  # the second and later calls of each
    assert cuda.evaluations == 2 + 3 + 3 + 2 * 4  # one by one, and to warm up and capture


def test_a_refused_capture(monkeypatch: pytest.MonkeyPatch) -> None:
    cuda = Recorder(refuses=True)
    monkeypatch.setattr(torch, "cuda", cuda)
    graphs, given = _Graphs(cuda.evaluate, CPU, largest=9), torch.ones(1, 2, 3, dtype=torch.float64)
    assert (graphs(given) == 2.0).all()
    with pytest.warns(UserWarning, match=r"cpu: no CUDA graphs, .* one by one: CUDA error: .* capturing$"):
        assert (graphs(given) == 2.0).all()
    assert (graphs(given) == 2.0).all()
    assert not graphs._graphs


@needs_gpu
def test_gpu(tmp_path: Path) -> None:
    """Sizes in an order in which some are launched one by one, some captured, some replayed."""
    device = find_device("cuda")
    assert device is not None
    sizes: Sequence[int] = (1, 3, 1, 1, 3, 5, 1, 3, 5, 5, 2)
    for path in shipped_models():
        model = load_model(path)
        numpy, torched = CpuPredictor(model), TorchPredictor(model, device)
        energy = 1e-5 if model.energy_weights is None else 1e-4
        x, first = geometries(model, 5), {}
        for size in sizes:
            found = torched.predict(x[:size])
            assert_same(found, numpy.predict(x[:size]), energy)
            first.setdefault(size, found)
        assert torched._graphs is not None
        assert torched._graphs._possible
        assert sorted(torched._graphs._graphs) == [1, 3, 5]
        x += 0.01
        x[:, 0] += 0.02
        for size in (3, 1, 5):
            assert_same(torched.predict(x[:size]), numpy.predict(x[:size]), energy)
