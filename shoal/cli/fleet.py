"""`shoal fleet`: the whole fleet in figures."""

from shoal.cli.options import Json
from shoal.cli.output import show_item
from shoal.cli.session import connect


def show_fleet(as_json: Json = False) -> None:
    """Count the fleet: devices, what they serve, how executions of the last day ended."""
    with connect() as client:
        fleet = client.devices.fleet()
    facts = {
        "Devices": f"{fleet.total}, of which {fleet.online} online",
        "States": fleet.states,
        "Serve": {f"{name}": count for name, count in fleet.versions.items()},
        "Executions": fleet.executions,
        "Refusals": fleet.refusals,
    }
    show_item(fleet, facts, as_json=as_json)
