"""Parts of z², σ of entries and forces by kind: against closed forms, identities and the shipped data."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from conftest import ROOT

import delta_server.analysis.descriptor_statistics as module
from delta_server.analysis.descriptor_statistics import describe, traces
from delta_server.analysis.pictures.descriptor import plot_descriptor, plot_overview
from delta_server.data.dataset import Dataset, load_dataset
from delta_server.errors import InputError


def made(positions: np.ndarray, fragment: list[int], **more: object) -> Dataset:
    n, atoms = positions.shape[:2]
    return replace(
        Dataset(
            numbers=np.full(atoms, 6),
            positions=positions,
            energies=np.zeros(n),
            forces=np.ones((n, atoms, 3)),
            fragment=np.array(fragment),
            fragment_energies=np.zeros((n, max(fragment) + 1)),
            fragment_forces=np.zeros((n, atoms, 3)),
            name="made",
        ),
        **more,  # type: ignore[arg-type]
    )


def shipped(system: str, n: int | None = None) -> Dataset:
    data = load_dataset(ROOT / "models" / system / "dataset.npz")
    return data if n is None else data.take(np.linspace(0, len(data) - 1, n).astype(int))


def inverse(data: Dataset) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Of all pairs (n, D), and the fragments of both ends: written down anew."""
    i, j = np.triu_indices(data.n_atoms, 1)
    x = 1 / np.linalg.norm(data.positions[:, i] - data.positions[:, j], axis=2)
    return x, data.fragment[i], data.fragment[j]


def test_rigid_fragments_that_move_apart() -> None:
    """Nothing within, exactly; between, the sum over the four distances."""
    pair = np.array([[0.0, 0, 0], [0, 0, 1.5]])
    shift = np.array([2.0, 3.0, 5.0, 8.0])[:, None, None] * np.array([1.0, 0, 0])
    data = made(np.concatenate([np.broadcast_to(pair, (4, 2, 3)), pair + shift], axis=1), [0, 0, 1, 1])
    found = describe(data)
    assert found.pairs == 6
    assert [part.name for part in found.parts] == ["c2_1", "c2_2", "c2_1–c2_2"]
    assert [part.contribution for part in found.parts[:2]] == [0.0, 0.0]
    assert (found.contributions[:, :2] == 0).all()
    assert found.share(False) == 1.0
    assert (found.sigma_intra, found.ratio) == (0.0, None)
    x = np.stack([1 / shift[:, 0, 0], 1 / np.hypot(shift[:, 0, 0], 1.5)])
    squares = [2 * ((x[:, a] - x[:, b]) ** 2).sum() for a in range(4) for b in range(a)]
    assert sorted(found.contributions[:, 2]) == pytest.approx(sorted(squares), rel=1e-12)
    assert found.sigma_inter == pytest.approx(np.sqrt(np.mean(squares) / 4), rel=1e-12)


def gaussian(s1: float, s2: float, n: int = 4000) -> Dataset:
    """A diatomic whose 1/r is normal with s1, and an ion above its middle whose two 1/r are both normal with s2."""
    rng = np.random.default_rng(1)
    bond, far = 1 / rng.normal(0.8, s1, n), 1 / rng.normal(0.3, s2, n)
    positions = np.zeros((n, 3, 3))
    positions[:, 0, 0], positions[:, 1, 0] = bond / 2, -bond / 2
    positions[:, 2, 2] = np.sqrt(far**2 - bond**2 / 4)
    return made(positions, [0, 0, 1])


def test_a_made_gaussian_has_the_ratio_it_was_made_with() -> None:
    """σ of a difference is √2 that of an entry; an ion has no pairs within."""
    found = describe(gaussian(0.002, 0.006), pairs=20_000)
    assert found.sigma_intra == pytest.approx(np.sqrt(2) * 0.002, rel=0.03)
    assert found.sigma_inter == pytest.approx(np.sqrt(2) * 0.006, rel=0.03)
    assert found.ratio == pytest.approx(3.0, rel=0.04)
    bond, ion, across = found.parts
    assert (bond.entries, ion.entries, across.entries) == (1, 0, 2)
    assert (ion.contribution, ion.share, ion.sigma) == (0.0, 0.0, None)
    assert bond.contribution == pytest.approx(found.sigma_intra**2)
    assert across.contribution == pytest.approx(2 * found.sigma_inter**2)
    assert bond.share == pytest.approx(1 / 19, rel=0.08)
    assert found.within.std() == pytest.approx(found.sigma_intra, rel=0.02)
    assert found.between.std() == pytest.approx(found.sigma_inter, rel=0.02)
    assert found.drift == pytest.approx(1.0, abs=0.1)  # no memory: as far after a frame as after thousands


@pytest.mark.parametrize("system", ["methane_dimer", "na_benzene", "no3_corona"])
def test_parts_make_up_the_distance_and_follow_from_the_variances(system: str) -> None:
    """Over all pairs of configurations the mean of (x − x')² is twice the variance."""
    data = shipped(system, 60)
    found = describe(data)
    assert found.pairs == 60 * 59 // 2
    x, f, g = inverse(data)
    squares = [((x[a] - x[b]) ** 2).sum() for a in range(60) for b in range(a)]
    np.testing.assert_allclose(np.sort(found.contributions.sum(1)), np.sort(squares), rtol=1e-12)
    variance = 2 * x.var(0, ddof=1)
    masks = [(f == 0) & (g == 0), (f == 1) & (g == 1), f != g]
    for part, mask in zip(found.parts, masks, strict=True):
        assert part.entries == mask.sum()
        assert part.contribution == pytest.approx(variance[mask].sum(), rel=1e-10)
    assert sum(part.share for part in found.parts) == pytest.approx(1.0, rel=1e-12)
    assert found.sigma_intra == pytest.approx(np.sqrt(variance[f == g].mean()), rel=1e-10)
    assert found.sigma_inter == pytest.approx(np.sqrt(variance[f != g].mean()), rel=1e-10)


def test_a_random_draw_agrees_with_all_pairs() -> None:
    data = shipped("h2o_benzene", 300)
    everything, drawn = describe(data, pairs=10**6), describe(data, pairs=5000, seed=3)
    assert (everything.pairs, drawn.pairs) == (300 * 299 // 2, 5000)
    assert drawn.ratio == pytest.approx(everything.ratio, rel=0.03)
    assert drawn.share(False) == pytest.approx(everything.share(False), abs=0.01)
    np.testing.assert_array_equal(drawn.contributions, describe(data, pairs=5000, seed=3).contributions)


def test_of_very_many_configurations_not_all_pairs_are_listed(monkeypatch: pytest.MonkeyPatch) -> None:
    data = shipped("h2o_benzene", 300)
    everything = describe(data, pairs=10**6)
    monkeypatch.setattr(module, "_LISTED", 1000)
    drawn = describe(data, pairs=5000, apart=600)  # of 3000 frames
    assert drawn.pairs == 5000
    assert (drawn.contributions.sum(1) > 0).all()  # none with itself
    assert drawn.ratio == pytest.approx(everything.ratio, rel=0.05)


def test_three_fragments_have_three_parts_between() -> None:
    data = replace(shipped("methane_dimer", 30), fragment=np.repeat([0, 2, 1], (5, 2, 3)), fragment_names=())
    found = describe(data)
    x, f, g = inverse(data)
    variance = 2 * x.var(0, ddof=1)
    pairs = [(0, 0), (1, 1), (2, 2), (0, 1), (0, 2), (1, 2)]
    expected = [variance[((f == a) & (g == b)) | ((f == b) & (g == a))].sum() for a, b in pairs]
    assert [part.contribution for part in found.parts] == pytest.approx(expected, rel=1e-10)
    assert [part.within for part in found.parts] == [True] * 3 + [False] * 3


def test_memory_is_bounded_and_does_not_matter(monkeypatch: pytest.MonkeyPatch) -> None:
    """In pieces, which count up to the end; of the differences only some are kept."""
    data, told = shipped("methane_dimer", 40), []
    whole = describe(data)
    monkeypatch.setattr(module, "_ENTRIES", 45 * 7)
    monkeypatch.setattr(module, "_KEPT", 45 * 20)
    pieces = describe(data, watch=told.append)
    np.testing.assert_allclose(pieces.contributions, whole.contributions, rtol=1e-13)
    assert told == [*range(7, 780, 7), 780]
    assert (pieces.within.size, pieces.between.size) == (20 * 20, 25 * 20)


def test_configurations_apart_in_time() -> None:
    """A bond that grows by as much each frame: x − x' is known from the lag; runs are apart in any case."""
    n = 400
    positions = np.zeros((2 * n, 3, 3))
    positions[:, 1, 0] = 1.0
    positions[:, 2, 2] = 1 / (0.2 + 1e-4 * np.tile(np.arange(n), 2))
    data = made(positions, [0, 0, 1], index=np.tile(np.arange(n), 2), run=np.repeat([0, 1], n))
    near, far = describe(data, pairs=3000), describe(data, pairs=3000, apart=300)
    assert near.drift is not None
    assert near.drift > 1.5  # it drifts
    one_run = describe(data.take(np.arange(n)), pairs=3000, apart=300)
    assert one_run.pairs == 3000
    assert describe(data.take(np.arange(n)), pairs=10**4, apart=300).pairs == 100 * 101 // 2  # all, and none twice
    shortest = np.sqrt(one_run.contributions[:, 2].min() / 2)
    assert shortest > 300e-4 * 0.85  # the atom at the origin sees the whole change, the other nearly
    assert np.sqrt(far.contributions[:, 2].min()) < 300e-4  # between runs, at the same index
    with pytest.raises(InputError, match="400 frames apart; the longest run has 399"):
        describe(data.take(np.arange(n)), apart=400)


def test_forces_by_kind() -> None:
    """Lengths 5, 12 and 13 of vectors at right angles."""
    data = made(np.random.default_rng(0).normal(size=(8, 3, 3)), [0, 0, 1])
    isolated, binding = np.zeros((8, 3, 3)), np.zeros((8, 3, 3))
    isolated[..., 0], binding[..., 1] = 12.0, 5.0
    forces = describe(replace(data, forces=isolated + binding, fragment_forces=isolated)).forces
    for kind, length in (("total", 13.0), ("isolated", 12.0), ("binding", 5.0)):
        f = forces[kind]
        assert [f.mean, f.median, f.p5, f.p25, f.p75, f.p95] == pytest.approx([length] * 6)
    real = shipped("h2o_benzene", 200)
    binding = np.linalg.norm(real.forces - real.fragment_forces, axis=2)
    assert describe(real).forces["binding"].p95 == pytest.approx(np.percentile(binding, 95))


def test_traces_are_the_entries_they_say() -> None:
    data = shipped("no3_corona")
    shuffled = data.take(np.random.default_rng(2).permutation(len(data)))
    found = traces(shuffled)
    assert found.deviations.shape == (6 + 60 + 60, 400)
    assert np.bincount(found.part).tolist() == [6, 60, 60]
    positions = shuffled.positions[found.frames]
    i, j = found.ends.T
    x = 1 / np.linalg.norm(positions[:, i] - positions[:, j], axis=2)
    np.testing.assert_allclose(found.deviations, (x - x.mean(0)).T, atol=1e-12)
    for part in range(3):
        assert (np.diff(x.mean(0)[found.part == part]) <= 1e-12).all()
    fragments = shuffled.fragment[found.ends]
    assert (fragments.sum(1)[found.part < 2] == 2 * found.part[found.part < 2]).all()
    assert (fragments.sum(1)[found.part == 2] == 1).all()
    when = found.run * 10**6 + shuffled.index[found.frames]
    assert (np.diff(when) > 0).all()


def test_what_cannot_be_compared() -> None:
    data = shipped("methane_dimer", 10)
    cases = [
        (replace(data, fragment_forces=None), "delta-sgdml dataset label"),
        (replace(data, fragment=None), "delta-sgdml dataset label"),
        (replace(data, fragment=np.zeros(10, dtype=int)), "one fragment"),
        (data.take(np.array([3])), "one configuration"),
        (data.take(np.array([3, 3, 3])), "all configurations are the same"),
    ]
    for case, message in cases:
        with pytest.raises(InputError, match=message):
            describe(case)
    positions = data.positions.copy()
    positions[2, 1] = positions[2, 0]
    with pytest.raises(InputError, match="at the same place"), np.errstate(all="ignore"):
        describe(replace(data, positions=positions))


def test_pictures(tmp_path: Path) -> None:
    """Also of a fragment without pairs, and of fragments that are rigid."""
    ion, rigid = shipped("na_benzene", 40), made(np.zeros((5, 3, 3)), [0, 0, 1])
    rigid.positions[:, 1, 0], rigid.positions[:, 2, 2] = 1.0, np.arange(3.0, 8.0)
    found = [describe(ion), describe(rigid)]
    plot_descriptor(ion, found[0], tmp_path / "ion.png")
    plot_descriptor(rigid, found[1], tmp_path / "rigid.svg")
    plot_overview(found, tmp_path / "both.pdf")
    for name, start in (("ion.png", b"\x89PNG"), ("rigid.svg", b"<?xml"), ("both.pdf", b"%PDF")):
        written = (tmp_path / name).read_bytes()
        assert written.startswith(start)
        assert len(written) > 10_000
    with pytest.raises(InputError, match="cannot be written"):
        plot_overview(found, tmp_path / "both.txt")


def test_picture_of_many_fragments(tmp_path: Path) -> None:
    """Twenty-one parts, of which a picture has room for the largest."""
    data = replace(shipped("no3_corona", 12), fragment=np.arange(58) % 6, fragment_names=())
    found = describe(data)
    assert len(found.parts) == 21
    plot_descriptor(data, found, tmp_path / "many.svg")
    assert "10 largest of 21" in (tmp_path / "many.svg").read_text()
