"""A field for a file, which is sent as soon as it is chosen; the dashboard passes it on to the controller."""

from typing import Final

from nicegui import events, ui

from dashboard.wording import Unreadable

MAX_BYTES: Final = 5 * 2**30  # as much as a controller takes at most; its own limit may be lower
_SHA256_LENGTH: Final = 64


class FileField(ui.element, component="file_field.js"):
    """The field. `accept`: the endings that the browser offers first, `.onnx,.tflite`."""

    def __init__(self, label: str, *, test_id: str, accept: str = "") -> None:
        super().__init__()
        self._sha256 = ""
        self._label = label
        self._turn = 0
        self._props["label"] = label
        self._props["testId"] = test_id
        self._props["accept"] = accept
        self._props["most"] = MAX_BYTES
        self._props["turn"] = 0
        self.on("sent", self._take)

    @property
    def sha256(self) -> str:
        """The digest of what was sent; empty before."""
        return self._sha256

    def value(self) -> str:
        """Give the digest.

        Raises:
            Unreadable: Nothing was sent yet.
        """
        if not self._sha256:
            raise Unreadable(f"{self._label}: choose a file, and wait until it is stored.")
        return self._sha256

    def accept(self, endings: str) -> None:
        """Offer files with other endings."""
        self._props["accept"] = endings
        self.update()

    def clear_file(self) -> None:
        """Forget what was chosen."""
        self._sha256 = ""
        self._turn += 1
        self._props["turn"] = self._turn
        self.update()

    def _take(self, event: events.GenericEventArguments) -> None:
        told = event.args
        self._sha256 = told if isinstance(told, str) and len(told) == _SHA256_LENGTH else ""
