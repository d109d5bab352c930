"""Choosing devices by a selector, wherever a form or a table asks for them."""

from collections.abc import Awaitable, Callable, Sequence
from typing import Final

from dashboard import format
from dashboard.components.selector_box import Meaning, Problem, SelectorBox
from dashboard.page import Ended, Page
from dashboard.wording import Unreadable
from shoal.client import ApiError, Unreachable
from shoal.schemas.groups import SelectorCheck, SelectorField, SelectorRequest

_PLACEHOLDER: Final = 'labels.site == "lyon"'
# They are right in every fleet: labels and groups that are not there would be refused.
EXAMPLES: Final = (
    "facts.memory_bytes >= 2GiB and not online",
    'facts.isa has "dotprod"',
    'facts.accelerators.kind has "gpu"',
    "state in (suspended, retired)",
    "flapping or not online",
)
_EXCERPT: Final = 60  # characters at both sides of a mistake


class SelectorInput:
    """A selector box that asks the controller.

    Args:
        is_search: It may be empty: then it narrows nothing.
        on_settled: Awaited with a selector that means something, after somebody typed one.
    """

    def __init__(
        self,
        page: Page,
        *,
        label: str = "Devices",
        value: str = "all",
        test_id: str = "selector",
        is_search: bool = False,
        on_settled: Callable[[str], Awaitable[None]] | None = None,
    ) -> None:
        self._page = page
        self._is_search = is_search
        self._known: Sequence[SelectorField] | None = None
        self.box = SelectorBox(
            label=label,
            test_id=test_id,
            value=value,
            placeholder=f"Such as {_PLACEHOLDER}" if is_search else f"all, or {_PLACEHOLDER}",
            icon="search" if is_search else "filter_alt",
            is_captioned=not is_search,
            fields=self._fields,
            means=self._means,
            on_settled=on_settled,
        )

    @property
    def text(self) -> str:
        """What stands there."""
        return self.box.text.strip()

    def value(self) -> str:
        """Give the selector.

        Raises:
            Unreadable: There is none, or it is known to be wrong.
        """
        if not self.text:
            raise Unreadable("Say which devices: all, or a selector.")
        if self.box.problem is not None:
            raise Unreadable(f"Devices: {self.box.problem.message}")
        return self.text

    def put(self, text: str) -> None:
        """Replace what stands there."""
        self.box.put(text)

    async def _fields(self) -> Sequence[SelectorField]:
        if self._known is None:
            try:
                self._known = (await self._page.ask(lambda client: client.selectors.fields())).items
            except Ended:
                self._page.to_login()
                return ()
            except (ApiError, Unreachable):
                return ()  # it is asked again at the next key, and the page says who is away
        return self._known

    async def _means(self, text: str) -> Meaning:
        wanted = text.strip()
        if not wanted:
            return Meaning(words="" if self._is_search else "Say which devices.")
        try:
            found = await self._page.ask(lambda client: client.selectors.check(SelectorRequest(selector=wanted)))
        except Ended:
            self._page.to_login()
            return Meaning()
        except Unreachable:
            return Meaning(words="The controller does not answer: what this means is not known.")
        except ApiError as error:
            return Meaning(problem=problem(error, text))
        return Meaning(words=counted(found))


def counted(found: SelectorCheck) -> str:
    """Say how many devices are meant."""
    noun = "device" if found.devices == 1 else "devices"
    if found.devices == 0:
        return "No device is like that now."
    return f"{format.count(found.devices)} {noun}, {format.count(found.active)} active"


def problem(error: ApiError, text: str) -> Problem:
    """Give what is wrong with a selector, and where."""
    found = next((one for one in error.errors if one.get("column") is not None), None)
    if found is None:
        return Problem(message=str(error))
    # Columns count from 1, and in what was sent: without the spaces around it.
    begin = int(found["column"]) - 1 + len(text) - len(text.lstrip())
    excerpt, caret = pointed(text, begin)
    suggestion = str(found.get("suggestion") or "")
    end = begin + int(found.get("length") or 1)
    return Problem(
        message=str(found.get("message") or error),
        excerpt=excerpt,
        caret=caret,
        suggestion=suggestion,
        begin=begin,
        end=end,
    )


def pointed(text: str, at: int) -> tuple[str, str]:
    """Give the line of a text around a place, and a line with a caret under the place.

    >>> pointed("labels.site = 3", 12)
    ('labels.site = 3', '            ^')
    >>> pointed("a" * 100, 90)[0][:4], len(pointed("a" * 100, 90)[0])
    ('…aaa', 71)
    """
    flat = "".join(" " if letter.isspace() else letter for letter in text)
    first, last = max(at - _EXCERPT, 0), at + _EXCERPT
    before, after = "…" if first else "", "…" if last < len(flat) else ""
    return f"{before}{flat[first:last]}{after}", " " * (len(before) + at - first) + "^"
