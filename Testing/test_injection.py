"""What a hostile reader, name or comment tries: the history of a server, SQL, formulas of spreadsheets, and scripts in pages."""

from __future__ import annotations

import csv
import json
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from AtlasReviewLib.revisions import save_revision
from AtlasReviewLib.task_states import ACCEPTED, FLAGGED, REVISED
from AtlasReviewLib.worklist import Worklist
from AtlasReviewLib.worklist_merge import open_worklist
from AtlasReviewLib.worklist_postgres import grants
from AtlasReviewLib.worklist_rows import TaskFilter
from AtlasSegmentLib.case_folder import open_case
from AtlasSegmentLib.errors import AtlasError
from AtlasSegmentLib.nifti import read_nifti
from review_data import make_dataset
from run_program import run_program

pytest_plugins = ("postgres_server",)

# --- a reader's login on a server

WARNED_OF = "GRANT ALL ON event TO mallory"
"""The server says that nothing was granted, and calls that no error."""
BECOME_ANOTHER = (
    "SET ROLE owner; DELETE FROM event", "SET SESSION AUTHORIZATION owner; DELETE FROM event", "SET session_replication_role = replica",
    "ALTER ROLE mallory SUPERUSER", "CREATE ROLE mallory2 SUPERUSER", "GRANT owner TO mallory", WARNED_OF,
    "ALTER DEFAULT PRIVILEGES FOR ROLE owner GRANT ALL ON TABLES TO mallory", "REASSIGN OWNED BY owner TO mallory",
    "ALTER SYSTEM SET fsync = off",
)  # fmt: skip
CHANGE_THE_PAST = (
    "UPDATE event SET comment = ''", "UPDATE event SET comment = '' WHERE reader = 'Mallory'", "DELETE FROM event WHERE reader = 'Mallory'",
    "DELETE FROM ONLY public.event", "TRUNCATE event, task RESTART IDENTITY CASCADE",
    "WITH gone AS (DELETE FROM event RETURNING *) SELECT count(*) FROM gone",
    "INSERT INTO event (reader, session, case_name, organ, kind) VALUES ('x', '', '', '', '') ON CONFLICT (id) DO UPDATE SET reader = 'x'",
    "MERGE INTO event e USING (SELECT 1) s ON true WHEN MATCHED THEN DELETE", "SELECT * FROM event FOR UPDATE",
    "DECLARE c CURSOR FOR SELECT * FROM event FOR UPDATE", "UPDATE event SET id = id + 1000000", "UPDATE event SET time = '1999'",
    "UPDATE task SET id = 1", "DELETE FROM task", "UPDATE worklist_version SET version_num = '0'",
)  # fmt: skip
BY_A_DETOUR = (
    "CREATE TEMP VIEW v AS SELECT * FROM public.event; DELETE FROM v",
    "CREATE FUNCTION pg_temp.f() RETURNS void LANGUAGE sql SECURITY DEFINER AS 'DELETE FROM public.event'; SELECT pg_temp.f()",
    "CREATE FUNCTION pg_temp.f() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NULL; END'; "
    "CREATE TRIGGER t BEFORE INSERT ON event FOR EACH ROW EXECUTE FUNCTION pg_temp.f()",
    "DO $$ BEGIN EXECUTE 'DELETE FROM public.event'; END $$", "CREATE RULE r AS ON INSERT TO event DO INSTEAD NOTHING",
    "ALTER TABLE event DISABLE TRIGGER ALL", "ALTER TABLE event ENABLE ROW LEVEL SECURITY", "ALTER TABLE event ADD COLUMN x int",
    "ALTER TABLE event ALTER COLUMN account SET DEFAULT 'ada'", "ALTER TABLE event SET SCHEMA pg_temp", "ALTER TABLE event RENAME TO old",
    "CREATE TABLE pg_temp.child () INHERITS (public.event)", "CREATE TEMP TABLE r (e bigint REFERENCES public.event (id))",
    "CREATE INDEX ON event (reader)", "CREATE STATISTICS s ON reader, kind FROM event", "CREATE SCHEMA mine",
    "CREATE TABLE public.x (x int)",
    "DROP TRIGGER event_is_never_changed ON event", "DROP FUNCTION event_is_never_changed CASCADE", "DROP DATABASE postgres",
    "ALTER FUNCTION event_is_never_changed() RENAME TO x", "SECURITY LABEL ON TABLE event IS ''", "COMMENT ON TABLE event IS 'x'",
    "SELECT setval(pg_get_serial_sequence('event', 'id'), 1)", "ALTER SEQUENCE event_id_seq RESTART",
    "LOCK TABLE event IN ACCESS EXCLUSIVE MODE",
    "COPY event FROM '/etc/passwd'", "COPY event (id, time) FROM STDIN", "COPY (SELECT 1) TO PROGRAM 'id'", "COPY event TO '/tmp/x'",
    "SELECT lo_import('/etc/passwd')", "SELECT lo_export(lo_create(0), '/tmp/x')", "SELECT pg_read_file('/etc/passwd')",
    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = 'owner' AND pid <> pg_backend_pid()", "CREATE EXTENSION dblink",
    "UPDATE pg_class SET relacl = NULL WHERE relname = 'event'", "DELETE FROM pg_trigger WHERE tgname = 'event_is_never_changed'",
    "UPDATE pg_attrdef SET adbin = NULL", "ALTER DATABASE postgres SET session_replication_role = replica",
    "ALTER ROLE owner SET search_path = pg_temp", "DROP OWNED BY owner CASCADE", "DROP SCHEMA public CASCADE",
)  # fmt: skip
FORGE = (
    "INSERT INTO event (time, reader, session, case_name, organ, kind) VALUES ('1999', 'Ada', '', '', '', '')",
    "INSERT INTO event (account, reader, session, case_name, organ, kind) VALUES ('ada', 'Ada', '', '', '', '')",
    "INSERT INTO event (id, reader, session, case_name, organ, kind) OVERRIDING SYSTEM VALUE VALUES (0, 'Ada', '', '', '', '')",
)


@pytest.fixture
def server(postgres: Any, tmp_path: Path) -> tuple[Any, str, Worklist]:
    """Return a server, its database with the rights that `atlas worklist init` prints, and a list with a history."""
    url = postgres.empty_worklist()
    name = url.rpartition("/")[2]
    if not postgres.run("SELECT 1 FROM pg_roles WHERE rolname = 'mallory'"):
        postgres.run("CREATE ROLE villains", "CREATE ROLE mallory LOGIN IN ROLE villains")
    postgres.run(*grants(url, "villains"), database=name)
    worklist, _ = open_worklist(make_dataset(tmp_path / "hospital"), url=url)
    worklist.set_state(worklist.take("first", "liver", "Ada"), ACCEPTED, "Ada", "fine")
    mine = Worklist(tmp_path / "hospital", url=postgres.url(name, "mallory"))
    mine.set_state(mine.take("first", "spleen", "Mallory"), FLAGGED, "Mallory", "I never said this")
    mine.close()
    return postgres, name, worklist


def everything(server: tuple[Any, str, Worklist]) -> list[Any]:
    """Return what the owner sees: events, tasks, rights, triggers, defaults."""
    import psycopg

    postgres, name, _ = server
    with psycopg.connect(host="127.0.0.1", port=postgres.port, dbname=name, user="owner") as connection:
        return [
            connection.execute(statement).fetchall()
            for statement in (
                "SELECT * FROM event ORDER BY id",
                "SELECT id, dataset, case_name, organ FROM task ORDER BY id",
                "SELECT relname, relacl::text, relowner FROM pg_class WHERE relname IN ('task', 'event', 'worklist_version') ORDER BY 1",
                "SELECT tgname, tgenabled FROM pg_trigger ORDER BY 1",
                "SELECT adrelid, adnum, pg_get_expr(adbin, adrelid) FROM pg_attrdef ORDER BY 1, 2",
                "SELECT * FROM worklist_version",
                "SELECT last_value FROM event_id_seq",
            )
        ]


@pytest.mark.parametrize("tries", [BECOME_ANOTHER, CHANGE_THE_PAST, BY_A_DETOUR, FORGE], ids=["become", "change", "detour", "forge"])
def test_no_statement_of_a_reader_alters_the_past_not_even_their_own(server: tuple[Any, str, Worklist], tries: tuple[str, ...]) -> None:
    import psycopg

    postgres, name, _ = server
    before = everything(server)
    refused = []
    for statement in tries:
        try:
            postgres.run(statement, database=name, user="mallory")
        except psycopg.Error as error:
            refused.append((statement, type(error)))
        assert everything(server) == before, statement
    assert {*tries} - {statement for statement, _ in refused} <= {WARNED_OF}
    assert psycopg.errors.SyntaxError not in {kind for _, kind in refused}


def test_what_a_reader_puts_in_front_of_a_table_deceives_nobody_but_themselves(server: tuple[Any, str, Worklist]) -> None:
    postgres, name, worklist = server
    before = everything(server)
    shadow = "CREATE TEMP TABLE event AS SELECT * FROM public.event; DELETE FROM event; SET search_path = pg_temp, public"
    postgres.run(shadow, "SELECT 1", database=name, user="mallory")
    assert everything(server) == before
    for trick in ("SET search_path = pg_temp", "SET TimeZone = 'Asia/Tokyo'", "SET ROLE villains", "SET application_name = 'ada'"):
        values = "('hospital', 'Ada', '', 'first', '', 'note')"
        line = f"INSERT INTO public.event (dataset, reader, session, case_name, organ, kind) VALUES {values}"
        postgres.run(trick + "; " + line, database=name, user="mallory")
        event = worklist.events()[-1]
        assert (event.account, event.reader) == ("mallory", "Ada")  # the server says who it really was
        (now,) = postgres.run("SELECT to_char(now() AT TIME ZONE 'UTC', 'YYYY-MM-DD\"T\"HH24')")[0]
        assert event.time.startswith(now)


def test_a_reader_cannot_take_the_rights_of_all_readers_away(server: tuple[Any, str, Worklist]) -> None:
    postgres, name, worklist = server
    before = everything(server)
    for role in ("villains", "mallory"):
        postgres.run(f"DROP OWNED BY {role}", database=name, user="mallory")
    assert everything(server) == before
    assert Worklist(worklist.folder, url=postgres.url(name, "mallory")).last_event() > 0


# --- names and comments

SQL = ("'; DROP TABLE task; --", "x' OR '1'='1", '"); DELETE FROM event; --', "%s %(x)s :y ? \\", "Robert\u02bc); DROP TABLE event;--")
FORMULAS = ("=cmd|'/c calc'!A0", "+1+1", "-2+3", "@SUM(1)", "\t=1+1", "\r=1+1", "\n=1+1", "\uff1d1+1", " =1+1", "'=1+1")
SCRIPTS = (
    "<script>alert(1)</script>",
    "<img src=x onerror=alert(1)>",
    '"><svg onload=alert(1)>',
    "</style><script>x</script>",
    "&lt;b&gt;",
)


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a dataset whose readers write hostile comments and have names that are formulas."""
    folder = make_dataset(tmp_path_factory.mktemp("hostile") / "=hospital")
    open_worklist(folder)[0].close()
    worklist, case = Worklist(folder), open_case(folder / "first")
    task = worklist.take("first", "liver", "=Ada()")
    mask = read_nifti(case.average.mask("liver"))
    saved = save_revision(case, "liver", mask.with_array(mask.array[::-1].copy()), "=Ada()", comment=FORMULAS[0] + SCRIPTS[0])
    worklist.set_state(task, REVISED, "=Ada()", FORMULAS[0], saved.id, saved.sha256)
    for comment in (*SQL, *FORMULAS, *SCRIPTS):
        worklist.set_state(task, REVISED, "=Ada()", comment)
    worklist.add_seconds(task, "=Ada()", 60)
    worklist.set_state(task, ACCEPTED, "=Ada()", SCRIPTS[1])
    worklist.set_state(worklist.take("first", "spleen", "-rf"), FLAGGED, "-rf", FORMULAS[4])
    worklist.close()
    return folder


def test_every_text_comes_back_as_it_was_written_and_no_statement_is_run(dataset: Path) -> None:
    worklist = Worklist(dataset)
    said = [event.comment for event in worklist.events("first", "liver")]
    wanted = [text.strip() for text in (*SQL, *FORMULAS, *SCRIPTS)]
    assert [text for text in said if text][-len(wanted) - 1 : -1] == wanted
    assert len(worklist.tasks()) == 8
    for text in SQL:
        for given in ({"organs": (text,)}, {"cases": (text,)}):
            assert worklist.take_next("Eve", only=TaskFilter(**given)) is None
        with pytest.raises(AtlasError, match="is not in the worklist"):
            worklist.task(text, text)
        assert worklist.events(text, text) == []
    assert len(worklist.tasks()) == 8


class Page(HTMLParser):
    """Gathers what a page would run or fetch."""

    def __init__(self) -> None:
        super().__init__()
        self.bad: list[str] = []
        self.text = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Note scripts, foreign things and handlers."""
        if tag in ("script", "iframe", "object", "embed", "link", "form", "base"):
            self.bad.append(tag)
        for name, value in attrs:
            fetched = name in ("src", "href", "action", "xlink:href") and not (value or "").startswith(("#", "data:image/"))
            if name.startswith("on") or fetched or "javascript:" in (value or ""):
                self.bad.append(f"{tag} {name}={value}")

    def handle_data(self, data: str) -> None:
        """Gather the text."""
        self.text += data


def cells(file: Path) -> list[str]:
    return [cell for row in csv.reader(file.read_text(encoding="utf-8").splitlines()) for cell in row]


def is_number(cell: str) -> bool:
    try:
        float(cell)
    except ValueError:
        return False
    return True


def test_no_table_that_any_command_writes_holds_a_formula_and_no_page_runs_anything(dataset: Path, tmp_path: Path) -> None:
    for arguments in (
        ["worklist", "list", str(dataset), "--state", "all", "--csv", str(tmp_path / "list.csv")],
        ["worklist", "export", str(dataset), "priority", str(tmp_path / "priority.csv")],
        ["progress", str(dataset), "--csv", str(tmp_path / "progress.csv"), "--html", str(tmp_path / "progress.html")],
        ["assemble", str(dataset), "--out", str(tmp_path / "assembled"), "--release", "1.0"],
        ["card", str(tmp_path / "assembled"), "--name", f"{FORMULAS[0]}{SCRIPTS[0]}"],
    ):
        done = run_program(arguments, tmp_path)
        assert done.code == 0, (arguments, done)
    tables = [*tmp_path.rglob("*.csv"), *dataset.rglob("log.csv")]
    assert len(tables) >= 5
    found = {cell for table in tables for cell in cells(table)}
    assert not [cell for cell in found if cell.lstrip().startswith(("=", "+", "-", "@", "\uff1d")) and not is_number(cell)]
    assert any("=Ada()" in cell for cell in found)
    pages = list(tmp_path.rglob("*.html"))
    assert pages
    for file in pages:
        page = Page()
        page.feed(file.read_text(encoding="utf-8"))
        assert page.bad == []
        assert "=Ada()" in page.text
    for card in (tmp_path / "assembled").glob("*.md"):
        assert "<script" not in card.read_text(encoding="utf-8")
    for record in tmp_path.rglob("*.json"):
        json.loads(record.read_text(encoding="utf-8"))


@pytest.mark.parametrize("name", ["../x", "..", "a/b", "a\\b", "a\0b", "a\nb", ".hidden", "x" * 300, "~/x ", "a\u202eb"])
def test_no_name_that_leads_elsewhere_becomes_a_reader_a_case_or_an_organ(dataset: Path, name: str) -> None:
    worklist = Worklist(dataset)
    before = sorted(dataset.parent.rglob("*"))
    with pytest.raises(AtlasError):
        worklist.take_next(name)
    for case, organ in ((name, "liver"), ("first", name)):
        with pytest.raises(AtlasError):
            worklist.add(case, organ, "Ada")
    with pytest.raises(AtlasError):
        save_revision(open_case(dataset / "first"), name, read_nifti(open_case(dataset / "first").ct), "Ada")
    assert [path for path in sorted(dataset.parent.rglob("*")) if "sqlite-" not in path.name] == [
        p for p in before if "sqlite-" not in p.name
    ]
