"""What the API says in codes and names, as sentences. Pure; what it does not know is said as it came."""

from collections.abc import Mapping
from typing import Any, Final

from pydantic import ValidationError

from dashboard import format
from shoal.schemas.artifacts import Version
from shoal.schemas.devices import Device, Event
from shoal.schemas.rollouts import WaveRequest

_RUNTIME_NAMES: Final = {
    "onnxruntime": "ONNX Runtime",
    "litert": "LiteRT",
    "openvino": "OpenVINO",
    "torchscript": "TorchScript",
    "executorch": "ExecuTorch",
    "armnn": "Arm NN",
    "edgeimpulse": "Edge Impulse",
}


class Unreadable(Exception):
    """What somebody typed into a form cannot be read; the message says what is expected."""


def selector(text: str) -> str:
    """Say which devices are meant.

    >>> selector("all"), selector("online")
    ('all devices', 'online')
    """
    return "all devices" if text == "all" else text


def labels(given: Mapping[str, str], joint: str = "=") -> str:
    """Say labels in one line."""
    return ", ".join(f"{name}{joint}{value}" for name, value in sorted(given.items()))


def runtimes(device: Device) -> str:
    """Say which runtimes a device offers."""
    offered = device.facts.get("runtimes")
    return ", ".join(sorted(offered)) if isinstance(offered, dict) else ""


def health(device: Device) -> list[str]:
    """Say how a device is, in words that have a badge; nothing of one that is not meant to be there."""
    if device.state in ("pending", "retired"):
        return []
    return ["online" if device.online else "offline", *(["flapping"] if device.flapping else [])]


def following(desired: tuple[int, int], reported: tuple[int, int]) -> str:
    """Say how far a device follows its desired document.

    >>> following((1, 4), (1, 4)), following((1, 4), (1, 2)), following((1, 0), (0, 0)), following((2, 1), (1, 9))
    ('in step', '2 versions behind', 'in step', 'of an older epoch')
    """
    if desired == reported or desired[1] == 0:
        return "in step"
    if reported[1] == 0:
        return "nothing reported yet"
    if desired[0] != reported[0]:
        return "of an older epoch"
    behind = desired[1] - reported[1]
    return f"{behind} version{'s' if behind != 1 else ''} behind"


def lineage(version: Version) -> str:
    """Say where a version comes from."""
    made = version.lineage
    parent = f"from version {version.parent}" if version.parent is not None else ""
    devices = made.get("devices")
    together = f"{made.get('rounds')} rounds on {len(devices)} devices" if isinstance(devices, list) else ""
    alone = f"learned by {made['device']}" if made.get("device") else ""
    return ", ".join(part for part in (parent, together, alone, str(made.get("notes") or "")) if part)


def runtime(name: str) -> str:
    """Give a runtime's proper name.

    >>> runtime("onnxruntime"), runtime("another")
    ('ONNX Runtime', 'another')
    """
    return _RUNTIME_NAMES.get(name, name)


def command(name: str) -> str:
    """Say what a command asks for.

    >>> command("restart_agent")
    'restart agent'
    """
    return name.replace("_", " ")


def answer(result: Mapping[str, Any]) -> str:
    """Say what a device answered to a command.

    >>> answer({"agent_version": "0.2.0", "uptime_s": 7300.5, "sessions": 3})
    'agent 0.2.0, up 2 h, session 3'
    """
    uptime_s = result.get("uptime_s")
    if not isinstance(uptime_s, int | float):
        return ""
    log, measured, forgotten = (result.get(name) for name in ("log", "measured", "forgotten"))
    if isinstance(log, dict):
        return f"{format.size(log.get('size_bytes'))} of its log"
    if isinstance(measured, dict):
        return ", ".join(_rate(name, rate) for name, rate in measured.items() if isinstance(rate, int | float))
    if isinstance(forgotten, dict):
        return "deleted " + ", ".join(f"{format.size(size)} of {kind}" for kind, size in forgotten.items())
    return f"agent {result.get('agent_version')}, up {format.span(uptime_s)}, session {result.get('sessions')}"


def _rate(name: str, rate: float) -> str:
    """Say what a device measured of itself.

    >>> _rate("fp32_macs_per_s", 1.25e10), _rate("memory_bytes_per_s", 2**30)
    ('fp32 12.5 GMAC/s', 'memory 1.0 GiB/s')
    """
    if name.endswith("_macs_per_s"):
        return f"{name.removesuffix('_macs_per_s')} {rate / 1e9:.3g} GMAC/s"
    return f"{name.removesuffix('_bytes_per_s').replace('_', ' ')} {format.size(int(rate))}/s"


def noticed(evidence: Mapping[str, Any]) -> str:
    """Say what made a device learn.

    >>> noticed({"samples": 243, "population_stability_index": 0.412, "drift_detected": True})
    'drift after 243 samples'
    """
    samples = evidence.get("samples")
    return f"drift after {format.count(samples)} samples" if isinstance(samples, int) else ""


def stability(evidence: Mapping[str, Any]) -> str:
    """Say how far a device's stream had moved.

    >>> stability({"population_stability_index": 0.412})
    'PSI 0.41'
    """
    index = evidence.get("population_stability_index")
    return f"PSI {index:.2f}" if isinstance(index, int | float) else ""


def event(happened: Event) -> str:
    """Say what happened, in the past tense."""
    said = _EVENTS.get(happened.name)
    if said is None:
        return f"{happened.name.replace('.', ' ').replace('_', ' ')}: {format.tail(happened.subject)}"
    facts = {name: "" if value is None else value for name, value in happened.data.items()}
    facts["kind"] = str(facts.get("kind", "?")).replace("_", " ")
    facts["command"] = command(str(facts.get("command", "?")))
    facts["because"] = f": {facts['reason']}" if facts.get("reason") else ""
    facts["likeness"] = f" It looks like {facts['claims']}." if facts.get("claims") else ""
    facts.setdefault("device", happened.device_id or "?")
    return said.format_map(_Facts(facts, subject=format.tail(happened.subject))).strip()


def parse_waves(text: str) -> list[WaveRequest]:
    """Read waves: counts and shares, separated by commas.

    >>> [wave.model_dump(exclude_none=True) for wave in parse_waves("1, 25%, 100%")]
    [{'count': 1}, {'ratio': 0.25}, {'ratio': 1.0}]

    Raises:
        Unreadable.
    """
    waves = [_wave(part.strip()) for part in text.split(",") if part.strip()]
    if not waves:
        raise Unreadable("Say at least one wave, such as 1, 100%.")
    return waves


def parse_labels(text: str) -> dict[str, str]:
    """Read labels, one `name=value` a line.

    >>> parse_labels("site=lyon\\n\\n gpu = yes ")
    {'site': 'lyon', 'gpu': 'yes'}

    Raises:
        Unreadable.
    """
    found: dict[str, str] = {}
    for line in filter(None, (line.strip() for line in text.splitlines())):
        name, equals, value = line.partition("=")
        if not equals or not name.strip():
            raise Unreadable(f"A label is name=value, not {line[:60]}.")
        found[name.strip()] = value.strip()
    return found


def remaining(seconds: float | None) -> str:
    """Say how long something will still take.

    >>> remaining(95), remaining(4), remaining(None)
    ('about 1 min left', 'a few seconds left', '')
    """
    if seconds is None:
        return ""
    return "a few seconds left" if seconds < 10 else f"about {format.span(seconds)} left"


def invalid(error: ValidationError) -> str:
    """Say what is wrong with a request that was not sent."""
    found = error.errors(include_url=False, include_input=False)[0]
    where = " ".join(str(part).replace("_", " ") for part in found["loc"])
    return f"{where.capitalize()}: {found['msg'][:1].lower()}{found['msg'][1:]}."


class _Facts(dict[str, Any]):
    def __missing__(self, key: str) -> str:
        return "?"


_EVENTS: Final = {
    "alert.acknowledged": "Alert {rule} on {device} was acknowledged.",
    "alert.fired": "Alert {rule} fired: {message}",
    "alert.resolved": "Alert {rule} is over.",
    "broker.synced": "A broker follows revision {revision} of whom it shall shut out.",
    "certificate.renewed": "{subject} got a fresh certificate.",
    "command.created": "A command was given: {command}, {devices} devices.",
    "dataset.created": "Data set {subject} was created with {samples} samples.",
    "device.activated": "{subject} was activated again.",
    "device.approved": "{subject} was approved.",
    "device.asked_to_join": "{subject} asked to join and waits for approval.{likeness}",
    "device.cloned": "Two machines use the identity of {subject}.",
    "desired.changed": "{subject} shall follow another document.",
    "device.enrolled": "{subject} enrolled itself.",
    "device.flapping": "{subject} comes and goes too often.",
    "device.labelled": "{subject} got other labels.",
    "device.merged": "{subject} goes on with the new key of its machine, which had asked as {claim}.",
    "device.offline": "{subject} went offline.",
    "device.online": "{subject} came online.",
    "device.retired": "{subject} was retired{because}.",
    "device.steady": "{subject} is steady again.",
    "device.suspended": "{subject} was suspended{because}.",
    "execution.finished": "An execution ended: {kind}, {state}. {code}",
    "evidence.passed_over": "{subject} noticed drift; nothing was begun: {reason}",
    "facts.changed": "{subject} told new facts.",
    "federated_round.closed": "Round {round} of run {subject} closed, {updates} updates.",
    "federated_round.opened": "Round {round} of run {subject} opened, {devices} devices.",
    "federated_run.created": "Federated run {subject} began, {rounds} rounds.",
    "federated_run.finished": "Federated run {subject} ended: {state}. {code}",
    "group.changed": "Group {subject} was changed.",
    "group.created": "Group {subject} was saved.",
    "group.deleted": "Group {subject} was deleted.",
    "group.joined": "{device} joined group {group}.",
    "group.left": "{device} left group {group}.",
    "incremental_policy.created": "Policy {subject} lets {devices} devices learn alone.",
    "incremental_update.finished": "An incremental update ended: {state}.",
    "incremental_update.started": "A device noticed drift and learns.",
    "job.created": "A job began: {kind} {about}.",
    "job.finished": "A job ended: {kind} {about}, {state}. {code}",
    "gateway.session_begun": "{subject} began a session with the broker.",
    "model.created": "Model {subject} was registered.",
    "receipt.accepted": "A receipt for {model}/{version} was accepted.",
    "rollout.created": "Rollout {subject} began, {devices} devices.",
    "rollout.finished": "Rollout {subject} ended: {state}.",
    "rollout.paused": "Rollout {subject} paused itself.",
    "rollout.wave_opened": "Rollout {subject} opened wave {wave}, {devices} devices.",
    "variant.created": "A variant was made: {recipe} for {runtime}.",
    "version.created": "Version {subject} was made ({source}).",
}


def _wave(part: str) -> WaveRequest:
    try:
        if part.endswith("%"):
            return WaveRequest(ratio=float(part[:-1]) / 100)
        return WaveRequest(count=int(part))
    except ValueError as error:
        raise Unreadable(f"A wave is a count such as 5 or a share such as 25%, not {part[:40]}.") from error
