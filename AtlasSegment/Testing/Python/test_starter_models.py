"""The starter models that come with the program: small, honest about themselves, and right about organs and sides."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from AtlasSegmentLib import starter_models
from AtlasSegmentLib.errors import ModelError
from AtlasSegmentLib.files import read_json
from AtlasSegmentLib.geometry import spacing_of
from AtlasSegmentLib.inference_settings import PRESETS
from AtlasSegmentLib.labels import load_table
from AtlasSegmentLib.model import load_model
from AtlasSegmentLib.phantom import phantom
from AtlasSegmentLib.train_organs import Targets, reading_of
from AtlasSegmentLib.volume import Array, Volume
from AtlasSegmentLib.volume_io import read_label_volume, read_volume

JUDGED = ("liver", "spleen", "kidney_left", "kidney_right", "lung", "aorta", "vertebrae")
UNSEEN_SEED = 4242  # no phantom of the training
MOST_BYTES = 3_000_000


@pytest.fixture(scope="module")
def folders() -> tuple[Path, ...]:
    return starter_models.starter_models()


@pytest.fixture(scope="module")
def person() -> tuple[Volume, dict[str, Array]]:
    """Return a phantom that no starter model has seen, and its organs as the models name them."""
    made = phantom(UNSEEN_SEED, (3.0, 3.0, 3.0))
    targets = Targets(tuple(load_model(starter_models.starter_models()[0]).spec.table.labels.values()))
    labels = reading_of(made.labels.table, targets).of(made.labels.array)
    return made.ct, {name: labels == channel for channel, name in enumerate(targets.names, 1)}


def segmented(folder: Path, ct: Volume) -> dict[str, Array]:
    model = load_model(folder, 0, "cpu")
    found = model.segment(ct, None, PRESETS["balanced"]).masks(ct.grid)
    result = {}
    for value, name in model.spec.table.labels.items():
        result[name] = np.zeros(ct.shape, bool)
        if value in found:
            result[name][found[value].box] = found[value].crop.astype(bool)
    return result


def dice(a: Array, b: Array) -> float:
    return float(2 * (a & b).sum() / max(1, a.sum() + b.sum()))


def test_there_are_three_of_at_most_three_megabytes_that_differ_in_network_data_and_seed(folders: tuple[Path, ...]) -> None:
    cards = [read_json(folder / "model.json") for folder in folders]
    assert len(folders) == 3
    assert all(sum(file.stat().st_size for file in folder.iterdir()) <= MOST_BYTES for folder in folders)
    assert len({card["card"]["recipe"]["seed"] for card in cards}) == 3
    assert len({card["training"]["network"]["width"] for card in cards}) > 1
    assert len({tuple(card["card"]["data"]["train"]["names"]) for card in cards}) == 3


def test_their_cards_say_what_they_are_for_and_what_they_reach_on_real_cts(folders: tuple[Path, ...]) -> None:
    for folder in folders:
        card = read_json(folder / "model.json")["card"]
        assert "not for clinical use" in card["use"]
        assert set(card["measured"]) == {"torso-3mm", "slab-dicom"}
        assert {"average", folder.name} <= set(card["measured"]["torso-3mm"])
    trained = [set(read_json(folder / "model.json")["card"]["data"]["train"]["names"]) for folder in folders]
    assert any("torso-3mm" not in names and "torso-second" not in names for names in trained)


def test_a_phantom_that_they_never_saw_has_its_organs_on_their_sides(
    folders: tuple[Path, ...], person: tuple[Volume, dict[str, Array]]
) -> None:
    ct, truth = person
    for folder in folders:
        found = segmented(folder, ct)
        assert np.mean([dice(found[organ], truth[organ]) for organ in JUDGED]) > 0.75
        assert dice(found["kidney_left"], truth["kidney_left"]) > 10 * dice(found["kidney_left"], truth["kidney_right"])


def test_any_orientation_gives_the_same_masks(folders: tuple[Path, ...], person: tuple[Volume, dict[str, Array]]) -> None:
    ct, _truth = person
    plain = segmented(folders[0], ct)
    turned = ct.reoriented("PIR")
    found = segmented(folders[0], turned)
    for organ, mask in plain.items():
        other = Volume(found[organ].astype(np.uint8), turned.affine).reoriented("RAS").array
        here = Volume(mask.astype(np.uint8), ct.affine).reoriented("RAS").array
        np.testing.assert_array_equal(other, here, err_msg=organ)


def test_voxels_of_another_size_are_segmented_too(folders: tuple[Path, ...]) -> None:
    made = phantom(UNSEEN_SEED, (3.5, 2.5, 6.0))
    found = segmented(folders[0], made.ct)
    truth = reading_of(made.labels.table, Targets(("liver",))).of(made.labels.array) == 1
    assert spacing_of(made.ct.affine) == pytest.approx([3.5, 2.5, 6.0])
    assert dice(found["liver"], truth) > 0.8


def test_the_mean_of_the_three_reaches_three_quarters_on_a_real_ct(folders: tuple[Path, ...], shared_data: Path) -> None:
    source = shared_data / "data" / "torso-3mm"
    ct = read_volume(source / "ct.nii.gz")
    labels = read_label_volume(source / "reference_label.nii.gz", load_table("totalsegmentator_v2"))
    votes = [segmented(folder, ct) for folder in folders]
    reading = reading_of(labels.table, Targets(JUDGED)).of(labels.array)
    scores = [dice(sum(vote[organ].astype(int) for vote in votes) >= 2, reading == channel) for channel, organ in enumerate(JUDGED, 1)]
    assert np.mean(scores) >= 0.75, dict(zip(JUDGED, scores, strict=True))


def test_an_installation_without_them_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(starter_models, "starter_folder", lambda: tmp_path)
    with pytest.raises(ModelError, match="no model was chosen"):
        starter_models.starter_models()


def test_a_starter_model_can_be_given_by_its_name_unless_a_path_is_called_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    other = Path("models/starter-a")
    assert starter_models.named_models([Path("starter-a"), other, Path("x")]) == [
        starter_models.starter_folder() / "starter-a",
        other,
        Path("x"),
    ]
    Path("starter-a").mkdir()
    assert starter_models.named_models([Path("starter-a")]) == [Path("starter-a")]
