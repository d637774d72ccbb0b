"""The label-quality model that the panels of this installation use, and the colors in which its scores are shown: kept in the settings."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import slicer
from slicer.i18n import tr as _

from AtlasQualityLib.slice_scores import PALETTES, RED_GREEN
from AtlasSegmentLib.errors import InputError
from AtlasSegmentLib.model_facts import Need
from AtlasSegmentLib.resources import resource_path

SHIPPED = "quality-small"
"""As `quality_model.SHIPPED`, which needs packages that Slicer lacks until a model is used."""
MODEL_KEY, EMBEDDINGS_KEY, COLORS_KEY = "AtlasAnnotator/QualityModel", "AtlasAnnotator/QualityEmbeddings", "AtlasAnnotator/SliceColors"
_MANIFEST, _ONNX = "quality.json", "model.onnx"


class QualityModelChoice:
    """What the user chose; read from the settings each time, so that all panels agree."""

    @property
    def chosen(self) -> str:
        """Path of a model folder, its quality.json, or a SegAE checkpoint; "" for the shipped model."""
        return _setting(MODEL_KEY)

    @chosen.setter
    def chosen(self, path: str) -> None:
        slicer.app.userSettings().setValue(MODEL_KEY, path)

    @property
    def embeddings(self) -> str:
        """Path of a .npz of text embeddings, "" for those of the model."""
        return _setting(EMBEDDINGS_KEY)

    @embeddings.setter
    def embeddings(self, path: str) -> None:
        slicer.app.userSettings().setValue(EMBEDDINGS_KEY, path)

    @property
    def path(self) -> Path | None:
        """The model to use; None when the shipped one is wanted and missing."""
        text = self.chosen.strip()
        if not text:
            return shippedModel()
        path = Path(text).expanduser()
        return path.parent if path.name == _MANIFEST else path

    def reason(self) -> str:
        """Return why there is no model to use, "" when there is."""
        path, reason = self.path, ""
        if path is None:
            reason = _("This installation has no label-quality model. Choose one in Atlas Quality, under Advanced.")
        elif path.is_file():
            reason = "" if self.embeddings.strip() else _("A SegAE checkpoint needs the text embeddings it was trained with.")
        elif not (path / _MANIFEST).is_file():
            reason = _("{path} is no label-quality model (no {file} in it).").format(path=path, file=_MANIFEST)
        embeddings = self.embeddings.strip()
        if not reason and embeddings and not Path(embeddings).expanduser().is_file():
            reason = _("There is no file {path}.").format(path=embeddings)
        return str(reason)

    def needs(self) -> set[Need]:
        """Return what has to be installed to run the model."""
        path = self.path
        if path is not None and path.is_dir() and (path / _ONNX).is_file():
            return {"manifest", "onnx"}
        return {"manifest", "torch", "safetensors"}

    def arguments(self) -> dict[str, Any]:
        """Return what tasks of `tasks_quality` are told of the model."""
        embeddings = self.embeddings.strip()
        return {"model": str(self.path), "embeddings": str(Path(embeddings).expanduser()) if embeddings else None}


def shippedModel() -> Path | None:
    """Return the folder of the model that comes with the program, None when this installation lacks it."""
    try:
        return resource_path("Models", SHIPPED)
    except InputError:
        return None


def palette() -> str:
    """Return the colors of slices that the user chose, a key of PALETTES."""
    stored = _setting(COLORS_KEY)
    return stored if stored in PALETTES else RED_GREEN


def setPalette(name: str) -> None:
    """Keep the user's choice of colors."""
    slicer.app.userSettings().setValue(COLORS_KEY, name)


def paletteNames() -> dict[str, str]:
    """Return key to title of the choices of colors."""
    return {"red-green": _("Red (bad) to green (good)"), "orange-blue": _("Orange (bad) to blue (good), color-blind safe")}


def _setting(key: str) -> str:
    value = slicer.app.userSettings().value(key)
    return value if isinstance(value, str) else ""
