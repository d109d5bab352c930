"""Selectors, groups, label edits and exports through the operators' door and the client, on both databases."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from controller.db import Database
from shoal.client import ApiError, Client
from shoal.schemas.devices import DeviceChange
from shoal.schemas.executions import CommandRequest
from shoal.schemas.groups import GroupChange, GroupRequest, LabelEdit, SelectorRequest
from tests.integration.test_doors import Controller


@pytest.fixture
def controller(tmp_path: Path, empty_database: Database) -> Iterator[Controller]:
    controller = Controller(tmp_path, empty_database)
    yield controller
    controller.close()


@pytest.fixture
def client(controller: Controller) -> Iterator[Client]:
    token = controller.operator.headers["Authorization"].removeprefix("Bearer ")
    with Client(controller.api.url, token) as client:
        yield client


@pytest.fixture
def ids(controller: Controller) -> list[str]:
    sites = ("lyon", "lyon", "paris")
    return [controller.enroll(Ed25519PrivateKey.generate(), labels={"site": site}).device_id for site in sites]


def test_selector_when_checked_then_is_spelled_and_counted(client: Client, ids: list[str]) -> None:
    client.devices.suspend(ids[0])
    found = client.selectors.check(SelectorRequest(selector=' labels["site"]=="lyon" '))
    assert found.model_dump() == {"selector": 'labels.site == "lyon"', "devices": 2, "active": 1}


@pytest.mark.parametrize(
    ("selector", "code", "column"),
    [
        ("online and", "selector.syntax", 11),
        ("labels.site = 3", "selector.syntax", 13),
        ('labels.sit == "x"', "selector.unknown_label", 1),
        ("facts.memory_bytes == true", "selector.wrong_type", 23),
        ("(" * 5000 + "online" + ")" * 5000, "selector.too_deep", 4950),
    ],
)
def test_selector_when_wrong_then_every_door_points_at_the_column(
    client: Client, ids: list[str], selector: str, code: str, column: int
) -> None:
    for ask in (
        lambda: client.selectors.check(SelectorRequest(selector=selector)),
        lambda: client.devices.list(selector=selector),
        lambda: list(client.devices.export("csv", selector)),
        lambda: client.groups.create(GroupRequest(name="g", selector=selector)),
        lambda: client.labels.preview(LabelEdit(selector=selector, set={"a": "b"})),
        lambda: client.commands.create(CommandRequest(name="ping", selector=selector)),
    ):
        with pytest.raises(ApiError) as caught:
            ask()
        assert (caught.value.status, caught.value.code) == (422, code)
        (told,) = caught.value.errors
        assert told["column"] == column
        assert "\n" not in told["message"]
        assert str(caught.value).splitlines()[-1].strip().startswith("^")


def test_selector_when_the_fleet_is_empty_then_an_unknown_label_is_refused_all_the_same(client: Client) -> None:
    with pytest.raises(ApiError) as caught:
        client.devices.list(selector='labels.site == "lyon"')
    assert caught.value.code == "selector.unknown_label"


def test_work_when_created_then_keeps_the_one_spelling(client: Client, ids: list[str]) -> None:
    made = client.commands.create(CommandRequest(name="ping", selector=f'id in ("{ids[2]}", {ids[2]})'))
    assert (made.selector, made.devices) == (f"id == {ids[2]}", 1)


def test_fields_when_listed_then_offer_labels_and_states(client: Client, ids: list[str]) -> None:
    known = {field.path: field for field in client.selectors.fields().items}
    assert known["labels.site"].values == ["lyon", "paris"]
    assert known["state"].values[1] == "active"
    assert known["facts.runtimes.onnxruntime"].type == "text"


def test_group_when_made_changed_and_deleted_then_devices_say_so(client: Client, ids: list[str]) -> None:
    made = client.groups.create(GroupRequest(name="lyon", selector='labels.site=="lyon"', description="by the river"))
    assert (made.selector, made.devices, made.online, made.created_by) == ('labels.site == "lyon"', 2, 0, "admin")
    assert client.devices.show(ids[0]).groups == ["lyon"]
    assert client.devices.change(ids[0], DeviceChange(labels={"site": "bonn"})).groups == []
    assert client.devices.list(selector='group == "lyon"').total == 1
    changed = client.groups.change("lyon", GroupChange(selector='not labels.site == "lyon"'))
    assert (changed.devices, changed.description) == (2, "by the river")
    assert [group.name for group in client.groups.list().items] == ["lyon"]
    with pytest.raises(ApiError) as exists:
        client.groups.create(GroupRequest(name="lyon", selector="all"))
    assert (exists.value.status, exists.value.code) == (409, "group.exists")
    client.groups.delete("lyon")
    with pytest.raises(ApiError) as gone:
        client.devices.list(selector='group == "lyon"')
    assert gone.value.code == "selector.unknown_group"
    assert {"group.create", "group.change", "group.delete"} <= {
        one.model_dump()["action"] for one in client.observe.audit().items
    }


def test_labels_when_edited_over_a_selector_then_as_many_as_the_preview_said(client: Client, ids: list[str]) -> None:
    edit = LabelEdit(selector='labels.site == "lyon"', set={"ring": "1"})
    seen = client.labels.preview(edit)
    assert (seen.matched, seen.changed, seen.examples) == (2, 2, sorted(ids[:2]))
    with pytest.raises(ApiError) as caught:
        client.labels.apply(edit.model_copy(update={"expected": 3}))
    assert (caught.value.status, caught.value.code) == (409, "labels.count_changed")
    assert client.labels.apply(edit.model_copy(update={"expected": 2})).changed == 2
    assert client.devices.list(selector='labels.ring == "1"').total == 2
    assert client.labels.apply(edit).changed == 0
    assert "labels.edit" in {one.model_dump()["action"] for one in client.observe.audit().items}


def test_export_when_streamed_then_is_a_file_of_what_is_meant(
    controller: Controller, client: Client, ids: list[str]
) -> None:
    lines = b"".join(client.devices.export("csv", 'labels.site == "lyon"')).decode().splitlines()
    assert lines[0].split(",")[:5] == ["id", "state", "online", "flapping", "labels.site"]
    assert [line.split(",")[0] for line in lines[1:]] == sorted(ids[:2])
    documents = json.loads(b"".join(client.devices.export("json")))
    assert [document["id"] for document in documents] == sorted(ids)
    answer = controller.operator.get("/devices/export", params={"format": "csv"})
    assert answer.headers["content-disposition"] == 'attachment; filename="devices.csv"'
    assert answer.headers["content-type"] == "text/csv; charset=utf-8"
    assert controller.operator.get("/devices/export", params={"format": "xml"}).status_code == 422
