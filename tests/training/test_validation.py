"""How many configurations validate, and what is said where they are too few."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from delta_server.data.dataset import VALIDATION, Dataset
from delta_server.training.tasks import Recipe, split_of, too_few


@pytest.mark.parametrize(
    ("n", "asked", "there", "words"),
    [
        (20, 0, 20, ""),  # as many as train
        (40, 0, 30, "40 are usual"),  # half of the rest
        (95, 0, 2, "too few to choose by"),
        (20, 12, 12, ""),  # as asked for
        (20, 3, 3, "too few to choose by"),
    ],
)
def test_sizes_are_as_documented(na_benzene_data: Dataset, n: int, asked: int, there: int, words: str) -> None:
    recipe = Recipe(n, asked)
    sides = split_of(na_benzene_data, recipe)
    assert int((sides == VALIDATION).sum()) == there
    said = too_few(sides, recipe)
    assert (words in said) if words else (said == "")


def test_at_most_200_unless_asked_for(na_benzene_data: Dataset) -> None:
    many = replace(na_benzene_data.take(np.arange(1000) % 100), index=np.arange(1000), run=None)
    assert int((split_of(many, Recipe(300)) == VALIDATION).sum()) == 200
    assert int((split_of(many, Recipe(300, 250)) == VALIDATION).sum()) == 250
