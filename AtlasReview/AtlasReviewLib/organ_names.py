"""Which organ is meant: a structure of the AbdomenAtlas table, or one that a case has files of."""

from __future__ import annotations

import difflib

from AtlasSegmentLib.case_folder import CaseFolder
from AtlasSegmentLib.errors import LabelError
from AtlasSegmentLib.labels import load_table, structure_for
from AtlasSegmentLib.names import safe_name


def known_organ(case: CaseFolder, organ: str) -> str:
    """Return the name that the files of an organ have in this case.

    A name that the case has files of is taken as it is; other names and aliases of the AbdomenAtlas table give the name
    of that table ("Left Kidney" gives "kidney_left", "celiac_trunk" gives "celiac_truck").

    Raises:
        LabelError: It is neither in the table nor in the case; the remedy lists close names.
        DatasetError: It cannot be a file name.
    """
    safe_name(organ, "organ name")
    present = _present(case)
    table = load_table("abdomenatlas")
    if organ in present or organ in table.names():
        return organ
    known = {structure_for(name).name: name for name in (*table.names(), *sorted(present))}
    found = known.get(structure_for(organ).name)
    if found is not None:
        return found
    names = sorted({*table.names(), *present})
    close = ", ".join(difflib.get_close_matches(organ, names, 3, 0.5))
    message = f"{case.name}: there is no organ {organ!r}."
    remedy = f"Did you mean {close}?" if close else f"Use one of {', '.join(names)}."
    raise LabelError(message, remedy)


def _present(case: CaseFolder) -> set[str]:
    """Return the names of organs that a case has a mask or a revision of."""
    folders = [case.average, *(case.backbone(model) for model in case.models())]
    names = {name for folder in folders for name in folder.organs()} | set(case.average.revised_organs())
    revised = (case.average.folder / "revisions").glob("[!.]*")
    return names | {path.name for path in revised if path.is_dir()}
