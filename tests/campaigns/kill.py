"""The kill campaign: kill -9 at random moments, then to the end; what is then missing, twice, or still running?

python tests/campaigns/kill.py --kills 100                # of each kind; hours
python tests/campaigns/kill.py --kills 5 --only run,remd

Half of the kills take the command alone, which may then be asked again at once; the others all that it started. Exits
with 1 where anything was wrong.
"""

from __future__ import annotations

import argparse
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt

ROOT = Path(__file__).resolve().parents[2]
SGDML = str(Path(sys.executable).with_name("delta-sgdml"))
MANIFEST = ROOT / "models/h2o_benzene/manifest.yaml"
A_TRIAL = 5  # kills before a trial is let to its end
SETTLED = 40.0  # s after which what still runs is an orphan
LONGEST = 600.0  # s

Array = npt.NDArray[Any]


class Trial:
    """Something that is killed and asked again. newest: how far its outputs are; interval: what a kill may cost."""

    seconds = 8.0  # the longest time before a kill
    interval = 0

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.reached = 0  # when it was last killed

    def command(self) -> list[str]:
        raise NotImplementedError

    def newest(self) -> int:
        return 0

    def wrong(self) -> Iterator[str]:
        """What is wrong with it at its end."""
        raise NotImplementedError


def steps_in(path: Path) -> list[int]:
    text = path.read_text(errors="replace")
    if path.suffix == ".out":
        return [int(float(row)) for row in re.findall(r"^ +(\d\S+) .*\n", text, re.M)]
    return [int(step) for step in re.findall(r"Step:\s*(\d+)", text)]


class Dynamics(Trial):
    total, stride, interval = 600, 10, 60
    outputs: tuple[str, ...]

    def newest(self) -> int:
        tables = [path for path in self.folder.rglob("*.out") if not path.name.startswith("#")]
        return max((steps[-1] for path in tables if (steps := steps_in(path))), default=0)

    def wrong(self) -> Iterator[str]:
        found = [path for pattern in self.outputs for path in sorted(self.folder.glob(pattern))]
        if len(found) < len(self.outputs):
            yield "outputs are missing"
        for path in found:
            steps = steps_in(path)
            if missing := set(range(0, self.total + 1, self.stride)) - set(steps):
                yield f"missing: {path.name} lacks {sorted(missing)[:5]}"
            if len(set(steps)) < len(steps) or steps != sorted(steps):
                yield f"twice: {path.name}"


class Run(Dynamics):
    outputs = ("run/run.out", "run/run.pos_0.xyz", "run/run.energy_binding_0")

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        source = ROOT / "inputs/h2o_benzene"
        text = (source / "nvt.xml").read_text().replace('prefix="nvt"', 'prefix="run"')
        text = re.sub(r"<total_steps>.*?</total_steps>", f"<total_steps>{self.total}</total_steps>", text)
        text = text.replace('stride="20"', 'stride="10"').replace(
            'stride="1000" filename="chk"', 'stride="50" filename="chk"'
        )
        text = re.sub(r'flush="\d+"', 'flush="1"', text)  # as often as the checkpoints now, or more of them are lost
        (folder / "input.xml").write_text(text.replace('overwrite="True"', 'overwrite="False"'))
        shutil.copy(source / "init.xyz", folder)

    def command(self) -> list[str]:
        run = self.folder / "run"
        checkpoints = [path for path in run.glob("run.chk_*") if "</simulation>" in path.read_text(errors="replace")]
        going_on = bool(checkpoints) or (run / "RESTART").is_file()
        restart = ["--restart"] * going_on
        return [SGDML, "run", str(self.folder / "input.xml"), str(MANIFEST), "--dir", str(run), *restart]


class Sweep(Dynamics):
    options: tuple[str, ...] = ()
    outputs = ("sweep/200K/200K_md.*", "sweep/250K/250K_md.*")

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        common = ("--temperatures", "200,250", "--stride", "10", "--frames", "10", "--checkpoint", "50", "--no-relax")
        write = [SGDML, "sweep", "write", str(MANIFEST), "-o", str(folder / "sweep"), *common, *self.options]
        subprocess.run(write, check=True, stdout=subprocess.DEVNULL)

    def command(self) -> list[str]:
        return [SGDML, "sweep", "run", str(self.folder / "sweep")]


class Nvt(Sweep):
    options = ("--time", "0.3")


class Remd(Sweep):
    options = ("--kind", "remd", "--exchange", "5", "--time", "0.3")
    outputs = ("sweep/remd/200K_md.*", "sweep/remd/250K_md.*")


class Pimd(Sweep):
    options = ("--kind", "pimd", "--beads", "4", "--time", "0.15")


class Mts(Sweep):
    options = ("--kind", "mts", "--time", "0.6")


class Metadynamics(Sweep):
    options = ("--kind", "metadynamics", "--variable", "R_CM", "--pace", "20", "--walkers", "2", "--time", "0.3")
    outputs = tuple(f"sweep/{t}K_{k}/{t}K_{k}_md.*" for t in (200, 250) for k in (1, 2))

    def wrong(self) -> Iterator[str]:
        yield from super().wrong()
        for path in sorted(self.folder.glob("sweep/*/hills.dat")):
            steps = np.loadtxt(path, usecols=0)
            if not np.array_equal(steps, np.repeat(np.arange(20, self.total + 1, 20), 2)):
                yield f"hills: {path.parent.name} has {steps.tolist()}"


class Files(Trial):
    """Ends with the same arrays as one that nobody killed, up to what an SCF that began elsewhere makes of them."""

    expected: ClassVar[dict[str, dict[str, Array]]] = {}
    words: tuple[str, ...]
    outputs: tuple[str, ...]

    def command(self) -> list[str]:
        return [SGDML, *(word.replace("{out}", str(self.folder)) for word in self.words)]

    def arrays(self) -> dict[str, Array]:
        made: dict[str, Array] = {}
        for name in self.outputs:
            with np.load(self.folder / name) as archive:
                made |= {f"{name}/{key}": archive[key] for key in archive.files if archive[key].dtype.kind in "fi"}
        return made

    def wrong(self) -> Iterator[str]:
        kind = type(self).__name__
        if kind not in self.expected:
            with TemporaryDirectory() as name:
                alone = type(self)(Path(name))
                subprocess.run(alone.command(), check=True, capture_output=True)
                self.expected[kind] = alone.arrays()
        made, expected = self.arrays(), self.expected[kind]
        if made.keys() != expected.keys():
            yield f"differs: {sorted(made.keys() ^ expected.keys())}"
        for key in sorted(made.keys() & expected.keys()):
            if made[key].shape != expected[key].shape or not np.allclose(made[key], expected[key], 1e-6, 1e-4):
                yield f"differs: {key}"


class Train(Files):
    seconds = 12.0
    words = ("train", str(ROOT / "models/na_benzene/dataset.npz"), "-n", "60", "--n-validation", "60", "-o",
             "{out}/model", "--threads", "1")  # fmt: skip
    outputs = ("model/benzene.npz", "model/binding.npz")


class Label(Files):
    words = ("dataset", "label", str(ROOT / "tests/labelled/na_benzene.npz"), "-o", "{out}/d.npz", "-j", "2")
    outputs = ("d.npz",)
    seconds = 6.0

    def command(self) -> list[str]:
        done = (self.folder / "d.npz").exists()  # what is complete is not labelled again without being told to
        return [SGDML, "dataset", "info", str(self.folder / "d.npz")] if done else super().command()


KINDS = {
    "nvt": Nvt,
    "remd": Remd,
    "pimd": Pimd,
    "mts": Mts,
    "metadynamics": Metadynamics,
    "run": Run,
    "train": Train,
    "label": Label,
}


def processes(folder: Path) -> list[int]:
    """What works in a folder, or has it on its command line."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and int(entry.name) != os.getpid():
            try:
                command = (entry / "cmdline").read_bytes().decode(errors="replace")
                if Path(os.readlink(entry / "cwd")).is_relative_to(folder) or f"{folder}/" in command:
                    found.append(int(entry.name))
            except OSError:  # gone meanwhile
                continue
    return found


def kill(pids: list[int]) -> None:
    for pid in pids:
        try:
            os.kill(pid, signal.SIGKILL)
        except ProcessLookupError:
            continue


def settle(folder: Path) -> int:
    """How many processes are still there after a while; they are killed."""
    deadline = time.monotonic() + SETTLED
    while (left := processes(folder)) and time.monotonic() < deadline:
        time.sleep(0.1)
    kill(left)
    return len(left)


def attempt(trial: Trial, chance: random.Random, counts: Counter[str], most: int) -> list[str]:
    """One trial with so many kills, and what is wrong with it."""
    log = trial.folder / "log"
    wrong: list[str] = []
    for _ in range(most):
        with log.open("w") as file:
            process = subprocess.Popen(trial.command(), stdout=file, stderr=file)
            try:
                process.wait(chance.uniform(0.3, trial.seconds))
                break
            except subprocess.TimeoutExpired:
                reached, everything = trial.newest(), chance.random() < 0.5
                kill([process.pid, *(processes(trial.folder) if everything else [])])
                process.wait()
        counts["kills"] += 1
        counts["of everything" if everything else "of the command"] += 1
        wrong += lost(trial, log, counts)
        trial.reached = reached
        if everything or chance.random() < 0.5:
            counts["orphans"] += settle(trial.folder)
    with log.open("w") as file:
        code = subprocess.run(trial.command(), stdout=file, stderr=file, timeout=LONGEST).returncode
    wrong += lost(trial, log, counts)
    counts["trials"] += 1
    counts["orphans"] += settle(trial.folder)
    if code:
        return [*wrong, f"ended with code {code}: {log.read_text()[-500:]}"]
    return [*wrong, *trial.wrong()]


def lost(trial: Trial, log: Path, counts: Counter[str]) -> Iterator[str]:
    """Steps that the last kill cost, if the command came so far as to say where it goes on."""
    text = log.read_text()
    if "Traceback" in text:
        yield f"traceback: {text[-500:]}"
    found = re.search(r"going on from step (\d+)", text)
    if found and trial.reached:
        steps = trial.reached - int(found[1])
        counts["most steps lost"] = max(counts["most steps lost"], steps)
        if steps > trial.interval:
            yield f"lost: {steps} steps"


def tell(*lines: str) -> None:
    sys.stdout.write("\n  ".join(lines) + "\n")
    sys.stdout.flush()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=100, help="of each kind")
    parser.add_argument("--only", default=",".join(KINDS), help="kinds, with commas")
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(10**6))
    asked = parser.parse_args()
    chance, bad = random.Random(asked.seed), 0
    tell(f"seed {asked.seed}")
    for name in asked.only.split(","):
        counts: Counter[str] = Counter()
        wrong: list[str] = []
        while counts["kills"] < asked.kills:
            with TemporaryDirectory() as folder:
                trial = KINDS[name](Path(folder).resolve())
                wrong += attempt(trial, chance, counts, min(A_TRIAL, asked.kills - counts["kills"]))
        bad += len(wrong) + counts["orphans"]
        tell(f"{name}: {dict(counts)}, wrong: {len(wrong)}", *wrong)
    raise SystemExit(bool(bad))


if __name__ == "__main__":
    main()
