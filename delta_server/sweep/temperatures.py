"""The temperatures of a ladder, as they are typed."""

from __future__ import annotations

import math

from ..errors import InputError

_MOST = 200
_HOTTEST = 10_000.0  # K


def parse_temperatures(text: str) -> tuple[float, ...]:
    """``10:400:50`` → 10, 50, 100, … 400: first, last, and every multiple of the step between; or ``10,50,300``.

    Kelvin, in rising order. Raises InputError.
    """
    option = f"--temperatures {text!r}"
    if ":" in text:
        pieces = [_number(piece, option) for piece in text.split(":")]
        if len(pieces) != 3 or not pieces[0] <= pieces[1] or pieces[2] <= 0:
            raise InputError(
                f"{option}: expected FIRST:LAST:STEP in K, such as 10:400:50, or a list, such as 10,50,300"
            )
        first, last, step = pieces
        if (last - first) / step > _MOST:
            raise InputError(f"{option}: more than {_MOST} temperatures")
        between = (k * step for k in range(math.floor(first / step) + 1, math.ceil(last / step)))
        temperatures = [first, *between, last] if last > first else [first]
    else:
        temperatures = [_number(piece, option) for piece in text.split(",")]
    if len(set(temperatures)) < len(temperatures):
        raise InputError(f"{option}: a temperature appears twice")
    if len(temperatures) > _MOST:
        raise InputError(f"{option}: more than {_MOST} temperatures")
    return tuple(sorted(temperatures))


def _number(piece: str, option: str) -> float:
    try:
        value = float(piece)
    except ValueError:
        value = math.nan
    if not 0 < value <= _HOTTEST:
        raise InputError(f"{option}: {piece.strip()!r} is no temperature; expected K above 0, such as 10:400:50")
    return float(f"{value:g}")
