"""What a learning of an assembly was asked for: ``assembly.json``, read strictly."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, ValidationError

from ...errors import InputError
from ...files.documents import Strict, first_error, read_text
from ...files.whole import write_json
from ...methods import Method, Option
from ..rounds import Round
from ..settings import OF_ASSEMBLY

_Positive = Annotated[float, Field(gt=0)]
_Count = Annotated[int, Field(ge=1)]


class AssemblySettings(Strict):
    """What holds for all rounds: the ``manifest`` and the ``datasets`` that it began with; ``temperatures`` (K);
    ``force`` and ``energy``, largest mean absolute errors of n-mers (kcal/mol/Å, of the whole; kcal/mol, of what n
    bodies bind); ``budget``, n-mers to label at most. A round: ``replicas`` of so many ``picoseconds`` at each
    temperature; ``test`` n-mers of each kind at each temperature, then at most ``picks`` of each kind."""

    format: Literal["delta-sgdml-learn-assembly/1"] = "delta-sgdml-learn-assembly/1"
    manifest: str
    datasets: tuple[str, ...] = Field(min_length=1)
    temperatures: tuple[_Positive, ...] = Field(min_length=1)
    force: _Positive
    energy: _Positive
    budget: _Count
    calculator: str
    options: dict[str, Option] = Field(default_factory=dict)
    test: Annotated[int, Field(ge=4)]
    picks: Annotated[int, Field(ge=2)]
    replicas: _Count
    picoseconds: _Positive
    timestep: _Positive
    seed: Annotated[int, Field(ge=0)] = 0

    @property
    def method(self) -> Method:
        """What labels."""
        return Method(self.calculator, self.options)

    @classmethod
    def made(cls, **values: Any) -> AssemblySettings:
        """Settings of what a command was told. Raises InputError."""
        try:
            return cls(**values)
        except ValidationError as error:
            raise InputError(first_error(error)) from None

    def settle(self, folder: Path) -> None:
        """Write them, or find that a learning that has begun there was asked for the same, or with a smaller budget.

        Raises InputError where the learning in the folder was asked for something else.
        """
        path = folder / OF_ASSEMBLY
        if Round(folder, 0).done:
            there = load_settings(folder)
            for name, value in self:
                begun = getattr(there, name)
                if value != begun and not (name == "budget" and value > begun):
                    raise InputError(f"{path}: began with {name} {begun}, not {value}; say the same, or another -o")
        folder.mkdir(parents=True, exist_ok=True)
        write_json(path, self.model_dump(mode="json"))


def load_settings(folder: Path) -> AssemblySettings:
    """The settings of a learning in a folder. Raises InputError."""
    path = folder / OF_ASSEMBLY
    text = read_text(path, "learning's settings", "JSON", InputError)
    try:
        return AssemblySettings.model_validate_json(text)
    except ValidationError as error:
        raise InputError(f"{path}: {first_error(error)}") from None
