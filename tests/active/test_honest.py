"""What a test says of a model: what is missing, and who needs to learn."""

from __future__ import annotations

import pytest

from delta_server.active.asked import APART
from delta_server.active.dynamics import End
from delta_server.active.honest import Targets, TermTest, Verdict, as_json, describe, from_json

FINISHED, UNSURE = End("finished", 100, "", 0), End("unsure", 40, "wine", 1)
MODELS = {"wine": "wine", "water_1": "water", "water_2": "water", "binding": "binding"}


def term(name: str, kelvin: float, force: float, energy: float) -> TermTest:
    return TermTest(
        part=name, temperature=kelvin, n=10, energy_mae=energy, energy_mae_error=0.01, energy_mean=0.0,
        force_mae=force, force_mae_error=0.02, force_rmse=2 * force, expected_rmse=force,
    )  # fmt: skip


def verdict(*ends: End, apart: float = 0.0, **errors: tuple[float, float]) -> Verdict:
    """At 300 K, with so large force and energy errors of the terms that are named, none of the others."""
    names = ("total", *MODELS)
    tests = {
        300.0: {name: term(name, 300.0, *errors.get(name, (0.0, 0.0))) for name in names},
        APART: {name: term(name, APART, 9.0, apart) for name in names},
    }
    return Verdict.of(Targets(0.5, 0.3, 3), tests, ends or [FINISHED] * 10)


def test_a_model_as_asked_needs_nothing() -> None:
    good = verdict(total=(0.5, 0.3), binding=(0.1, 0.29))
    assert good.met
    assert good.score == 1.0
    assert good.needs(MODELS) == set()
    assert list(describe(good, good.ends))[-1] == "replicas: 10 finished; as asked"
    assert from_json(as_json(good.test)) == good.test


@pytest.mark.parametrize(
    ("errors", "words", "needs"),
    [
        ({"total": (0.6, 0.1), "wine": (0.5, 0.1)}, "300 K: force MAE 0.600 ± 0.020, asked 0.5 kcal/mol/Å", {"wine"}),
        ({"total": (0.1, 0.4), "water_2": (0.1, 0.2)}, "300 K: energy MAE 0.400 ± 0.010, asked 0.3", {"water"}),
        ({"binding": (0.1, 0.31)}, "300 K: binding energy MAE 0.310", {"binding"}),
        ({"apart": 0.5}, "apart: binding energy MAE 0.500", {"binding"}),
        ({"total": (0.6, 0.1)}, "300 K: force MAE", {"wine", "water", "binding"}),
    ],
)
def test_what_is_missing_and_who_is_to_blame(errors: dict[str, object], words: str, needs: set[str]) -> None:
    bad = verdict(**errors)  # type: ignore[arg-type]
    assert not bad.met
    assert words in bad.missed[0]
    assert bad.needs(MODELS) == needs


def test_replicas_that_do_not_end_well_count() -> None:
    assert verdict(*[FINISHED] * 9, UNSURE).met
    unsure = verdict(*[FINISHED] * 8, UNSURE, UNSURE)
    assert unsure.missed == ["2 of 10 replicas left what is known of wine"]
    assert unsure.needs(MODELS) == {"wine"}
    broken = verdict(*[FINISHED] * 20, End("changed", 3, "bond H1–O0 broke", 0))
    assert broken.missed == ["1 of 21 replicas went astray (bond H1–O0 broke)"]
    assert broken.needs(MODELS) == {"wine", "water", "binding"}
