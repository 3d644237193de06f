#!/usr/bin/env python
"""Structures a second of independent i-PI processes on one daemon, on a driver each, and of one i-PI for all systems.

    run/bench_daemon.py h2o_benzene --servers 8 --steps 1000 --repeats 3

Real i-PI, the shipped nvt.xml with few outputs, in alternation. Counted is between the moment when all runs are a
tenth done and the moment when the first is finished: neither loading nor stragglers. Columns: structures/s; ratio to
the first way in the same round; CPU ms a structure, of the drivers and of i-PI; memory of the drivers (MB,
proportional share); structures that were evaluated at once.
"""

from __future__ import annotations

import argparse
import copy
import json
import os
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median
from xml.etree import ElementTree
from xml.etree.ElementTree import Element, SubElement

ROOT = Path(__file__).resolve().parent.parent
BIN = Path(sys.executable).parent
STRIDE = 10  # of the output that tells how far a run is
TICK = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True)
class Figures:
    structures_per_s: float
    driver_cpu_ms: float  # a structure
    ipi_cpu_ms: float
    driver_mb: float
    structures_at_once: float


class Ladder:
    """A system at several temperatures."""

    def __init__(self, system: str, servers: int, steps: int, latency: float) -> None:
        self.manifest = ROOT / "models" / system / "manifest.yaml"
        self.inputs, self.steps, self.latency = ROOT / "inputs" / system, steps, latency
        self.temperatures = [300 + 5 * i for i in range(servers)]

    def daemon(self, folder: Path) -> Figures:
        sockets = [word for t in self.temperatures for word in ("--socket", f"unix:{t}")]
        return self._measure(folder, self._independent(folder), [sockets])

    def drivers(self, folder: Path) -> Figures:
        return self._measure(
            folder, self._independent(folder), [["--socket", f"unix:{t}"] for t in self.temperatures]
        )

    def systems(self, folder: Path) -> Figures:
        path = self._write(folder / "all", self.temperatures, self.latency)
        return self._measure(folder, [path], [["--socket", "unix:all"]])

    def alone(self, folder: Path) -> Figures:
        path = self._write(folder / "alone", self.temperatures[:1], 1e-4)
        return self._measure(folder, [path], [["--socket", "unix:alone"]])

    def _independent(self, folder: Path) -> list[Path]:
        return [self._write(folder / str(t), [t], 1e-4) for t in self.temperatures]

    def _write(self, folder: Path, temperatures: list[int], latency: float) -> Path:
        """An input of one system for each temperature, in a folder of its own whose name is the socket's."""
        folder.mkdir()
        (folder / "init.xyz").write_bytes((self.inputs / "init.xyz").read_bytes())
        root = ElementTree.parse(self.inputs / "nvt.xml").getroot()
        root.find("total_steps").text = str(self.steps)
        output = root.find("output")
        output.attrib["prefix"] = "run"
        for element in list(output):
            output.remove(element)
        SubElement(
            output, "properties", stride=str(STRIDE), filename="out"
        ).text = "[ step, potential{electronvolt} ]"
        socket, system = root.find("ffsocket"), root.find("system")
        socket.find("address").text, socket.find("latency").text = folder.name, str(latency)
        if len(temperatures) > 1:
            socket.attrib["matching"] = "any"
            SubElement(socket, "batch_size").text = str(len(temperatures))
            root.insert(list(root).index(system), self._template(system, temperatures))
            root.remove(system)
        else:
            self._set_temperature(system, str(temperatures[0]))
        ElementTree.ElementTree(root).write(folder / "input.xml")
        return folder / "input.xml"

    def _template(self, system: Element, temperatures: list[int]) -> Element:
        template = Element("system_template")
        SubElement(template, "labels").text = "[ TKELVIN ]"
        for t in temperatures:
            SubElement(template, "instance").text = f"[ {t} ]"
        system = copy.deepcopy(system)
        system.attrib["prefix"] = "TKELVIN"
        self._set_temperature(system, "TKELVIN")
        SubElement(template, "template").append(system)
        return template

    @staticmethod
    def _set_temperature(system: Element, text: str) -> None:
        for where in ("initialize/velocities", "ensemble/temperature"):
            system.find(where).text = text

    def _measure(self, folder: Path, inputs: list[Path], drivers: list[list[str]]) -> Figures:
        prefix = f"{folder}/s-"
        ipi = [start([str(BIN / "i-pi"), "-S", prefix, path.name], path.parent, "i-pi.log") for path in inputs]
        logs = [folder / f"driver-{i}.log" for i, _ in enumerate(drivers)]
        command = [str(BIN / "delta-driver"), str(self.manifest), "--sockets-prefix", prefix]
        ours = [start([*command, *options], folder, log.name) for options, log in zip(drivers, logs, strict=True)]
        try:
            return self._watch(folder, ipi, ours, logs)
        finally:
            for process in (*ipi, *ours):
                process.kill()
                process.wait()

    def _watch(
        self, folder: Path, ipi: list[subprocess.Popen[bytes]], ours: list[subprocess.Popen[bytes]], logs: list[Path]
    ) -> Figures:
        begin = end = None
        memory = 0.0
        while any(process.poll() is None for process in ipi):
            time.sleep(0.02)
            steps = [last_step(path) for path in folder.glob("*/*run.out")]
            if not steps or (begin is None and min(steps) < self.steps / 10):
                continue
            now = (time.perf_counter(), sum(steps), cpu(ours), cpu(ipi))
            if begin is None:
                begin, memory = now, sum(map(megabytes, ours))
            if max(steps) >= self.steps:
                break
            end = now
        if any(process.wait() for process in (*ipi, *ours)) or begin is None or end is None or end[1] == begin[1]:
            raise SystemExit(f"a run failed or was too short to be timed; see {folder}")
        seconds, structures, driver_cpu, ipi_cpu = (b - a for a, b in zip(begin, end, strict=True))
        served = [re.search(r"(\d+) requests \((\d+) structures\)", log.read_text()) for log in logs]
        together = [re.search(r"([\d.]+) structures evaluated at once", log.read_text()) for log in logs]
        batches = [float(m[1]) if m else int(s[2]) / int(s[1]) for m, s in zip(together, served, strict=True)]
        return Figures(
            structures / seconds,
            1e3 * driver_cpu / structures,
            1e3 * ipi_cpu / structures,
            memory,
            sum(batches) / len(batches),
        )


def start(command: list[str], folder: Path, log: str) -> subprocess.Popen[bytes]:
    with (folder / log).open("wb") as file:
        env = os.environ | {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
        return subprocess.Popen(command, cwd=folder, stdin=subprocess.DEVNULL, stdout=file, stderr=file, env=env)


def last_step(path: Path) -> int:
    lines = path.read_text().rpartition("\n")[0].splitlines()
    return int(float(lines[-1].split()[0])) if lines and not lines[-1].startswith("#") else 0


def cpu(processes: list[subprocess.Popen[bytes]]) -> float:
    """Seconds used so far."""
    total = 0
    for process in processes:
        fields = Path(f"/proc/{process.pid}/stat").read_text().rpartition(")")[2].split()
        total += int(fields[11]) + int(fields[12])
    return total / TICK


def megabytes(process: subprocess.Popen[bytes]) -> float:
    found = re.search(r"^Pss:\s+(\d+) kB", Path(f"/proc/{process.pid}/smaps_rollup").read_text(), re.M)
    return int(found[1]) / 1024 if found else 0.0


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("system", nargs="?", default="h2o_benzene", help="a folder of models/ and inputs/")
    parser.add_argument("--servers", type=int, default=8)
    parser.add_argument("--steps", type=int, default=1000)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--latency", type=float, default=3e-3, help="of the i-PI with several systems, s")
    parser.add_argument("--json", action="store_true")
    args = parser.parse_args()
    ladder = Ladder(args.system, args.servers, args.steps, args.latency)
    n = args.servers
    ways: dict[str, Callable[[Path], Figures]] = {
        f"{n} i-PI, one daemon": ladder.daemon,
        f"{n} i-PI, {n} drivers": ladder.drivers,
        f"one i-PI, {n} systems, one driver": ladder.systems,
        "one i-PI, one system, one driver": ladder.alone,
    }
    found: dict[str, list[Figures]] = {name: [] for name in ways}
    for i in range(args.repeats):
        for name, way in ways.items():
            with tempfile.TemporaryDirectory(prefix="delta-") as folder:
                found[name].append(way(Path(folder)))
            print(f"{i + 1}/{args.repeats}  {name}: {found[name][-1]}", file=sys.stderr)
    first = next(iter(found.values()))
    rows = {
        name: {key: median(asdict(f)[key] for f in figures) for key in asdict(figures[0])}
        | {"ratio": median(f.structures_per_s / g.structures_per_s for f, g in zip(figures, first, strict=True))}
        for name, figures in found.items()
    }
    if args.json:
        print(
            json.dumps({"system": args.system, "steps": args.steps, "repeats": args.repeats, "ways": rows}, indent=1)
        )
        return
    print(f"{args.system}, {args.steps} steps, median of {args.repeats}; ratio: to the first, of the same round")
    print(f"{'':36}{'structures/s':>14}{'ratio':>8}{'driver ms':>11}{'i-PI ms':>9}{'driver MB':>11}{'at once':>9}")
    for name, row in rows.items():
        print(
            f"{name:36}{row['structures_per_s']:14.0f}{row['ratio']:8.2f}{row['driver_cpu_ms']:11.3f}"
            f"{row['ipi_cpu_ms']:9.3f}{row['driver_mb']:11.0f}{row['structures_at_once']:9.1f}"
        )


if __name__ == "__main__":
    main()
