"""A text box for selectors: it completes what is typed, says what is meant, and shows where a mistake is.

Data in, view out: what can stand there and what it means is told by the callables that it is given.
"""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Final

from nicegui import events, ui

from dashboard.completion import complete
from shoal.schemas.groups import SelectorField

LIMIT: Final = 16_384  # characters, as the API takes


@dataclass(frozen=True, kw_only=True)
class Problem:
    """What is wrong with a selector.

    Attributes:
        excerpt, caret: What was typed around the mistake, and a line that points at it; empty where it has no place.
        suggestion: What could stand there instead of what is between `begin` and `end`; empty for none.
    """

    message: str
    excerpt: str = ""
    caret: str = ""
    suggestion: str = ""
    begin: int = 0
    end: int = 0


@dataclass(frozen=True, kw_only=True)
class Meaning:
    """What a selector means, in words, or what is wrong with it."""

    words: str = ""
    problem: Problem | None = None


class SelectorBox(ui.element, component="selector_box.js"):
    """The box.

    Args:
        fields: Gives what can be asked for; awaited when somebody begins to type.
        means: Gives what a selector means; awaited when somebody rests.
        on_settled: Awaited with a selector that means something, after it was looked at.
    """

    def __init__(
        self,
        *,
        label: str,
        test_id: str,
        value: str,
        placeholder: str,
        icon: str,
        is_captioned: bool,
        fields: Callable[[], Awaitable[Sequence[SelectorField]]],
        means: Callable[[str], Awaitable[Meaning]],
        on_settled: Callable[[str], Awaitable[None]] | None = None,
    ) -> None:
        super().__init__()
        self.text = value
        self.problem: Problem | None = None
        self._fields = fields
        self._means = means
        self._on_settled = on_settled
        self._turn = 0
        self._props["label"] = label
        self._props["caption"] = label if is_captioned else ""
        self._props["testId"] = test_id
        self._props["placeholder"] = placeholder
        self._props["icon"] = icon
        self._props["limit"] = LIMIT
        self._props["given"] = {"text": value, "turn": 0}
        self.on("typed", self._complete)
        self.on("paused", self._look)
        self.on("submitted", self._look)

    def put(self, text: str) -> None:
        """Replace what stands there."""
        self._turn += 1
        self.text = text
        self._props["given"] = {"text": text, "turn": self._turn}
        self._tell(Meaning())

    async def look(self) -> None:
        """Find out what is meant now."""
        text = self.text
        meaning = await self._means(text)
        if text != self.text:
            return  # somebody typed on, and what that means is being asked already
        self._tell(meaning)
        if meaning.problem is None and self._on_settled is not None:
            await self._on_settled(text)

    def _tell(self, meaning: Meaning) -> None:
        self.problem = meaning.problem
        self._props["status"] = meaning.words
        self._props["problem"] = None if meaning.problem is None else asdict(meaning.problem)
        self.update()

    async def _complete(self, event: events.GenericEventArguments) -> None:
        text, cursor = str(event.args["text"])[:LIMIT], int(event.args["cursor"])
        self.text = text
        found = complete(text, cursor, await self._fields())
        self._props["completion"] = {"turn": event.args["turn"], **asdict(found)}
        self.update()

    async def _look(self, event: events.GenericEventArguments) -> None:
        self.text = str(event.args)[:LIMIT]
        await self.look()
