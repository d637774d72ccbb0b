"""report.html: complete, self-contained, safe to open, and its pictures show the patient the right way round."""

from __future__ import annotations

import base64
import builtins
import io
import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from AtlasQualityLib.error_map import STEPS
from AtlasQualityLib.evaluation import Detection, Evaluation
from AtlasQualityLib.hot_spots import find_hot_spots
from AtlasReviewLib.report import NETWORK_REFERENCE, write_report
from AtlasReviewLib.report_case import read_report_case
from AtlasReviewLib.report_figures import hot_spot_png, top_spots
from AtlasReviewLib.report_legend import display_name, plain_text
from AtlasReviewLib.report_views import VIEWS, extent, plane_through, sample
from AtlasReviewLib.revisions import save_revision
from AtlasSegmentLib.case_folder import CaseFolder
from AtlasSegmentLib.errors import DatasetError, InputError
from AtlasSegmentLib.files import write_json
from AtlasSegmentLib.nifti import read_nifti, write_nifti
from AtlasSegmentLib.resample import resample
from AtlasSegmentLib.sparse import from_dense, write_sparse
from AtlasSegmentLib.volume import Grid, Volume, reorient

AFFINE = np.array([[5.0, 0, 0, -100], [0, 5.0, 0, -80], [0, 0, 5.0, 0], [0, 0, 0, 1]])
SHAPE = (40, 32, 30)
HOSTILE = "<script>alert('x')</script> & \"quoted\""
MARKER = np.array([0, 229, 255])


def box(low: tuple[int, int, int], high: tuple[int, int, int], value: float = 1) -> np.ndarray:
    array = np.zeros(SHAPE)
    array[low[0] : high[0], low[1] : high[1], low[2] : high[2]] = value
    return array


LIVER = box((22, 10, 14), (35, 24, 26))  # on the right
SPLEEN = box((5, 6, 15), (11, 13, 24))  # on the left, at the back
HEAT = box((6, 8, 20), (10, 12, 24), 200)


def put(path: Path, array: np.ndarray, orientation: str, slope: float = 1.0) -> None:
    turned, affine = reorient(array, AFFINE, orientation)
    path.parent.mkdir(parents=True, exist_ok=True)
    turned = np.asfortranarray(turned)
    if slope == 1:
        write_nifti(path, Volume(turned, affine))
    else:
        write_sparse(path, from_dense(turned, Grid(turned.shape, affine)), slope=slope)


def make_case(folder: Path, orientation: str = "RAS") -> CaseFolder:
    case = CaseFolder(folder)
    ct = np.full(SHAPE, -1000.0)
    ct[3:37, 3:29, :] = 40 + 100 * LIVER[3:37, 3:29] - 30 * SPLEEN[3:37, 3:29]
    put(case.ct, ct.astype(np.int16), orientation)
    for organ, mask in (("liver", LIVER), ("spleen", SPLEEN)):
        for model, shift in (("first", 0), ("second", 1)):
            put(case.backbone(model).mask(organ), np.roll(mask, shift, 2).astype(np.uint8), orientation)
        put(case.average.mask(organ), mask.astype(np.uint8), orientation)
    put(case.average.pseudo_label, (LIVER + 2 * SPLEEN).astype(np.uint8), orientation)
    model = {"name": "first", "version": "1.2", "sha256": "ab" * 32, "title": HOSTILE, "license": "Apache-2.0"}
    times = {"started": "2026-11-21T07:00:00.000+00:00", "finished": "2026-11-21T07:00:02.500+00:00", "software": {"numpy": "2.0"}}
    write_json(case.backbone("first").run_record, {"parameters": {"model": model}, "results": {"engine": "onnxruntime 1.20"}, **times})
    put(case.average.map("attention", "spleen"), HEAT.astype(np.uint8), orientation)
    put(case.average.map("expected_error", "spleen"), (HEAT / 500 * STEPS).astype(np.uint16), orientation, 1 / STEPS)
    write_json(case.average.folder / "attention" / "run.json", {"results": {"organs": {"spleen": scores()}}, **times})
    return case


def scores() -> dict[str, Any]:
    return {
        "attention_voxels": 64,
        "attention_mm3": 8000.0,
        "heat_sum": 12800,
        "expected_error_mm3": 3200.0,
        "minutes_to_correct": 1.6,
        "gain_mm3_per_minute": 2000.0,
    }


class Reader(HTMLParser):
    """Collects tags and text; complains of tags that do not close in order."""

    def __init__(self) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self._open: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in {"meta", "img"}:
            self._open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self._open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data


def read_page(path: Path) -> Reader:
    reader = Reader()
    reader.feed(path.read_text(encoding="utf-8"))
    return reader


def pixels(png: bytes) -> np.ndarray:
    from matplotlib.image import imread

    return (imread(io.BytesIO(png), format="png")[:, :, :3] * 255).round().astype(int)


def shown_marker(png: bytes) -> np.ndarray:
    """Return (row, column) of every pixel in the color of the marker."""
    return np.argwhere(np.abs(pixels(png) - MARKER).max(axis=2) < 12)


@pytest.fixture(scope="module")
def plain_report(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the report of a case as `make_case` writes it; to be read only."""
    folder = tmp_path_factory.mktemp("plain")
    return write_report(make_case(folder / "set" / "case 1"), folder / "report.html")


@pytest.fixture(scope="module")
def upright_picture(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """Return the picture of the first hot spot of a case in RAS order."""
    case = make_case(tmp_path_factory.mktemp("upright") / "RAS")
    return hot_spot_png(read_report_case(case), find_hot_spots(case)[0], 1)


def test_every_organ_and_model_is_in_the_report(plain_report: Path) -> None:
    reader = read_page(plain_report)
    for words in (
        "case 1",
        "liver",
        "spleen",
        "first",
        "second",
        "Not for clinical use",
        "upper pole",
        "Apache-2.0",
        "abababababab",
        "2.5",
    ):
        assert words in reader.text
    assert sum(tag == "img" for tag, _ in reader.tags) == 2  # overview and one hot spot


def test_volumes_are_in_ml(plain_report: Path) -> None:
    page = plain_report.read_text(encoding="utf-8")
    volume = LIVER.sum() * 125 / 1000
    row = next(line for line in re.findall(r"<tr>.*?</tr>", page) if "liver" in line and "%" not in line)
    cells = re.findall(r'<td class="n">(.*?)</td>', row)
    assert cells[:3] == [f"{volume:.1f}"] * 3  # two models and the average
    assert "average [ml]" in page


def test_the_page_needs_nothing_from_outside_and_runs_nothing(plain_report: Path) -> None:
    reader = read_page(plain_report)
    assert {tag for tag, _ in reader.tags}.isdisjoint({"script", "link", "iframe", "object", "a", "base"})
    for tag, attributes in reader.tags:
        for name, value in attributes.items():
            assert not name.startswith("on")
            if name in {"src", "href"}:
                assert tag == "img"
                assert (value or "").startswith("data:image/png;base64,")
    style = plain_report.read_text(encoding="utf-8").split("<style>")[1].split("</style>")[0]
    assert "url(" not in style
    assert "@import" not in style


def test_hostile_titles_comments_and_names_are_only_text(tmp_path: Path) -> None:
    case = make_case(tmp_path / "set" / "a & b 'c' $x$ $")
    put(case.average.mask("_tumor $frac$ 肝 & 'x'"), box((2, 2, 2), (9, 9, 9)).astype(np.uint8), "RAS")
    save_revision(case, "spleen", read_nifti(case.average.mask("spleen")), "dr & 'o'", comment=HOSTILE)
    assembled = {"organs": {HOSTILE: {"source": HOSTILE, "by": HOSTILE, "volume_ml": 1.0}}, "notes": [HOSTILE], "left_out": []}
    path = write_report(case, tmp_path / "report.html", assembled=assembled)
    reader = read_page(path)
    assert "<script" not in path.read_text(encoding="utf-8").lower()
    assert reader.text.count(HOSTILE) >= 5  # model title, comment, and three of the assembly
    assert "dr & 'o'" in reader.text
    assert "肝" in reader.text


def test_text_in_pictures_is_never_taken_for_a_formula() -> None:
    assert plain_text("a $x$ 肝\n") == r"a \$x\$ ??"
    assert display_name("_kidney_left") == "kidney left"


def test_the_same_case_gives_the_same_bytes(tmp_path: Path) -> None:
    case = make_case(tmp_path / "case")
    first = write_report(case, tmp_path / "1.html").read_bytes()
    assert write_report(case, tmp_path / "2.html").read_bytes() == first


def test_agreement_comes_with_what_must_be_known_of_the_reference(tmp_path: Path) -> None:
    found = Detection(0.8, 0.68, 0.91, float("nan"))
    evaluation = Evaluation({"average": {"liver": 0.9421}, "first": {"spleen": float("nan")}}, found, None, ("spleen",), 321)
    path = write_report(make_case(tmp_path / "case"), tmp_path / "report.html", evaluation=evaluation, reference_note=NETWORK_REFERENCE)
    text = read_page(path).text
    for words in ("0.942", "0.910", "321 voxels", NETWORK_REFERENCE):
        assert words in text


def test_a_revised_mask_is_what_the_pictures_show(tmp_path: Path) -> None:
    case = make_case(tmp_path / "case")
    smaller = box((7, 8, 17), (9, 10, 20))
    save_revision(case, "spleen", Volume(smaller, AFFINE), "reader")
    report = read_report_case(case)
    assert report.sources == {"liver": "predicted", "spleen": "revised"}
    value = report.organs.index("spleen") + 1
    assert np.count_nonzero(report.labels.crop == value) == smaller.sum()
    assert "revised [ml]" in write_report(case, tmp_path / "report.html").read_text(encoding="utf-8")


def test_missing_pieces_are_said_and_do_not_stop_the_report(tmp_path: Path) -> None:
    case = make_case(tmp_path / "case")
    case.ct.unlink()
    assert "There is no CT" in read_page(write_report(case, tmp_path / "r.html")).text
    for file in (case.average.folder / "attention").iterdir():
        file.unlink()
    text = read_page(write_report(case, tmp_path / "r.html")).text
    assert "There are no attention maps" in text
    assert "There is no priority table" in text
    assert str(tmp_path) not in text


def test_a_single_model_without_average_is_shown_as_it_is(tmp_path: Path) -> None:
    case = CaseFolder(tmp_path / "case")
    put(case.backbone("only").mask("liver"), LIVER.astype(np.uint8), "RAS")
    put(case.backbone("only").pseudo_label, LIVER.astype(np.uint8), "RAS")
    text = read_page(write_report(case, tmp_path / "r.html")).text
    assert "the masks of the only model, only, are drawn" in text
    assert "liver" in text


def test_a_ct_alone_gives_a_report_and_an_empty_folder_is_refused(tmp_path: Path) -> None:
    case = CaseFolder(tmp_path / "case")
    with pytest.raises(DatasetError):
        write_report(case, tmp_path / "r.html")
    put(case.ct, np.full(SHAPE, -1000, np.int16), "RAS")
    assert "no average yet" in read_page(write_report(case, tmp_path / "r.html")).text


def test_a_damaged_run_record_does_not_stop_the_report(tmp_path: Path) -> None:
    case = make_case(tmp_path / "case")
    case.backbone("first").run_record.write_text("[1, 2", encoding="utf-8")
    write_json(case.backbone("second").run_record, {"parameters": [], "results": None, "started": 5, "finished": "soon"})
    assert "second" in read_page(write_report(case, tmp_path / "r.html")).text


def test_without_matplotlib_the_remedy_is_told_and_nothing_is_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = builtins.__import__

    def without(name: str, *rest: Any, **more: Any) -> Any:
        if name.startswith("matplotlib"):
            raise ImportError(name)
        return real(name, *rest, **more)

    case = make_case(tmp_path / "case")
    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(InputError, match=r"slicer-atlas-annotator\[report\]"):
        write_report(case, tmp_path / "r.html")
    assert not (tmp_path / "r.html").exists()


@pytest.mark.parametrize("orientation", ["RAS", "LPS", "PIR"])
def test_the_marker_of_a_left_hot_spot_is_on_the_right_of_the_picture(tmp_path: Path, orientation: str) -> None:
    case = make_case(tmp_path / "case", orientation)
    report = read_report_case(case)
    (spot,) = top_spots(find_hot_spots(case))
    assert spot.place == "upper pole"
    png = hot_spot_png(report, spot, 1)
    top = pixels(png)[: len(pixels(png)) // 2]
    dark = (top < 30).all(axis=2).any(axis=0)  # columns with the air around the body
    white = (top[100:] > 250).all(axis=2).all(axis=0)  # columns between the pictures
    left = 40 + int(np.flatnonzero(dark[40:])[0])  # right of the name of the row
    right = left + int(np.flatnonzero(white[left:])[0])
    found = shown_marker(png)
    axial = found[(found[:, 0] < len(top)) & (found[:, 1] > left) & (found[:, 1] < right)]
    assert len(axial) > 20
    share = (axial[:, 1].mean() - left) / (right - left)
    plane = plane_through("axial", spot.center, report.low, report.high)
    assert share == pytest.approx(plane.pixel_of(spot.center)[0] / plane.grid.shape[0], abs=0.03)
    assert share > 0.7  # the patient's left


def test_views_follow_the_radiological_convention(tmp_path: Path) -> None:
    report = read_report_case(make_case(tmp_path / "case"))
    value = report.organs.index("liver") + 1
    middle = np.argwhere(LIVER).mean(axis=0) @ AFFINE[:3, :3].T + AFFINE[:3, 3]
    letters = {"axial": ("R", "L", "A", "P"), "coronal": ("R", "L", "S", "I"), "sagittal": ("A", "P", "S", "I")}
    for view in VIEWS:
        plane = plane_through(view, middle, *extent(report.grid))
        picture = sample(report.labels, plane, "nearest") == value
        row, column = np.argwhere(picture).mean(axis=0) / picture.shape
        assert plane.letters == letters[view]
        assert np.allclose((column, row), np.array(plane.pixel_of(middle)) / picture.shape[::-1], atol=0.02)
        if view != "sagittal":
            assert column < 0.5  # the liver is on the left of the picture
    assert row < 0.5  # and above the middle of this case


@pytest.mark.parametrize("orientation", ["LPS", "ASR", "LAI"])
def test_pictures_do_not_depend_on_the_array_order(tmp_path: Path, orientation: str, upright_picture: bytes) -> None:
    case = make_case(tmp_path / orientation, orientation)
    turned_picture = hot_spot_png(read_report_case(case), find_hot_spots(case)[0], 1)
    first, second = pixels(upright_picture), pixels(turned_picture)
    assert first.shape == second.shape
    assert np.mean(np.abs(first - second).max(axis=2) > 8) < 1e-3  # a rounded gray value here and there


def test_an_oblique_scan_shows_the_same_slices(tmp_path: Path) -> None:
    straight = read_report_case(make_case(tmp_path / "straight"))
    angle = np.deg2rad(12)
    turn = np.eye(4)
    turn[:2, :2] = [[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]
    affine = turn @ np.diag([2.0, 2.0, 2.0, 1])
    affine[:3, 3] = [-130, -130, -10]
    shape = (150, 150, 90)
    case = CaseFolder(tmp_path / "oblique")
    ct = resample(read_nifti(straight.case.ct), Grid(shape, affine), "nearest", -1000)
    case.folder.mkdir()
    write_nifti(case.ct, ct)
    for organ, mask in (("liver", LIVER), ("spleen", SPLEEN)):
        turned = resample(Volume(mask.astype(np.uint8), AFFINE), Grid(shape, affine), "nearest")
        case.average.mask(organ).parent.mkdir(parents=True, exist_ok=True)
        write_nifti(case.average.mask(organ), turned)
    oblique = read_report_case(case)
    for view in VIEWS:
        plane = plane_through(view, (20, 0, 95), *extent(straight.grid))
        a, b = (sample(report.labels, plane, "nearest") for report in (straight, oblique))
        assert np.mean(a != b) < 0.02
        assert np.count_nonzero(a) > 100


def test_pictures_are_png_without_date_and_program(plain_report: Path) -> None:
    page = plain_report.read_text(encoding="utf-8")
    for data in re.findall(r"base64,([^\"]+)", page):
        png = base64.b64decode(data)
        assert png.startswith(b"\x89PNG")
        assert b"tEXt" not in png
        assert b"tIME" not in png
