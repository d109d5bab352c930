"""A virtual device's journal: in memory, with the interface of the real one; the fleet's store keeps copies of it.

What a kill takes of it is what happened since the last copy (`store.COPY_INTERVAL_S`): the device then is as one whose
journal was restored from a moment before, which the protocol mends at the next birth.
"""

from collections.abc import Callable

import msgspec

from agent.journal import MAX_OUTBOX, MAX_OUTCOMES, HeldExecution, HeldSlot, Journal, OutboxMessage, Outcome
from shoal.wire.executions import Offer


class Image(msgspec.Struct, kw_only=True):
    """All that a journal holds."""

    kept: dict[str, bytes] = {}
    last_message: int = 0
    outbox: list[OutboxMessage] = []
    slots: dict[str, list[HeldSlot]] = {}
    executions: dict[str, tuple[bytes, bytes | None]] = {}


_encoder = msgspec.msgpack.Encoder()
_decoder = msgspec.msgpack.Decoder(Image)
_offer = msgspec.json.Decoder(Offer)
_outcome = msgspec.json.Decoder(Outcome)


class VirtualJournal(Journal):
    """The journal in memory."""

    def __init__(self, image: bytes | None, changed: Callable[[], None]) -> None:
        self._image = Image() if image is None else _decoder.decode(image)
        self._changed = changed

    def image(self) -> bytes:
        """Give a copy."""
        return _encoder.encode(self._image)

    def close(self) -> None:
        """Nothing is open."""

    def begin_session(self, floor: int) -> int:
        """Give the number of a new session, one more than any before and above `floor`."""
        session = max(int(self.get("session") or b"0"), floor) + 1
        self.put("session", str(session).encode())
        return session

    def skip_sessions(self, count: int) -> None:
        """Leave numbers out: those that were used after the last copy."""
        self.put("session", str(int(self.get("session") or b"0") + count).encode())

    def get(self, key: str) -> bytes | None:
        """Give a kept value."""
        return self._image.kept.get(key)

    def put(self, key: str, value: bytes) -> None:
        """Keep a value."""
        self._image.kept[key] = value
        self._changed()

    def remove(self, key: str) -> None:
        """Drop a kept value."""
        self._image.kept.pop(key, None)
        self._changed()

    def add_message(self, channel: str, payload: bytes) -> None:
        """Keep a sealed message until the broker has it; past the bound the oldest goes."""
        image = self._image
        image.last_message += 1
        image.outbox.append(OutboxMessage(image.last_message, channel, payload))
        del image.outbox[:-MAX_OUTBOX]
        self._changed()

    def messages(self, after: int = 0, limit: int = 100) -> list[OutboxMessage]:
        """Give the oldest unacknowledged messages with an id above `after`."""
        return [message for message in self._image.outbox if message.id > after][:limit]

    def forget_message(self, message_id: int) -> None:
        """Drop a message that the broker has acknowledged."""
        self._image.outbox = [message for message in self._image.outbox if message.id != message_id]
        self._changed()

    def slots(self, model: str | None = None) -> list[HeldSlot]:
        """Give the slots, of all models or of one."""
        chosen = sorted(self._image.slots) if model is None else [model]
        return [slot for name in chosen for slot in self._image.slots.get(name, [])]

    def set_slots(self, model: str, slots: list[HeldSlot]) -> None:
        """Replace a model's slots, all at once; none drops the model."""
        self._image.slots.pop(model, None)
        if slots:
            self._image.slots[model] = sorted(slots, key=lambda slot: slot.slot)
        self._changed()

    def take_offer(self, offer: Offer) -> None:
        """Keep an offer as open; an earlier attempt of the same execution goes."""
        self._mark(offer)
        self._image.executions.pop(offer.execution_id, None)
        self._image.executions[offer.execution_id] = (msgspec.json.encode(offer), None)
        self._changed()

    def pass_over(self, offer: Offer) -> None:
        """Note that an offer was seen and not taken, so that it cannot be taken later."""
        self._mark(offer)

    def execution(self, execution_id: str) -> HeldExecution | None:
        """Give an execution, None for one that was never offered or is forgotten."""
        held = self._image.executions.get(execution_id)
        if held is None:
            return None
        offer, outcome = held
        return HeldExecution(_offer.decode(offer), None if outcome is None else _outcome.decode(outcome))

    def open_offers(self) -> list[Offer]:
        """Give the offers that are not done, oldest first."""
        return [_offer.decode(offer) for offer, outcome in self._image.executions.values() if outcome is None]

    def end_execution(self, execution_id: str, outcome: Outcome) -> None:
        """Keep how an execution ended, to say it again when asked; past the bound the oldest ended ones go."""
        executions = self._image.executions
        if execution_id in executions:
            executions[execution_id] = (executions[execution_id][0], msgspec.json.encode(outcome))
        ended = [name for name, (_, how) in executions.items() if how is not None]
        for name in ended[:-MAX_OUTCOMES]:
            del executions[name]
        self._changed()

    def forget_execution(self, execution_id: str) -> None:
        """Drop an execution that the controller canceled."""
        self._image.executions.pop(execution_id, None)
        self._changed()

    def _put(self, key: str, value: bytes) -> None:
        self.put(key, value)
