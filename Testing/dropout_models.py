"""nnU-Net model folders whose networks were built with dropout layers."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from nnunet_models import make_nnunet_model, make_plans


def make_dropping_nnunet(folder: Path, share: float, spacing: Sequence[float] = (5.0, 5.0, 5.0), **options: Any) -> Path:
    """Write a model folder below `folder` and return it; see `make_nnunet_model`.

    Args:
        folder: nnU-Net's results folder.
        share: Of the feature maps that its dropout layers take away; 0 takes none.
        spacing: See `make_plans`.
        options: Of `make_nnunet_model`.
    """
    plans = make_plans("new", "plain", spacing, (16, 16, 16))
    for configuration in plans["configurations"].values():
        if "architecture" in configuration:
            kind = f"torch.nn.Dropout{len(configuration['patch_size'])}d"
            configuration["architecture"]["arch_kwargs"] |= {"dropout_op": kind, "dropout_op_kwargs": {"p": share}}
    return make_nnunet_model(folder, plans=plans, **options)
