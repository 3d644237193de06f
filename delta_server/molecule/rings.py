"""Bowls of fused rings, found in the bond graph."""

from __future__ import annotations

from itertools import combinations

import numpy as np

from .._types import FloatArray, IntArray
from ..errors import InputError
from .bonds import bonds


def corannulenes(numbers: IntArray, positions: FloatArray, atoms: IntArray) -> list[IntArray]:
    """The corannulene bowls among some atoms: a five-ring of carbons with a six-ring of carbons on each of its five
    bonds, 20 carbons; in order of their first atoms.

    numbers: (N,). positions: (N, 3) Å. Raises InputError without networkx.
    """
    try:
        import networkx as nx
    except ImportError:
        raise InputError("networkx is not installed here: pip install 'delta-server[analysis]'") from None
    carbons = atoms[numbers[atoms] == 6]
    graph = nx.Graph(map(tuple, carbons[bonds(numbers[carbons], positions[carbons])].tolist()))
    rings = [frozenset(ring) for ring in nx.chordless_cycles(graph, length_bound=6)]
    six = [ring for ring in rings if len(ring) == 6]
    bowls = []
    for five in (ring for ring in rings if len(ring) == 5):
        edges = [frozenset(pair) for pair in combinations(five, 2) if graph.has_edge(*pair)]
        around = [[ring for ring in six if edge <= ring] for edge in edges]
        if all(len(beside) == 1 for beside in around):
            bowl = five.union(*(beside[0] for beside in around))
            if len(bowl) == 20:
                bowls.append(sorted(bowl))
    return [np.array(bowl, dtype=np.intp) for bowl in sorted(bowls)]
