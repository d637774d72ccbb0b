"""The review panel's list when it is long: every task can be reached, what is in sight stays there, and little is read again."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from AtlasReviewLib.worklist import Worklist
from review_data import make_dataset
from review_desk import Desk

pytestmark = pytest.mark.usefixtures("slicer_app")
MANY = 3000


@pytest.fixture
def dataset(tmp_path: Path) -> Path:
    return make_dataset(tmp_path / "hospital")


@pytest.fixture
def desk(open_module: Callable[[str], Any], wait_until: Callable[..., None], dataset: Path) -> Desk:
    """Return a reader at a list of eight real tasks and 3,000 whose masks nobody looks at."""
    desk = Desk(open_module("AtlasReview"), wait_until)
    desk.open(dataset)
    with Worklist(dataset).store.writing() as db:
        db.add_many([{"case_name": f"case{n:04}", "organ": "liver", "rank": 10 + n, "changed": ""} for n in range(MANY)])
    desk.panel.sync.readAgain()
    read(desk)
    return desk


def read(desk: Desk) -> None:
    """Wait until the list was read in the background."""
    desk.wait(lambda: not desk.panel.sync.running)


def cell(desk: Desk, row: int) -> str:
    """Return the case in a row; "" where nothing was filled in yet."""
    item = desk.ui.taskTable.item(row, 1)
    return "" if item is None else str(item.text())


def in_sight(desk: Desk) -> list[str]:
    """Return the cases that can be seen."""
    table = desk.ui.taskTable
    rows = range(table.rowAt(0), table.rowAt(table.viewport().height - 1) + 1)
    return [cell(desk, row) for row in rows]


def test_scrolling_reaches_every_task_and_fills_what_comes_into_sight(desk: Desk) -> None:
    table, bar = desk.ui.taskTable, desk.ui.taskTable.verticalScrollBar()
    assert table.rowCount == MANY + 8
    assert cell(desk, 1500) == ""
    assert cell(desk, MANY + 7) == ""
    seen: list[str] = []
    for value in range(0, bar.maximum + 1, 5):
        bar.setValue(value)
        assert "" not in in_sight(desk)
        seen += in_sight(desk)
    assert {f"case{n:04}" for n in range(MANY)} < {*seen}
    bar.setValue(bar.maximum)
    assert cell(desk, MANY + 7) == "zlast"
    assert "3008 waiting" in desk.ui.countsLabel.text


def test_a_table_that_grows_fills_its_new_rows(desk: Desk) -> None:
    desk.ui.taskTable.setMinimumHeight(1500)
    desk.wait(lambda: desk.ui.taskTable.viewport().height > 1200)
    assert len(in_sight(desk)) > 60
    assert "" not in in_sight(desk)


def test_what_others_do_moves_neither_what_is_in_sight_nor_the_selection(desk: Desk, dataset: Path) -> None:
    table, bar = desk.ui.taskTable, desk.ui.taskTable.verticalScrollBar()
    bar.setValue(1500)
    table.setCurrentCell(1503, 0)
    before, selected = in_sight(desk), desk.panel.list.selected()
    other = Worklist(dataset)
    for n in (3, 4, 5):  # they leave the list above
        other.set_state(other.take(f"case{n:04}", "liver", "Bob"), "accepted", "Bob")
    other.take(selected.case, "liver", "Bob")
    desk.panel.sync.ask()
    read(desk)
    assert table.rowCount == MANY + 5
    assert in_sight(desk)[: len(before) - 1] == before[:-1]
    assert desk.panel.list.selected().id == selected.id
    assert table.item(table.currentRow(), 4).text() == "Bob"


def test_sorting_and_searching_bring_the_selected_task_into_sight(desk: Desk) -> None:
    table, header = desk.ui.taskTable, desk.ui.taskTable.horizontalHeader()
    table.verticalScrollBar().setValue(1500)
    table.setCurrentCell(1500, 0)
    selected = desk.panel.list.selected()
    for act in (
        lambda: header.sectionClicked.emit(1),
        lambda: header.sectionClicked.emit(1),
        lambda: desk.ui.searchEdit.setText("case liver"),
        lambda: desk.show("waiting"),
    ):
        act()
        assert desk.panel.list.selected().id == selected.id
        assert selected.case in in_sight(desk)
    desk.ui.searchEdit.setText("zlast")
    assert [row[1] for row in desk.rows] == ["zlast", "zlast"]
    assert desk.panel.list.selected() is None
    assert desk.ui.countsLabel.text == "3008 waiting; 2 of 3008 shown"


def test_only_what_changed_is_read_again(desk: Desk, dataset: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole: list[int] = []
    worklist = desk.panel.context.worklist
    real = worklist.tasks
    monkeypatch.setattr(worklist, "tasks", lambda: whole.append(1) or real())
    other = Worklist(dataset)
    other.take("first", "liver", "Bob")
    desk.panel.sync.ask()
    read(desk)
    assert desk.rows_until(1) == [("1", "first", "liver", "taken", "Bob")]
    desk.take_next()
    desk.click(desk.ui.acceptButton)
    assert desk.name == "first spleen taken"
    assert whole == []
    for n in range(120):  # more events than are read one by one
        other.leave(other.take(f"case{n:04}", "liver", "Bob"), "Bob", keep=True)
    desk.panel.sync.ask()
    read(desk)
    assert whole == [1]
    desk.ui.searchEdit.setText("case0119")
    assert desk.rows_until(1)[0][3:] == ("taken", "Bob")


def test_an_answer_from_before_what_the_reader_did_changes_nothing(desk: Desk) -> None:
    from AtlasReviewLib.panel_sync import News

    sync, worklist = desk.panel.sync, desk.panel.context.worklist
    before, seen = worklist.task("first", "liver"), worklist.last_event()
    sync.now()
    desk.take_next()
    assert desk.rows_until(1)[0][3:] == ("taken", "Ada")
    sync._take(News(seen, (before,), after=seen - 1))
    assert desk.rows_until(1)[0][3:] == ("taken", "Ada")


def test_a_list_that_was_restored_from_a_backup_is_read_again(desk: Desk, dataset: Path) -> None:
    Worklist(dataset).take("first", "liver", "Bob")
    desk.panel.sync.now()
    assert desk.rows_until(1)[0][3:] == ("taken", "Bob")
    with Worklist(dataset).store.writing() as db:  # the last event never happened
        names = [row[0] for row in db.connection.exec_driver_sql("SELECT name FROM sqlite_master WHERE type = 'trigger'")]
        for name in names:
            db.connection.exec_driver_sql(f"DROP TRIGGER {name}")
        db.connection.exec_driver_sql("DELETE FROM event WHERE id = (SELECT max(id) FROM event)")
        db.connection.exec_driver_sql("UPDATE task SET state = 'waiting', reader = '' WHERE organ = 'liver' AND case_name = 'first'")
    desk.panel.sync.ask()
    read(desk)
    assert desk.rows_until(1)[0][3:] == ("waiting", "")


def test_the_open_task_is_bold_and_comes_into_sight(desk: Desk) -> None:
    table = desk.ui.taskTable
    table.verticalScrollBar().setValue(2000)
    desk.take_next()
    assert "first" in in_sight(desk)
    assert [row for row in range(20) if table.item(row, 1).font().bold()] == [0]
    desk.click(desk.ui.nextButton)
    assert [row for row in range(20) if table.item(row, 1).font().bold()] == [1]
