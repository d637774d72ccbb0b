"""What model.json says of a published checkpoint of the universal model: the input and labels of spec AbdomenAtlas was made with."""

from __future__ import annotations

from typing import Any

from AtlasSegmentLib.classes import abdomenatlas_table
from AtlasSegmentLib.universal_network import Architecture

FORMAT = "atlas-model/1"  # that of model_manifest, which needs pydantic


def universal_manifest(name: str, architecture: Architecture, file: str, sha256: str, text_encoding: str = "") -> dict[str, Any]:
    """Return the content of model.json for a published checkpoint of the universal model.

    Args:
        name: Of the model, such as "abdomenatlas-universal-unet".
        architecture: One of ARCHITECTURES.
        file: The checkpoint beside it.
        sha256: Of the checkpoint.
        text_encoding: The text embeddings beside it; "" when the checkpoint holds them.
    """
    return {
        "format": FORMAT,
        "name": name,
        "title": "AbdomenAtlas universal model, 25 organs, 6 kinds of tumor and kidney cysts",
        "engine": "torch",
        "architecture": architecture,
        "file": file,
        "sha256": sha256,
        "text_encoding": text_encoding,
        "input": {
            "orientation": "RAS",
            "spacing": [1.5, 1.5, 1.5],
            "patch": [96, 96, 96],
            "overlap": 0.75,
            "grid": "centers",
            "weights": "gaussian_unscaled",
            "padding": "constant",
            "intensity": {"type": "clip_scale", "a_min": -175, "a_max": 250, "b_min": 0, "b_max": 1},
            "crop_foreground": True,
        },
        "output": {"activation": "sigmoid"},
        "labels": {str(value): label for value, label in abdomenatlas_table().labels.items()},
    }
