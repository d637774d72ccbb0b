"""The list of hot spots: choosing one brings all views there."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from slicer.i18n import tr as _

from AtlasQualityLib.hot_spots import HotSpot
from AtlasQualityLib.panel_tables import SortableTable, rounded

_LARGE, _SMALL = 0.6, 0.4  # of a region inside the mask


class SpotsPanel:
    """Table and buttons of the hot spots.

    Args:
        ui: The widgets of the module.
        onChosen: Called with the hot spot that the user goes to.
    """

    def __init__(self, ui: Any, onChosen: Callable[[HotSpot], None]) -> None:
        self._ui, self._onChosen = ui, onChosen
        columns = (
            (_("#"), _("Rank: expected error volume of the region")),
            (_("Organ"), _("Whose mask is probably wrong there")),
            (_("Place"), _("Where it lies in the organ, in the patient's directions")),
            (_("ml"), _("Size of the region")),
            (_("Peak"), _("Highest value in the region, percent")),
        )
        self._table = SortableTable(ui.spotsTable, columns, self._go, stretched=2)
        self._spots: Sequence[HotSpot] = ()
        ui.nextSpotButton.connect("clicked()", self.next)
        ui.previousSpotButton.connect("clicked()", self.previous)

    def show(self, spots: Sequence[HotSpot]) -> None:
        """List hot spots, the worst first."""
        self._spots = spots
        self._table.fill([(str(number), _cells(number, spot)) for number, spot in enumerate(spots)])
        for button in (self._ui.nextSpotButton, self._ui.previousSpotButton):
            button.enabled = bool(spots)
        self._ui.spotLabel.text = ""
        self._ui.spotLabel.setVisible(False)

    def next(self) -> None:
        """Go to the next row, from the last one to the first."""
        self._step(1)

    def previous(self) -> None:
        """Go to the row before, from the first one to the last."""
        self._step(-1)

    def _step(self, step: int) -> None:
        keys = self._table.keys()
        if not keys:
            return
        selected = self._table.selectedKey()
        key = keys[(keys.index(selected) + step) % len(keys)] if selected else keys[0 if step > 0 else -1]
        self._table.select(key)
        self._go(key)

    def _go(self, key: str) -> None:
        spot = self._spots[int(key)]
        self._ui.spotLabel.text = _description(spot)
        self._ui.spotLabel.setVisible(True)
        self._onChosen(spot)


def _cells(number: int, spot: HotSpot) -> list[str | float | None]:
    return [number + 1, spot.organ.replace("_", " "), spot.place, rounded(spot.volume_mm3 / 1000, 1), rounded(100 * spot.peak, 0)]


def _description(spot: HotSpot) -> str:
    """Return place in mm (patient's right or left, front or back, head or feet) and which way the mask may be wrong."""
    x, y, z = spot.center
    sides = (
        _("R {mm:.0f}").format(mm=x) if x >= 0 else _("L {mm:.0f}").format(mm=-x),
        _("A {mm:.0f}").format(mm=y) if y >= 0 else _("P {mm:.0f}").format(mm=-y),
        _("S {mm:.0f}").format(mm=z) if z >= 0 else _("I {mm:.0f}").format(mm=-z),
    )
    direction = ""
    if spot.inside_share > _LARGE:
        direction = _("mostly inside the mask: it may be too large here")
    elif spot.inside_share < _SMALL:
        direction = _("mostly outside the mask: it may be too small here")
    where = _("{organ}, {place}: {sides} mm").format(organ=spot.organ.replace("_", " "), place=spot.place, sides=" ".join(sides))
    return f"{where}; {direction}" if direction else str(where)
