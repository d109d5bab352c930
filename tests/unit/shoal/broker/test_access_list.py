"""The access list as text: only the block between the marks changes, and only devices' ids get into it."""

import pytest

from shoal.access_list import access_list, denied_in, with_denied

FIRST, SECOND = "d-aaaaaaaaaaaaaaaa", "d-bbbbbbbbbbbbbbbb"


def test_list_when_devices_are_denied_and_let_in_again_then_is_as_before() -> None:
    text = access_list(2) + "user auditor\ntopic read shoal/1/#\n"
    denying = with_denied(text, [SECOND, FIRST, FIRST])
    assert denied_in(denying) == [FIRST, SECOND]
    assert denying.endswith("user auditor\ntopic read shoal/1/#\n")
    assert with_denied(denying, []) == text


@pytest.mark.parametrize("name", ["controller-1", f"{FIRST}\ntopic readwrite #", f"{FIRST} ", "+", ""])
def test_list_when_a_denied_name_is_no_devices_then_is_refused(name: str) -> None:
    with pytest.raises(ValueError, match="no device's id"):
        with_denied(access_list(1), [FIRST, name])


@pytest.mark.parametrize(
    "text",
    [
        "",
        "user controller-1\ntopic readwrite #\n",
        access_list(1) + access_list(1),
        access_list(1).replace("# End of the denied devices.", ""),
        access_list(1).replace("# Denied devices, written by `shoal broker sync`:", ""),
    ],
)
def test_list_when_its_marks_are_damaged_then_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="not whole"):
        with_denied(text, [FIRST])
