"""The module `SampleData`: registered sources are kept, and a download gives a file that the test names, or a small phantom."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import slicer
import slicer.util

PUBLIC = ("SampleDataLogic", "SampleDataSource", "downloadSample", "downloadSamples")

files: dict[str, Path] = {}
"""Sample name -> the file that a download shall give (set by a test)."""

requested: list[str] = []
"""The names of all samples that were asked for."""


@dataclasses.dataclass
class SampleDataSource:
    sampleName: str
    category: str
    uris: Any = None
    fileNames: Any = None
    nodeNames: Any = None
    checksums: Any = None
    thumbnailFileName: str | None = None
    loadFileTypes: Any = None
    loadFiles: Any = None
    loadFileProperties: dict[str, Any] = dataclasses.field(default_factory=dict)
    customDownloader: Any = None
    sampleDescription: str | None = None


class SampleDataLogic:
    """What `SampleData.SampleDataLogic` offers to other modules."""

    @staticmethod
    def registerCustomSampleDataCategory(category: str, title: str) -> None:
        _registry("sampleDataSourceCategories")[category] = {"title": title}

    @staticmethod
    def registerCustomSampleDataSource(category: str = "Custom", sampleName: str | None = None, **source: Any) -> None:
        """Keep a source; the same one again is ignored. Raises TypeError for a keyword that Slicer does not have."""
        made = SampleDataSource(str(sampleName), category, **source)
        sources = _registry("sampleDataSources").setdefault(category, [])
        if made not in sources:
            sources.append(made)

    @staticmethod
    def sampleDataSourcesByCategory(category: str | None = None) -> Any:
        sources = _registry("sampleDataSources")
        return sources if category is None else sources.get(category, [])

    def sourceForSampleName(self, sampleName: str) -> SampleDataSource | None:
        everything = [source for sources in _registry("sampleDataSources").values() for source in sources]
        return next((source for source in everything if source.sampleName == sampleName), None)

    def downloadSamples(self, sampleName: str) -> list[Any]:
        requested.append(sampleName)
        source = self.sourceForSampleName(sampleName)
        names = source.nodeNames if source is not None and source.nodeNames else sampleName
        name = names if isinstance(names, str) else names[0]
        if sampleName in files:
            return [slicer.util.loadVolume(str(files[sampleName]), {"name": name})]
        return [_phantom(name)]

    def downloadSample(self, sampleName: str) -> Any:
        return self.downloadSamples(sampleName)[0]


def downloadSample(sampleName: str) -> Any:
    """Return the first node of a sample, loaded."""
    return SampleDataLogic().downloadSample(sampleName)


def downloadSamples(sampleName: str) -> list[Any]:
    """Return the nodes of a sample, loaded."""
    return SampleDataLogic().downloadSamples(sampleName)


def phantom_voxels() -> np.ndarray:
    """Return a small CT of a torso in HU, [k, j, i], int16: body, two lungs, spine, liver."""
    z, y, x = np.mgrid[:40, :48, :56].astype(float)

    def inside(center: tuple[float, float, float], radii: tuple[float, float, float]) -> np.ndarray:
        return sum(((axis - c) / r) ** 2 for axis, c, r in zip((x, y, z), center, radii, strict=True)) < 1

    voxels = np.full(x.shape, -1000, np.int16)
    voxels[inside((28, 24, 20), (25, 18, 60))] = 40
    for side in (17, 40):
        voxels[inside((side, 22, 28), (7, 10, 12))] = -850
    voxels[inside((28, 37, 20), (4, 4, 99))] = 600
    voxels[inside((20, 23, 9), (11, 9, 7))] = 110
    return voxels


def _phantom(name: str) -> Any:
    ijk_to_ras = np.diag([-6.0, -6.0, 6.0, 1.0])
    ijk_to_ras[:3, 3] = 165, 140, -120
    return slicer.util.addVolumeFromArray(phantom_voxels(), ijkToRAS=ijk_to_ras, name=name)


def _registry(name: str) -> dict[str, Any]:
    if not hasattr(slicer.modules, name):
        setattr(slicer.modules, name, {})
    registry: dict[str, Any] = getattr(slicer.modules, name)
    return registry
