"""The access list of Mosquitto: who may say and hear what. Text in, text out; files are other rooms' business.

A client is known by the name in its certificate. Controllers hear all devices and speak to them, a device speaks and
hears for itself alone. Devices that may not speak at all stand in a block between two marks, which `shoal broker sync`
writes anew; all other lines are left as they are.
"""

from collections.abc import Iterable
from typing import Final

from shoal.wire import topics

_BEGIN: Final = "# Denied devices, written by `shoal broker sync`:"
_END: Final = "# End of the denied devices."


def access_list(controllers: int) -> str:
    """Give the list for `controller-1` to `controller-<controllers>` and every device; nobody is denied yet."""
    lines: list[str] = []
    for number in range(1, controllers + 1):
        lines += [
            f"user controller-{number}",
            f"topic read {topics.UP_FILTER}",
            f"topic write {topics.ROOT}/+/down/+",
            f"topic write {topics.CONTROLLER_STATE}",
            "",
        ]
    lines += [
        "# Every device, by the name in its certificate.",
        f"pattern write {topics.ROOT}/%u/up/+",
        f"pattern read {topics.ROOT}/%u/down/+",
        f"pattern read {topics.CONTROLLER_STATE}",
        "",
        _BEGIN,
        _END,
        "",
    ]
    return "\n".join(lines)


def denied_in(text: str) -> list[str]:
    """Give the devices that a list denies.

    >>> denied_in(with_denied(access_list(1), ["d-abcdefghijklmno2"]))
    ['d-abcdefghijklmno2']

    Raises:
        ValueError: The marks are not there, or not once.
    """
    _, block, _ = _parts(text)
    return [line.removeprefix("user ") for line in block.splitlines() if line.startswith("user ")]


def with_denied(text: str, device_ids: Iterable[str]) -> str:
    """Give a list that denies these devices and no other.

    Raises:
        ValueError: The marks are not there, or not once; or a name is no device's, and so might be more than a name.
    """
    before, _, after = _parts(text)
    denied = sorted(set(device_ids))
    if bad := [device_id for device_id in denied if not topics.is_device_id(device_id)]:
        raise ValueError(f"{bad[0]!r} is no device's id")
    # The broker looks at a name's own lines before it looks at the patterns.
    block = "".join(f"user {device_id}\ntopic deny #\n" for device_id in denied)
    return f"{before}{_BEGIN}\n{block}{_END}\n{after}"


def _parts(text: str) -> tuple[str, str, str]:
    before, begin, rest = text.partition(f"{_BEGIN}\n")
    block, end, after = rest.partition(f"{_END}\n")
    if not begin or not end or _BEGIN in rest or _END in before + after:
        raise ValueError("the block of denied devices is not there, or not whole")
    return before, block, after
