"""The list of models on the panel of Atlas Segment: search, check, describe, add, remove."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import qt
import slicer
from slicer.i18n import tr as _

from AtlasSegmentLib.model_facts import KIND_TITLES, ModelFacts, size_text
from AtlasSegmentLib.model_kinds import describe_model
from AtlasSegmentLib.model_list import ListedModel, ModelList, folders_named
from AtlasSegmentLib.packages import TORCH
from AtlasSegmentLib.panel_packages import canGetTorch
from AtlasSegmentLib.starter_models import came_along, starter_folder

_COLUMNS = 4


def settingsFolder() -> Path:
    """Return the folder in which this extension keeps the user's settings: beside Slicer's own."""
    return Path(slicer.app.userSettings().fileName()).parent / "AtlasAnnotator"


def shippedFolders() -> list[Path]:
    """Return the folders of models that come with this extension."""
    return [starter_folder()]


class ModelSection:
    """The models that can be chosen.

    Args:
        ui: The panel's widgets.
        onChanged: Called when the user checks, adds or removes a model.
    """

    def __init__(self, ui: Any, onChanged: Callable[[], None]) -> None:
        self._ui, self._onChanged = ui, onChanged
        self._list = ModelList(settingsFolder(), [*folders_named(os.environ), *shippedFolders()])
        self._models: list[ListedModel] = []
        self._checked: list[str] = []
        self._items: dict[str, Any] = {}
        self._filling = False
        self._prepareTree()
        self._connections = [
            (ui.modelTree, "itemChanged(QTreeWidgetItem*,int)", self._onItemChanged),
            (ui.modelTree, "itemSelectionChanged()", self._describe),
            (ui.modelSearchEdit, "textChanged(QString)", self._filter),
            (ui.addModelButton, "clicked(bool)", self._addFolder),
            (ui.addModelFileButton, "clicked(bool)", self._addFile),
            (ui.removeModelButton, "clicked(bool)", self._remove),
        ]
        for widget, signal, slot in self._connections:
            widget.connect(signal, slot)
        self.refresh()

    @property
    def checked(self) -> list[str]:
        """Folders of the checked models, in the order of the list."""
        return list(self._checked)

    def setChecked(self, paths: list[str]) -> None:
        """Check these models alone; one that is not in the list, as when a scene comes from elsewhere, is shown too."""
        if paths == self._checked:
            return
        self._checked = list(paths)
        self.refresh()

    def firstChoice(self) -> list[str]:
        """Return what to check in a new scene: the models that come along, as long as there are no others."""
        models = [model.facts for model in self._list.models()]
        return [str(facts.path) for facts in models if facts.usable] if all(came_along(facts.path) for facts in models) else []

    def checkedFacts(self) -> list[ModelFacts]:
        """Return what was last seen of the checked models."""
        return [model.facts for model in self._models if str(model.facts.path) in self._checked]

    @property
    def isEmpty(self) -> bool:
        """Whether there is no model at all."""
        return not self._models

    def refresh(self) -> None:
        """Look at all models again and show what is there now."""
        models = self._list.models()
        listed = {str(model.facts.path) for model in models}
        models += [ListedModel(describe_model(Path(path)), False) for path in self._checked if path not in listed]
        self._models = models
        self._fill()

    def cleanup(self) -> None:
        """Let go of the widgets."""
        for widget, signal, slot in self._connections:
            widget.disconnect(signal, slot)

    def _prepareTree(self) -> None:
        tree = self._ui.modelTree
        tree.setHeaderLabels([_("Model"), _("Organs"), _("License"), _("Size")])
        header = tree.header()
        header.setStretchLastSection(False)
        header.setMinimumSectionSize(20)
        header.setSectionResizeMode(0, qt.QHeaderView.Stretch)
        for column in range(1, _COLUMNS):
            header.setSectionResizeMode(column, qt.QHeaderView.ResizeToContents)

    def _fill(self) -> None:
        selected = self._selectedPath()
        self._filling = True
        self._ui.modelTree.clear()
        self._items = {}
        for model in self._models:
            item = self._makeItem(model.facts)
            self._ui.modelTree.addTopLevelItem(item)
            self._items[str(model.facts.path)] = item
        if selected in self._items:
            self._ui.modelTree.setCurrentItem(self._items[selected])
        self._filling = False
        self._filter()
        self._describe()

    def _makeItem(self, facts: ModelFacts) -> Any:
        path = str(facts.path)
        organs = str(len(facts.organs)) if facts.organs else ""
        item = qt.QTreeWidgetItem([facts.name, organs, facts.short_license, size_text(facts.size)])
        item.setData(0, qt.Qt.UserRole, path)
        flags = qt.Qt.ItemIsEnabled | qt.Qt.ItemIsSelectable
        if facts.usable or path in self._checked:
            item.setFlags(flags | qt.Qt.ItemIsUserCheckable)
            item.setCheckState(0, qt.Qt.Checked if path in self._checked else qt.Qt.Unchecked)
        else:
            item.setFlags(flags)
        if not facts.usable:
            gray = self._ui.modelTree.palette.color(qt.QPalette.Disabled, qt.QPalette.Text)
            for column in range(_COLUMNS):
                item.setForeground(column, qt.QBrush(gray))
        for column in range(_COLUMNS):
            item.setToolTip(column, "\n".join(dict.fromkeys(filter(None, (facts.name, facts.title, facts.problem, facts.caution)))))
        item.setToolTip(2, facts.license or _("The model does not state a license."))
        for column in (1, 3):
            item.setTextAlignment(column, qt.Qt.AlignRight | qt.Qt.AlignVCenter)
        return item

    def _onItemChanged(self, _item: Any, _column: int) -> None:
        if self._filling:
            return
        checked = [path for path, item in self._items.items() if item.checkState(0) == qt.Qt.Checked and self._isCheckable(item)]
        if checked != self._checked:
            self._checked = checked
            self._describe()
            self._onChanged()

    @staticmethod
    def _isCheckable(item: Any) -> bool:
        return bool(int(item.flags()) & int(qt.Qt.ItemIsUserCheckable))

    def _filter(self, _text: str = "") -> None:
        query = self._ui.modelSearchEdit.text
        for model in self._models:
            self._items[str(model.facts.path)].setHidden(not model.facts.matches(query))

    def _selectedPath(self) -> str | None:
        items = self._ui.modelTree.selectedItems()
        return str(items[0].data(0, qt.Qt.UserRole)) if items else None

    def _selected(self) -> ListedModel | None:
        path = self._selectedPath()
        return next((model for model in self._models if str(model.facts.path) == path), None)

    def _describe(self) -> None:
        if self._filling:
            return
        model = self._selected()
        self._ui.removeModelButton.setEnabled(model is not None and model.own)
        tip = _("Take the selected model from the list. Its files stay where they are.")
        if model is not None and not model.own:
            tip = _("This model came along, was downloaded, or is from ATLAS_MODELS or the scene: it is not in your list.")
        self._ui.removeModelButton.setToolTip(tip)
        if model is not None:
            self._ui.modelDescriptionLabel.setText(description(model.facts))
        elif self._models:
            lines = [_("Check the models to run; select one to read about it."), *cautions(self.checkedFacts())]
            self._ui.modelDescriptionLabel.setText("\n".join(lines))
        else:
            self._ui.modelDescriptionLabel.setText(_("No models yet. Press Add model… and choose a model folder."))

    def _addFolder(self, _checked: bool = False) -> None:
        self._add(qt.QFileDialog.getExistingDirectory(self._ui.modelTree, _("Add a model folder, or a folder of models"), ""))

    def _addFile(self, _checked: bool = False) -> None:
        kinds = _("Model files") + " (*.json *.onnx *.pt *.ts *.pth *.safetensors);;" + _("All files") + " (*)"
        self._add(qt.QFileDialog.getOpenFileName(self._ui.modelTree, _("Add a model by one of its files"), "", kinds))

    def _add(self, path: str) -> None:
        from AtlasSegmentLib.panel_errors import shownErrors

        if not path:
            return
        with shownErrors():
            added = self._list.add(Path(path))
            self._ui.modelSearchEdit.setText("")
            self._checked += [str(facts.path) for facts in added if facts.usable and str(facts.path) not in self._checked]
            self.refresh()
            self._ui.modelTree.setCurrentItem(self._items[str(added[0].path)])
            self._onChanged()
            refused = [facts for facts in added if facts.problem]
            if refused:
                slicer.util.warningDisplay("\n\n".join(f"{facts.name}: {facts.problem} {facts.remedy}" for facts in refused))

    def _remove(self, _checked: bool = False) -> None:
        from AtlasSegmentLib.panel_errors import shownErrors

        path = self._selectedPath()
        if path is None:
            return
        with shownErrors():
            self._list.remove(Path(path))
            self._checked = [kept for kept in self._checked if kept != path]
            self.refresh()
            self._onChanged()


def cautions(facts: list[ModelFacts]) -> list[str]:
    """Return what to know before the results of these models are trusted, one line for all that share a caution."""
    names: dict[str, list[str]] = {}
    for one in facts:
        if one.caution:
            names.setdefault(one.caution, []).append(one.name)
    return [_("Caution, {model}: {caution}").format(model=", ".join(found), caution=caution) for caution, found in names.items()]


def description(facts: ModelFacts) -> str:
    """Return what is shown about the selected model."""
    lines = [facts.title or facts.name]
    if facts.problem:
        lines.append(_("Cannot be used: {problem} {remedy}").format(problem=facts.problem, remedy=facts.remedy))
    if facts.caution:
        lines.append(_("Caution: {caution}").format(caution=facts.caution))
    if facts.organs:
        lines.append(_("Organs: {names}").format(names=", ".join(name.replace("_", " ") for name in facts.organs)))
    if TORCH in facts.needs and not canGetTorch():
        lines.append(_("Needs PyTorch: install the extension PyTorch in the Extensions Manager and restart Slicer."))
    if facts.needs_roi:
        lines.append(_("Needs a region: a box around what it was made for."))
    lines.append(_("License: {license}").format(license=facts.license or _("not stated")))
    lines.append(_("{kind} in {folder}").format(kind=KIND_TITLES[facts.kind], folder=facts.path))
    return "\n".join(lines)
