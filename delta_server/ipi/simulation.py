"""i-PI's inputs for a manifest: one template for what `delta-sgdml input` and `delta-sgdml sweep` run.

The thermostat is Langevin's: local, so that it is ergodic for a small, stiff molecule in a vacuum, where chains that
act on the whole (Nosé and Hoover) are not, at 10 K least of all. Its friction 1/τ also slows rotation: a free rotor
diffuses with D = kT τ/I, whatever the model says. τ of 1 ps is the default of a sweep: short against a run of tens of
picoseconds, long against all vibrations and a guest's rattling. `delta-sgdml input` takes 0.1 ps, for short runs.

i-PI's defaults would have each record brought to the disk (fsync) by itself, the state kept at every step, and one
system moved by a thread of a pool: on a slow or busy disk the larger part of a small molecule's step. Here that is
done a few times between checkpoints, and threads are for several systems.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal
from xml.sax.saxutils import escape

Ensemble = Literal["nvt", "nve", "npt"]

COLUMNS = ("step", "time", "conserved", "temperature", "kinetic", "potential", "ensemble_temperature")
"""The columns of a property output, in order; ps, eV, K."""
_PROPERTIES = (
    "step, time{picosecond}, conserved{electronvolt}, temperature{kelvin}, %s{electronvolt}, "
    "potential{electronvolt}, ensemble_temperature{kelvin}"
)
_SAFE = 5  # times between checkpoints that records are brought to the disk
_MOST_CHECKPOINTS = 50
_PISTON = 250.0  # fs, of the barostat and of the thermostat of its own
_BATCH_LATENCY = 1e-3  # s between i-PI's looks at its queue: all systems of a ladder have asked by then


@dataclass(frozen=True)
class System:
    """One molecule at its temperature (K); prefix: of its outputs; structure: its first geometry; bias: the file of
    one that acts on it besides (`Simulation.bias_pes`), on the centroid of a ring polymer; hills: the file of those
    that the bias puts there (metadynamics), shared by all systems of the same bias."""

    temperature: float
    prefix: str = ""
    structure: str = "init.xyz"
    bias: str = ""
    hills: str = ""


@dataclass(frozen=True)
class Simulation:
    """A run: NVT, NVE or NPT, classical or with ring polymers, of one system or several.

    Temperature in K, pressure in bar, time in ps, time step and tau (of the thermostat) in fs; strides and checkpoint
    in steps. periodic: whether the start geometry has a cell of its own; volume and pressure are then recorded. The
    cell of NPT keeps its shape (Bussi, Zykova-Timan and Parrinello, J. Chem. Phys. 130, 074101 (2009)) unless it is
    flexible (Martyna, Hughes and Tuckerman, J. Chem. Phys. 110, 3275 (1999)).

    frames: steps between recorded geometries, by default those between records; checkpoint: 1000 by default, more for
    a run of more than 50,000. inner: time steps of the fragments'
    forces to one of the binding's; contract: beads that the binding is computed on, 0 for all (ring-polymer
    contraction; Markland and Manolopoulos, J. Chem. Phys. 129, 024105 (2008)); either way two drivers serve.
    exchange: mean steps between attempts to exchange replicas, 0 for none. host: of i-PI, for drivers that connect
    over inet, on its port.

    extras: that are recorded besides, those of biases in the manifest. bias_pes: the file of i-PI's class for the
    systems' own biases, whose energies i-PI keeps apart from the potential; bias_variables: recorded of these.
    masses: u, of the atoms of a system; by default those of the elements.

    Each checkpoint is a file of its own: one that is being written when the machine stops, or whose records have not
    all come to the disk, spoils no other.
    """

    name: str  # the complex's, after which the socket is called
    fragments: tuple[str, ...]  # energies that are recorded, beside the binding's
    temperature: float = 300.0
    time: float = 20.0
    timestep: float = 0.5
    ensemble: Ensemble = "nvt"
    beads: int = 1
    seed: int = 31415
    stride: int = 20  # between records
    tau: float = 100.0
    binding: bool = True
    frames: int | None = None
    checkpoint: int | None = None
    inner: int = 1
    contract: int = 0
    exchange: int = 0
    batch: int | None = None  # structures in a request to one driver, by default all
    host: str | None = None
    port: int = 31415
    systems: Sequence[System] = field(default=())
    extras: tuple[str, ...] = ()
    bias_pes: str = ""
    bias_variables: tuple[str, ...] = ()
    masses: tuple[float, ...] = ()
    pressure: float = 1.0
    flexible: bool = False
    periodic: bool = False

    @property
    def steps(self) -> int:
        return max(1, round(1000 * self.time / self.timestep))

    @property
    def _checkpoint(self) -> int:
        return self.checkpoint or max(1000, self.steps // _MOST_CHECKPOINTS // self.stride * self.stride)

    @property
    def _safe(self) -> int:
        """Steps between states that a soft stop goes back to, and between records that are brought to the disk."""
        return max(self.stride, self._checkpoint // _SAFE // self.stride * self.stride)

    @property
    def socket(self) -> str:
        """The complex's name as far as it can be a file's."""
        return re.sub(r"[^A-Za-z0-9_.-]+", "_", self.name)[:40]

    @property
    def summary(self) -> str:
        """What is run, in a few words."""
        if self.ensemble == "nve":
            motion = f"NVE from velocities of {self.temperature:g} K"
        elif self.beads > 1:
            pressure = f" and {self.pressure:g} bar" * (self.ensemble == "npt")
            motion = f"path-integral {self.ensemble.upper()} at {self.temperature:g} K{pressure}"
            motion += f", {self.beads} beads in one batch"
        elif self.ensemble == "npt":
            motion = f"classical NPT at {self.temperature:g} K and {self.pressure:g} bar"
        else:
            motion = f"classical NVT at {self.temperature:g} K"
        return f"{motion}, {self.time:g} ps"

    def xml(self, structure: str = "init.xyz", prefix: str = "simulation", comment: str = "") -> str:
        """The input; structure: start geometry, an xyz file with i-PI's comment line, beside it; prefix: of the
        outputs, after that of the system; comment: first lines, for whoever reads the input."""
        systems = self.systems or [System(self.temperature, structure=structure)]
        parts = [
            *([f"<!-- {comment.replace('--', '- -')} -->"] if comment else []),  # XML takes no -- there
            f'<simulation verbosity="medium" safe_stride="{self._safe}" floatformat="%18.10e" '
            f'threading="{len(systems) > 1}">',
            self._output(prefix),
            f"  <total_steps> {self.steps} </total_steps>",
            f"  <prng> <seed> {self.seed} </seed> </prng>",
            *(self._socket(name, len(systems)) for name in self.sockets),
            *(self._bias(name, system) for name, system in self._biases.items()),
            *map(self._system, systems),
        ]
        if self.exchange:
            parts.append(f'  <smotion mode="remd"> <remd> <stride> {self.exchange} </stride> </remd> </smotion>')
        if flooding := ", ".join(name for name, system in self._biases.items() if system.hills):
            parts.append(f'  <smotion mode="metad"> <metad> <metaff> [ {flooding} ] </metaff> </metad> </smotion>')
        return "\n".join((*parts, "</simulation>\n"))

    @property
    def sockets(self) -> tuple[str, ...]:
        """Each served by a driver of its own: what a force field asks for."""
        return ("binding", "fragments") if self.inner > 1 or self.contract else ("delta",)

    def _output(self, prefix: str) -> str:
        quantum = self.beads > 1
        extras = [f"energy_{name}" for name in self.fragments]
        extras += ["energy_binding", "binding_force_rms"] if self.binding else []
        extras += self.extras
        properties = _PROPERTIES % ("kinetic_cv" if quantum else "kinetic_md")
        if self.periodic:
            properties += f", volume{{angstrom3}}, {'pressure_cv' if quantum else 'pressure_md'}{{bar}}"
        moved, file = ("x_centroid", "xc") if quantum else ("positions", "pos")
        places = f'format="xyz" cell_units="angstrom"> {moved}{{angstrom}} </trajectory>'
        often, frames = self._every(self.stride), self._every(self.frames or self.stride)
        recorded = f'    <trajectory {frames} filename="{file}" {places}\n' + "\n".join(
            f'    <trajectory {often} filename="{extra}" extra_type="{extra}"> extras </trajectory>'
            for extra in extras
        )
        if self.bias_variables:
            properties += ", ensemble_bias{electronvolt}"
        for name in self.bias_variables:
            recorded += (
                f'\n    <trajectory {often} filename="variable_{name}" extra_type="{name}"> extras_bias </trajectory>'
            )
        return f"""  <output prefix="{escape(prefix)}">
    <properties {often} filename="out"> [ {properties} ] </properties>
{recorded}
    <checkpoint stride="{self._checkpoint}" filename="chk" overwrite="False"/>
  </output>"""

    def _every(self, stride: int) -> str:
        """The attributes of an output of this stride."""
        return f'stride="{stride}" flush="{max(1, self._safe // stride)}"'

    def _socket(self, name: str, systems: int) -> str:
        beads = self.contract if self.contract and name == "binding" else self.beads
        batch = self.batch or beads * systems
        address = f"{self.socket}_{name}" if len(self.sockets) > 1 else self.socket
        where = f"    <address> {escape(self.host or address)} </address>"
        if self.host:
            where += f"\n    <port> {self.port + self.sockets.index(name)} </port>"
        batched, mode = batch > 1, "inet" if self.host else "unix"
        return (
            f'  <ffsocket name="{name}" mode="{mode}" pbc="False"' + ' matching="any"' * batched + f">\n{where}\n"
            f"    <latency> {_BATCH_LATENCY if systems > 1 else 1e-4:g} </latency>\n"
            + f"    <batch_size> {batch} </batch_size>\n" * batched
            + "    <timeout> 600 </timeout>\n  </ffsocket>"
        )

    @property
    def _biases(self) -> dict[str, System]:
        """The first system of each bias, by the name of its force field."""
        firsts: dict[str, System] = {}
        for system in self.systems:
            if system.bias:
                firsts.setdefault(system.bias, system)
        return {f"bias_{k}": system for k, system in enumerate(firsts.values())}

    def _bias(self, name: str, system: System) -> str:
        hills = f", hills: {system.hills}, start: 0" * bool(system.hills)
        return (
            f'  <ffdirect name="{name}" threaded="False" pbc="False"> <pes> custom </pes> '
            f"<pes_path> {escape(self.bias_pes)} </pes_path> "
            f"<parameters> {{bias: {escape(system.bias + hills)}}} </parameters> </ffdirect>"
        )

    def _system(self, system: System) -> str:
        quantum, several = self.beads > 1, self.inner > 1
        prefix = f' prefix="{escape(system.prefix)}"' if system.prefix else ""
        thermostat = "pile_l" if quantum else "langevin"
        splitting = ' splitting="baoab"' if self.ensemble == "nvt" else ""  # averages as of shorter steps
        bath = (
            f'        <thermostat mode="{thermostat}"> <tau units="femtosecond"> {self.tau:g} </tau> </thermostat>\n'
        )
        if self.ensemble == "npt":
            tau, mode = f'<tau units="femtosecond"> {_PISTON:g} </tau>', "flexible" if self.flexible else "isotropic"
            bath = (
                f'        <barostat mode="{mode}"> {tau} <thermostat mode="langevin"> {tau} </thermostat> '
                f"</barostat>\n{bath}"
            )
        pressure = f' <pressure units="bar"> {self.pressure:g} </pressure>' * (self.ensemble == "npt")
        forces = '<force forcefield="delta"/>'
        if several:  # the binding once in an outer step, the fragments in each inner one
            weights = {"binding": "[ 1, 0 ]", "fragments": "[ 0, 1 ]"}
            forces = " ".join(
                f'<force forcefield="{name}"> <mts_weights> {weights[name]} </mts_weights> </force>'
                for name in self.sockets
            )
        if self.contract:  # extras of fewer beads are lost unless i-PI is told that they are like energies
            extras = "<interpolate_extras> [ energy_binding, binding_force_rms ] </interpolate_extras>"
            forces = (
                f'<force forcefield="binding" nbeads="{self.contract}"> {extras} </force> '
                '<force forcefield="fragments"/>'
            )
        bias = ""
        if system.bias:
            name = next(name for name, first in self._biases.items() if first.bias == system.bias)
            told = ", ".join(self.bias_variables)
            centroid = f' nbeads="1"> <interpolate_extras> [ {told} ] </interpolate_extras' * quantum
            bias = f' <bias> <force forcefield="{name}"{centroid}> </force> </bias>'
        masses = f'      <masses mode="manual" units="dalton"> {list(self.masses)} </masses>\n' * bool(self.masses)
        steps = f"        <nmts> [ 1, {self.inner} ] </nmts>\n" if several else ""
        return f"""  <system{prefix}>
    <initialize nbeads="{self.beads}">
      <file mode="xyz"> {escape(system.structure)} </file>
{masses}      <velocities mode="thermal" units="kelvin"> {system.temperature:g} </velocities>
    </initialize>
    <forces> {forces} </forces>
    <motion mode="dynamics">
      <fixcom> True </fixcom>
      <dynamics mode="{self.ensemble}"{splitting}>
        <timestep units="femtosecond"> {self.timestep:g} </timestep>
{steps}{"" if self.ensemble == "nve" else bath}      </dynamics>
    </motion>
    <ensemble> <temperature units="kelvin"> {system.temperature:g} </temperature>{pressure}{bias} </ensemble>
  </system>"""
