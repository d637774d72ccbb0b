"""The review panel and the command line say the same: the same places in the same order, and the same of a server without encryption."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from AtlasReviewLib.commands_worklist import worklist_app
from AtlasReviewLib.where_to_look import where_to_look
from AtlasReviewLib.worklist_place import checked_url
from AtlasSegmentLib.case_folder import CaseFolder
from review_data import make_dataset
from review_desk import Desk

pytestmark = pytest.mark.usefixtures("slicer_app")


@pytest.fixture
def desk(open_module: Callable[[str], Any], wait_until: Callable[..., None], tmp_path: Path) -> Desk:
    desk = Desk(open_module("AtlasReview"), wait_until)
    desk.open(make_dataset(tmp_path / "hospital"))
    return desk


def test_the_panel_goes_through_the_places_that_the_command_line_prints_in_the_same_order(desk: Desk, tmp_path: Path) -> None:
    import slicer

    desk.take_next()
    case, organ, _state = desk.name.split()
    crosshair = slicer.mrmlScene.GetSingletonNode("default", "vtkMRMLCrosshairNode")
    count = len(desk.panel.task.session.loaded.hot_spots)
    seen = []
    for _ in range(count):
        desk.ui.nextSpotButton.click()
        seen.append([round(value, 3) for value in crosshair.GetCrosshairRAS()])
    shown = [seen[-1], *seen[:-1]]  # the task opens at the first one, so the last step comes back to it
    desk.panel.task.close()
    done = CliRunner().invoke(worklist_app(), ["take", str(tmp_path / "hospital"), case, organ, "--reader", "Ada", "--json"])
    assert done.exit_code == 0, done.output
    printed = [[round(value, 3) for value in spot["ras_mm"]] for spot in json.loads(done.stdout)["hot_spots"]]
    assert printed == shown[:3]
    whole = where_to_look(CaseFolder(tmp_path / "hospital" / case), organ, 20).spots
    assert [[round(value, 3) for value in spot.center] for spot in whole] == shown


def test_the_panel_says_that_a_server_may_be_talked_to_without_encryption(desk: Desk) -> None:
    assert "encryption" not in desk.ui.datasetNoticeLabel.text
    store = desk.panel.context.worklist.store
    for url, told in (("postgresql://ada@server.example/atlas", True), ("postgresql://ada@server.example/atlas?sslmode=require", False)):
        store.place = dataclasses.replace(store.place, url=checked_url(url, "x"))
        desk.panel.dataset.update()
        assert ("server.example may be talked to without encryption" in desk.ui.datasetNoticeLabel.text) is told
