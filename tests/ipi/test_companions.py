"""What an i-PI input names comes along when it runs in another folder, wherever and however it is named."""

from __future__ import annotations

from pathlib import Path
from xml.etree import ElementTree

import pytest

from delta_server.errors import InputError
from delta_server.ipi.companions import copy_input, refuse_missing
from delta_server.ipi.input import read_input


def made(folder: Path, body: str, *names: str) -> Path:
    """An input with this body, and files that hold their own names."""
    folder.mkdir(exist_ok=True)
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(f"I am {Path(name).name}\n")
    (folder / "input.xml").write_text(f"<simulation>{body}</simulation>")
    return folder / "input.xml"


def files_in(folder: Path) -> set[str]:
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()} - {"input.xml"}


@pytest.mark.parametrize(
    ("body", "names"),
    [
        ("<file mode='xyz'> init.xyz </file>", {"init.xyz"}),
        ("<file mode='xyz'> my start.xyz </file>", {"my start.xyz"}),
        ("<file mode='chk'> old/RESTART </file>", {"old/RESTART"}),
        ("<positions mode='pdb'> a.pdb </positions><cell mode='pdb'> c.pdb </cell>", {"a.pdb", "c.pdb"}),
        ("<velocities mode='xyz'>vel.xyz</velocities>", {"vel.xyz"}),
        ("<momenta mode='chk'> ./p.chk </momenta>", {"p.chk"}),
        ("<masses mode='xyz'> m.xyz </masses><labels mode='xyz'> l.xyz </labels>", {"m.xyz", "l.xyz"}),
        ("<gle mode='chk'> gle.chk </gle>", {"gle.chk"}),
        ("<A mode='file' shape='(2,2)'> gle-a.txt </A>", {"gle-a.txt"}),
        ("<motion mode='replay'><file mode='xyz'> part_[01].xyz </file></motion>", {"part_0.xyz", "part_1.xyz"}),
        ("<properties> [ step, virial_fq(ref=ref.dat;units=angstrom) ] </properties>", {"ref.dat"}),
        ("<ffplumed><file mode='xyz'> ref.xyz </file></ffplumed>", {"ref.xyz", "plumed.dat"}),
        ("<ffdirect><pes_path> pes.py </pes_path><parameters> {model:m.npz, k: 1} </parameters></ffdirect>",
         {"pes.py", "m.npz"}),
        ("<parameters> { 'kwargs' : 'a.json' , template : t.xyz } </parameters>", {"a.json", "t.xyz"}),
        ("<sGDML_model> model.npz </sGDML_model>", {"model.npz"}),
        ("<system_template><template><file mode='xyz'> start_TT.xyz </file></template><labels> [ TT ] </labels>"
         "<instance> [ 10 ] </instance><instance> [ 300 ] </instance></system_template>",
         {"start_10.xyz", "start_300.xyz"}),
    ],
)  # fmt: skip
def test_every_way_to_name_a_file(tmp_path: Path, body: str, names: set[str]) -> None:
    source = made(tmp_path / "here", body, *names, "other.xyz", "300")
    copy = copy_input(source, tmp_path / "there")
    assert files_in(tmp_path / "there") == names
    assert copy.read_bytes() == source.read_bytes()
    for name in names:
        assert (tmp_path / "there" / name).read_bytes() == (tmp_path / "here" / name).read_bytes()


def test_what_the_named_files_name(tmp_path: Path) -> None:
    """As seen from the input's folder, and from their own."""
    body = "<plumed_dat> p.dat </plumed_dat><parameters> {manifest: m/manifest.yaml} </parameters>"
    source = made(tmp_path / "here", body, "ref.pdb", "m/water.npz", "m/geometry.xyz", "p.dat", "m/manifest.yaml")
    (tmp_path / "here/p.dat").write_text("d: RMSD REFERENCE=ref.pdb TYPE=OPTIMAL\nPRINT ARG=d FILE=COLVAR\n")
    (tmp_path / "here/m/manifest.yaml").write_text("structure: geometry.xyz\nfragments: [{model: water.npz}]\n")
    copy_input(source, tmp_path / "there")
    assert files_in(tmp_path / "there") == {"p.dat", "ref.pdb", "m/manifest.yaml", "m/water.npz", "m/geometry.xyz"}


def test_files_above_the_input(tmp_path: Path) -> None:
    made(tmp_path, "", "start.xyz", "init.xyz", "nearby/start.xyz")
    body = "<file mode='xyz'> ../start.xyz </file><masses mode='xyz'> ../nearby/start.xyz </masses><x> init.xyz </x>"
    copy = copy_input(made(tmp_path / "here", body, "init.xyz"), tmp_path / "there")
    assert files_in(tmp_path / "there") == {"init.xyz", "up/start.xyz", "up/nearby/start.xyz"}
    named = [(element.text or "").strip() for element in ElementTree.parse(copy).getroot()]
    assert named == ["up/start.xyz", "up/nearby/start.xyz", "init.xyz"]


def test_absolute_paths_stay(tmp_path: Path) -> None:
    body = f"<file mode='xyz'> {tmp_path}/start.xyz </file>"
    made(tmp_path, "", "start.xyz")
    copy = copy_input(made(tmp_path / "here", body), tmp_path / "there")
    assert files_in(tmp_path / "there") == set()
    assert f"{tmp_path}/start.xyz" in copy.read_text()


def test_other_files_there_are_kept(tmp_path: Path) -> None:
    source = made(tmp_path / "here", "<file mode='xyz'> init.xyz </file>", "init.xyz")
    made(tmp_path / "there", "<x/>")
    (tmp_path / "there/init.xyz").write_text("mine")
    for _ in range(2):  # the second time there is nothing to keep
        copy_input(source, tmp_path / "there")
    assert files_in(tmp_path / "there") == {"init.xyz", "#init.xyz#0#", "#input.xml#0#"}
    assert (tmp_path / "there/#init.xyz#0#").read_text() == "mine"


def test_a_file_that_is_missing(tmp_path: Path) -> None:
    source = made(tmp_path / "here", "<velocities mode='xyz'> vel.xyz </velocities>")
    with pytest.raises(InputError, match=r"input\.xml: <velocities> names vel\.xyz, no such file in "):
        refuse_missing(source, read_input(source))
    for body in (
        "<velocities mode='thermal'> 300 </velocities>",
        "<positions> [0, 0, 0] </positions>",
        "<system_template><template><file mode='xyz'> TT.xyz </file></template></system_template>",
    ):
        refuse_missing(source, ElementTree.fromstring(f"<simulation>{body}</simulation>"))
