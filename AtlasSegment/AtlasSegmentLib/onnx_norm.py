"""Instance norms of an ONNX network as exact as Torch's.

ONNX Runtime's own InstanceNormalization adds up all voxels of a map one after another in float32: with a million and more of them the
result is off by 1e-4, enough to decide voxels otherwise than Torch does. Means along one axis at a time are off by 1e-6.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

_PREFIX = "exact_norm_"


def with_exact_norms(model: Any) -> Any:
    """Replace InstanceNormalization of images and volumes by means along each axis; changes and returns an onnx.ModelProto."""
    import onnx

    ranks = _ranks(onnx.shape_inference.infer_shapes(model).graph)
    nodes = []
    for number, node in enumerate(model.graph.node):
        rank = ranks.get(node.input[0], 0) if node.op_type == "InstanceNormalization" else 0
        if rank < 4:  # of vectors, as group norms are exported: there is one axis only
            nodes.append(node)
            continue
        axes = onnx.numpy_helper.from_array(_spatial(rank), f"{_PREFIX}{number}_axes")
        epsilon = next((value.f for value in node.attribute if value.name == "epsilon"), 1e-5)
        small = onnx.numpy_helper.from_array(_float32(epsilon), f"{_PREFIX}{number}_epsilon")
        model.graph.initializer.extend([axes, small])
        nodes += _staged(node, f"{_PREFIX}{number}_", rank)
    _replace(model, nodes)
    return model


def with_plain_norms(model: Any) -> Any:
    """Undo `with_exact_norms`, for float16: squares would overflow in it, and what runs it adds up in float32."""
    import onnx

    epsilons = {value.name: value for value in model.graph.initializer if value.name.startswith(_PREFIX)}
    parts: dict[str, dict[str, Any]] = {}
    nodes = []
    for node in model.graph.node:
        number, _, step = node.name.removeprefix(_PREFIX).partition("_")
        if not node.name.startswith(_PREFIX):
            nodes.append(node)
            continue
        group = parts.setdefault(number, {})
        group[step] = node
        if step == "shifted":
            image, scale, bias = group["centered"].input[0], group["scale"].input[0], group["bias"].input[0]
            epsilon = float(onnx.numpy_helper.to_array(epsilons[f"{_PREFIX}{number}_epsilon"]))
            names = [image, scale, bias]
            nodes.append(onnx.helper.make_node("InstanceNormalization", names, list(node.output), f"norm_{number}", epsilon=epsilon))
    _replace(model, nodes)
    kept = [value for value in model.graph.initializer if value.name not in epsilons]
    del model.graph.initializer[:]
    model.graph.initializer.extend(kept)
    return model


def _replace(model: Any, nodes: list[Any]) -> None:
    copies = [type(node).FromString(node.SerializeToString()) for node in nodes]
    del model.graph.node[:]
    model.graph.node.extend(copies)


def _staged(node: Any, prefix: str, rank: int) -> Iterator[Any]:
    """Yield the nodes that compute (x - mean) * (scale / sqrt(variance + epsilon)) + bias."""
    from onnx import helper

    def make(kind: str, inputs: list[str], output: str, **attributes: Any) -> Any:
        return helper.make_node(kind, inputs, [output], name=prefix + output.removeprefix(prefix), **attributes)

    def means(source: str, name: str) -> Iterator[Any]:
        for axis in range(rank - 1, 1, -1):
            target = f"{prefix}{name}{axis if axis > 2 else ''}"
            yield make("ReduceMean", [source], target, axes=[axis], keepdims=1)
            source = target

    image, scale, bias = node.input
    yield from means(image, "mean")
    yield make("Sub", [image, f"{prefix}mean"], f"{prefix}centered")
    yield make("Mul", [f"{prefix}centered", f"{prefix}centered"], f"{prefix}squares")
    yield from means(f"{prefix}squares", "variance")
    yield make("Add", [f"{prefix}variance", f"{prefix}epsilon"], f"{prefix}positive")
    yield make("Sqrt", [f"{prefix}positive"], f"{prefix}deviation")
    yield make("Unsqueeze", [scale, f"{prefix}axes"], f"{prefix}scale")
    yield make("Unsqueeze", [bias, f"{prefix}axes"], f"{prefix}bias")
    yield make("Div", [f"{prefix}scale", f"{prefix}deviation"], f"{prefix}factor")
    yield make("Mul", [f"{prefix}centered", f"{prefix}factor"], f"{prefix}scaled")
    yield helper.make_node("Add", [f"{prefix}scaled", f"{prefix}bias"], list(node.output), name=f"{prefix}shifted")


def _ranks(graph: Any) -> dict[str, int]:
    known = [*graph.input, *graph.value_info, *graph.output]
    return {value.name: len(value.type.tensor_type.shape.dim) for value in known if value.type.tensor_type.HasField("shape")}


def _spatial(rank: int) -> Any:
    import numpy as np

    return np.arange(1, rank - 1, dtype=np.int64)


def _float32(value: float) -> Any:
    import numpy as np

    return np.float32(value).reshape(())
