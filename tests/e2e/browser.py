"""A dashboard process and a browser that looks at it."""

import os

from playwright.sync_api import Page, expect

from tests.e2e.voyage import Controller

FLAGS = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
)
PATIENCE_MS = 30_000


def dashboard_settings(controller: Controller, port: int) -> dict[str, str]:
    return {
        **os.environ,
        "SHOAL_DASHBOARD_API_URL": f"http://127.0.0.1:{controller.api_port}",
        "SHOAL_DASHBOARD_PORT": str(port),
    }


def log_in(page: Page, url: str, controller: Controller, path: str = "/") -> None:
    page.goto(url + path)
    page.get_by_label("Name").fill("admin")
    page.get_by_label("Password").fill(controller.password)
    page.get_by_test_id("log-in").click()
    page.wait_for_url(url + path)
    expect(page.get_by_test_id("content")).to_be_visible()
