"""How the help pages look: sections of commands, one vocabulary of metavariables, examples that can be pasted."""

from __future__ import annotations

import textwrap
from collections.abc import Callable, Mapping, Sequence
from itertools import zip_longest
from pathlib import Path
from typing import Any, ClassVar, TypeVar, get_args, get_type_hints

import typer
from typer.core import TyperCommand, TyperGroup

F = TypeVar("F", bound=Callable[..., Any])

METAVARS = {int: "N", float: "X", Path: "FILE", str: "TEXT"}  # of values that are given no other
_EXAMPLE = "Example: "


class App(typer.Typer):
    """A group of commands; its pages are plain text, so that they are there at once and can be piped."""

    def __init__(self, help: str | None = None) -> None:
        self._order: list[str] = []
        group = type("Sections", (Sections,), {"order": self._order})  # typer makes the group, of its class alone
        super().__init__(cls=group, help=help, add_completion=False, no_args_is_help=True, rich_markup_mode=None)

    def add(self, heading: str, commands: Mapping[str, Callable[..., None] | App]) -> None:
        """Register commands, and groups of them, that stand under one heading."""
        for name, command in commands.items():
            if isinstance(command, App):
                self._order.append(name)
                self.add_typer(command, name=name, rich_help_panel=heading)
            else:
                self.command(name, rich_help_panel=heading)(command)

    def command(self, name: str | None = None, **settings: Any) -> Callable[[F], F]:
        register = super().command(name, cls=Command, **settings)

        def named(function: F) -> F:
            self._order.append(name or function.__name__)
            _name_values(function)
            return register(function)

        return named


class Sections(TyperGroup):
    """A group that lists its commands in the order of their registration, under their headings."""

    order: ClassVar[Sequence[str]] = ()

    def list_commands(self, ctx: Any) -> list[str]:
        return sorted(self.commands, key=self.order.index)

    def format_commands(self, ctx: Any, formatter: Any) -> None:
        sections: dict[str, list[tuple[str, str]]] = {}
        width = max(map(len, self.commands))
        for name in self.list_commands(ctx):
            command = self.commands[name]
            heading = getattr(command, "rich_help_panel", None)
            summary = (command.help or "").split("\n\n")[0]
            sections.setdefault(heading or "Commands", []).append((name.ljust(width), summary))
        for heading, rows in sections.items():
            with formatter.section(heading):
                formatter.write_dl(rows)


class Command(TyperCommand):
    """A command. The paragraphs of its docstring that are examples end its help, each a command line to paste."""

    def __init__(self, *args: Any, **settings: Any) -> None:
        super().__init__(*args, **settings)
        paragraphs = (self.help or "").split("\n\n")
        self.examples = [" ".join(p.split()) for p in paragraphs if p.startswith(_EXAMPLE)]
        self.help = "\n\n".join(p for p in paragraphs if not p.startswith(_EXAMPLE))

    def parse_args(self, ctx: Any, args: list[str]) -> Any:
        try:
            return super().parse_args(ctx, _with_first_word(self.params, args))
        except typer.BadParameter as error:
            errors: list[Any] = getattr(error.__cause__, "errors", list)()  # pydantic's; most do not say which value
            found = ", ".join(repr(each["input"]) for each in errors)
            if found not in error.message:
                error.message += f", found {found}"
            raise

    def collect_usage_pieces(self, ctx: Any) -> list[str]:
        return ["[OPTIONS]", *(_values(p) for p in self.params if p.param_type_name == "argument")]

    def format_options(self, ctx: Any, formatter: Any) -> None:
        rows: dict[str, list[tuple[str, str]]] = {"argument": [], "option": []}
        for parameter in self.get_params(ctx):
            names, _ = parameter.get_help_record(ctx) or ("", "")
            kind = parameter.param_type_name
            rows[kind].append((_values(parameter) if kind == "argument" else names, _explained(parameter)))
        for kind, heading in (("argument", "Arguments"), ("option", "Options")):
            if rows[kind]:
                with formatter.section(heading):
                    formatter.write_dl(rows[kind])

    def format_epilog(self, ctx: Any, formatter: Any) -> None:
        super().format_epilog(ctx, formatter)
        for example in self.examples:
            lines = textwrap.wrap(
                example,
                formatter.width - 2,
                initial_indent="  ",
                subsequent_indent=" " * (2 + len(_EXAMPLE)),
                break_long_words=False,
                break_on_hyphens=False,
            )
            formatter.write("\n" + " \\\n".join(lines) + "\n")


def _with_first_word(parameters: Sequence[Any], args: Sequence[str]) -> list[str]:
    """Arguments in which an option whose metavariable stands in brackets, ``[WORD,WORD…]``, has its first word where
    none of them follows."""
    words = {
        name: p.metavar.strip("[]").split(",")
        for p in parameters
        for name in p.opts
        if str(p.metavar).startswith("[")
    }
    told = []
    for arg, after in zip_longest(args, args[1:], fillvalue=""):
        told += [arg, words[arg][0]] if arg in words and set(after.split(",")) - set(words[arg]) else [arg]
    return told


def _values(argument: Any) -> str:
    name = str(argument.metavar or argument.name).removesuffix("...")
    return f"{name}..." if argument.nargs == -1 else name


def _explained(parameter: Any) -> str:
    """The help of an argument or an option, and what holds when it is not given: a text, or the value itself."""
    shown, default = parameter.show_default, parameter.default
    if shown is True and not isinstance(default, bool) and default not in (None, "", []):
        shown = f"{default:g}" if isinstance(default, float) else str(default)
    note = "required" if parameter.required else f"default: {shown}" if isinstance(shown, str) else ""
    return f"{parameter.help or ''}  [{note}]" if note else str(parameter.help or "")


def _name_values(function: Callable[..., Any]) -> None:
    """Give each argument and option of a command that has no metavariable the one of its type."""
    function.__annotations__ = get_type_hints(function, include_extras=True)
    for hint in function.__annotations__.values():
        for parameter in getattr(hint, "__metadata__", ()):
            if parameter.metavar is None:
                kinds = (hint.__origin__, *get_args(hint.__origin__))
                parameter.metavar = next((name for kind, name in METAVARS.items() if kind in kinds), None)
