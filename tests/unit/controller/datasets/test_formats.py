"""The formats that are imported: what they become, and every hostile file refused by name."""

import io
import struct
import zipfile
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image
from pyarrow import parquet

from controller.artifacts.dataset_file import DatasetTensor, examine
from controller.datasets.converter import Converter
from controller.datasets.source import Refused, check_sizes
from shoal.wire.models import Datatype
from shoal.wire.tensors import decode_tensors

RANDOM = np.random.default_rng(5)
X = RANDOM.normal(size=(12, 2, 3)).astype(np.float32)
Y = RANDOM.integers(0, 4, 12)
PREPARED = {
    "preprocessing": [
        {"op": "resize", "width": 8, "height": 6},
        {"op": "scale", "factor": 0.5, "offset": -1},
        {"op": "layout", "order": "nchw"},
    ],
    "inputs": [{"name": "input", "datatype": "FP32", "shape": [-1, 3, 6, 8]}],
}


class _Evil:
    def __reduce__(self) -> tuple[Any, ...]:
        return exec, ("raise SystemExit('code of the file ran')",)


def convert(path: Path, format: str, **wanted: Any) -> dict[str, Any]:
    """Give the arrays that a file becomes; or `{code, message}`."""
    converter = Converter()
    asked = {"label_column": None, "class_labels": [], "preprocessing": [], "inputs": [], **wanted}
    answer = converter.answer({"op": "open", "path": str(path), "format": format, **asked})
    data = bytearray()
    opened = answer
    while answer["ok"]:
        answer = converter.answer({"op": "read"})
        if not answer["ok"] or answer["is_last"]:
            break
        assert len(answer["data"]) <= 4 * 2**20
        data += answer["data"]
    if not answer["ok"]:
        assert len(answer["message"]) < 700
        return {"code": answer["code"], "message": answer["message"]}
    assert len(data) == opened["size_bytes"]
    assert examine(lambda start, end: bytes(data[start:end]), len(data)).samples == opened["samples"]
    return {**decode_tensors(bytes(data)), "classes": opened["class_labels"]}


def zipped(path: Path, entries: dict[str, bytes], method: int = zipfile.ZIP_DEFLATED) -> Path:
    with zipfile.ZipFile(path, "w", method) as archive:
        for name, data in entries.items():
            archive.writestr(name, data)
    return path


def npy(array: Any, **options: Any) -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, array, **options)
    return buffer.getvalue()


def image(height: int = 5, width: int = 7, kind: str = "PNG", colour: tuple[int, int, int] = (200, 100, 0)) -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", (width, height), colour).save(buffer, kind)
    return buffer.getvalue()


def chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def bomb_png(side: int = 100_000) -> bytes:
    """Give a small PNG that says it is enormous."""
    head = struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(bytes(1000))) + chunk(b"IEND", b"")
    )


# ---------------------------------------------------------------- npz


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
def test_npz_when_good_then_labels_are_wide_and_doubles_single(tmp_path: Path, save: Any) -> None:
    save(tmp_path / "a.npz", x=X.astype(">f8"), y=Y.astype(np.uint8))
    found = convert(tmp_path / "a.npz", "npz")
    assert (found["x"].dtype, found["y"].dtype) == (np.float32, np.int64)
    np.testing.assert_array_equal(found["x"], X)
    np.testing.assert_array_equal(found["y"], Y)


def test_npz_when_a_model_takes_doubles_then_they_stay(tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", x=X.astype(np.float64))
    inputs = [{"name": "input", "datatype": "FP64", "shape": [-1, 2, 3]}]
    assert convert(tmp_path / "a.npz", "npz", inputs=inputs)["x"].dtype == np.float64


def test_npz_when_it_has_several_inputs_of_many_kinds_then_each_keeps_its_own(tmp_path: Path) -> None:
    arrays = {"x.a": X.astype(np.float16), "x.b": Y.astype(np.uint16)[:, None], "x.c": X > 0, "y.box": X, "at": Y}
    np.savez(tmp_path / "a.npz", **arrays)
    found = convert(tmp_path / "a.npz", "npz")
    kinds = {name: str(array.dtype) for name, array in found.items() if name != "classes"}
    assert kinds == {"x.a": "float16", "x.b": "int32", "x.c": "bool", "y.box": "float32", "at": "int64"}
    np.testing.assert_array_equal(found["x.b"][:, 0], Y)


def test_npz_when_larger_than_a_piece_then_is_whole(tmp_path: Path) -> None:
    x = RANDOM.normal(size=(700, 3, 50, 40)).astype(np.float32)
    np.savez_compressed(tmp_path / "a.npz", x=x, y=np.arange(700))
    found = convert(tmp_path / "a.npz", "npz")
    np.testing.assert_array_equal(found["x"], x)
    np.testing.assert_array_equal(found["y"], np.arange(700))


@pytest.mark.parametrize(
    ("entries", "code"),
    [
        ({"x.npy": npy(np.array([_Evil()], object), allow_pickle=True)}, "dataset.pickled"),
        ({"x.npy": npy(X), "y.npy": b"\x80\x04\x95" + bytes(20)}, "dataset.pickled"),
        ({"x.npy": b"\x93NUMPY\x01\x00" + struct.pack("<H", 20) + b"__import__('os')    "}, "dataset.malformed"),
        ({"x.npy": b"\x93NUMPY\x01\x00\xff\xff{"}, "dataset.malformed"),
        ({"x.npy": b"\x93NUMPY\x02\x00\xff\xff\xff\xff" + b"(" * 50_000}, "dataset.malformed"),
        ({"x.npy": b"\x93NUMPY\x09\x00" + bytes(100)}, "dataset.malformed"),
        ({"x.npy": npy(X)[:-4]}, "dataset.malformed"),
        ({"x.npy": npy(X) + b"more"}, "dataset.malformed"),
        ({"x.npy": b"no array"}, "dataset.malformed"),
        ({"x.npy": b""}, "dataset.malformed"),
        ({"x.npy": npy(np.array(["a", "b"]))}, "dataset.malformed"),
        ({"x.npy": npy(np.zeros((2, 2), np.complex64))}, "dataset.malformed"),
        ({"x.npy": npy(np.zeros(2, [("a", "<f4")]))}, "dataset.malformed"),
        ({"x.npy": npy(np.asfortranarray(X))}, "dataset.malformed"),
        ({"x.npy": npy(np.float32(1))}, "dataset.malformed"),
        ({"../../etc/x.npy": npy(X)}, "dataset.malformed"),
        ({"/x.npy": npy(X)}, "dataset.malformed"),
        ({"weights.npy": npy(X)}, "dataset.malformed"),
        ({"x.txt": npy(X)}, "dataset.malformed"),
        ({f"x.{place}.npy": npy(X[:1]) for place in range(65)}, "dataset.malformed"),
        ({"x.npy": npy(np.zeros((1, 70 * 2**20), np.uint8))}, "dataset.too_large"),
        ({}, "dataset.malformed"),
    ],
)  # fmt: skip
def test_npz_when_hostile_then_is_refused_by_name(tmp_path: Path, entries: dict[str, bytes], code: str) -> None:
    assert convert(zipped(tmp_path / "a.npz", entries, zipfile.ZIP_STORED), "npz")["code"] == code


def test_npz_when_a_pickle_alone_then_is_refused_by_name(tmp_path: Path) -> None:
    (tmp_path / "a.npz").write_bytes(b"\x80\x04\x95\x01\x00\x00\x00\x00\x00\x00\x00N.")
    assert convert(tmp_path / "a.npz", "npz")["code"] == "dataset.pickled"


def test_npz_when_a_bomb_then_is_refused_before_it_is_unpacked(tmp_path: Path) -> None:
    bomb = zipped(tmp_path / "a.npz", {"x.npy": npy(np.zeros((400, 2**20), np.uint8))})
    assert bomb.stat().st_size < 1_000_000
    assert convert(bomb, "npz")["code"] == "dataset.bomb"


def test_npz_when_it_says_more_than_is_taken_then_is_refused_unread(tmp_path: Path) -> None:
    path = zipped(tmp_path / "a.npz", {"x.npy": npy(X)}, zipfile.ZIP_STORED)
    data = bytearray(path.read_bytes())
    place = data.rindex(b"PK\x01\x02")  # of the central directory: sizes stand 20 bytes on
    data[place + 24 : place + 28] = struct.pack("<I", 0xFFFFFFF0)
    path.write_bytes(data)
    answer = convert(path, "npz")
    assert answer["code"] in ("dataset.malformed", "dataset.bomb")


@pytest.mark.parametrize("cut", [1, 10, 30, 0.3, 0.6, 0.95])
def test_npz_when_cut_off_or_spoiled_then_is_refused(tmp_path: Path, cut: float) -> None:
    np.savez_compressed(tmp_path / "a.npz", x=X, y=Y)
    data = (tmp_path / "a.npz").read_bytes()
    place = int(cut) if cut >= 1 else int(len(data) * cut)
    (tmp_path / "cut.npz").write_bytes(data[:place])
    assert convert(tmp_path / "cut.npz", "npz")["code"] == "dataset.malformed"
    spoiled = bytearray(data)
    spoiled[80:90] = bytes(10)
    (tmp_path / "spoiled.npz").write_bytes(spoiled)
    assert convert(tmp_path / "spoiled.npz", "npz")["code"] == "dataset.malformed"


def test_archive_when_packed_otherwise_or_doubled_then_is_refused(tmp_path: Path) -> None:
    zipped(tmp_path / "a.npz", {"x.npy": npy(X)}, zipfile.ZIP_LZMA)
    assert convert(tmp_path / "a.npz", "npz")["code"] == "dataset.malformed"
    with zipfile.ZipFile(tmp_path / "b.npz", "w") as archive, pytest.warns(UserWarning, match="Duplicate"):
        archive.writestr("x.npy", npy(X))
        archive.writestr("x.npy", npy(X))
    assert convert(tmp_path / "b.npz", "npz")["code"] == "dataset.malformed"


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(st.binary(max_size=400), st.integers(0, 700), st.sampled_from(["npz", "parquet", "images"]))
def test_file_when_of_any_bytes_then_is_only_refused(tmp_path: Path, data: bytes, cut: int, format: str) -> None:
    good = {"npz": npz_bytes(), "images": zip_bytes(), "parquet": parquet_bytes()}[format]
    for candidate in (data, good[:cut] + data):
        (tmp_path / "file").write_bytes(candidate)
        assert convert(tmp_path / "file", format).get("code", "dataset.").startswith("dataset.")


def npz_bytes() -> bytes:
    buffer = io.BytesIO()
    np.savez(buffer, x=X, y=Y)
    return buffer.getvalue()


def zip_bytes() -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("a/1.png", image())
        archive.writestr("b/1.png", image())
    return buffer.getvalue()


def parquet_bytes() -> bytes:
    buffer = io.BytesIO()
    parquet.write_table(pa.table({"x": [[1.0, 2.0]] * 4, "y": [0, 1, 2, 3]}), buffer)
    return buffer.getvalue()


# ---------------------------------------------------------------- Parquet


def table(path: Path, **columns: Any) -> Path:
    parquet.write_table(pa.table(columns), path, row_group_size=5)
    return path


def test_table_when_of_features_then_they_are_x_and_the_label_column_y(tmp_path: Path) -> None:
    path = table(tmp_path / "a", width=X[:, 0, 0], kind=list("abcacbabcabc"), number=Y, is_wet=X[:, 0, 1] > 0)
    found = convert(path, "parquet", label_column="kind")
    expected = np.stack([X[:, 0, 0], Y, X[:, 0, 1] > 0], axis=1).astype(np.float32)
    np.testing.assert_array_equal(found["x"], expected)
    assert (found["y"].tolist(), found["classes"]) == (["abc".index(one) for one in "abcacbabcabc"], ["a", "b", "c"])


def test_table_when_classes_are_named_then_their_order_counts(tmp_path: Path) -> None:
    path = table(tmp_path / "a", x=X[:, 0].tolist(), kind=list("abcacbabcabc"))
    found = convert(path, "parquet", label_column="kind", class_labels=["c", "b", "a"])
    assert found["y"].tolist() == ["cba".index(one) for one in "abcacbabcabc"]
    assert convert(path, "parquet", label_column="kind", class_labels=["a"])["code"] == "dataset.unknown_class"


def test_table_when_of_tensors_then_lists_are_axes(tmp_path: Path) -> None:
    at = pa.array(Y.tolist(), pa.timestamp("ms"))
    path = table(tmp_path / "a", **{"x.a": X.tolist(), "x.b": X[:, 0].tolist(), "y": Y.astype(np.int8), "at": at})
    found = convert(path, "parquet")
    np.testing.assert_array_equal(found["x.a"], X)
    np.testing.assert_array_equal(found["x.b"], X[:, 0])
    np.testing.assert_array_equal(found["at"], Y * 1000)
    assert found["y"].dtype == np.int64


def test_table_when_larger_than_a_batch_then_is_whole(tmp_path: Path) -> None:
    values = RANDOM.normal(size=(200_000, 8)).astype(np.float32)
    columns = {f"f{place}": values[:, place] for place in range(8)}
    parquet.write_table(pa.table({**columns, "t": values[:, 0]}), tmp_path / "a", row_group_size=70_000)
    found = convert(tmp_path / "a", "parquet", label_column="t")
    np.testing.assert_array_equal(found["x"], values)
    np.testing.assert_array_equal(found["y"], values[:, 0])


@pytest.mark.parametrize(
    ("columns", "label", "code"),
    [
        ({"a": [1.0, None, 2.0]}, None, "dataset.bad_column"),
        ({"a": [1, 2], "b": ["x", "y"]}, None, "dataset.bad_column"),
        ({"a": [1, 2]}, "b", "dataset.no_column"),
        ({"a": [1, 2]}, "a", "dataset.malformed"),
        ({"x": [[1, 2], [1]]}, None, "dataset.bad_column"),
        ({"x": [[1.0, None], [1.0, 2.0]]}, None, "dataset.bad_column"),
        ({"a": [[1, 2], [1, 2]], "b": [1, 2]}, None, "dataset.bad_column"),
        ({"x": [[1], [2]], "other": [1, 2]}, None, "dataset.bad_column"),
        ({"x": [[1], [2]], "y": [1, 2], "kind": [1, 2]}, "kind", "dataset.bad_column"),
        ({"a": [1, 2], "kind": ["x", None]}, "kind", "dataset.bad_column"),
        ({"a": [b"x", b"y"]}, None, "dataset.bad_column"),
        ({"a": [{"b": 1}, {"b": 2}]}, None, "dataset.bad_column"),
        ({"a": []}, None, "dataset.malformed"),
    ],
)
def test_table_when_it_is_no_samples_then_the_column_is_named(
    tmp_path: Path, columns: dict[str, Any], label: str | None, code: str
) -> None:
    assert convert(table(tmp_path / "a", **columns), "parquet", label_column=label)["code"] == code


def test_table_when_lists_change_their_length_later_then_is_refused(tmp_path: Path) -> None:
    path = table(tmp_path / "a", x=[[1.0, 2.0]] * 9 + [[1.0]])
    assert convert(path, "parquet")["code"] == "dataset.bad_column"


@pytest.mark.parametrize("shape", [[2**31, 1], [9, 64 * 2**20 // 4 + 1]])
def test_sizes_when_a_data_set_or_a_sample_would_be_too_large_then_are_refused(shape: list[int]) -> None:
    with pytest.raises(Refused) as caught:
        check_sizes([DatasetTensor(name="x", datatype=Datatype.FP32, shape=shape)])
    assert caught.value.code == "dataset.too_large"


@pytest.mark.parametrize("cut", [4, 100, -1, -9, -40])
def test_table_when_cut_off_then_is_refused(tmp_path: Path, cut: int) -> None:
    path = table(tmp_path / "a", a=[1.0, 2.0])
    path.write_bytes(path.read_bytes()[:cut])
    assert convert(path, "parquet")["code"] == "dataset.malformed"


# ---------------------------------------------------------------- images


def test_images_when_in_folders_then_each_folder_is_a_class_and_the_order_mixes_them(tmp_path: Path) -> None:
    colours = {"cat": (255, 0, 0), "dog": (0, 0, 255)}
    entries = {
        f"photos/{name}/{place}.{kind.lower()}": image(kind=kind, colour=colour)
        for name, colour in colours.items()
        for place, kind in enumerate(["PNG", "BMP", "PNG", "PNG", "WEBP"])
    }
    noise = {"photos/.DS_Store": b"x", "__MACOSX/photos/cat/._0.png": b"x", "photos/dog/": b""}
    path = zipped(tmp_path / "a.zip", {**entries, **noise})
    found = convert(path, "images")
    assert (found["x"].shape, found["x"].dtype, found["classes"]) == ((10, 5, 7, 3), np.uint8, ["cat", "dog"])
    is_red = found["x"][:, 0, 0, 0] > found["x"][:, 0, 0, 2]
    np.testing.assert_array_equal(found["y"], np.where(is_red, 0, 1))
    assert len(set(found["y"][:5].tolist())) == 2
    again = convert(path, "images", class_labels=["dog", "cat"])
    np.testing.assert_array_equal(again["y"], 1 - found["y"])


def test_images_when_a_model_prepares_them_then_any_size_is_taken(tmp_path: Path) -> None:
    entries = {"a/1.png": image(30, 40), "a/2.jpg": image(300, 20, "JPEG"), "b/3.png": image(6, 8)}
    found = convert(zipped(tmp_path / "a.zip", entries), "images", **PREPARED)
    assert (found["x"].shape, found["x"].dtype) == ((3, 3, 6, 8), np.float32)
    exact = [sample for sample in found["x"] if sample[0, 0, 0] == 200 * 0.5 - 1]
    assert len(exact) >= 2


def test_images_when_a_camera_lay_on_its_side_then_they_are_turned(tmp_path: Path) -> None:
    buffer = io.BytesIO()
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.new("RGB", (20, 10)).save(buffer, "JPEG", exif=exif)
    assert convert(zipped(tmp_path / "a.zip", {"1.jpg": buffer.getvalue()}), "images")["x"].shape == (1, 20, 10, 3)


def test_images_when_in_no_folder_or_in_one_around_them_then_have_no_labels(tmp_path: Path) -> None:
    for entries in ({"1.png": image(), "2.png": image()}, {"all/1.png": image(), "all/2.png": image()}):
        found = convert(zipped(tmp_path / "a.zip", entries), "images")
        assert sorted(found) == ["classes", "x"]


@pytest.mark.parametrize(
    ("entries", "code", "words"),
    [
        ({"a/1.png": image(), "b/2.png": image(6, 7)}, "dataset.size_differs", "a model whose preprocessing"),
        ({"a/1.png": image(), "b/odd.png": b"no image"}, "dataset.bad_image", "b/odd.png"),
        ({"a/1.png": image(), "b/odd.png": image()[:-30]}, "dataset.bad_image", "b/odd.png"),
        ({"a/1.png": image(), "b/odd.gif": image(kind="GIF")}, "dataset.bad_image", "b/odd.gif"),
        ({"a/1.png": image(), "b/readme.txt": b"read me"}, "dataset.bad_image", "b/readme.txt"),
        ({"a/1.png": image(), "b/bomb.png": bomb_png()}, "dataset.bomb", "b/bomb.png"),
        ({"a/1.png": image(), "../2.png": image()}, "dataset.malformed", "leads out"),
        ({"a/1.png": image(), "/b/2.png": image()}, "dataset.malformed", "leads out"),
        ({"a/1.png": image(), "b\\..\\2.png": image()}, "dataset.malformed", "leads out"),
        ({"a/1.png": image(), "2.png": image()}, "dataset.malformed", "folders"),
        ({"a/b/1.png": image(), "c/2.png": image()}, "dataset.malformed", "folders"),
        ({".hidden/1.png": image()}, "dataset.malformed", "no images"),
        ({}, "dataset.malformed", "no images"),
        ({"a/big.bmp": bytes(65 * 2**20)}, "dataset.bomb", "times as many"),
    ],
)
def test_images_when_something_is_wrong_then_the_file_is_named(
    tmp_path: Path, entries: dict[str, bytes], code: str, words: str
) -> None:
    answer = convert(zipped(tmp_path / "a.zip", entries), "images")
    assert (answer["code"], words in answer["message"]) == (code, True), answer


def test_images_when_a_folder_is_no_class_then_is_refused(tmp_path: Path) -> None:
    path = zipped(tmp_path / "a.zip", {"cat/1.png": image(), "cow/2.png": image()})
    assert convert(path, "images", class_labels=["cat", "dog"])["code"] == "dataset.unknown_class"


def test_images_when_one_cannot_be_prepared_then_it_is_named(tmp_path: Path) -> None:
    path = zipped(tmp_path / "a.zip", {"1.png": image(5, 7)})
    steps = [{"op": "crop", "width": 99, "height": 99}]
    answer = convert(path, "images", preprocessing=steps, inputs=PREPARED["inputs"])
    assert (answer["code"], "1.png" in answer["message"]) == ("dataset.bad_image", True)
