"""The temperatures of a ladder as they are typed."""

from __future__ import annotations

import pytest

from delta_server.errors import InputError
from delta_server.sweep.temperatures import parse_temperatures


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("10:400:50", (10, 50, 100, 150, 200, 250, 300, 350, 400)),
        ("100:300:100", (100, 200, 300)),
        ("10:20:50", (10, 20)),
        ("300:300:50", (300,)),
        ("300", (300,)),
        ("300,10, 50", (10, 50, 300)),
        ("0.5,12.25", (0.5, 12.25)),
    ],
)
def test_what_is_meant(text: str, expected: tuple[float, ...]) -> None:
    assert parse_temperatures(text) == expected


@pytest.mark.parametrize(
    "text",
    [
        "",
        "a",
        "10:400",
        "10:400:0",
        "400:10:50",
        "10:400:-5",
        "0:400:50",
        "-3",
        "nan",
        "inf",
        "1e9",
        "10,10",
        "1:9999:1",
    ],
)
def test_what_is_refused(text: str) -> None:
    with pytest.raises(InputError, match="temperature"):
        parse_temperatures(text)
