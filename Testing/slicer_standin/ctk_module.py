"""The module ``ctk``: those CTK widgets that our panels use, with CTK's names."""

from __future__ import annotations

import types


def namespace() -> types.ModuleType:
    """Return the module ``ctk``."""
    from . import ctk_choices, ctk_collapsible, ctk_numbers, ctk_paths, ctk_range, ctk_texts

    module = types.ModuleType("ctk", __doc__)
    for source in (ctk_choices, ctk_collapsible, ctk_numbers, ctk_paths, ctk_range, ctk_texts):
        module.__dict__.update({name: value for name, value in vars(source).items() if name.startswith("ctk")})
    return module
