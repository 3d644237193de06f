"""Ab initio energies and forces of molecules: PySCF as an ASE calculator."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from ase import Atoms
from ase.calculators.calculator import CalculationFailed, Calculator, all_changes
from ase.units import Bohr, Hartree

from .._types import BoolArray, FloatArray
from ..errors import InputError
from ..units import KCAL_MOL

if TYPE_CHECKING:
    from pyscf.dft.rks import RKS
    from pyscf.gto import Mole

_COMPOSITE = re.compile(r"3c\b", re.IGNORECASE)
_DISPERSED = re.compile(r"[-_](d|d[234]\w*)$", re.IGNORECASE)
_BLOCK = 3584  # grid points at a time, a multiple of PySCF's 56
_COARSE = ((0, 1e-6), (1, 1e-7))  # levels of the grid on which an SCF begins, and up to which change (hartree)
_CORETYPE = "OPENBLAS_CORETYPE"
_NEAR = 1.0  # Å by which an atom may have moved since the density that a calculation starts from


class PySCF(Calculator):
    """Kohn–Sham energy (eV) and forces (eV/Å) of an isolated molecule (Sun et al., J. Chem. Phys. 153, 024109).

    xc: functional, without its dispersion; ``hf`` is Hartree–Fock. basis: as pyscf names it. disp: ``d4``, ``d3bj``
    or ``d3zero``. density_fit, auxbasis: whether and with which basis Coulomb and exchange integrals are fitted.
    grids: level of the integration grid, 0 to 9; grid_response: whether forces follow its motion. conv_tol: change
    of the energy (hartree) at which the SCF ends; max_cycle: its longest. net_force: what the forces may add up to
    (kcal/mol/Å), which the grid alone leaves. charge, multiplicity: of the molecule; more than a singlet is
    unrestricted. counterpoise is for those who label a complex and its fragments (`data.labels`).

    Atoms that are `ghosts` have a basis, and neither charge nor electrons, nor dispersion.

    A calculation starts from the density of the one before, where no atom moved by more than 1 Å since. Its result
    then differs within conv_tol from that of a new calculator, which starts from atomic densities.

    Raises CalculationFailed where the SCF does not converge or forces add up to too much; InputError for options
    that cannot be.
    """

    implemented_properties = ("energy", "forces")  # type: ignore[assignment]
    default_parameters = {  # noqa: RUF012
        "xc": None,
        "basis": None,
        "disp": None,
        "density_fit": True,
        "auxbasis": None,
        "grids": 3,
        "grid_response": False,
        "conv_tol": 1e-9,
        "max_cycle": 100,
        "net_force": 0.1,
        "counterpoise": False,
        "charge": 0,
        "multiplicity": 1,
    }
    packages = ("pyscf", "pyscf-dispersion")
    parameters: Any  # ase's, whose keys are attributes too

    def __init__(self, **options: Any) -> None:
        self.check_options(options)
        super().__init__(**options)  # type: ignore[no-untyped-call]
        self.before: tuple[Mole, FloatArray] | None = None  # the last calculation's atoms, and its density matrix
        self.ghosts: BoolArray | None = None  # (N,)

    @classmethod
    def check_options(cls, options: Mapping[str, Any]) -> None:
        """Raise InputError for options that cannot be, and where pyscf is not installed."""
        if unknown := sorted(set(options) - set(cls.default_parameters)):
            raise InputError(f"pyscf: no option {unknown[0]!r}; known: {', '.join(cls.default_parameters)}")
        for key, example in (("xc", "pbe0"), ("basis", "def2-svp")):
            if not isinstance(options.get(key), str):
                raise InputError(f"pyscf: which {key}? Expected an option such as {key}={example}")
        try:
            with _kernels_of_this_machine():
                from pyscf.dft import libxc
                from pyscf.gto import basis
        except ImportError:
            raise InputError("pyscf is not installed here: pip install 'delta-server[dft]'") from None
        xc, disp = options["xc"], options.get("disp")
        _check_spelling(xc, disp)
        try:
            libxc.parse_xc(xc)
            nonlocal_part = libxc.is_nlc(xc)
        except (KeyError, ValueError, NotImplementedError) as error:
            raise InputError(f"pyscf: xc={xc}: {' '.join(str(error).split())}") from None
        if nonlocal_part and disp:
            raise InputError(f"pyscf: xc={xc} has a dispersion of its own (VV10): leave disp={disp} out")
        if disp:
            _check_dispersion(xc, disp)
        for key in ("basis", "auxbasis"):
            if name := options.get(key):
                try:
                    basis.load(name, "H")
                except Exception:  # of several kinds, as the name is spelled
                    raise InputError(f"pyscf: no {key} {name!r} for hydrogen; expected such as def2-svp") from None

    def calculate(
        self, atoms: Atoms | None = None, properties: Any = ("energy", "forces"), system_changes: Any = all_changes
    ) -> None:
        super().calculate(atoms, properties, system_changes)  # type: ignore[no-untyped-call]
        assert self.atoms is not None
        method = self._method(self.atoms, None if self.ghosts is not None else self.parameters.disp, self.ghosts)
        guess = self._guess(method)
        self.before = None
        _converge(method, guess)
        if not method.converged:
            raise CalculationFailed(
                f"the SCF did not converge in {self.parameters.max_cycle} cycles; a larger max_cycle may help"
            )
        gradient = method.nuc_grad_method()
        # with ghosts pyscf's response of the grid is none (2.14): forces and energy then differ by 0.05 kcal/mol/Å
        gradient.grid_response = self.parameters.grid_response and self.ghosts is None
        energy, forces = float(method.e_tot), -np.asarray(gradient.kernel())
        if self.ghosts is not None and self.parameters.disp:
            alone = self._method(self.atoms[~self.ghosts], self.parameters.disp)
            energy += float(alone.get_dispersion())
            forces[~self.ghosts] -= alone.nuc_grad_method().get_dispersion()
        forces *= Hartree / Bohr
        net = float(np.linalg.norm(forces.sum(0))) / KCAL_MOL
        if net > self.parameters.net_force:
            raise CalculationFailed(
                f"forces add up to {net:.2g} kcal/mol/Å, expected at most {self.parameters.net_force:g}: the grid is "
                f"too coarse; take grids={self.parameters.grids + 1}, or grid_response=true"
            )
        self.before = method.mol, method.make_rdm1()
        self.results = {"energy": energy * Hartree, "forces": forces}

    def _method(self, atoms: Atoms, disp: str | None, ghosts: BoolArray | None = None) -> RKS:
        from pyscf import dft, gto

        options = self.parameters
        names = atoms.get_chemical_symbols()
        if ghosts is not None:
            names = [f"GHOST-{name}" if ghost else name for name, ghost in zip(names, ghosts, strict=True)]
        mol = gto.M(
            atom=list(zip(names, atoms.positions.tolist(), strict=True)),
            basis=options.basis,
            charge=options.charge,
            spin=options.multiplicity - 1,
            verbose=0,
        )
        method = (dft.RKS if options.multiplicity == 1 else dft.UKS)(mol, xc=options.xc)
        if options.density_fit:
            method = method.density_fit(auxbasis=options.auxbasis)
        method.chkfile = None
        method.disp = disp
        method.grids.level = options.grids
        method.conv_tol, method.max_cycle = options.conv_tol, options.max_cycle
        method.conv_check = False  # one more cycle, after that which met conv_tol
        method.small_rho_cutoff = 1e-8  # electrons of a grid point that is left out
        numint = method._numint
        numint.block_loop = partial(numint.block_loop, blksize=_BLOCK)  # as wide as memory allows is slower
        return method

    def _guess(self, method: RKS) -> FloatArray | None:
        """The last density matrix in the basis of the new geometry, by its symmetrically orthogonalized functions,
        which keeps the number of electrons; None where it is no neighbour's."""
        if self.before is None:
            return None
        mol, density = self.before
        if mol.natm != method.mol.natm or mol.elements != method.mol.elements:
            return None
        moved = np.linalg.norm(mol.atom_coords() - method.mol.atom_coords(), axis=1).max() * Bohr
        if moved > _NEAR:
            return None
        carry = _root(method.mol, -0.5) @ _root(mol, 0.5)
        return np.asarray(carry @ density @ carry.T)


def _converge(method: RKS, guess: FloatArray | None) -> None:
    """Run the SCF, on coarser grids as far as they lead: on its own it then takes four cycles in place of ten."""
    own = method.grids.level, method.conv_tol
    for level, conv_tol in (*((grid, tol) for grid, tol in _COARSE if grid < own[0] and tol > own[1]), own):
        method.grids.reset()
        method.grids.level, method.conv_tol = level, conv_tol
        method.kernel(dm0=guess)
        if method.converged:
            guess = np.asarray(method.make_rdm1())


@contextmanager
def _kernels_of_this_machine() -> Iterator[None]:
    """What PySCF is imported in, for the linear algebra that it brings.

    The OpenBLAS in its wheels (0.3.3, of 2018) takes AMD's later processors for one of 2007: matrix products at half
    their speed.
    """
    processor = Path("/proc/cpuinfo")
    mistaken = (
        "pyscf" not in sys.modules
        and _CORETYPE not in os.environ
        and processor.exists()
        and {"AuthenticAMD", "avx2", "fma"} <= set(processor.read_text().split())
    )
    if mistaken:
        os.environ[_CORETYPE] = "Haswell"
    try:
        yield
    finally:
        if mistaken:
            del os.environ[_CORETYPE]


def _root(mol: Mole, power: float) -> FloatArray:
    """The overlap matrix to a power."""
    values, vectors = np.linalg.eigh(mol.intor_symmetric("int1e_ovlp"))
    root: FloatArray = (vectors * values**power) @ vectors.T
    return root


def _check_spelling(xc: str, disp: str | None) -> None:
    """Refuse names that pyscf takes for the functional alone, or half of it. Raises InputError."""
    if _COMPOSITE.search(xc.replace("_", "-")):
        raise InputError(
            f"pyscf: xc={xc} is a composite method, of which only the functional would be computed, without its "
            "corrections; take functional and dispersion apart, as in xc=r2scan disp=d4"
        )
    if match := _DISPERSED.search(xc):
        functional = xc[: match.start()]
        kind = match.group(1).lower()
        kind = kind if kind[1:2] in ("3", "4") else "d4"
        if disp is None or kind[1:2] in ("3", "4"):
            raise InputError(
                f"pyscf: xc={xc} would run without its dispersion: name them apart, as in xc={functional} disp={kind}"
            )


def _check_dispersion(xc: str, disp: str) -> None:
    """Raise InputError where pyscf knows no such dispersion, or none of this functional."""
    try:
        import pyscf.dispersion  # noqa: F401
    except ImportError:
        raise InputError(f"disp={disp}: pyscf-dispersion is not installed: pip install 'delta-server[dft]'") from None
    from pyscf import dft, gto

    kinds = ("d4", "d3bj", "d3zero", "d3bjm", "d3zerom", "d3op")
    if str(disp).partition(":")[0] not in kinds:
        raise InputError(f"pyscf: disp={disp}: expected one of {', '.join(kinds)}")
    method = dft.RKS(gto.M(atom="He", basis="sto-3g", verbose=0), xc=xc)
    method.disp = disp
    try:
        method.get_dispersion()
    except (RuntimeError, ValueError, NotImplementedError) as error:
        raise InputError(f"pyscf: disp={disp}: no parameters for xc={xc}: {' '.join(str(error).split())}") from None
