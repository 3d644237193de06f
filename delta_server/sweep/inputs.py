"""i-PI's input for a manifest: what `delta-sgdml run` needs to move its molecules."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal
from xml.sax.saxutils import escape

Ensemble = Literal["nvt", "nve"]

_PROPERTIES = (
    "step, time{picosecond}, conserved{electronvolt}, temperature{kelvin}, %s{electronvolt}, potential{electronvolt}"
)


@dataclass(frozen=True)
class Simulation:
    """A run in a vacuum: NVT or NVE, classical or with ring polymers. Temperature in K, time in ps, step in fs."""

    name: str  # of the socket
    fragments: tuple[str, ...]  # energies that are recorded, beside the binding's
    temperature: float = 300.0
    time: float = 20.0
    timestep: float = 0.5
    ensemble: Ensemble = "nvt"
    beads: int = 1
    seed: int = 31415
    stride: int = 20  # steps between records

    @property
    def steps(self) -> int:
        return max(1, round(1000 * self.time / self.timestep))

    def xml(self, structure: str = "init.xyz", prefix: str = "simulation") -> str:
        """The input; structure: start geometry, an xyz file with i-PI's comment line, beside it."""
        quantum = self.beads > 1
        extras = [f"energy_{name}" for name in (*self.fragments, "binding")] + ["binding_force_rms"]
        properties = _PROPERTIES % ("kinetic_cv" if quantum else "kinetic_md")
        moved, file = ("x_centroid", "xc") if quantum else ("positions", "pos")
        places = f'format="xyz" cell_units="angstrom"> {moved}{{angstrom}} </trajectory>'
        recorded = f'    <trajectory stride="{self.stride}" filename="{file}" {places}\n' + "\n".join(
            f'    <trajectory stride="{self.stride}" filename="{extra}" extra_type="{extra}"> extras </trajectory>'
            for extra in extras
        )
        thermostat = "pile_l" if quantum else "langevin"
        splitting = "" if quantum or self.ensemble == "nve" else ' splitting="baoab"'
        bath = f'        <thermostat mode="{thermostat}"> <tau units="femtosecond"> 100 </tau> </thermostat>\n'
        batch = f"    <batch_size> {self.beads} </batch_size>\n" if quantum else ""
        return f"""<simulation verbosity="medium" safe_stride="{self.stride}" floatformat="%18.10e">
  <output prefix="{escape(prefix)}">
    <properties stride="{self.stride}" filename="out"> [ {properties} ] </properties>
{recorded}
    <checkpoint stride="1000" filename="chk" overwrite="True"/>
  </output>
  <total_steps> {self.steps} </total_steps>
  <prng> <seed> {self.seed} </seed> </prng>
  <ffsocket name="delta" mode="unix" pbc="False"{' matching="any"' * quantum}>
    <address> {escape(self.name)} </address>
    <latency> 1e-4 </latency>
{batch}    <timeout> 600 </timeout>
  </ffsocket>
  <system>
    <initialize nbeads="{self.beads}">
      <file mode="xyz"> {escape(structure)} </file>
      <velocities mode="thermal" units="kelvin"> {self.temperature:g} </velocities>
    </initialize>
    <forces> <force forcefield="delta"/> </forces>
    <motion mode="dynamics">
      <fixcom> True </fixcom>
      <dynamics mode="{self.ensemble}"{splitting}>
        <timestep units="femtosecond"> {self.timestep:g} </timestep>
{bath if self.ensemble == "nvt" else ""}      </dynamics>
    </motion>
    <ensemble> <temperature units="kelvin"> {self.temperature:g} </temperature> </ensemble>
  </system>
</simulation>
"""
