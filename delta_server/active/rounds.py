"""The folder of a learning: its settings, what it began with, and a folder for each round.

    learn.json                    what was asked for
    start.xyz, or start.npz       the geometry, or the data set, that it began with
    rounds/00/                    the first labels, and the models trained on them
    rounds/01/, …                 dynamics.npz, asked/, labels (test.npz, picked.npz, …), model/, round.json

Every file is written whole, and what exists is not done again; round.json is a round's last.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..data.dataset import Dataset, load_dataset
from ..errors import InputError
from ..files.documents import plain
from ..files.whole import sha256_of, write_json
from .asked import Asked

RECORD = "round.json"
TO_LABEL = "to_label"
START_GEOMETRY, START_DATA = "start.xyz", "start.npz"
_ROUNDS = "rounds"


@dataclass(frozen=True)
class Round:
    """One round of a learning: where its files are."""

    root: Path
    number: int

    @property
    def folder(self) -> Path:
        """Where the round's files are."""
        return self.root / _ROUNDS / f"{self.number:02d}"

    @property
    def record_path(self) -> Path:
        return self.folder / RECORD

    @property
    def done(self) -> bool:
        """Whether the round is complete."""
        return self.record_path.is_file()

    def asked_path(self, name: str) -> Path:
        return self.folder / "asked" / f"{name}.npz"

    def asked(self) -> list[Asked]:
        """All that the round has asked so far."""
        paths = sorted((self.folder / "asked").glob("*.npz"))
        return [Asked.load(path, path.stem) for path in paths]

    def labels_path(self, name: str) -> Path:
        return self.folder / f"{name}.npz"

    def labels(self, name: str) -> Dataset | None:
        """What has been labelled under a name; None where nothing has. Raises InputError."""
        path = self.labels_path(name)
        return load_dataset(path) if path.is_file() else None

    def failures_path(self, name: str) -> Path:
        return self.folder / f"{name}.failures.json"

    def failures(self, name: str) -> list[int]:
        """Which of the frames that were asked have no labels."""
        path = self.failures_path(name)
        return [int(row["frame"]) for row in json.loads(path.read_text(encoding="utf-8"))] if path.is_file() else []

    def record(self) -> dict[str, Any]:
        """What is known of a round that is complete. Raises InputError."""
        try:
            content = json.loads(self.record_path.read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise InputError(f"{self.record_path}: cannot be read: {error}") from None
        if not isinstance(content, dict):
            raise InputError(f"{self.record_path}: is no record of a round")
        return content

    def write(self, content: dict[str, Any]) -> None:
        """Write the record, with the hashes of all files of the round. Raises InputError."""
        files = {p.relative_to(self.folder).as_posix(): sha256_of(p) for p in sorted(self.folder.rglob("*.npz"))}
        write_json(self.record_path, plain({"round": self.number, **content, "files": files}))


def rounds(root: Path) -> list[Round]:
    """All rounds that are complete, and the one that is next."""
    made = [Round(root, 0)]
    while made[-1].done:
        made.append(Round(root, made[-1].number + 1))
    return made
