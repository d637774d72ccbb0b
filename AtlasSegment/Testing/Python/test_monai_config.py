"""Configs of MONAI bundles are data: plain expressions are calculated, everything else is refused by name and never run."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from AtlasSegmentLib.errors import ModelError
from AtlasSegmentLib.monai_config import BundleConfig, Component, components, read_config
from AtlasSegmentLib.monai_expression import NotUnderstoodError, calculate


def config(**content: Any) -> BundleConfig:
    return BundleConfig(Path("inference.json"), content)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1 + 2 * 3", 7),
        ("-7 // 2 % 4", 0),
        ("len([1, 2, 3])", 3),
        ("[1.5, 1.5, 1.5] if True else [3.0, 3.0, 3.0]", [1.5, 1.5, 1.5]),
        ("'model.pt' if not 1 > 2 else 'model_lowres.pt'", "model.pt"),
        ("{'a': 1}['a']", 1),
        ("[1, 2, 3][1:]", [2, 3]),
        ("[96] * 3", [96, 96, 96]),
        ("max(2, 5) - min(2, 5)", 3),
        ("None or 'x'", "x"),
        ("2 in (1, 2) and 3 not in [4]", True),
        ("monai.utils.CommonKeys.IMAGE", "image"),
        ("torch.float32", "float32"),
    ],
)
def test_plain_expressions_have_the_value_that_python_gives_them(text: str, value: Any) -> None:
    assert calculate(text, lambda _: None) == value


@given(st.lists(st.integers(-99, 99), min_size=2, max_size=6), st.lists(st.sampled_from(["+", "-", "*"]), min_size=6, max_size=6))
def test_arithmetic_is_that_of_python(numbers: list[int], operators: list[str]) -> None:
    text = str(numbers[0]) + "".join(f" {sign} {number}" for number, sign in zip(numbers[1:], operators, strict=False))
    assert calculate(text, lambda _: None) == eval(text)  # the very thing that the library never does


@pytest.mark.parametrize(
    "text",
    [
        "__import__('os').system('touch {path}')",
        "open('{path}', 'w')",
        "(lambda: open('{path}', 'w'))()",
        "[x for x in [1]]",
        "().__class__.__base__.__subclasses__()",
        "'{{}}'.format(1)",
        "torch.load('x')",
        "exec('1')",
        "f'{{1}}'",
        "a := 1",
        "import os",
        "",
        "1 / 0",
        "[1][5]",
        "'a' * 10**9",
        "2 ** 99",
        "9999999999 * 9999999999",
        "[0] * 99999999",
        "'%99999d' % 1",
        "len('a', key='b')",
        "getattr(1, 'real')",
        "(" * 300 + ")" * 300,
        "1" * 200_000,
    ],
)
def test_everything_else_is_refused_and_never_run(text: str, tmp_path: Path) -> None:
    touched = tmp_path / "touched"
    start = time.process_time()
    with pytest.raises(NotUnderstoodError):
        calculate(text.replace("{path}", str(touched)), lambda _: None)
    assert not touched.exists()
    assert time.process_time() - start < 5  # nothing huge was computed first


def test_references_are_followed_through_lists_objects_and_expressions() -> None:
    found = config(
        spatial_size=[96, 96, 64],
        displayable_configs={"highres": True, "sw": {"overlap": 0.25}},
        modelname="$'model.pt' if @displayable_configs#highres else 'model_lowres.pt'",
        bundle_root=".",
        path="$@bundle_root + '/models/' + @modelname",
        dims="$len(@spatial_size)",
        third="@spatial_size#2",
        overlap="@displayable_configs::sw::overlap",
        again="$@overlap",
    )
    assert [found.get(name) for name in ("path", "dims", "third", "overlap", "again")] == ["./models/model.pt", 3, 64, 0.25, 0.25]


def test_a_network_moved_to_a_device_is_that_network() -> None:
    found = config(
        network_def={"_target_": "UNet", "in_channels": "@n"},
        n=1,
        device="$torch.device('cuda:0')",
        network="$@network_def.to(@device)",
        width="@network_def#in_channels",
    )
    part = found.part("network")
    assert (part.name, part.argument("in_channels"), found.get("width")) == ("UNet", 1, 1)


def test_what_is_not_needed_is_never_looked_at() -> None:
    found = config(datalist="$list(sorted(glob.glob(@dataset_dir + '/*.nii.gz')))", inferer={"_target_": "X", "a": 1, "b": "$os.getcwd()"})
    part = found.part("inferer")
    assert part.argument("a") == 1
    with pytest.raises(ModelError, match=r"inferer#b: the expression '\$os.getcwd\(\)' would have to be run as Python"):
        part.argument("b")


def test_an_expression_that_needs_python_is_named_with_its_place_and_the_next_step() -> None:
    with pytest.raises(ModelError, match=r"inference.json: pixdim: the expression '\$numpy.ones\(3\)' would have to be run") as caught:
        config(pixdim="$numpy.ones(3)").get("pixdim")
    assert "Write its value in place of the expression" in caught.value.remedy


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"a": "@b"}, "@b refers to nothing"),
        ({"a": "@b#0", "b": {}}, "@b#0 refers to nothing"),
        ({"a": "@b#7", "b": [1]}, "@b#7 refers to nothing"),
        ({"a": "@a"}, "refers to itself"),
        ({"a": "$@b", "b": "$@a"}, "refers to itself"),
        ({"a": "%other.json#x"}, "the macro"),
    ],
)
def test_broken_references_are_named(content: dict[str, Any], message: str) -> None:
    with pytest.raises(ModelError, match=message):
        config(**content).get("a")


def test_references_that_double_at_each_step_cost_nothing() -> None:
    content = {f"a{n}": f"$@a{n + 1} + @a{n + 1}" for n in range(30)}
    start = time.process_time()
    assert config(**content, a30=1).get("a0") == 2**30
    assert time.process_time() - start < 2


def test_parts_are_listed_through_nested_chains_without_those_that_are_switched_off() -> None:
    found = config(
        off=True,
        first=[{"_target_": "A"}],
        chain={
            "_target_": "Compose",
            "transforms": "$@first + [@b, @c]",
        },
        b={"_target_": "Compose", "transforms": [{"_target_": "B"}, {"_target_": "monai.transforms.D", "_disabled_": "$not False"}]},
        c={"_target_": "C", "_disabled_": "@off"},
    )
    assert [part.target for part in components(found.get("chain"), "chain")] == ["A", "B"]


def test_something_else_among_the_parts_is_refused() -> None:
    with pytest.raises(ModelError, match="is no transform"):
        list(components(["liver"], "preprocessing"))


def test_json_and_yaml_say_the_same(tmp_path: Path) -> None:
    pytest.importorskip("yaml")
    (tmp_path / "a.json").write_text(json.dumps({"x": [1, 2.5, "$len(@x)"], "n": {"_target_": "UNet"}}))
    (tmp_path / "a.yaml").write_text('---\nx:\n- 1\n- 2.5\n- "$len(@x)"\nn:\n  _target_: UNet\n')
    one, other = (read_config(tmp_path / name) for name in ("a.json", "a.yaml"))
    assert one.content == other.content
    assert isinstance(other.get("n"), Component)


@pytest.mark.parametrize("text", ["a: [1", "- 1", "a: !!python/object/apply:os.system ['true']", "\x00", "a: &a [*a]\nb: ]"])
def test_a_damaged_or_hostile_yaml_is_refused(tmp_path: Path, text: str) -> None:
    pytest.importorskip("yaml")
    (tmp_path / "inference.yaml").write_text(text)
    with pytest.raises(ModelError, match=r"inference.yaml"):
        read_config(tmp_path / "inference.yaml")


def test_yaml_without_its_package_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import sys

    (tmp_path / "inference.yaml").write_text("a: 1")
    monkeypatch.setitem(sys.modules, "yaml", None)
    with pytest.raises(ModelError, match="PyYAML") as caught:
        read_config(tmp_path / "inference.yaml")
    assert "pip install" in caught.value.remedy
