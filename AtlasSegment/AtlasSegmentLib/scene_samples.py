"""Sample CTs in Slicer's module Sample Data: one from Slicer's public store, named by its checksum, and a phantom that is drawn here."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import slicer
from slicer.i18n import tr as _

from AtlasSegmentLib.sample_data import CT_FILE, SHA256, phantom_sample, sample_folder

CATEGORY = "Atlas"
LIVER, PHANTOM = "AtlasCTLiver", "AtlasPhantom"
_WINDOW = (400, 40)  # HU: soft tissue, as the abdomen is read


def register_samples(icons: Path | None = None) -> None:
    """Add the samples to Slicer's module Sample Data; once more does nothing.

    Args:
        icons: Folder of thumbnails, named as the samples.
    """
    import SampleData

    logic = SampleData.SampleDataLogic
    if hasattr(logic, "registerCustomSampleDataCategory"):  # Slicer 5.12 and later
        logic.registerCustomSampleDataCategory(CATEGORY, title=_("Atlas Annotator"))
    logic.registerCustomSampleDataSource(
        category=CATEGORY,
        sampleName=LIVER,
        uris=CT_FILE.url,
        fileNames=CT_FILE.save_as,
        checksums=f"SHA256:{SHA256}",
        nodeNames="CTLiver",
        **_thumbnail(icons, LIVER),
    )
    logic.registerCustomSampleDataSource(
        category=CATEGORY,
        sampleName=PHANTOM,
        uris="",  # drawn, not downloaded; Slicer counts on one entry each all the same
        fileNames=f"{PHANTOM}.nii.gz",
        nodeNames=PHANTOM,
        customDownloader=load_phantom,
        **_thumbnail(icons, PHANTOM),
    )


def _thumbnail(icons: Path | None, name: str) -> dict[str, str]:
    path = None if icons is None else icons / f"{name}.png"
    return {} if path is None or not path.is_file() else {"thumbnailFileName": str(path)}


def load_sample(name: str) -> Any:
    """Load a sample and return its volume node.

    Raises:
        RuntimeError: It cannot be downloaded (Slicer's own error).
        AtlasError: The phantom cannot be drawn or stored.
    """
    import SampleData

    register_samples()
    return load_phantom() if name == PHANTOM else SampleData.SampleDataLogic().downloadSample(name)


def load_phantom(_source: Any = None) -> Any:
    """Draw the phantom unless it is there, load it and return its volume node; it takes some seconds the first time.

    Raises:
        StorageError: Its folder cannot be written.
    """
    from AtlasSegmentLib.scene import node_from_volume
    from AtlasSegmentLib.volume_io import read_volume

    with slicer.util.WaitCursor():
        sample = phantom_sample(sample_folder())
        name = slicer.mrmlScene.GenerateUniqueName(PHANTOM)
        node = node_from_volume(read_volume(sample.ct), name, window=_WINDOW)
    slicer.util.setSliceViewerLayers(background=node, fit=True)
    return node
