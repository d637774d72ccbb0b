"""Every kind of model is recognized; a folder that cannot be read is told exactly what is wrong with it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from atlas_phantoms import make_model
from AtlasSegmentLib.errors import ModelError
from AtlasSegmentLib.model_facts import ModelFacts, short_license, size_text
from AtlasSegmentLib.model_kinds import describe_model, find_models
from AtlasSegmentLib.model_manifest import read_manifest
from monai_bundles import config, metadata
from nnunet_models import make_dataset, make_plans

LABELS = {"background": 0, "femur_right": 2, "femur_left": 1, "ignore": 3}


def edit_json(path: Path, **changes: Any) -> None:
    """Change entries of a JSON file; None removes one."""
    content = {**json.loads(path.read_text()), **changes}
    path.write_text(json.dumps({key: value for key, value in content.items() if value is not None}))


def edit_network(model: Path, name: str | None) -> None:
    """Change the class of the network in plans.json; with None nothing describes it."""
    plans = json.loads((model / "plans.json").read_text())
    configuration = plans["configurations"]["3d_fullres"]
    configuration["architecture"] = None if name is None else {**configuration["architecture"], "network_class_name": name}
    (model / "plans.json").write_text(json.dumps(plans))


def torch_file(path: Path, *, script: bool = False) -> None:
    """Write what can be seen of a PyTorch file from outside: a ZIP archive with the parts that PyTorch writes."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("archive/data.pkl", b"\x80\x02}q\x00.")
        if script:
            archive.writestr("archive/code/__torch__.py", "")


def make_nnunet(folder: Path, dialect: str = "new", configuration: str = "3d_fullres", **dataset: Any) -> Path:
    """Write an nnU-Net v2 model folder as nnU-Net's training leaves it, with weights that hold nothing; return it."""
    model = folder / "Dataset112_LowerLimb" / f"nnUNetTrainerNoMirroring__nnUNetPlans__{configuration}"
    torch_file(model / "fold_0" / "checkpoint_final.pth")
    describe_nnunet(model, dialect, **dataset)
    return model


def describe_nnunet(model: Path, dialect: str = "new", **dataset: Any) -> None:
    """Write plans.json and dataset.json."""
    plans = {**make_plans(dialect, "plain", (3.0, 2.0, 2.0), (16, 16, 16)), "dataset_name": "Dataset112_LowerLimb"}
    (model / "plans.json").write_text(json.dumps(plans))
    (model / "dataset.json").write_text(json.dumps({**make_dataset(), "labels": LABELS, "licence": "CC-BY-NC-SA 4.0", **dataset}))


def make_bundle(folder: Path, *, weights: str = "model.pt") -> Path:
    """Write a MONAI bundle; return it."""
    (folder / "configs").mkdir(parents=True)
    facts = metadata(("background", "spleen", "liver", "pancreas"), name="Abdomen bundle", description="Organs")
    (folder / "configs" / "metadata.json").write_text(json.dumps(facts))
    (folder / "configs" / "inference.json").write_text(json.dumps(config()))
    (folder / "LICENSE").write_text("\nApache License\nVersion 2.0\n")
    torch_file(folder / "models" / weights, script=weights.endswith(".ts"))
    return folder


def make_autoorgan(folder: Path) -> Path:
    """Write a folder as AutoOrgan's Slicer plug-in wants it; return it."""
    make_model(folder, "unused")
    (folder / "model.json").unlink()
    describe_nnunet(folder)
    return folder


def make_script(folder: Path) -> Path:
    """Write a TorchScript file with its model.json; return the folder."""
    make_model(folder, "scripted", engine="torchscript", file="network.ts")
    (folder / "model.onnx").unlink()
    torch_file(folder / "network.ts", script=True)
    return folder


def test_an_atlas_model_folder_is_usable_and_its_facts_are_shown(tmp_path: Path) -> None:
    facts = describe_model(make_model(tmp_path / "m", "phantom", title="Three organs"))
    assert (facts.kind, facts.usable, facts.name, facts.title) == ("atlas", True, "phantom", "Three organs")
    assert facts.organs == ("spleen", "liver", "kidney_left")
    assert facts.license == "Apache-2.0"
    assert facts.size == sum(path.stat().st_size for path in (tmp_path / "m").iterdir())
    assert not facts.needs_roi


@pytest.mark.parametrize(
    "seen", [{"fit_shape": [9, 9, 9]}, {"fit_shape": [9, 9, 9], "requires_roi": False}, {"spacing": [2, 2, 2], "patch": [9, 9, 9]}]
)
def test_whether_a_region_is_needed_is_told_as_the_full_reader_tells_it(tmp_path: Path, seen: dict[str, Any]) -> None:
    folder = make_model(tmp_path, "phantom", input={"orientation": "RAS", **seen})
    assert describe_model(folder).needs_roi == read_manifest(folder).needs_roi


def test_the_real_models_are_recognized(shared_models: list[Path]) -> None:
    for folder in shared_models:
        facts = describe_model(folder, thorough=True)
        assert (facts.kind, facts.problem, facts.needs_roi, facts.short_license) == ("atlas", "", True, "MIT")
        assert len(facts.organs) == 8


@pytest.mark.parametrize("dialect", ["new", "old"])
def test_both_dialects_of_an_nnunet_folder_are_usable(tmp_path: Path, dialect: str) -> None:
    facts = describe_model(make_nnunet(tmp_path, dialect))
    assert (facts.kind, facts.name, facts.problem) == ("nnunet", "Dataset112_LowerLimb-3d_fullres", "")
    assert facts.organs == ("femur_left", "femur_right")  # in the order of their values, without background and ignore
    assert facts.short_license == "CC-BY-NC-SA"
    assert facts.size > 0
    assert facts.needs == ("torch", "nnunet")


def test_a_converted_checkpoint_is_taken_and_named_as_a_need(tmp_path: Path) -> None:
    model = make_nnunet(tmp_path)
    (model / "fold_0" / "checkpoint_final.pth").unlink()
    (model / "fold_0" / "checkpoint_final.safetensors").write_bytes(b"x" * 99)
    facts = describe_model(model)
    assert (facts.problem, facts.needs) == ("", ("torch", "nnunet", "safetensors"))


def test_a_configuration_inherits_what_it_does_not_say_itself(tmp_path: Path) -> None:
    model = make_nnunet(tmp_path)
    plans = json.loads((model / "plans.json").read_text())
    fullres = plans["configurations"]["3d_fullres"]
    plans["configurations"] = {"base": fullres, "3d_fullres": {"inherits_from": "base", "spacing": [1, 1, 1]}}
    (model / "plans.json").write_text(json.dumps(plans))
    assert describe_model(model).usable
    fullres["inherits_from"] = "3d_fullres"
    (model / "plans.json").write_text(json.dumps(plans))
    assert "inherits from itself" in describe_model(model).problem


def test_regions_of_nnunet_are_organs_too(tmp_path: Path) -> None:
    labels = {"background": 0, "kidney": [1, 2], "tumor": [2]}
    assert describe_model(make_nnunet(tmp_path, labels=labels, regions_class_order=[1, 2])).organs == ("kidney", "tumor")


def test_the_second_stage_of_a_cascade_says_that_its_first_is_missing_or_damaged(tmp_path: Path) -> None:
    second = make_nnunet(tmp_path, configuration="3d_cascade_fullres")
    assert "its first stage nnUNetTrainerNoMirroring__nnUNetPlans__3d_lowres is not beside it" in describe_model(second).problem
    assert describe_model(second).organs
    first = make_nnunet(tmp_path, configuration="3d_lowres")
    assert describe_model(second).usable
    (first / "fold_0" / "checkpoint_final.pth").write_bytes(b"")
    assert "cannot be used: checkpoint_final.pth is empty" in describe_model(second).problem


@pytest.mark.parametrize("organs", [("femur_left",), ("lung_r",), ("something on the left",)])
@pytest.mark.parametrize("make", [make_nnunet, make_autoorgan])
def test_structures_with_sides_come_with_a_caution_until_the_training_orientation_is_stated(
    tmp_path: Path, make: Callable[[Path], Path], organs: tuple[str, ...]
) -> None:
    model = make(tmp_path / "m")
    edit_json(model / "dataset.json", labels={"background": 0, **{name: value for value, name in enumerate(organs, start=1)}})
    facts = describe_model(model)
    assert facts.usable
    assert "does not state the orientation of its training images; left and right follow the file's voxel order" in facts.caution
    (model / "atlas.json").write_text('{"orientation": "RAS", "title": "Legs", "license": "MIT"}')
    facts = describe_model(model)
    assert (facts.caution, facts.title, facts.license) == ("", "Legs", "MIT")


def test_structures_without_sides_and_readers_that_orient_need_no_caution(tmp_path: Path) -> None:
    assert not describe_model(make_nnunet(tmp_path / "a", labels={"background": 0, "liver": 1, "small_bowel": 2})).caution
    model = make_nnunet(tmp_path / "b")
    edit_json(model / "plans.json", image_reader_writer="NibabelIOWithReorient")
    assert not describe_model(model).caution


@pytest.mark.parametrize(("weights", "needs"), [("model.pt", ("manifest", "torch", "monai")), ("model.ts", ("manifest", "torch"))])
def test_a_monai_bundle_is_usable(tmp_path: Path, weights: str, needs: tuple[str, ...]) -> None:
    facts = describe_model(make_bundle(tmp_path / "bundle", weights=weights))
    assert (facts.kind, facts.name, facts.title, facts.problem) == ("monai", "Abdomen bundle", "Organs", "")
    assert facts.organs == ("spleen", "liver", "pancreas")
    assert facts.short_license == "Apache-2.0"
    assert facts.needs == needs


def test_a_monai_bundle_of_two_images_says_so(tmp_path: Path) -> None:
    bundle = make_bundle(tmp_path / "bundle")
    facts = json.loads((bundle / "configs" / "metadata.json").read_text())
    facts["network_data_format"]["inputs"]["image"]["num_channels"] = 2
    (bundle / "configs" / "metadata.json").write_text(json.dumps(facts))
    assert "wants 2 images" in describe_model(bundle).problem


def test_an_onnx_export_of_nnunet_is_usable_without_torch(tmp_path: Path) -> None:
    facts = describe_model(make_autoorgan(tmp_path / "organ"))
    assert (facts.kind, facts.name, facts.problem) == ("autoorgan", "Dataset112_LowerLimb-3d_fullres", "")
    assert facts.organs == ("femur_left", "femur_right")
    assert facts.needs == ("onnx",)


def test_a_torchscript_file_with_model_json_is_usable(tmp_path: Path) -> None:
    facts = describe_model(make_script(tmp_path))
    assert (facts.kind, facts.name, facts.organs) == ("torchscript", "scripted", ("spleen", "liver", "kidney_left"))
    assert (facts.problem, facts.needs) == ("", ("manifest", "torch"))


def make_universal(folder: Path) -> Path:
    """Write a folder of the universal model with weights that hold nothing; return it."""
    make_model(folder, "universal", engine="torch", architecture="universal-swinunetr", file="weights.pth", text_encoding="text.npz")
    (folder / "model.onnx").unlink()
    torch_file(folder / "weights.pth")
    (folder / "text.npz").write_bytes(b"x" * 99)
    return folder


def test_the_universal_model_is_usable_where_its_weights_and_embeddings_are(tmp_path: Path) -> None:
    model = make_universal(tmp_path)
    facts = describe_model(model)
    assert (facts.kind, facts.problem, facts.needs) == ("universal", "", ("manifest", "torch", "monai"))
    edit_json(model / "model.json", architecture="universal-unet")
    assert describe_model(model).needs == ("manifest", "torch")
    (model / "text.npz").unlink()
    assert "text.npz is missing" in describe_model(model).problem
    edit_json(model / "model.json", architecture="other")
    assert "architecture 'other' is not known" in describe_model(model).problem


PARTS: dict[str, tuple[Callable[[Path], Path], str]] = {
    "the folder itself": (lambda folder: make_model(folder / "m", "phantom"), "."),
    "model.json": (lambda folder: make_model(folder / "m", "phantom"), "model.json"),
    "the ONNX file": (lambda folder: make_model(folder / "m", "phantom"), "model.onnx"),
    "the TorchScript file": (make_script, "network.ts"),
    "a fold": (make_nnunet, "fold_0"),
    "a checkpoint": (make_nnunet, "fold_0/checkpoint_final.pth"),
    "dataset.json": (make_nnunet, "dataset.json"),
    "the dataset's results folder": (make_nnunet, ".."),
    "configs": (make_bundle, "configs"),
    "metadata.json": (make_bundle, "configs/metadata.json"),
    "a bundle's weights": (make_bundle, "models/model.pt"),
}


@pytest.mark.parametrize("part", PARTS)
def test_a_model_is_found_by_whatever_part_of_it_was_chosen(tmp_path: Path, part: str) -> None:
    make, chosen = PARTS[part]
    model = make(tmp_path / "there")
    assert find_models(model / chosen) == [model.resolve()]


def test_a_folder_of_models_stands_for_all_of_them(tmp_path: Path) -> None:
    made = {make_model(tmp_path / "a", "a"), make_bundle(tmp_path / "b"), make_nnunet(tmp_path / "c")}
    (tmp_path / "notes").mkdir()
    assert {*find_models(tmp_path)} == {path.resolve() for path in made}


def damaged(kind: str, folder: Path, how: Callable[[Path], object]) -> ModelFacts:
    """Make a model, damage it and describe it."""
    make = {
        "atlas": lambda f: make_model(f, "phantom"),
        "nnunet": make_nnunet,
        "monai": make_bundle,
        "autoorgan": make_autoorgan,
        "script": make_script,
    }
    model = make[kind](folder)
    how(model)
    return describe_model(model)


LFS = b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 5\n"
DAMAGE: list[tuple[str, Callable[[Path], object], str]] = [
    ("atlas", lambda m: (m / "model.json").write_text("{"), "model.json is damaged"),
    ("atlas", lambda m: (m / "model.json").write_text("[1]"), "model.json holds a list"),
    ("atlas", lambda m: (m / "model.json").write_bytes(LFS), "model.json is a Git LFS placeholder"),
    ("atlas", lambda m: edit_json(m / "model.json", format="atlas-model/9"), "format 'atlas-model/9'"),
    ("atlas", lambda m: edit_json(m / "model.json", format=None), "no format, but the keys engine, file"),
    ("atlas", lambda m: edit_json(m / "model.json", name=None), "name must be text, got None"),
    ("atlas", lambda m: edit_json(m / "model.json", file="../secret.onnx"), "'../secret.onnx' cannot be used as a file name"),
    ("atlas", lambda m: edit_json(m / "model.json", engine="tensorflow"), "engine 'tensorflow' is not known"),
    ("atlas", lambda m: edit_json(m / "model.json", labels={"0": "background"}), "no structure beside background"),
    ("atlas", lambda m: edit_json(m / "model.json", labels=["liver"]), "labels must map numbers to names"),
    ("atlas", lambda m: edit_json(m / "model.json", input={"spacing": [1, 1, 1]}), "either fit_shape, or spacing together with patch"),
    ("atlas", lambda m: (m / "model.onnx").unlink(), "model.onnx is missing"),
    ("atlas", lambda m: (m / "model.onnx").write_bytes(b""), "model.onnx is empty"),
    ("atlas", lambda m: (m / "model.onnx").write_bytes(LFS), "model.onnx is a Git LFS placeholder"),
    ("atlas", lambda m: (m / "model.onnx").write_text("<html>404"), "model.onnx is a web page"),
    ("script", lambda m: (m / "network.ts").write_bytes(b"PK\x03\x04 cut"), "network.ts is damaged"),
    ("script", lambda m: torch_file(m / "network.ts"), "network.ts holds weights alone"),
    ("nnunet", lambda m: (m / "plans.json").unlink(), "plans.json is missing here (found dataset.json, fold_0/)"),
    ("nnunet", lambda m: (m / "dataset.json").write_text("not json"), "dataset.json is damaged"),
    ("nnunet", lambda m: edit_json(m / "dataset.json", labels={"0": "background", "1": "liver"}), "nnU-Net v1"),
    ("nnunet", lambda m: edit_json(m / "dataset.json", labels={"background": 0}), "no structure beside background"),
    ("nnunet", lambda m: edit_json(m / "dataset.json", labels={"liver": 1}), "background is missing, expected 0"),
    ("nnunet", lambda m: edit_json(m / "dataset.json", labels={"background": 0, "liver": "x"}), "liver is 'x', expected a whole number"),
    ("nnunet", lambda m: edit_json(m / "dataset.json", channel_names={"0": "CT", "1": "PET"}), "channel_names are: CT, PET"),
    ("nnunet", lambda m: edit_json(m / "dataset.json", channel_names=None), "channel_names is missing"),
    ("nnunet", lambda m: edit_json(m / "plans.json", configurations={"2d": {}}), "no configuration '3d_fullres'"),
    ("nnunet", lambda m: edit_json(m / "plans.json", configurations=None), "has no configurations"),
    ("nnunet", lambda m: edit_json(m / "plans.json", configurations={"3d_fullres": {"spacing": [1, 1, 1]}}), "patch_size is missing"),
    ("nnunet", lambda m: edit_network(m, None), "does not describe a network"),
    ("nnunet", lambda m: edit_network(m, "somewhere.else.Net"), "the network 'somewhere.else.Net' is not supported"),
    (
        "nnunet",
        lambda m: (m / "fold_0" / "checkpoint_final.pth").rename(m / "fold_0" / "latest.pth"),
        "fold_0 holds no checkpoint_final.pth (found latest.pth)",
    ),
    ("nnunet", lambda m: (m / "fold_0" / "checkpoint_final.pth").write_bytes(b"PK\x03\x04 cut"), "checkpoint_final.pth is damaged"),
    ("monai", lambda m: (m / "configs" / "metadata.json").unlink(), "configs/metadata.json; it is missing"),
    ("monai", lambda m: (m / "configs" / "inference.json").unlink(), "configs/inference.json or .yaml; it is missing"),
    ("monai", lambda m: (m / "models" / "model.pt").unlink(), "models/model.pt or models/model.ts; there is none"),
    ("monai", lambda m: edit_json(m / "configs" / "metadata.json", network_data_format={}), "names no structures"),
    ("autoorgan", lambda m: (m / "plans.json").unlink(), "plans.json is missing here"),
    ("autoorgan", lambda m: (m / "model.onnx").write_bytes(LFS), "Git LFS"),
]


@pytest.mark.parametrize(("kind", "how", "said"), DAMAGE, ids=[f"{kind}: {said}" for kind, _, said in DAMAGE])
def test_what_is_wrong_with_a_damaged_model_is_said_exactly_with_the_next_step(
    tmp_path: Path, kind: str, how: Callable[[Path], object], said: str
) -> None:
    facts = damaged(kind, tmp_path / "model", how)
    assert said in facts.problem
    assert facts.remedy.endswith(".")
    assert not facts.usable


def test_a_model_without_its_network_still_tells_its_name_and_organs(tmp_path: Path) -> None:
    facts = damaged("atlas", tmp_path, lambda model: (model / "model.onnx").unlink())
    assert (facts.name, len(facts.organs)) == ("phantom", 3)


STRANGE: list[tuple[Callable[[Path], object], str, str]] = [
    (Path.is_dir, "is empty", "model.json"),
    (lambda f: (f / "x.nii.gz").write_bytes(b"x"), "these are images", "model.json"),
    (lambda f: (f / "net.onnx").write_bytes(b"x"), "net.onnx stands alone", "model.json"),
    (lambda f: (f / "net.pt").write_bytes(b"x"), "net.pt stands alone", "torchscript"),
    (lambda f: (f / "plans.pkl").write_bytes(b"x"), "nnU-Net v1", "nnU-Net v2"),
    (lambda f: (f / "dataset.json").write_text("{}"), "a part of an nnU-Net v2 model, but its weights are missing", "fold_0"),
    (lambda f: (f / "metadata.json").write_text("{}"), "a part of a MONAI bundle", "configs/metadata.json"),
    (lambda f: (f / "letter.txt").write_text("x"), "holds letter.txt: nothing in it belongs to a model", "nnU-Net"),
]


@pytest.mark.parametrize(("fill", "said", "next_step"), STRANGE, ids=[said for _, said, _ in STRANGE])
def test_a_folder_that_is_no_model_is_told_what_it_holds_and_what_it_comes_nearest_to(
    tmp_path: Path, fill: Callable[[Path], object], said: str, next_step: str
) -> None:
    fill(tmp_path)
    with pytest.raises(ModelError) as caught:
        find_models(tmp_path)
    assert said in caught.value.message
    assert next_step in caught.value.remedy
    assert describe_model(tmp_path).problem == caught.value.message


@pytest.mark.parametrize(
    ("name", "said"), [("a.onnx", "stands alone"), ("a.nii.gz", "an image"), ("a.zip", "an archive"), ("a.txt", "no file of a model")]
)
def test_a_file_that_is_no_model_is_told_so(tmp_path: Path, name: str, said: str) -> None:
    (tmp_path / name).write_bytes(b"x")
    with pytest.raises(ModelError, match=said):
        find_models(tmp_path / name)


def test_a_model_that_has_vanished_is_told_so(tmp_path: Path) -> None:
    facts = describe_model(tmp_path / "gone")
    assert (facts.name, facts.usable) == ("gone", False)
    assert "no longer there" in facts.problem
    with pytest.raises(ModelError, match="no longer there"):
        find_models(tmp_path / "gone")


@pytest.mark.skipif(os.name == "nt" or not hasattr(os, "geteuid") or os.geteuid() == 0, reason="everything is readable to this user")
def test_a_folder_that_is_closed_to_us_is_told_so(tmp_path: Path) -> None:
    folder = make_model(tmp_path / "closed", "phantom")
    folder.chmod(0)
    try:
        assert "cannot be" in describe_model(folder).problem
    finally:
        folder.chmod(0o700)


def test_the_search_finds_organs_by_any_of_their_names() -> None:
    facts = ModelFacts(Path("m"), "atlas", "abdomen-unet", "Abdominal CT", ("gall_bladder", "kidney_left"), "MIT license")
    for query in ("", "gallbladder", "left kidney", "KIDNEY unet", "mit", "abdominal  ct", "gall bladder"):
        assert facts.matches(query), query
    for query in ("spleen", "unet spleen", "apache"):
        assert not facts.matches(query), query


@pytest.mark.parametrize(
    ("text", "short"),
    [
        ("weights: MIT, Copyright (c) 2018", "MIT"),
        ("Apache License, Version 2.0", "Apache-2.0"),
        ("Apache-2.0", "Apache-2.0"),
        ("CC-BY-NC-SA 4.0", "CC-BY-NC-SA"),
        ("Creative Commons Attribution-NonCommercial 4.0 International", "CC-BY-NC"),
        ("CC BY 4.0", "CC-BY"),
        ("permitted by the hospital", "permitted by the hospita"),
        ("", ""),
    ],
)
def test_a_license_is_shown_in_one_word_where_it_is_a_known_one(text: str, short: str) -> None:
    assert short_license(text) == short


def test_sizes_are_shown_for_people() -> None:
    assert [size_text(size) for size in (0, 12, 3_540_904, 250_000_000, 1_234_567_890)] == ["", "12 B", "3.54 MB", "250 MB", "1.23 GB"]


def test_listing_works_without_pydantic_which_slicer_lacks_at_first(tmp_path: Path, repository: Path) -> None:
    make_model(tmp_path / "good", "phantom")
    program = """
import sys
from pathlib import Path
sys.modules.update(dict.fromkeys(["pydantic", "onnxruntime", "torch", "nibabel"]))
from AtlasSegmentLib.model_list import ModelList
models = ModelList(Path(sys.argv[1]) / "settings")
assert models.add(Path(sys.argv[1]) / "good")[0].usable
assert [model.facts.name for model in models.models()] == ["phantom"]
"""
    environment = {**os.environ, "PYTHONPATH": str(repository / "AtlasSegment")}
    done = subprocess.run([sys.executable, "-c", program, str(tmp_path)], env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_adding_checks_more_than_listing_where_pydantic_is_there(tmp_path: Path) -> None:
    folder = make_model(tmp_path, "phantom", sha256="short")
    assert describe_model(folder).usable
    assert "sha256" in describe_model(folder, thorough=True).problem
