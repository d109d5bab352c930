"""What a selector can ask for: the facts as the wire declares them, labels, and what the controller knows of a device.

Facts need no list here: their names and types are read from `shoal.wire.devices.Facts`, so a new fact can be selected
as soon as it is declared. A field may hold several values (a list of instruction sets); all that is compared is text,
a number or a boolean. Pure.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from msgspec import inspect

from controller.devices.lifecycle import DeviceState
from shoal.wire.devices import Facts

FACTS: Final = "facts"
LABELS: Final = "labels"
GROUP: Final = "group"
SERVES: Final = "serves"


class Kind(StrEnum):
    """What one value of a field is."""

    TEXT = "text"
    NUMBER = "number"
    BOOLEAN = "boolean"


class Shape(StrEnum):
    """How many values a field has, and how they are asked for."""

    ONE = "one"
    LIST = "list"  # `has` asks for one of them
    MAP = "map"  # `has` asks for a name, brackets for the value under a name


@dataclass(frozen=True, kw_only=True)
class Field:
    """Something that a selector can ask for.

    Attributes:
        name: As it is written, without a key: `facts.memory_bytes`, `labels`.
        kind: Of its values; of a map: of the values under its names.
        words: The only values that there are; written without quotes.
    """

    name: str
    kind: Kind
    shape: Shape = Shape.ONE
    words: tuple[str, ...] = ()

    @property
    def root(self) -> str:
        """The first part of its name: what has to change for its values to change."""
        return self.name.partition(".")[0]


def _fields_of(known: inspect.Type, name: str, *, is_many: bool = False) -> Iterator[Field]:
    shape = Shape.LIST if is_many else Shape.ONE
    match known:
        case inspect.Metadata():
            yield from _fields_of(known.type, name, is_many=is_many)
        case inspect.UnionType():
            (present,) = (one for one in known.types if not isinstance(one, inspect.NoneType))
            yield from _fields_of(present, name, is_many=is_many)
        case inspect.StrType():
            yield Field(name=name, kind=Kind.TEXT, shape=shape)
        case inspect.BoolType():
            yield Field(name=name, kind=Kind.BOOLEAN, shape=shape)
        case inspect.IntType() | inspect.FloatType():
            yield Field(name=name, kind=Kind.NUMBER, shape=shape)
        case inspect.ListType():
            yield from _fields_of(known.item_type, name, is_many=True)
        case inspect.DictType():
            for values in _fields_of(known.value_type, name):
                yield Field(name=name, kind=values.kind, shape=Shape.MAP)
        case inspect.StructType():
            for inner in known.fields:
                yield from _fields_of(inner.type, f"{name}.{inner.encode_name}", is_many=is_many)
        case _:
            raise TypeError(f"{name} has a type that no selector can ask for: {known}")


FIELDS: Final[dict[str, Field]] = {
    field.name: field
    for field in (
        Field(name="id", kind=Kind.TEXT),
        Field(name="state", kind=Kind.TEXT, words=tuple(state.value for state in DeviceState)),
        Field(name="online", kind=Kind.BOOLEAN),
        Field(name="flapping", kind=Kind.BOOLEAN),
        Field(name="agent_version", kind=Kind.TEXT),
        Field(name=LABELS, kind=Kind.TEXT, shape=Shape.MAP),
        Field(name=GROUP, kind=Kind.TEXT),
        Field(name=SERVES, kind=Kind.NUMBER, shape=Shape.MAP),
        *_fields_of(inspect.type_info(Facts), FACTS),
    )
}

# Said by `GET /v1/selectors/fields`; a unit test asks for one for each field.
MEANINGS: Final[dict[str, str]] = {
    "id": "Id of the device.",
    "state": "Where it stands with its operator.",
    "online": "It has a session now.",
    "flapping": "It comes and goes too often.",
    "agent_version": "Of the agent, as its latest session said.",
    "labels": "What operators call it.",
    "group": "Name of a group that it is in.",
    "serves": "Model to the version that it serves, as it reported.",
    "facts.hostname": "Host name.",
    "facts.machine": "Processor architecture, such as aarch64.",
    "facts.system": "Operating system.",
    "facts.python": "Version of Python.",
    "facts.agent_version": "Of the agent that read the facts.",
    "facts.runtimes": "Installed inference runtimes and their versions.",
    "facts.runtime_options": "What its runtimes use, such as openvino.device.",
    "facts.can_train": "It can learn.",
    "facts.hardware_id": "Digest of what identifies the machine.",
    "facts.board": "As the device tree or the firmware names it.",
    "facts.cpu_model": "Model of the processor.",
    "facts.cpu_cores": "Cores of the processor.",
    "facts.isa": "Instruction sets that matter to neural networks, such as dotprod.",
    "facts.memory_bytes": "Main memory.",
    "facts.disk_bytes": "Of the file system that holds the artifact store.",
    "facts.disk_free_bytes": "Free there.",
    "facts.accelerators.kind": "Kinds of its accelerators: gpu, npu, tpu, vpu.",
    "facts.accelerators.vendor": "Makers of its accelerators, lower case.",
    "facts.accelerators.name": "Names of its accelerators.",
    "facts.accelerators.found_by": "How its accelerators are known to be there.",
    "facts.accelerators.memory_bytes": "Memory of its accelerators.",
    "facts.power_source": "mains or battery.",
    "facts.battery_ratio": "Charge of the battery, 0 to 1.",
    "facts.energy_counters": "What can measure energy.",
    "facts.temperatures_celsius": "Sensor to degrees, when the facts were read.",
    "facts.interfaces.name": "Names of its network interfaces.",
    "facts.interfaces.kind": "ethernet, wifi, cellular, other.",
    "facts.interfaces.is_up": "Whether its network interfaces are up.",
    "facts.interfaces.is_metered": "Whether their traffic costs money.",
    "facts.interfaces.speed_bits_per_s": "Their speed, in bits a second.",
    "facts.is_metered": "The way to the controller costs money.",
    "facts.time_zone": "Such as Europe/Paris.",
    "facts.round_trip_s": "To the controller, in seconds.",
    "facts.download_bytes_per_s": "From the controller, measured.",
    "facts.measured.measured_at": "When the benchmark ran, ISO 8601.",
    "facts.measured.fp32_macs_per_s": "Multiply-accumulates a second in fp32, one core.",
    "facts.measured.int8_macs_per_s": "Multiply-accumulates a second in int8, one core.",
    "facts.measured.memory_bytes_per_s": "Copied in main memory, one core.",
    "facts.measured.storage_bytes_per_s": "Written to the artifact store and synced.",
    "facts.inference_url": "Where it answers the Open Inference Protocol.",
    "facts.ip_addresses": "Its addresses.",
}
