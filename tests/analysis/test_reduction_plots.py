"""How far pairs reach, on distances that are known, and pictures of it."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from delta_server.analysis.pictures.reduction import plot_reduction
from delta_server.errors import InputError
from delta_server.gdml.descriptor.metric import Metric
from delta_server.training.labels import Labels
from delta_server.training.reduce import Reduction
from delta_server.training.selection.reach import Pairs
from delta_server.training.selection.reduction import ReductionStep

# Atoms 0 and 2 of one fragment, 1, 3 and 4 of another, on a line.
FRAGMENT = np.array([0, 1, 0, 1, 1])
LINE = np.array([0.0, 10.0, 1.0, 12.0, 15.0])
ALL = Metric(5)


def pairs_of(metric: Metric = ALL) -> Pairs:
    """The line, and the line twice as long: mean distances are 1.5 times those of `LINE`."""
    positions = np.zeros((2, 5, 3))
    positions[:, :, 1] = LINE, 2 * LINE
    labels = Labels("binding", np.array([8, 6, 1, 1, 1]), positions, np.zeros(2), np.zeros((2, 5, 3)))
    return Pairs.of(metric, labels, FRAGMENT, ("left", "right"))


def keeping(*ends: tuple[int, int]) -> Metric:
    return Metric(5, np.array(sorted(5 * max(pair) + min(pair) for pair in ends)))


def test_reach_of_a_line() -> None:
    pairs = pairs_of()
    assert pairs.within.sum() == 4
    reach = pairs.reach(keeping((0, 2), (1, 3), (0, 4)))
    assert reach.largest == pytest.approx(22.5)
    assert reach.most == pytest.approx(np.quantile([1.5, 3.0, 22.5], 0.9))
    assert (reach.per_atom, reach.within, reach.between) == pytest.approx((3 / 5, 2 / 4, 1 / 6))
    whole = pairs.reach(ALL)
    assert (whole.per_atom, whole.within, whole.between) == (2, 1, 1)
    assert whole.largest == pytest.approx(22.5)


def test_reach_counts_from_what_there_was() -> None:
    """A reduction of a descriptor that had fewer pairs already, all of them within fragments."""
    pairs = pairs_of(keeping((0, 2), (1, 3), (1, 4), (3, 4)))
    reach = pairs.reach(keeping((0, 2), (3, 4)))
    assert (reach.within, reach.between) == (0.5, None)
    assert reach.largest == pytest.approx(4.5)
    assert reach.as_dict()["kept_between"] is None


def steps(pairs: Pairs, *fewer: Metric, tested: bool) -> list[ReductionStep]:
    """With an error that grows a little with each."""
    every = (pairs.metric, *fewer)
    return [
        ReductionStep(
            m, len(m.pairs) / len(pairs.distances), 8.0, 0.1 + 0.01 * k, 0.11 + 0.01 * k if tested else np.nan
        )
        for k, m in enumerate(every)
    ]


def test_pictures(tmp_path: Path) -> None:
    """With configurations that chose nothing, and without; a pair alone; another tolerance."""
    pairs, few, one = pairs_of(), keeping((0, 2), (1, 3), (0, 4)), keeping((0, 2))
    for tested, name, start in ((True, "a.png", b"\x89PNG"), (False, "b.svg", b"<?xml"), (False, "c.pdf", b"%PDF")):
        tried = steps(pairs, few, one, tested=tested)
        rankings = {"importance": tried, "random": tried, "within": tried[-1:]}
        found = Reduction({"left": rankings, "binding": rankings}, dict.fromkeys(("left", "binding"), tried[-1]),
                          dict.fromkeys(("left", "binding"), pairs))  # fmt: skip
        plot_reduction(found, tmp_path / name, 1.2)
        written = (tmp_path / name).read_bytes()
        assert written.startswith(start)
        assert len(written) > 10_000
        record = json.loads(json.dumps(found.as_dict(), allow_nan=False))
        assert record["left"]["chosen"]["test"] == (tried[-1].test if tested else None)
        assert record["left"]["chosen"]["largest_distance_angstrom"] == 1.5
    text = (tmp_path / "b.svg").read_text(encoding="utf-8")
    for words in ("1.2 × all pairs", "binding: 1 of 10 pairs", "within fragments: 1 of 4", "validation force MAE"):
        assert words in text
    assert "test force MAE" not in text
    with pytest.raises(InputError, match="no model was reduced"):
        plot_reduction(Reduction({}, {}, {}), tmp_path / "d.png")
    assert not (tmp_path / "d.png").exists()
