"""Which frames of a round are labelled: some at random, to test; and those that each term would learn most from."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace

import numpy as np

from .._types import FloatArray, IntArray
from ..data.apart import place
from ..errors import InputError
from ..potential import Fragment, Potential
from ..terms.sgdml import SgdmlTerm
from ..units import KCAL_MOL
from .acquisition import pick
from .asked import APART, Asked
from .dynamics import Sampled
from .settings import Settings

BOUND = 6.0  # Å between the nearest atoms of fragments: beyond, a frame does not test the bound complex
_RELAXING = 0.2  # of the steps, from a start until frames test
_ALONE = 2  # times as many frames of a molecule alone, which are cheap, as of the complex
_POOL = 1000  # frames that are looked at for what to learn from
_PLACED = 200  # configurations with the fragments placed that are looked at besides


def test_frames(settings: Settings, number: int, potential: Potential, seen: Sampled) -> Asked:
    """A random sample of what a round's dynamics did, so many frames at each temperature, and some with the fragments
    placed from contact to 30 Å. Raises InputError where the dynamics left nothing."""
    chosen = []
    rng = np.random.default_rng([settings.seed, number, 1])
    longest = int(seen.step.max(initial=0))
    usual = seen.last == 0
    for kelvin in settings.temperatures:
        there = seen.temperature == kelvin
        for good in (
            there & usual & (seen.gap < BOUND) & (seen.step >= _RELAXING * longest),
            there & usual & (seen.step > 0),
            there,
        ):
            if good.sum() >= settings.test:
                break
        chosen.append(np.sort(rng.permutation(np.flatnonzero(good))[: settings.test]))
    which = np.concatenate(chosen)
    if not len(which):
        raise InputError(
            f"round {number}: the dynamics left no frame, as every replica ended before its first look; begin again "
            "with more first labels (`learn start --first`)"
        )
    everyone = range(len(settings.names))
    bound = Asked.of("test", everyone, seen, which, seen.positions[which], seen.errors["total"])
    x = _placed(settings, seen.positions[usual], settings.test_apart, [settings.seed, number, 2])
    return bound + Asked.plain("test", everyone, x, APART, potential.uncertainty(x)["total"])


def _placed(settings: Settings, positions: FloatArray, count: int, seed: list[int]) -> FloatArray:
    """So many configurations with the fragments of some frames placed from contact to 30 Å."""
    drawn = int(np.random.default_rng(seed).integers(2**32))
    return place(np.array(settings.numbers), settings.atoms, positions, count, seed=drawn)


def wanted(
    settings: Settings,
    number: int,
    potential: Potential,
    seen: Sampled,
    tested: Asked,
    needs: Collection[str],
    room: int,
) -> list[Asked]:
    """What the models that need it, by kind, and ``binding`` would learn most from, but for what tests.

    room: labels of the complex that are left for it; molecules alone cost none of them.
    """
    pool = _pool(settings, number, seen, tested)
    made = []
    count = min(settings.picks, room)
    if "binding" in needs and count > 0:
        # As many of those that are placed as test: they are the least known, and would be nearly all.
        n_placed = round(count * settings.test_apart / settings.test_labels)
        near = pool[_most_telling(potential, seen.positions[pool], count - n_placed)]
        x = _placed(settings, seen.positions, _PLACED, [settings.seed, number, 3])
        x = x[_most_telling(potential, x, n_placed)]
        everyone = range(len(settings.names))
        errors = potential.uncertainty(x)["binding"] if len(x) else np.zeros(0)
        picked = Asked.of("picked", everyone, seen, near, seen.positions[near], seen.errors["binding"])
        made.append(picked + Asked.plain("picked", everyone, x, APART, errors))
    for term in potential.terms:
        if isinstance(term, SgdmlTerm) and term.part == "fragments" and kind_of(term) in needs and len(pool):
            made.append(_alone(settings, potential, term, seen, pool))
    return [asked for asked in made if len(asked)]


def _most_telling(potential: Potential, positions: FloatArray, count: int) -> IntArray:
    """Of so many positions (n, N, 3), Å, the most that the binding would learn from."""
    picks = pick(potential, positions, count, "binding") if len(positions) and count else []
    return np.array([p.configuration for p in picks], dtype=np.intp)


def _pool(settings: Settings, number: int, seen: Sampled, tested: Asked) -> IntArray:
    """Frames to choose from: all where a replica was stopped, and some of the others; none that tests."""
    there = {*zip(tested.replica.tolist(), tested.step.tolist(), strict=True)}
    where = zip(seen.replica.tolist(), seen.step.tolist(), strict=True)
    pool = np.flatnonzero([frame not in there for frame in where])
    urgent, others = pool[seen.last[pool] == 1], pool[seen.last[pool] == 0]
    rng = np.random.default_rng([settings.seed, number, 4])
    return np.sort(np.concatenate([urgent, rng.permutation(others)[: max(0, _POOL - len(urgent))]]))


def _alone(settings: Settings, potential: Potential, term: SgdmlTerm, seen: Sampled, pool: IntArray) -> Asked:
    """What one molecule would learn most from, of all its copies in the frames."""
    name, n, numbers = term.names[0], term.sites.shape[1], potential.numbers[term.sites[0]]
    x = np.concatenate([seen.positions[pool][:, site] for site in term.sites])
    errors = np.concatenate([seen.errors[copy][pool] for copy in term.names])
    alone = SgdmlTerm((name,), "fragments", np.arange(n)[None], term.predictor, term.load)
    only = Potential(
        numbers, potential.reference[term.sites[0]], [Fragment(name, np.arange(n))], [alone], name=name
    )  # fmt: skip
    some = np.sort(np.argsort(-errors, kind="stable")[:_POOL])
    which = some[[p.configuration for p in pick(only, x[some], _ALONE * settings.picks, name)]]
    asked = Asked.of(
        f"alone_{kind_of(term)}", (settings.names.index(name),), seen, pool[which % len(pool)], x[which],
        seen.errors[name],
    )  # fmt: skip
    return replace(asked, expected=errors[which] / KCAL_MOL)


def kind_of(term: SgdmlTerm) -> str:
    """The name under which a fragment's model is trained."""
    return term.names[0] if len(term.names) == 1 else term.names[0].removesuffix("_1")
