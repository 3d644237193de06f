"""delta-sgdml analyze: registers its commands, one file each."""

from __future__ import annotations

import typer

from . import analyze_descriptor, analyze_energies, analyze_free_energy, analyze_rotation, analyze_stability

app = typer.Typer(no_args_is_help=True, rich_markup_mode=None, help="What a run did, what a data set asks for.")
app.command()(analyze_descriptor.descriptor)
app.command()(analyze_energies.energies)
app.command("free-energy")(analyze_free_energy.free_energy)
app.command()(analyze_rotation.rotation)
app.command()(analyze_stability.stability)
