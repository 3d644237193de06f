"""Hostile servers and files by the hundred thousand: no traceback, no hang, no number that is not the formula's.

    python tests/fuzz/run.py --sessions 200000 --models 25000 --data 5000 --manifests 6000 [--from SEED]

Each case follows from its kind and its number alone, which is all that a failure has to say.
"""

from __future__ import annotations

import argparse
import signal
import sys
import time
import traceback
import warnings
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

sys.path[:0] = [str(Path(__file__).parents[1])]

from fuzz.files import DataFuzz, ManifestFuzz, ModelFuzz, made_dimer  # noqa: E402
from fuzz.wire import WireFuzz  # noqa: E402

LONGEST = 5.0  # s


class Hang(BaseException):
    """A case took longer than it may; no `except Exception` takes it for something else."""


@contextmanager
def deadline(seconds: float = LONGEST) -> Iterator[None]:
    def late(number: int, frame: object) -> None:
        raise Hang

    signal.signal(signal.SIGALRM, late)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)


def campaign(name: str, case: Callable[[int], None], first: int, count: int) -> list[str]:
    """Try so many cases; what failed, a line each."""
    failed = []
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # a warning of NumPy's would be on a user's screen
        warnings.filterwarnings("ignore", module="(ase|zipfile)")
        for seed in range(first, first + count):
            try:
                with deadline():
                    case(seed)
            except Hang:
                failed.append(f"{name} {seed}: longer than {LONGEST:g} s")
            except Exception:
                failed.append(f"{name} {seed}: {traceback.format_exc(limit=-3)}")
    return failed


def say(text: str) -> None:
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    for kind in ("sessions", "models", "data", "manifests"):
        parser.add_argument(f"--{kind}", type=int, default=0)
    parser.add_argument("--from", dest="first", type=int, default=0)
    counts = parser.parse_args()
    failed: list[str] = []
    with ExitStack() as stack:
        folder = Path(stack.enter_context(TemporaryDirectory()))
        manifest = made_dimer(folder)
        wire = WireFuzz(manifest)
        stack.callback(wire.close)
        models, data, manifests = ModelFuzz(manifest), DataFuzz(folder), ManifestFuzz(manifest)
        for kind, case in (
            ("sessions", wire.session), ("models", models.case), ("data", data.case), ("manifests", manifests.case),
        ):  # fmt: skip
            if count := getattr(counts, kind):
                began = time.perf_counter()
                wrong = campaign(kind, case, counts.first, count)
                say(f"{kind}: {count} in {time.perf_counter() - began:.0f} s, {len(wrong)} failed")
                failed += wrong
        say(f"{wire.answers} answers were the formula's, {wire.refused} sessions were refused; "
              f"{models.right} models predicted as it does, {models.refused} were refused; "
              f"{data.read} data files were read, {data.refused} refused; "
              f"{manifests.right} manifests served, {manifests.refused} refused")  # fmt: skip
    say("\n".join(failed[:8]))
    raise SystemExit(bool(failed))


if __name__ == "__main__":
    main()
