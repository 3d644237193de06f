"""Sound labels pass: each complex of S22, sampled and labelled with GFN2-xTB, through `dataset info`.

python tests/campaigns/s22.py                    # some twenty minutes on one core
python tests/campaigns/s22.py --only Water_dimer,Benzene_dimer_parallel_displaced --temperature 150

Exits with 1 where labels that are sound are called wrong.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import time
from pathlib import Path
from tempfile import TemporaryDirectory

from ase.data.s22 import create_s22_system, s22
from ase.io import write

SGDML = str(Path(sys.executable).with_name("delta-sgdml"))


def verdict(name: str, temperature: float, folder: Path) -> str:
    """What `dataset info` says of a complex; nothing where it is content."""
    start, frames, labels = folder / "start.xyz", folder / "frames.extxyz", folder / "labels.npz"
    write(start, create_s22_system(name))
    sampled = ["--frames", "30", "--every", "10", "--equilibrate", "200", "--temperature", str(temperature)]
    for words in (
        ["sample", str(start), "-o", str(frames), *sampled],
        ["label", str(frames), "-o", str(labels), "-j", "1", "--skip-reactive"],
        ["info", str(labels)],
    ):
        done = subprocess.run([SGDML, "dataset", *words], capture_output=True, text=True, check=False)
        if done.returncode:
            return f"dataset {words[0]} ends with {done.returncode}: {(done.stderr or done.stdout).strip()[-2000:]}"
    return ""


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--only", default=",".join(s22))
    parser.add_argument("--temperature", type=float, default=300.0)
    options = parser.parse_args()
    names = options.only.split(",")
    sound = 0
    for name in names:
        began = time.monotonic()
        with TemporaryDirectory() as folder:
            wrong = verdict(name, options.temperature, Path(folder))
        sound += not wrong
        sys.stdout.write(f"{name:45} {time.monotonic() - began:5.0f} s  {wrong or 'sound'}\n")
        sys.stdout.flush()
    sys.stdout.write(f"{sound} of {len(names)} sound\n")
    sys.exit(sound < len(names))


if __name__ == "__main__":
    main()
