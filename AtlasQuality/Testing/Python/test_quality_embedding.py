"""An organ's name as numbers: the built-in embedding, and files that users bring."""

from __future__ import annotations

import collections
import io
import os
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from AtlasQualityLib.quality_embedding import EmbeddingTable, text_embedding
from AtlasQualityLib.quality_embedding_files import convert_pickle, read_embeddings, write_embeddings
from AtlasSegmentLib.errors import InputError


def closeness(one: str, other: str) -> float:
    return float(text_embedding(one) @ text_embedding(other)) / 100


def test_sides_levels_and_parts_lie_close_and_strangers_do_not() -> None:
    assert closeness("kidney_left", "kidney_right") > 0.75
    assert closeness("vertebrae_L1", "vertebrae_L2") > 0.7
    assert closeness("lung_upper_lobe_left", "lung_lower_lobe_left") > 0.7
    assert closeness("liver", "liver_tumor") > 0.6
    for one, other in (("liver", "spleen"), ("kidney_left", "adrenal_gland_left"), ("aorta", "rib_left_5")):
        assert abs(closeness(one, other)) < 0.35


def test_every_spelling_of_a_structure_is_one_vector() -> None:
    for spelling in ("Left Kidney", "kidney left", "KIDNEY-LEFT", "left_kidney"):
        assert (text_embedding(spelling) == text_embedding("kidney_left")).all()


def test_the_vectors_are_the_same_everywhere() -> None:
    assert np.round(text_embedding("liver")[:4], 5).tolist() == pytest.approx([-0.66294, -0.84039, -0.66294, 0.30806], abs=1e-4)


@given(st.text(min_size=1).filter(lambda name: any(c.isalnum() for c in name)))
def test_any_name_has_a_vector_of_length_ten(name: str) -> None:
    vector = text_embedding(name)
    assert vector.shape == (512,)
    assert np.linalg.norm(vector) == pytest.approx(10, rel=1e-5)


@pytest.mark.parametrize("name", ["", "  ", "___", "?!"])
def test_what_is_no_name_is_said(name: str) -> None:
    with pytest.raises(InputError, match="is no name of an organ"):
        text_embedding(name)


def test_a_table_knows_an_organ_under_all_its_names_and_says_what_it_lacks() -> None:
    table = EmbeddingTable("mine.npz", {"kidney left": np.ones(512, np.float32), "gallbladder": np.zeros(512, np.float32)})
    assert (table("Left Kidney") == 1).all()
    assert (table("gall_bladder") == 0).all()
    with pytest.raises(InputError, match=r"mine.npz: has no embedding for 'kidney_right' among its 2 names.*kidney_left"):
        table("kidney_right")


def test_a_file_reads_back_and_a_plain_npz_of_arrays_will_do(tmp_path: Path) -> None:
    vectors = {"liver": text_embedding("liver"), "Milz (links)": text_embedding("spleen")}
    write_embeddings(tmp_path / "a.npz", EmbeddingTable("", vectors))
    np.savez(tmp_path / "b.npz", liver=vectors["liver"][None], spleen=vectors["Milz (links)"].astype(np.float64))
    found, plain = read_embeddings(tmp_path / "a.npz"), read_embeddings(tmp_path / "b.npz")
    assert all((found.vectors[name] == vector).all() for name, vector in vectors.items())
    assert (plain("liver") == vectors["liver"]).all()


@pytest.mark.parametrize(
    ("arrays", "said"),
    [
        ({"liver": np.zeros(3)}, "is float64 of shape"),
        ({"liver": np.full(512, np.nan)}, "512 finite numbers"),
        ({"names": np.array(["a", "b"]), "vectors": np.zeros((1, 512))}, "has 2 names and 1 vectors"),
        ({}, "no embedding of a known class"),
        ({"liver": np.array([object()])}, "is no file of embeddings"),
    ],
)
def test_a_file_that_is_wrong_is_said(tmp_path: Path, arrays: dict, said: str) -> None:
    np.savez(tmp_path / "bad.npz", **arrays)
    with pytest.raises(InputError, match=said):
        read_embeddings(tmp_path / "bad.npz")


def test_a_cut_or_missing_file_is_said(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no such file"):
        read_embeddings(tmp_path / "none.npz")
    (tmp_path / "cut.npz").write_bytes(b"PK\x03\x04 and nothing more")
    with pytest.raises(InputError, match=r"is no file of embeddings.*convert-embeddings"):
        read_embeddings(tmp_path / "cut.npz")


@pytest.mark.parametrize("protocol", [2, 4])
def test_segaes_pickle_of_tensors_becomes_a_table_of_names(tmp_path: Path, protocol: int) -> None:
    content = {number: torch.full((1, 512), float(number)) for number in (0, 1, 13, 15, 17)}
    (tmp_path / "label_embedding.pkl").write_bytes(pickle.dumps(content, protocol))
    table = convert_pickle(tmp_path / "label_embedding.pkl")
    assert len(table.vectors) == 3
    assert [float(table(name)[0]) for name in ("liver", "kidney_left", "urinary_bladder")] == [13, 15, 17]


def test_a_pickle_of_arrays_with_names_will_do(tmp_path: Path) -> None:
    (tmp_path / "a.pkl").write_bytes(pickle.dumps({"liver": np.ones(512, np.float32)}))
    assert (convert_pickle(tmp_path / "a.pkl")("liver") == 1).all()


class Program:
    """Makes a folder when it is unpickled."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def __reduce__(self) -> tuple:
        return os.mkdir, (str(self.folder),)


def test_a_pickle_that_is_a_program_is_refused_and_does_not_run(tmp_path: Path) -> None:
    (tmp_path / "evil.pkl").write_bytes(pickle.dumps({13: Program(tmp_path / "ran")}))
    with pytest.raises(InputError, match=r"asks for posix.mkdir.*not run"):
        convert_pickle(tmp_path / "evil.pkl")
    inner = io.BytesIO()
    torch.save(Program(tmp_path / "ran"), inner)

    class Hidden:
        def __reduce__(self) -> tuple:
            return torch.storage._load_from_bytes, (inner.getvalue(),)

    (tmp_path / "nested.pkl").write_bytes(pickle.dumps({13: Hidden()}))
    with pytest.raises(InputError, match="is no pickle of embeddings"):
        convert_pickle(tmp_path / "nested.pkl")
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize("data", [b"", b"\x80", b"text", pickle.dumps([1, 2]), pickle.dumps({13: [1]}), pickle.dumps({999: np.ones(512)})])
def test_what_is_no_pickle_of_embeddings_is_said(tmp_path: Path, data: bytes) -> None:
    (tmp_path / "a.pkl").write_bytes(data)
    with pytest.raises(InputError, match=r"a\.pkl"):
        convert_pickle(tmp_path / "a.pkl")


class _Call:
    """Pickled, it asks for a call."""

    def __init__(self, call: Any, *arguments: Any) -> None:
        self.call = (call, arguments)

    def __reduce__(self) -> Any:
        return self.call


@pytest.mark.parametrize(
    "value",
    [
        _Call(np.ndarray, (1,), np.dtype("O"), b"A" * 8),  # an object at an address of the file's choice
        _Call(collections.OrderedDict, _Call(np.ndarray, (1,), np.dtype("O"), b"A" * 8)),
        _Call(np.ndarray, (1 << 44,), np.dtype("u1")),
        np.array(["liver"], dtype=object),
        np.zeros(512, [("a", "f4"), ("b", "f4")]),
        np.zeros(512, "M8[s]"),
        _Call(np.dtype, "O"),
    ],
    ids=["object-array", "iterated-object-array", "huge-array", "text-objects", "fields", "dates", "object-type"],
)
def test_arrays_that_a_pickle_could_be_run_through_are_refused(tmp_path: Path, value: Any) -> None:
    path = tmp_path / "label_embedding.pkl"
    path.write_bytes(pickle.dumps({2: value}, protocol=2))
    with pytest.raises(InputError, match=r"label_embedding\.pkl"):
        convert_pickle(path)


def test_arrays_of_other_orders_and_bytes_are_read_as_they_are(tmp_path: Path) -> None:
    numbers = np.arange(512.0)
    kinds = {2: numbers, 3: numbers.astype(">f4"), 4: np.asfortranarray(numbers.astype(np.int16)[None])}
    path = tmp_path / "label_embedding.pkl"
    for protocol in (2, 3, 4):
        path.write_bytes(pickle.dumps(kinds, protocol=protocol))
        assert all(np.array_equal(vector, numbers) for vector in convert_pickle(path).vectors.values())


def test_damaged_and_foreign_archives_are_said_to_be_so(tmp_path: Path) -> None:
    path = tmp_path / "embeddings.npz"
    good = io.BytesIO()
    np.savez_compressed(good, liver=np.arange(512.0))
    whole = good.getvalue()
    flipped = bytearray(whole)
    flipped[len(whole) // 2] ^= 0xFF
    plain = io.BytesIO()
    np.save(plain, np.arange(512.0))
    zeros, huge = io.BytesIO(), io.BytesIO()
    np.savez(zeros, liver=np.zeros(512))
    np.savez(huge, liver=np.full(512, 1e300))
    for content in (b"", whole[:-30], bytes(flipped), plain.getvalue(), zeros.getvalue(), huge.getvalue()):
        path.write_bytes(content)
        with pytest.raises(InputError, match=r"embeddings\.npz"):
            read_embeddings(path)
