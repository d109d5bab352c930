"""A list of what happened, newest first."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass

from nicegui import ui

from dashboard.components.badge import Tone


@dataclass(frozen=True, kw_only=True)
class Entry:
    """Something that happened.

    Attributes:
        at: ISO 8601; shown in the time zone of who looks.
        href: The page of what it is about; empty for none.
    """

    id: str
    at: str
    name: str
    words: str
    icon: str
    tone: Tone
    href: str = ""


class Timeline(ui.element, component="timeline.js"):
    """The list."""

    def __init__(self, *, label: str, test_id: str) -> None:
        super().__init__()
        self._props["label"] = label
        self._props["testId"] = test_id
        self._props["entries"] = []

    def show(self, entries: Sequence[Entry]) -> None:
        """Show entries; what is shown already is not sent again."""
        drawn = [asdict(entry) for entry in entries]
        if drawn != self._props["entries"]:
            self._props["entries"] = drawn
            self.update()
