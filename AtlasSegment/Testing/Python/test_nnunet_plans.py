"""plans.json: both dialects mean the same, what is inherited is found, and nothing odd gets through."""

from __future__ import annotations

import copy
import json
import pickle
import warnings
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from AtlasSegmentLib.errors import ModelError
from AtlasSegmentLib.nnunet_plans import Plans, Resampling, parse_plans, read_plans
from nnunet_models import Shape, make_plans, realistic_plans

CONFIGURATIONS = ("2d", "3d_lowres", "3d_fullres", "3d_cascade_fullres")
OLD_2D = {
    "UNet_class_name": "PlainConvUNet",
    "UNet_base_num_features": 32,
    "unet_max_num_features": 512,
    "n_conv_per_stage_encoder": [2] * 7,
    "n_conv_per_stage_decoder": [2] * 6,
    "num_pool_per_axis": [6, 6],
    "pool_op_kernel_sizes": [[1, 1]] + [[2, 2]] * 6,
    "conv_kernel_sizes": [[3, 3]] * 7,
    "patch_size": [448, 448],
    "spacing": [0.9765625, 0.9765625],
}


def plans_with(**changes: Any) -> dict[str, Any]:
    """Return plans whose 3d_fullres has other entries; None takes one out."""
    plans = make_plans("new", "plain", (3.0, 2.0, 2.0), (16, 16, 16))
    fullres = plans["configurations"]["3d_fullres"]
    fullres.update(changes)
    plans["configurations"]["3d_fullres"] = {key: value for key, value in fullres.items() if value is not None}
    return plans


def refusal(plans: Any, configuration: str = "3d_fullres") -> str:
    """Return what reading these plans and a configuration is refused with."""
    with pytest.raises(ModelError) as caught:
        parse_plans(plans).configuration(configuration)
    assert caught.value.remedy
    return caught.value.message


def architecture_with(**changes: Any) -> dict[str, Any]:
    """Return the architecture of 3d_fullres with other arguments."""
    architecture = copy.deepcopy(plans_with()["configurations"]["3d_fullres"]["architecture"])
    architecture["arch_kwargs"].update(changes)
    return architecture


@pytest.mark.parametrize("network", ["plain", "residual"])
@pytest.mark.parametrize("configuration", CONFIGURATIONS)
def test_both_dialects_describe_the_same_configuration(network: str, configuration: str) -> None:
    new, old = (parse_plans(make_plans(dialect, network, (3.0, 2.0, 2.0), (16, 32, 16))) for dialect in ("new", "old"))
    assert old.configuration(configuration) == new.configuration(configuration)


@pytest.mark.parametrize("network", ["plain", "residual"])
@pytest.mark.parametrize("configuration", CONFIGURATIONS)
def test_the_old_dialect_is_converted_as_nnunet_itself_converts_it(network: str, configuration: str) -> None:
    from nnunetv2.utilities.plans_handling.plans_handler import PlansManager

    plans = make_plans("old", network, (5.0, 1.0, 1.0), (8, 32, 32), shape=Shape(8, 20, 4, 2))
    ours = parse_plans(plans).configuration(configuration).architecture
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        theirs = PlansManager(copy.deepcopy(plans)).get_configuration(configuration)
    assert ours.arguments == theirs.network_arch_init_kwargs
    assert ours.kind == theirs.network_arch_class_name.rpartition(".")[2]
    assert list(ours.requires_import) == list(theirs.network_arch_init_kwargs_req_import)


def test_real_plans_of_a_bone_model_are_read_with_all_their_numbers(tmp_path: Path) -> None:
    (tmp_path / "plans.json").write_text(json.dumps(realistic_plans()))
    plans = read_plans(tmp_path)
    found = plans.configuration("3d_fullres")
    assert (plans.name, plans.dataset_name, plans.reader) == ("nnUNetPlans", "Dataset106_TotalBone3", "SimpleITKIO")
    assert (plans.transpose_forward, plans.transpose_backward) == ((0, 1, 2), (0, 1, 2))
    ct = plans.intensities[0]
    assert (ct.mean, ct.std, ct.percentile_00_5, ct.percentile_99_5) == (435.5488, 422.6369, -80.0, 1629.0)
    assert (found.spacing, found.patch) == ((3.0, 3.0, 3.0), (256, 80, 80))
    assert found.architecture.arguments["features_per_stage"] == [32, 64, 128, 256, 320, 320]
    assert found.architecture.strides == ((1, 1, 1), *[(2, 2, 2)] * 4, (2, 1, 1))
    assert found.architecture.divisors == (32, 16, 16)
    assert (found.normalization, found.use_mask, found.previous_stage) == (("CTNormalization",), (False,), None)
    assert found.resampling_data == Resampling("resample_data_or_seg_to_shape", 3, 0, None)
    assert found.resampling_seg == found.resampling_probabilities == Resampling("resample_data_or_seg_to_shape", 1, 0, None)


def test_an_old_2d_configuration_has_networks_of_two_axes() -> None:
    plans = plans_with()
    kept = {key: value for key, value in plans["configurations"]["2d"].items() if key != "architecture"}
    plans["configurations"]["2d"] = {**kept, **OLD_2D}
    found = parse_plans(plans).configuration("2d")
    assert found.architecture.arguments["conv_op"].endswith("Conv2d")
    assert found.architecture.arguments["norm_op"].endswith("InstanceNorm2d")
    assert found.architecture.arguments["features_per_stage"] == [32, 64, 128, 256, 512, 512, 512]
    assert (found.spacing, found.patch) == ((0.9765625, 0.9765625), (448, 448))


def test_one_number_for_all_stages_or_axes_is_written_out() -> None:
    changes = {"kernel_sizes": 3, "strides": [1, 2, [2, 2, 2]], "n_conv_per_stage": 2, "n_conv_per_stage_decoder": 1}
    found = parse_plans(plans_with(architecture=architecture_with(**changes))).configuration("3d_fullres").architecture.arguments
    assert found["kernel_sizes"] == [[3, 3, 3]] * 3
    assert found["strides"] == [[1, 1, 1], [2, 2, 2], [2, 2, 2]]
    assert (found["n_conv_per_stage"], found["n_conv_per_stage_decoder"]) == ([2, 2, 2], [1, 1])


def test_a_child_inherits_over_two_generations_and_its_own_values_win() -> None:
    plans = plans_with()
    plans["configurations"]["mine"] = {"inherits_from": "3d_cascade_fullres", "spacing": [9.0, 9.0, 9.0]}
    found = parse_plans(plans).configuration("mine")
    assert (found.spacing, found.patch, found.previous_stage) == ((9.0, 9.0, 9.0), (16, 16, 16), "3d_lowres")


def test_a_configuration_that_inherits_from_itself_is_refused_with_the_loop() -> None:
    plans = plans_with()
    plans["configurations"].update(a={"inherits_from": "b"}, b={"inherits_from": "a"})
    assert "a -> b -> a" in refusal(plans, "a")
    plans["configurations"]["a"]["inherits_from"] = "gone"
    assert "'a' inherits from 'gone'" in refusal(plans, "a")


def test_a_configuration_that_is_not_there_lists_those_that_are() -> None:
    message = refusal(plans_with(), "3d_hires")
    assert "3d_hires" in message
    assert all(name in message for name in CONFIGURATIONS)


@pytest.mark.parametrize(
    ("changes", "parts"),
    [
        ({"architecture": {**architecture_with(), "network_class_name": "my.nets.Swin"}}, ("my.nets.Swin", "PlainConvUNet")),
        (
            {"architecture": {**architecture_with(), "network_class_name": "evil.PlainConvUNet"}},
            ("evil.PlainConvUNet", "unet.PlainConvUNet"),
        ),
        ({"architecture": None, "UNet_class_name": "MyUNet"}, ("MyUNet", "ResidualEncoderUNet")),
        ({"resampling_fn_data": "resample_magic"}, ("resampling_fn_data", "resample_magic", "resample_data_or_seg_to_shape")),
        ({"resampling_fn_probabilities": "resample_magic"}, ("resampling_fn_probabilities", "resample_magic")),
        ({"resampling_fn_seg_kwargs": {"is_seg": True, "sharp": 1}}, ("resampling_fn_seg_kwargs", "sharp", "order_z")),
        ({"normalization_schemes": ["MyNormalization"]}, ("MyNormalization", "CTNormalization", "RGBTo01Normalization")),
        ({"preprocessor_name": "MyPreprocessor"}, ("MyPreprocessor", "DefaultPreprocessor")),
    ],
)
def test_what_is_not_supported_is_named_with_what_is(changes: dict[str, Any], parts: tuple[str, ...]) -> None:
    message = refusal(plans_with(**changes))
    assert "not supported" in message
    assert all(part in message for part in parts)


@pytest.mark.parametrize(
    ("changes", "part"),
    [
        ({"spacing": [3.0, 2.0]}, "spacing"),
        ({"spacing": [3.0, 2.0, 0.0]}, "spacing"),
        ({"spacing": [3.0, 2.0, float("nan")]}, "spacing"),
        ({"spacing": [3.0, 2.0, float("inf")]}, "spacing"),
        ({"spacing": [3.0, 2.0, 10**400]}, "spacing"),
        ({"spacing": [3.0, 2.0, True]}, "spacing"),
        ({"patch_size": [16, 16, 16.5]}, "patch_size"),
        ({"patch_size": [16, 16, 10**9]}, "patch_size"),
        ({"patch_size": [16, 16, 18]}, "no multiple of"),
        ({"patch_size": [True, 16, 16]}, "patch_size"),
        ({"use_mask_for_norm": [0]}, "use_mask_for_norm"),
        ({"use_mask_for_norm": [False, False]}, "use_mask_for_norm"),
        ({"normalization_schemes": []}, "normalization_schemes"),
        ({"normalization_schemes": ["CTNormalization"] * 2, "use_mask_for_norm": [False] * 2}, "intensities of 2 channels"),
        ({"previous_stage": "3d_none"}, "previous_stage"),
        ({"resampling_fn_data_kwargs": {"order": 7}}, "order is 7"),
        ({"resampling_fn_data_kwargs": {"is_seg": True}}, "is_seg"),
        ({"resampling_fn_data_kwargs": {"force_separate_z": 1}}, "force_separate_z"),
        ({"resampling_fn_data_kwargs": None}, "resampling_fn_data_kwargs"),
        ({"architecture": None}, "does not describe a network"),
        ({"architecture": architecture_with(n_stages=4)}, "features_per_stage"),
        ({"architecture": architecture_with(n_stages=10**9)}, "n_stages"),
        ({"architecture": architecture_with(features_per_stage=10**12)}, "features_per_stage"),
        ({"architecture": architecture_with(strides=[[1, 1, 1], [2, 2, 2], [2, 2]])}, "strides"),
        ({"architecture": architecture_with(strides=2)}, "first stage at full resolution"),
        ({"architecture": architecture_with(kernel_sizes=[[3, 3, -3]] * 3)}, "kernel_sizes"),
        ({"architecture": {**architecture_with(), "_kw_requires_import": [1]}}, "_kw_requires_import"),
    ],
)
def test_a_value_that_makes_no_sense_is_named(changes: dict[str, Any], part: str) -> None:
    message = refusal(plans_with(**changes))
    assert part in message
    assert "3d_fullres" in message


@pytest.mark.parametrize(
    ("changes", "part"),
    [
        ({"transpose_forward": [0, 1, 1]}, "a permutation"),
        ({"transpose_forward": [1, 2, 0], "transpose_backward": [1, 2, 0]}, "the inverse"),
        ({"transpose_backward": None}, "transpose_backward"),
        ({"label_manager": "MyManager"}, "MyManager"),
        ({"configurations": []}, "not of nnU-Net v2"),
        ({"foreground_intensity_properties_per_channel": {"1": {}}}, "one entry a channel"),
        ({"foreground_intensity_properties_per_channel": {"0": {"mean": float("nan")}}}, "mean is nan"),
    ],
)
def test_plans_that_contradict_themselves_are_refused(changes: dict[str, Any], part: str) -> None:
    assert part in refusal({**plans_with(), **changes})


def test_a_transpose_is_read_with_its_inverse() -> None:
    plans = parse_plans(make_plans("new", "plain", (3.0, 2.0, 2.0), (16, 16, 16), transpose=(1, 2, 0)))
    assert (plans.transpose_forward, plans.transpose_backward) == ((1, 2, 0), (2, 0, 1))


def test_options_of_resampling_that_are_left_out_have_nnunets_own_defaults() -> None:
    plans = parse_plans(plans_with(resampling_fn_data_kwargs={}))
    found = plans.configuration("3d_fullres")
    assert found.resampling_data == Resampling(order=3, order_z=0, force_separate_z=False, anisotropy=3.0)
    hack = "no_resampling_hack"
    kept = parse_plans(plans_with(resampling_fn_data=hack, resampling_fn_probabilities=hack)).configuration("3d_fullres")
    assert (kept.resampling_data.function, kept.resampling_probabilities.function) == (hack, hack)


def test_plans_cross_process_boundaries() -> None:
    plans = parse_plans(plans_with())
    again: Plans = pickle.loads(pickle.dumps(plans))
    assert again == plans
    assert again.configuration("2d") == plans.configuration("2d")


JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-2, 2**70) | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=2),
    max_leaves=4,
)


def places(value: Any) -> list[tuple[Any, Any]]:
    """Return (container, key) of everything inside a JSON value."""
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [place for key, inner in items for place in ((value, key), *places(inner))]


@settings(max_examples=250, deadline=None)
@given(st.sampled_from(["new", "old"]), st.sampled_from(["plain", "residual"]), st.data())
def test_odd_content_anywhere_gives_a_model_error_or_a_configuration(dialect: str, network: str, data: st.DataObject) -> None:
    plans = json.loads(json.dumps(make_plans(dialect, network, (3.0, 2.0, 2.0), (16, 16, 16))))
    container, key = data.draw(st.sampled_from(places(plans)))
    if data.draw(st.booleans()):
        container[key] = data.draw(JSON_VALUES)
    else:
        del container[key]
    for name in CONFIGURATIONS:
        try:
            parse_plans(plans).configuration(name)
        except ModelError as error:
            assert error.message  # noqa: PT017 - any other error fails the test


@pytest.mark.parametrize("content", ["[]", "3", "{", "", '{"configurations": {"2d": 3}}', "<html>"])
def test_a_damaged_file_is_named(tmp_path: Path, content: str) -> None:
    (tmp_path / "plans.json").write_text(content)
    with pytest.raises(ModelError, match=r"plans\.json"):
        read_plans(tmp_path).configuration("2d")
