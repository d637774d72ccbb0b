"""What HU become before the network of `atlas train` sees them; the same rule is written into its model.json."""

from __future__ import annotations

import numpy as np

from AtlasSegmentLib.intensity import normalized
from AtlasSegmentLib.model_manifest import Intensity
from AtlasSegmentLib.network import Float32

INTENSITY = Intensity(type="clip_normalize", a_min=-1000.0, a_max=600.0, mean=0.0, std=200.0)


def network_values(hu: Float32) -> Float32:
    """Return network input for HU, float32, same shape."""
    return normalized(np.asarray(hu, np.float32), INTENSITY)
