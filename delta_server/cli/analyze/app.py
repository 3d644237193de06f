"""delta-sgdml analyze: registers its commands, one file each."""

from __future__ import annotations

from ..help import App
from . import curve as analyze_curve
from . import descriptor as analyze_descriptor
from . import energies as analyze_energies
from . import free_energy as analyze_free_energy
from . import liquid as analyze_liquid
from . import rotation as analyze_rotation
from . import stability as analyze_stability

app = App("See what a run did, and what a data set asks for.")
app.command()(analyze_curve.curve)
app.command()(analyze_descriptor.descriptor)
app.command()(analyze_energies.energies)
app.command("free-energy")(analyze_free_energy.free_energy)
app.command()(analyze_liquid.liquid)
app.command()(analyze_rotation.rotation)
app.command()(analyze_stability.stability)
