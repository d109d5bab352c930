"""The registry in the browser: find devices, save them as a group, label them, take them along, watch them."""

import csv
import re
from collections.abc import Callable, Iterator
from urllib.parse import quote

import pytest
from playwright.sync_api import Locator, Page, expect

from tests.e2e.browser import log_in
from tests.e2e.voyage import Agent, Controller, online
from tests.rig import BrokerAt
from tests.rows import add_device

BOARDS = ("Raspberry Pi 5 Model B Rev 1.0", "NVIDIA Jetson Orin Nano Developer Kit")
SITES = ("lyon", "oslo", "porto")


@pytest.fixture
def controller(iotcore: BrokerAt) -> Iterator[Controller]:
    """One broker is enough: the dashboard sees the REST API alone."""
    controller = Controller(iotcore, "")
    yield controller
    controller.close()


@pytest.fixture
def fleet(controller: Controller) -> Controller:
    """120 devices: 40 a site, every second one a Jetson."""
    with controller.database.transaction() as session:
        for number in range(120):
            add_device(
                session,
                f"d-{number:016d}".translate(str.maketrans("0189", "azby")),
                labels={"site": SITES[number % 3]},
                facts={"hostname": f"edge-{number:03d}", "board": BOARDS[number % 2], "memory_bytes": 2**32},
                online=number % 4 != 0,
                flapping=number == 7,
            )
    return controller


def devices_at(site: str) -> str:
    selector = f'labels.site == "{site}"'
    return f"/devices?selector={quote(selector)}"


def search_of(page: Page) -> Locator:
    return page.get_by_role("combobox", name="Selector")


def found_of(page: Page) -> Locator:
    return page.get_by_test_id("found")


def test_search_when_a_selector_is_typed_by_keyboard_then_is_completed_counted_and_mended(
    fleet: Controller, dashboard_url: str, page: Page
) -> None:
    log_in(page, dashboard_url, fleet, "/devices")
    expect(found_of(page)).to_have_text("120 found")
    box = search_of(page)
    box.press_sequentially("labels.s")
    expect(page.get_by_role("option", name="labels.site")).to_be_visible()
    expect(box).to_have_attribute("aria-expanded", "true")
    box.press("Tab")
    expect(page.get_by_role("option").first).to_contain_text("==")
    box.press("ArrowDown")
    expect(box).to_have_attribute("aria-activedescendant", re.compile("-0$"))
    box.press("Enter")
    expect(page.get_by_role("option", name='"oslo"')).to_be_visible()
    box.press_sequentially('"o')
    expect(page.get_by_role("option").first).to_contain_text('"oslo"')
    box.press("Tab")
    expect(box).to_have_value('labels.site == "oslo" ')
    expect(page.get_by_test_id("search-selector-status")).to_have_text("40 devices, 40 active")
    expect(found_of(page)).to_have_text("40 found")
    expect(page).to_have_url(re.compile(r"/devices\?selector=labels\.site"))

    box.press_sequentially("and onlin")
    expect(page.get_by_test_id("search-selector-suggestion")).to_have_text("online")
    expect(box).to_have_attribute("aria-invalid", "true")
    expect(found_of(page)).to_have_text("40 found")
    page.keyboard.press("Escape")
    page.get_by_test_id("search-selector-suggestion").click()
    expect(box).to_have_value('labels.site == "oslo" and online')
    expect(found_of(page)).to_have_text("30 found")
    page.reload()
    expect(search_of(page)).to_have_value('labels.site == "oslo" and online')
    expect(found_of(page)).to_have_text("30 found")
    page.get_by_role("button", name="Clear the selector").click()
    expect(found_of(page)).to_have_text("120 found")


def test_table_when_it_is_long_then_is_walked_page_by_page_and_searched_by_host_name(
    fleet: Controller, dashboard_url: str, page: Page
) -> None:
    log_in(page, dashboard_url, fleet, "/devices")
    words = page.get_by_test_id("page-words")
    expect(words).to_have_text("1–50 of 120")
    page.get_by_role("button", name="Next page").click()
    expect(words).to_have_text("51–100 of 120")
    page.get_by_role("button", name="Next page").click()
    expect(words).to_have_text("101–120 of 120")
    page.get_by_role("button", name="First page").click()
    expect(words).to_have_text("1–50 of 120")
    page.get_by_label("Id or host name").fill("edge-007")
    row = page.get_by_test_id("device-table").locator("tbody tr")
    expect(row).to_have_count(1)
    expect(row).to_contain_text("flapping")
    expect(row).to_contain_text(BOARDS[1])
    expect(page.get_by_test_id("edit-found-labels")).to_be_disabled()


def test_group_when_saved_from_a_search_then_has_its_members_and_follows_a_label_edit(
    fleet: Controller, dashboard_url: str, page: Page
) -> None:
    log_in(page, dashboard_url, fleet)
    page.goto(dashboard_url + devices_at("lyon"))
    expect(found_of(page)).to_have_text("40 found")
    page.get_by_test_id("save-group").click()
    form = page.get_by_test_id("group-form")
    form.get_by_label("Name").fill("Lyon")
    form.get_by_test_id("submit").click()
    expect(form.get_by_test_id("refusal")).to_contain_text("Name")
    form.get_by_label("Name").fill("lyon")
    expect(form.get_by_test_id("group-selector-status")).to_have_text("40 devices, 40 active")
    form.get_by_test_id("submit").click()
    expect(form).to_be_hidden()

    page.goto(f"{dashboard_url}/groups")
    row = page.get_by_test_id("group-table").locator("tbody tr")
    expect(row).to_contain_text("30 of 40")
    row.get_by_role("link", name="lyon").click()
    expect(page.get_by_test_id("members")).to_have_text("40")

    page.goto(dashboard_url + devices_at("porto"))
    page.get_by_test_id("edit-found-labels").click()
    edit = page.get_by_test_id("label-edit-form")
    expect(edit.get_by_test_id("submit")).to_be_disabled()
    edit.get_by_label("Labels to set").fill("site=lyon\nmoved=yes")
    edit.get_by_test_id("preview").click()
    expect(edit.get_by_test_id("preview-words")).to_contain_text("40 devices are meant; 40 of them get other labels.")
    edit.get_by_test_id("submit").click()
    expect(edit).to_be_hidden()
    page.goto(f"{dashboard_url}/groups/lyon")
    expect(page.get_by_test_id("members")).to_have_text("80")
    page.get_by_test_id("group-devices").click()
    expect(found_of(page)).to_have_text("80 found")

    page.goto(f"{dashboard_url}/groups")
    row.get_by_role("button", name="Delete").click()
    page.get_by_test_id("yes").click()
    expect(page.get_by_text("No group yet.")).to_be_visible()


def test_label_edit_when_the_fleet_changed_since_the_preview_then_is_refused(
    fleet: Controller, dashboard_url: str, page: Page
) -> None:
    log_in(page, dashboard_url, fleet)
    page.goto(dashboard_url + devices_at("oslo"))
    page.get_by_test_id("edit-found-labels").click()
    edit = page.get_by_test_id("label-edit-form")
    edit.get_by_label("Labels to set").fill("hall=7")
    edit.get_by_test_id("preview").click()
    expect(edit.get_by_test_id("preview-words")).to_contain_text("40 of them")
    with fleet.database.transaction() as session:
        add_device(session, "d-zzzzzzzzzzzzzzzz", labels={"site": "oslo"})
    edit.get_by_test_id("submit").click()
    expect(edit.get_by_test_id("refusal")).to_contain_text("41")
    expect(edit.get_by_test_id("submit")).to_be_disabled()


def test_export_when_a_search_is_taken_along_then_holds_what_was_found(
    fleet: Controller, dashboard_url: str, page: Page
) -> None:
    log_in(page, dashboard_url, fleet)
    page.goto(dashboard_url + devices_at("oslo"))
    expect(found_of(page)).to_have_text("40 found")
    with page.expect_download() as waiting:
        page.get_by_test_id("export-csv").click()
    assert waiting.value.suggested_filename == "devices.csv"
    with waiting.value.path().open(newline="") as file:
        assert len(list(csv.DictReader(file))) == 40
    wrong = page.request.get(f"{dashboard_url}/export/devices?format=json&selector=lables.site")
    assert wrong.status == 422
    page.context.clear_cookies()
    assert "/login" in page.request.get(f"{dashboard_url}/export/devices?format=json").url


def test_fleet_map_when_a_value_of_a_label_is_chosen_then_leads_to_its_devices(
    fleet: Controller, dashboard_url: str, page: Page
) -> None:
    log_in(page, dashboard_url, fleet)
    tiles = page.get_by_test_id("fleet-map").get_by_role("link")
    expect(tiles).to_have_count(3)
    tiles.get_by_text("porto").click()
    expect(found_of(page)).to_have_text("40 found")
    expect(search_of(page)).to_have_value('labels.site == "porto" and state in (active, suspended)')


def test_device_when_looked_at_then_has_charts_facts_and_a_timeline_that_can_be_narrowed(
    controller: Controller, new_agent: Callable[[], Agent], dashboard_url: str, page: Page
) -> None:
    new_agent()
    (device,) = online(controller, 1)
    log_in(page, dashboard_url, controller, f"/devices/{device['id']}")
    expect(page.get_by_test_id("facts")).to_contain_text("Instruction sets")
    expect(page.get_by_role("img", name="Chart: CPU (%)")).to_be_visible()
    expect(page.get_by_role("img", name="Chart: CPU (%)").locator("svg path").first).to_be_attached()
    timeline = page.get_by_test_id("timeline")
    expect(timeline).to_contain_text("came online")
    expect(timeline).to_contain_text("enrolled itself")
    page.get_by_test_id("ping").click()
    expect(timeline).to_contain_text("An execution ended: command, succeeded.")
    page.get_by_test_id("events").get_by_label("Kind").click()
    page.get_by_role("option", name="Executions").click()
    expect(timeline.get_by_text("came online")).to_have_count(0)
    expect(timeline.get_by_role("listitem")).to_have_count(1)


def test_alert_when_a_rule_is_made_in_the_browser_then_fires_and_is_acknowledged(
    controller: Controller, new_agent: Callable[[], Agent], dashboard_url: str, page: Page
) -> None:
    new_agent()
    (device,) = online(controller, 1)
    log_in(page, dashboard_url, controller, "/alerts")
    page.get_by_test_id("new-rule").click()
    form = page.get_by_test_id("rule-form")
    form.get_by_label("Name", exact=True).fill("busy")
    form.get_by_label("Kind of telemetry").fill("cpu.ratio")
    expect(form.get_by_test_id("rule-hint")).to_have_text("Shares count from 0 to 1: 0.9 is 90%.")
    form.get_by_label("Threshold").fill("-1")
    form.get_by_label("For at least").fill("0")
    form.get_by_test_id("submit").click()
    expect(form).to_be_hidden()
    row = page.get_by_test_id("alert-table").locator("tbody tr")
    expect(row).to_contain_text("firing")
    expect(row).to_contain_text(device["id"])
    row.get_by_role("button", name="Acknowledge").click()
    expect(row).to_contain_text("admin")
    page.goto(dashboard_url)
    expect(page.get_by_test_id("fleet-firing")).to_have_text("1")
    page.goto(f"{dashboard_url}/alerts?tab=rules")
    rule = page.get_by_test_id("rule-table").locator("tbody tr")
    expect(rule).to_contain_text("cpu.ratio is above")
    rule.get_by_role("button", name="Disable").click()
    expect(rule).to_contain_text("disabled")
    rule.get_by_role("button", name="Delete").click()
    page.get_by_test_id("yes").click()
    expect(page.get_by_text("No rule yet.")).to_be_visible()


def test_webhook_when_made_then_its_secret_is_shown_once_and_a_test_stands_among_its_deliveries(
    controller: Controller, dashboard_url: str, page: Page
) -> None:
    log_in(page, dashboard_url, controller, "/alerts?tab=webhooks")
    page.get_by_test_id("new-webhook").click()
    form = page.get_by_test_id("webhook-form")
    form.get_by_label("Name", exact=True).fill("pager")
    form.get_by_label("URL that takes the posts").fill("pager.example.org")
    form.get_by_test_id("submit").click()
    expect(form.get_by_test_id("refusal")).to_contain_text("Url")
    form.get_by_label("URL that takes the posts").fill("http://127.0.0.1:9/hook")
    form.get_by_test_id("submit").click()
    secret = page.get_by_test_id("webhook-secret")
    expect(secret).not_to_be_empty()
    told = secret.inner_text()
    page.get_by_role("button", name="I have kept it").click()
    expect(page.get_by_text(told)).to_have_count(0)
    row = page.get_by_test_id("webhook-table").locator("tbody tr")
    expect(row).to_contain_text("alert.*")
    row.get_by_role("button", name="Test").click()
    expect(row).to_contain_text("no answer")
    row.get_by_role("button", name="Deliveries").click()
    expect(page.get_by_test_id("delivery-table").locator("tbody tr")).to_contain_text("failed")
