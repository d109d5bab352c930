"""Ready-made files are told by their bytes, and what is no good is refused by name."""

import io
import os
import struct
import zipfile
from pathlib import Path

import onnx
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from controller.artifacts import formats
from controller.errors import Invalid
from tests.models import linear_onnx

FORMATS = ("onnx", "tflite", "torchscript", "ptl", "pte", "openvino", "eim")
XML = '<?xml version="1.0"?><net name="n" version="11"></net>'


def zipped(entries: dict[str, bytes], compression: int = zipfile.ZIP_STORED) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", compression) as made:
        for name, data in entries.items():
            made.writestr(name, data)
    return buffer.getvalue()


def scripted(*, is_lite: bool = False) -> bytes:
    script = torch.jit.trace(nn.Linear(4, 3), torch.zeros(2, 4))
    if is_lite:
        return bytes(script._save_to_buffer_for_lite_interpreter())
    buffer = io.BytesIO()
    torch.jit.save(script, buffer)
    return buffer.getvalue()


def saved_by_torch() -> bytes:
    buffer = io.BytesIO()
    torch.save(nn.Linear(4, 3).state_dict(), buffer)
    return buffer.getvalue()


def tflite() -> bytes:
    return struct.pack("<I4s", 16, b"TFL3") + bytes(64)


def pte(*, data_bytes: int = 32) -> bytes:
    head = struct.pack("<I4s4sIQQQ", 48, b"ET12", b"eh00", 32, 128, 128, data_bytes)
    return head.ljust(128, b"\0") + bytes(data_bytes)


def refused(data: bytes, format: str) -> str:
    with pytest.raises(Invalid) as caught:
        formats.check_file(io.BytesIO(data), len(data), format)
    return caught.value.code


@pytest.fixture(scope="module")
def good() -> dict[str, bytes]:
    return {
        "onnx": linear_onnx(),
        "tflite": tflite(),
        "torchscript": scripted(),
        "ptl": scripted(is_lite=True),
        "pte": pte(),
        "openvino": zipped({"model.xml": XML.encode(), "model.bin": b"\0" * 64}),
        "eim": Path(os.path.realpath("/bin/true")).read_bytes(),
    }


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_file_when_it_is_what_was_said_then_passes(good: dict[str, bytes]) -> None:
    for format, data in good.items():
        formats.check_file(io.BytesIO(data), len(data), format)


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_file_when_of_another_format_then_is_refused_and_told_what_it_is(good: dict[str, bytes]) -> None:
    for format in ("onnx", "tflite", "pte", "eim"):
        for other in FORMATS:
            data = good[other]
            wrong = "" if other == format else refused(data, format)
            assert wrong in ("", "model.wrong_format", "model.truncated")
    with pytest.raises(Invalid, match="looks like TensorFlow Lite"):
        formats.check_file(io.BytesIO(good["tflite"]), len(good["tflite"]), "onnx")
    program = zipped({"p/archive_format": b"pt2", "p/models/model.json": b"{}"})
    with pytest.raises(Invalid, match="looks like an exported program"):
        formats.check_file(io.BytesIO(program), len(program), "onnx")


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_file_when_cut_off_then_says_so(good: dict[str, bytes]) -> None:
    for format in ("onnx", "torchscript", "ptl", "pte", "openvino", "eim"):
        data = good[format]
        assert refused(data[: len(data) - 16], format) == "model.truncated", format
    onnx_file = good["onnx"]
    found = {refused(onnx_file[:end], "onnx") for end in range(1, len(onnx_file))}
    assert found <= {"model.truncated", "model.wrong_format"}


@pytest.mark.parametrize("data", [b"\x80\x04N.", b"\x80\x02\x8a\nl\xfc\x9cF"])
@pytest.mark.parametrize("format", FORMATS)
def test_pickle_when_uploaded_as_anything_then_is_refused_as_such(data: bytes, format: str) -> None:
    assert refused(data, format) == "model.pickled"


@pytest.mark.parametrize("format", ["torchscript", "ptl"])
def test_torch_save_when_uploaded_as_script_then_is_told_from_one(format: str) -> None:
    assert refused(saved_by_torch(), format) == "model.pickled"


@pytest.mark.parametrize(
    ("data", "code"),
    [
        (zipped({"model.xml": XML.encode()}), "model.bad_archive"),
        (zipped({"model.xml": XML.encode(), "model.bin": b"", "more": b""}), "model.bad_archive"),
        (zipped({"model.xml": XML.encode(), "model.bin": bytes(9)}, zipfile.ZIP_DEFLATED), "model.bad_archive"),
        (zipped({"model.xml": b"no xml", "model.bin": b""}), "model.bad_archive"),
        (zipped({"a/model.xml": XML.encode(), "a/model.bin": b""}), "model.bad_archive"),
        (zipped({"other": b""}), "model.wrong_format"),
    ],
)
def test_openvino_when_its_zip_is_odd_then_is_refused(data: bytes, code: str) -> None:
    assert refused(data, "openvino") == code


def test_archive_when_a_bomb_then_is_refused_by_what_it_would_unpack_to() -> None:
    entries = {"m/constants.pkl": b"", "m/code/x.py": bytes(200 * 1024**2)}
    assert refused(zipped(entries, zipfile.ZIP_DEFLATED), "torchscript") == "model.bad_archive"


def test_pte_when_its_segments_are_missing_then_was_cut_off() -> None:
    whole = pte(data_bytes=4096)
    assert refused(whole[:2048], "pte") == "model.truncated"


def test_onnx_when_it_has_metadata_and_functions_then_passes() -> None:
    model = onnx.load_from_string(linear_onnx())
    onnx.helper.set_model_props(model, {"made": "here"})
    model.producer_name = "someone"
    data = model.SerializeToString()
    formats.check_file(io.BytesIO(data), len(data), "onnx")


@given(st.binary(max_size=300), st.sampled_from(FORMATS))
def test_file_when_any_bytes_then_is_only_refused_by_name(data: bytes, format: str) -> None:
    try:
        formats.check_file(io.BytesIO(data), len(data), format)
    except Invalid as error:
        assert error.code.startswith("model.")
