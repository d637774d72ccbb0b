"""The stand-in's slicer.parameterNodeWrapper behaves as Slicer's developer guide says (parameter_nodes/*.md)."""

from __future__ import annotations

import enum
import pathlib
from pathlib import Path
from typing import Annotated, Any, Optional

import pytest

pytestmark = pytest.mark.usefixtures("slicer_app")


class Color(enum.Enum):
    RED = "#FF0000"
    GREEN = "#00FF00"


@pytest.fixture
def node(slicer_app: Any) -> Any:
    return slicer_app.mrmlScene().AddNewNodeByClass("vtkMRMLScriptedModuleNode", "Parameters")


def wrapper_class(hints: dict[str, Any], **defaults: Any) -> Any:
    """Return a parameter node wrapper with these type hints; a module writes them into a class body."""
    from slicer.parameterNodeWrapper import parameterNodeWrapper

    return parameterNodeWrapper(type("Parameters", (), {"__annotations__": hints, **defaults}))


@pytest.fixture
def every_type(slicer_app: Any) -> Any:  # noqa: ARG001
    """Return a wrapper with one parameter of each type."""
    import slicer

    hints = {"number": int, "ratio": float, "text": str, "flag": bool, "volume": slicer.vtkMRMLScalarVolumeNode, "names": list[str]}
    optional = {"maybe": Optional[int], "other": int | None}  # noqa: UP045 - both spellings are documented
    return wrapper_class({**hints, "color": Color, "path": pathlib.Path, **optional})


def test_a_parameter_without_default_starts_with_the_documented_one(every_type: Any, node: Any) -> None:
    parameters = every_type(node)
    assert (parameters.number, parameters.ratio, parameters.text, parameters.flag) == (0, 0.0, "", False)
    assert parameters.volume is None
    assert list(parameters.names) == []
    assert parameters.color is Color.RED
    assert parameters.path == pathlib.Path()
    assert parameters.maybe is None
    assert parameters.other is None


def test_values_are_kept_in_the_node_and_not_in_the_wrapper(every_type: Any, node: Any) -> None:
    first, second = every_type(node), every_type(node)
    first.number, first.ratio, first.text, first.flag = 7, 0.25, "seven", True
    first.color, first.path, first.maybe = Color.GREEN, pathlib.Path("a/b"), 3
    assert (second.number, second.ratio, second.text, second.flag) == (7, 0.25, "seven", True)
    assert (second.color, second.path, second.maybe) == (Color.GREEN, pathlib.Path("a/b"), 3)
    second.maybe = None
    assert first.maybe is None


def test_an_enum_is_kept_by_name_and_a_node_by_reference(every_type: Any, node: Any, slicer_app: Any) -> None:
    parameters = every_type(node)
    volume = slicer_app.mrmlScene().AddNewNodeByClass("vtkMRMLScalarVolumeNode")
    parameters.color, parameters.volume = Color.GREEN, volume
    assert node.GetParameter("color") == "GREEN"
    assert node.GetNodeReference("volume") is volume


def test_a_list_writes_its_changes_to_the_node(every_type: Any, node: Any) -> None:
    parameters = every_type(node)
    parameters.names = ["a", "b", "c"]
    assert [node.GetParameter(f"names.{index}") for index in range(3)] == ["a", "b", "c"]
    assert node.GetParameter("names.len") == "3"
    names = parameters.names
    names.append("d")
    del names[0]
    assert list(every_type(node).names) == ["b", "c", "d"]
    assert not node.HasParameter("names.3")


def test_an_element_of_a_wrong_type_leaves_the_list_as_it_was(every_type: Any, node: Any) -> None:
    parameters = every_type(node)
    parameters.names = ["a"]
    with pytest.raises(TypeError, match="must be of type"):
        parameters.names = ["b", 3]
    assert list(parameters.names) == ["a"]
    assert node.GetParameter("names.0") == "a"


@pytest.mark.parametrize(
    ("name", "value", "error"),
    [
        ("number", "3", TypeError),
        ("number", 1.5, TypeError),
        ("number", None, ValueError),
        ("text", 3, TypeError),
        ("flag", 1, TypeError),
        ("path", "a/b", TypeError),
        ("color", "RED", TypeError),
        ("volume", 3, TypeError),
    ],
)
def test_a_value_of_another_type_is_refused(every_type: Any, node: Any, name: str, value: object, error: type[Exception]) -> None:
    parameters = every_type(node)
    before = getattr(parameters, name)
    with pytest.raises(error):
        setattr(parameters, name, value)
    assert getattr(parameters, name) == before


def test_an_int_may_be_given_to_a_float(every_type: Any, node: Any) -> None:
    parameters = every_type(node)
    parameters.ratio = 2
    assert parameters.ratio == 2.0


def test_a_misspelled_parameter_is_refused(every_type: Any, node: Any) -> None:
    parameters = every_type(node)
    with pytest.raises(AttributeError, match="numbr"):
        parameters.numbr = 3
    with pytest.raises(ValueError, match="numbr"):
        parameters.getValue("numbr")


@pytest.fixture
def annotated(slicer_app: Any) -> Any:  # noqa: ARG001
    """Return a wrapper with validators and defaults."""
    from slicer.parameterNodeWrapper import Choice, Default, Maximum, Minimum, Validator, WithinRange

    class Short(Validator):
        def validate(self, value: str) -> None:
            if len(value) > 3:
                message = "too long"
                raise ValueError(message)

    hints = {
        "within": Annotated[float, WithinRange(0, 1)],
        "least": Annotated[int, Minimum(3)],
        "most": Annotated[int, Maximum(3)],
        "option": Annotated[str, Choice(["a", "b"])],
        "chosen": list[Annotated[str, Choice(["x", "y"])]],
        "made": Annotated[int, Default(generator=lambda: 42)],
        "word": Annotated[str, Short()],
    }
    return wrapper_class(hints, within=0.5, least=4, option="b", word="abc")


def test_a_given_default_is_used_unless_the_node_has_a_value(annotated: Any, node: Any) -> None:
    parameters = annotated(node)
    assert (parameters.within, parameters.least, parameters.option, parameters.made) == (0.5, 4, "b", 42)
    parameters.least = 9
    assert annotated(node).least == 9


@pytest.mark.parametrize(
    ("name", "good", "bad"),
    [("within", 1.0, 1.01), ("least", 3, 2), ("most", 3, 4), ("option", "a", "c"), ("chosen", ["x", "y"], ["z"]), ("word", "ab", "abcd")],
)
def test_a_validator_lets_good_values_in_and_keeps_bad_ones_out(annotated: Any, node: Any, name: str, good: Any, bad: Any) -> None:
    parameters = annotated(node)
    setattr(parameters, name, good)
    with pytest.raises(ValueError, match=r"Value|too long"):
        setattr(parameters, name, bad)
    assert getattr(parameters, name) == good


def test_a_default_that_breaks_its_own_validator_is_found_when_the_node_is_wrapped(node: Any) -> None:
    from slicer.parameterNodeWrapper import Minimum

    broken = wrapper_class({"least": Annotated[int, Minimum(3)]})
    with pytest.raises(ValueError, match="at least 3"):
        broken(node)


def test_a_type_that_cannot_be_kept_is_refused_at_once() -> None:
    with pytest.raises(TypeError, match="bytes"):
        wrapper_class({"thing": bytes})


@pytest.mark.parametrize("name", ["default", "connectGui", "AddObserver", "getValue"])
def test_a_reserved_name_is_refused(name: str) -> None:
    with pytest.raises(ValueError, match="reserved"):
        wrapper_class({name: int})


def test_the_class_as_a_module_writes_it_keeps_its_own_methods(node: Any) -> None:
    from slicer.parameterNodeWrapper import isParameterNodeWrapper, parameterNodeWrapper

    @parameterNodeWrapper
    class Parameters:
        """Doc."""

        count: int = 2

        def doubled(self) -> int:
            return 2 * self.count

    assert Parameters(node).doubled() == 4
    assert Parameters.__doc__ == "Doc."
    assert isParameterNodeWrapper(Parameters)
    assert isParameterNodeWrapper(Parameters(node))
    assert not isParameterNodeWrapper(node)


def test_observers_of_the_wrapper_see_each_change_once_and_the_new_value(every_type: Any, node: Any) -> None:
    import vtk

    parameters = every_type(node)
    seen: list[int] = []
    tag = parameters.AddObserver(vtk.vtkCommand.ModifiedEvent, lambda _caller, _event: seen.append(parameters.number))
    parameters.number = 5
    parameters.number = 5
    assert seen == [5]
    parameters.RemoveObserver(tag)
    parameters.number = 6
    assert seen == [5]


def test_several_changes_can_be_told_as_one(every_type: Any, node: Any) -> None:
    import slicer
    import vtk

    parameters = every_type(node)
    seen: list[tuple[int, str]] = []
    parameters.AddObserver(vtk.vtkCommand.ModifiedEvent, lambda *_: seen.append((parameters.number, parameters.text)))
    with slicer.util.NodeModify(parameters):
        parameters.number = 5
        parameters.text = "five"
    assert seen == [(5, "five")]


def test_a_wrapper_that_is_gone_leaves_no_observer(every_type: Any, node: Any) -> None:
    import gc

    import vtk

    def observed() -> bool:
        return bool(node.HasObserver(vtk.vtkCommand.ModifiedEvent))

    parameters = every_type(node)
    assert observed()
    del parameters
    gc.collect()
    assert not observed()


def test_parameters_come_back_with_the_scene(every_type: Any, slicer_app: Any, tmp_path: Path) -> None:
    import slicer
    import slicer.util

    logic = _logic("Keeper")
    parameters = every_type(logic.getParameterNode())
    volume = slicer.util.addVolumeFromArray(__import__("numpy").zeros((2, 3, 4), "int16"), name="CT")
    parameters.number, parameters.names, parameters.volume, parameters.maybe = 7, ["a", "b"], volume, 3
    assert slicer.util.saveScene(str(tmp_path / "scene.mrb"))
    slicer_app.mrmlScene().Clear(False)
    assert every_type(logic.getParameterNode()).number == 0
    slicer.util.loadScene(str(tmp_path / "scene.mrb"))
    loaded = every_type(logic.getParameterNode())
    assert (loaded.number, list(loaded.names), loaded.maybe) == (7, ["a", "b"], 3)
    assert loaded.volume.GetName() == "CT"


def _logic(name: str) -> Any:
    from slicer.ScriptedLoadableModule import ScriptedLoadableModuleLogic

    return type(f"{name}Logic", (ScriptedLoadableModuleLogic,), {})()


def test_a_removed_node_is_none_for_the_parameter_that_held_it(every_type: Any, node: Any, slicer_app: Any) -> None:
    parameters = every_type(node)
    volume = slicer_app.mrmlScene().AddNewNodeByClass("vtkMRMLScalarVolumeNode")
    parameters.volume = volume
    slicer_app.mrmlScene().RemoveNode(volume)
    assert parameters.volume is None
