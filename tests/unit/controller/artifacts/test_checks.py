"""What an upload must be before a row names it."""

import io
import zipfile

import pytest
from hypothesis import given
from hypothesis import strategies as st

from controller.artifacts import checks
from controller.errors import Invalid


def archive(**entries: str) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as made:
        for name, text in entries.items():
            made.writestr(name.replace("__", "/").replace("_json", ".json"), text)
    return buffer.getvalue()


def test_program_when_archive_is_complete_then_passes() -> None:
    checks.check_program(io.BytesIO(archive(p__archive_format="pt2", p__models__model_json="{}")), "train")


@pytest.mark.parametrize(
    "data",
    [
        b"",
        archive(),
        archive(p__archive_format="pt2"),
        archive(p__archive_format="jit", p__models__model_json="{}"),
        archive(p__archive_format="pt2", q__models__model_json="{}"),
        archive(p__archive_format="p" * 10_000_000, p__models__model_json="{}"),
    ],
)
def test_program_when_no_export_then_is_refused(data: bytes) -> None:
    with pytest.raises(Invalid) as caught:
        checks.check_program(io.BytesIO(data), "train")
    assert caught.value.code == "model.not_a_program"


@given(st.binary(max_size=200), st.integers(0, 200))
def test_checks_when_given_any_bytes_then_only_refuse(data: bytes, cut: int) -> None:
    good = archive(p__archive_format="pt2", p__models__model_json="{}")
    for check in (checks.check_weights, lambda d: checks.check_program(io.BytesIO(d), "train")):
        for candidate in (data, good[:cut] + data):
            with pytest.raises(Invalid):
                check(candidate)
