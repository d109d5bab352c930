"""Tables.

A cell is a text, or one of `link`, `state`, `progress`, `mono`, `actions`, which are plain dicts as they travel to the
browser.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final

from nicegui import events, ui

from dashboard.components.badge import Tone, tone_of
from dashboard.components.layout import empty

Cell = str | dict[str, Any]
_CELL: Final = """
<q-td :props="props">
  <span v-if="props.value === undefined || props.value === null || props.value === ''" class="faint">–</span>
  <template v-else-if="typeof props.value === 'object'">
    <a v-if="props.value.href" :href="props.value.href" :title="props.value.title"
       :class="props.value.mono ? 'mono' : ''">{{ props.value.text }}</a>
    <span v-else-if="props.value.tone" :class="'badge ' + props.value.tone">{{ props.value.text }}</span>
    <span v-else-if="props.value.ratio !== undefined" class="meter">
      <span class="track"><span :class="'fill ' + props.value.level"
            :style="{width: (props.value.ratio * 100) + '%'}"></span></span>
      <span class="share">{{ props.value.text }}</span>
    </span>
    <span v-else-if="props.value.badges" class="badges">
      <a v-for="one in props.value.badges" :key="one.text" :class="'badge ' + one.tone" :href="one.href || undefined"
         :title="one.title">{{ one.text }}</a>
    </span>
    <span v-else-if="props.value.actions" class="row-actions">
      <q-btn v-for="one in props.value.actions" :key="one.text" flat dense no-caps size="12px" :label="one.text"
             :class="one.grave ? 'danger' : 'quiet'" :aria-label="one.text + ' ' + (props.value.of || props.row.id)"
             @click="() => $parent.$emit('act', [props.row.id, one.text])" />
    </span>
    <span v-else :class="props.value.mono ? 'mono' : ''" :title="props.value.title">{{ props.value.text }}</span>
    <div v-if="props.value.note" class="note" :title="props.value.note">{{ props.value.note }}</div>
  </template>
  <span v-else>{{ props.value }}</span>
</q-td>
"""


@dataclass(frozen=True, kw_only=True)
class Column:
    """A column.

    Attributes:
        is_number: Whether it is aligned right.
        is_long: Whether its text is wrapped; others stay on one line.
    """

    name: str
    label: str
    is_number: bool = False
    is_long: bool = False


def link(text: str, href: str, *, note: str = "", mono: bool = False, title: str = "") -> Cell:
    """A cell that leads somewhere."""
    return {"text": text, "href": href, "note": note, "mono": mono, "title": title}


def state(word: str, *, note: str = "") -> Cell:
    """A cell with a state's badge; `note` stands below it."""
    return {"text": word, "tone": tone_of(word).value, "note": note}


def mono(text: str, *, title: str = "", note: str = "") -> Cell:
    """A cell with an id or a digest."""
    return {"text": text, "mono": True, "title": title, "note": note}


def progress(ratio: float, text: str = "", *, of: str = "") -> Cell:
    """A cell with a bar, 0..1; `of`: the state of what goes on, as a bar that stands still has another colour."""
    shown = min(max(ratio, 0.0), 1.0)
    tone = tone_of(of)
    level = tone if tone in (Tone.BAD, Tone.OFF) else Tone.GOOD if ratio >= 1 else Tone.BUSY
    return {"ratio": shown, "text": text or f"{shown:.0%}", "level": level.value}


def share(ratio: float, text: str) -> Cell:
    """A cell with a bar that says how much there is, and not how far something came."""
    return {"ratio": min(max(ratio, 0.0), 1.0), "text": text, "level": Tone.GOOD.value}


def clipped(text: str, note: str = "") -> Cell:
    """A cell whose text may be too long for it; it is whole where the pointer rests."""
    return {"text": text, "title": text, "note": note} if text or note else ""


def noted(text: str, note: str) -> Cell:
    """A cell of two lines."""
    return {"text": text, "note": note}


def states(*words: str) -> Cell:
    """A cell with the badges of several states."""
    return {"badges": [{"text": word, "tone": tone_of(word).value} for word in words]} if words else ""


def tags(names: Sequence[str], address: Callable[[str], str]) -> Cell:
    """A cell with names that each lead somewhere."""
    return {"badges": [{"text": name, "tone": "tag", "href": address(name)} for name in names]} if names else ""


def action(text: str, *, of: str = "") -> Cell:
    """A cell with a button for something grave; `on_act` gets the row's `id`. `of`: what the row is about, in words."""
    return {"actions": [{"text": text, "grave": True}], "of": of}


def actions(*texts: str, grave: str = "", of: str = "") -> Cell:
    """A cell with several buttons, the grave one last; `on_act` gets the row's `id` and the button's text."""
    found = [{"text": text, "grave": False} for text in texts]
    return {"actions": [*found, *([{"text": grave, "grave": True}] if grave else [])], "of": of}


class Table:
    """A table of rows that each have an `id`. `on_act`: called with a row's id and the text of its button."""

    def __init__(
        self,
        columns: Sequence[Column],
        *,
        nothing: str,
        test_id: str = "",
        on_act: Callable[[str, str], Any] | None = None,
    ) -> None:
        self._table = ui.table(
            columns=[
                {
                    "name": column.name,
                    "label": column.label,
                    "field": column.name,
                    "align": "right" if column.is_number else "left",
                    "classes": "long" if column.is_long else "",
                }
                for column in columns
            ],
            rows=[],
            row_key="id",
        ).props("flat dense hide-bottom")
        self._table.classes("table").add_slot("body-cell", _CELL)
        if test_id:
            self._table.props(f'data-testid="{test_id}"')
        if on_act is not None:
            self._table.on("act", lambda event: on_act(*_told(event)))
        self._empty = empty(nothing)

    def show(self, rows: Sequence[dict[str, Any]]) -> None:
        """Show rows; what is shown already is not sent again."""
        if list(rows) != self._table.rows:
            self._table.rows = list(rows)
        self._table.set_visibility(bool(rows))
        self._empty.set_visibility(not rows)

    def hide(self) -> None:
        """Show nothing, as where the rows could not be read."""
        self._table.set_visibility(False)
        self._empty.set_visibility(False)


def _told(event: events.GenericEventArguments) -> tuple[str, str]:
    row_id, text = event.args
    return str(row_id), str(text)
