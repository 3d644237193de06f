"""Units of i-PI's outputs, against i-PI itself."""

from __future__ import annotations

import pytest

from delta_server.ipi.units import factor

HERE = {
    "time": "picosecond",
    "energy": "electronvolt",
    "temperature": "kelvin",
    "length": "angstrom",
    "volume": "angstrom3",
}


def test_every_unit_of_i_pi_s_with_and_without_a_prefix() -> None:
    from ipi.utils.units import UnitMap, UnitPrefix, unit_to_internal

    tried = 0
    for quantity, here in HERE.items():
        for base in UnitMap[quantity]:
            if base in ("radian", "degree"):  # i-PI has them among the lengths
                continue
            for prefix in ("", "milli", "kilo", "femto") if base else ("",):
                unit = prefix + base
                expected = unit_to_internal(quantity, unit) / unit_to_internal(quantity, here)
                assert factor(quantity, unit) == pytest.approx(expected, rel=1e-12), unit
                tried += 1
        assert factor(quantity, here) == 1.0
    assert tried > 60
    assert all(
        factor("time", f"{prefix}second") == pytest.approx(1e12 * scale) for prefix, scale in UnitPrefix.items()
    )


@pytest.mark.parametrize(
    ("quantity", "unit"),
    [("time", "kelvin"), ("energy", "hartrees"), ("length", "degree"), ("temperature", "celsius"), ("time", "hour")],
)
def test_others_are_refused(quantity: str, unit: str) -> None:
    with pytest.raises(ValueError, match=f"{unit}.*is no unit of {quantity}"):
        factor(quantity, unit)
