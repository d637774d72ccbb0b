"""The layout of an AbdomenAtlas release: which organs it has, what they are called there, and where its files lie.

<out>/<case>/ct.nii.gz  combined_labels.nii.gz  provenance.nii.gz  manifest.json  segmentations/<organ>.nii.gz
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from AtlasSegmentLib.case_folder import CaseFolder
from AtlasSegmentLib.errors import AtlasError, DatasetError, InputError
from AtlasSegmentLib.files import read_json
from AtlasSegmentLib.labels import load_table
from AtlasSegmentLib.names import require_inside, require_links_inside, safe_name

FORMAT = "atlas-assembled/1"
VERSIONS = ("1.0", "1.1")
_ENDING = ".nii.gz"


@dataclass(frozen=True)
class ReleaseOrgan:
    """One structure of a release.

    Attributes:
        name: Its name in the release.
        value: Its value in combined_labels.nii.gz.
        class_value: Its value in the AbdomenAtlas inference table, which is also the painting order.
        case_names: The names its files may have in a case folder, the usual one first.
    """

    name: str
    value: int
    class_value: int
    case_names: tuple[str, ...]


@dataclass(frozen=True)
class ReleaseFolder:
    """The folder of one assembled case."""

    folder: Path

    @property
    def ct(self) -> Path:
        """The CT, byte for byte."""
        return self.folder / f"ct{_ENDING}"

    @property
    def combined(self) -> Path:
        """All organs in one map, values of the release."""
        return self.folder / f"combined_labels{_ENDING}"

    @property
    def provenance(self) -> Path:
        """Who or what drew each voxel; the legend is in the manifest."""
        return self.folder / f"provenance{_ENDING}"

    @property
    def manifest(self) -> Path:
        """What it was made from; written last."""
        return self.folder / "manifest.json"

    @property
    def marker(self) -> Path:
        """There while the case is being assembled; left behind by a kill, it says that the folder is ours to finish."""
        return self.folder / ".assembling"

    @property
    def files(self) -> list[Path]:
        """Everything that an assembled case has, the folder of masks included."""
        return [self.ct, self.combined, self.provenance, self.manifest, self.folder / "segmentations"]

    def mask(self, organ: str) -> Path:
        """Binary mask of an organ, uint8 0/1."""
        return self.folder / "segmentations" / f"{organ}{_ENDING}"


def table_name(version: str) -> str:
    """Return the name of the label table of a release.

    Raises:
        InputError: There is no such release.
    """
    if version not in VERSIONS:
        message = f"There is no AbdomenAtlas release {version!r}."
        raise InputError(message, f"Use one of {', '.join(VERSIONS)}.")
    return f"abdomenatlas_{version.replace('.', '_')}"


def release_organs(version: str) -> list[ReleaseOrgan]:
    """Return the structures of a release in painting order (ascending AbdomenAtlas inference value). Raises InputError."""
    release, inference = load_table(table_name(version)), load_table("abdomenatlas")
    organs = []
    for name in release.names():
        class_value = inference.value_of(name)
        case_names = tuple(dict.fromkeys((inference.name_of(class_value), name)))  # celiac_truck there, celiac_trunk in a release
        organs.append(ReleaseOrgan(name, release.value_of(name), class_value, case_names))
    return sorted(organs, key=lambda organ: organ.class_value)


def release_folder(case: CaseFolder, out_root: Path, name: str | None = None) -> ReleaseFolder:
    """Return where a case is assembled: `<out_root>/<name>`; nothing is made on the disk.

    Args:
        case: The source.
        out_root: Folder of the assembled dataset.
        name: Name of the assembled case, such as BDMAP_00000001; the case's own by default.

    Raises:
        DatasetError: It is the dataset folder or lies inside the case, the name is unsafe, or the folder is there
            and holds something else than an assembled case.
    """
    root = Path(out_root).resolve()
    target = require_inside(root / safe_name(name or case.name, "case name"), root).resolve()
    source = case.folder.resolve()
    if root.is_relative_to(source.parent) or target.is_relative_to(source) or source.is_relative_to(target):
        message = f"{out_root}: the assembled case would lie among its own sources ({source})."
        raise DatasetError(message, "Choose an output folder outside of the dataset.")
    require_links_inside(target, root)
    folder = ReleaseFolder(target)
    _require_ours(folder)
    return folder


def _require_ours(folder: ReleaseFolder) -> None:
    """Refuse a folder that was not made by assembling: nothing of another case may be replaced."""
    if not folder.folder.exists():
        return
    if not folder.folder.is_dir():
        message = f"{folder.folder}: is a file, not a folder."
        raise DatasetError(message, "Choose another output folder or remove it.")
    found = sorted(path.name for path in folder.folder.iterdir() if not path.name.startswith("."))
    strange = [name for name in found if name not in {path.name for path in folder.files}]
    if strange or (found and not folder.marker.is_file() and not is_assembled(folder)):
        message = f"{folder.folder}: is not an assembled case (found {(strange or found)[0]})."
        raise DatasetError(message, "Choose another output folder; nothing in this one was changed.")


def is_assembled(folder: ReleaseFolder) -> bool:
    """Tell whether a folder has the manifest of an assembled case."""
    try:
        manifest = read_json(folder.manifest)
    except AtlasError:
        return False
    return isinstance(manifest, dict) and manifest.get("format") == FORMAT
