"""What the commands of a learning share."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

LearnArg = Annotated[Path, typer.Argument(help="Folder of a learning.", metavar="DIR", show_default=False)]
