"""The kinds of collective variables: each is a function of some difference vectors, and so is its gradient.

================ ======================================================== ====================================
kind             vectors, (n, m, 3) in Å                                  value
================ ======================================================== ====================================
``distance``     from the first centre to the second                      their length, Å
``angle``        from the middle centre to the first and to the last      the angle between them, degrees
``dihedral``     from each of four centres to the next                    the angle about the second, degrees
``height``       from the plane's centre to the first one, and to each    distance of the first from the plane
                 atom of the plane                                        of least squares, Å
``coordination`` from each atom of one group to each of another           Σ 1/(1 + (r/r_0)⁶), a number
================ ======================================================== ====================================

The sum of a coordination number is (1 − x⁶)/(1 − x¹²), x = r/r_0: the usual rational switch.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from .._types import FloatArray

Function = Callable[[FloatArray], tuple[FloatArray, FloatArray]]
"""From vectors (n, m, 3) to values (n,) and their derivatives (n, m, 3)."""


def distance(v: FloatArray) -> tuple[FloatArray, FloatArray]:
    length = np.sqrt(_dot(v[:, 0], v[:, 0]))
    return length, v / np.where(length > 0, length, 1.0)[:, None, None]


def angle(v: FloatArray) -> tuple[FloatArray, FloatArray]:
    a, b = v[:, 0], v[:, 1]
    normal = _cross(a, b)
    sine = np.linalg.norm(normal, axis=1)
    value = np.degrees(np.arctan2(sine, _dot(a, b)))
    normal = normal / np.where(sine > 0, sine, 1.0)[:, None]  # of a straight angle no direction is the steepest
    of_a, of_b = _cross(a, normal) / _dot(a, a)[:, None], _cross(normal, b) / _dot(b, b)[:, None]
    return value, np.degrees(np.stack([of_a, of_b], axis=1))


def dihedral(v: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Gradient as of Blondel and Karplus, J. Comput. Chem. 17, 1132 (1996)."""
    first, axis, last = v[:, 0], v[:, 1], v[:, 2]
    up = _cross(first, axis)
    down = _cross(axis, last)
    length = np.linalg.norm(axis, axis=1)
    sine = _dot(_cross(up, down), axis) / length
    value = np.degrees(np.arctan2(sine, _dot(up, down)))
    of_first = up * (length / _dot(up, up))[:, None]
    of_last = down * (length / _dot(down, down))[:, None]
    shares = [(_dot(side, axis) / length**2)[:, None] for side in (first, last)]
    of_axis = -shares[0] * of_first - shares[1] * of_last
    return value, np.degrees(np.stack([of_first, of_axis, of_last], axis=1))


def height(v: FloatArray) -> tuple[FloatArray, FloatArray]:
    """The normal n is the direction in which the plane's atoms p spread least; how it turns with them is first-order
    perturbation theory of the eigenvectors of pᵀp."""
    above, flat = v[:, 0], v[:, 1:]
    _, spread, axes = np.linalg.svd(flat, full_matrices=False)
    normal = axes[:, 2]
    signed = _dot(above, normal)
    gradient = np.zeros_like(v)
    gradient[:, 0] = normal
    out = flat @ normal[..., None]
    for k in (0, 1):
        turn = _dot(above, axes[:, k]) / (spread[:, 2] ** 2 - spread[:, k] ** 2)
        along = flat @ axes[:, k, :, None]
        gradient[:, 1:] += turn[:, None, None] * (out * axes[:, k, None] + along * normal[:, None])
    return np.abs(signed), np.sign(signed)[:, None, None] * gradient


def coordination(r_0: float) -> Function:
    def function(v: FloatArray) -> tuple[FloatArray, FloatArray]:
        square = (v**2).sum(2) / r_0**2
        contacts = 1 / (1 + square**3)
        slope = -6 * square**2 * contacts**2 / r_0**2  # over the vector itself
        return contacts.sum(1), slope[..., None] * v

    return function


def _dot(a: FloatArray, b: FloatArray) -> FloatArray:
    return np.asarray(np.einsum("ni,ni->n", a, b), dtype=np.float64)


def _cross(a: FloatArray, b: FloatArray) -> FloatArray:
    return np.asarray(np.cross(a, b), dtype=np.float64)
