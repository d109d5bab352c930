import pytest

from dashboard.settings import BadSetting, Settings


def test_settings_when_nothing_is_set_then_are_the_embedded_defaults() -> None:
    assert Settings.from_environment({}) == Settings(api_url="http://127.0.0.1:8080", host="127.0.0.1", port=8090)


def test_settings_when_set_then_are_read() -> None:
    told = {"SHOAL_DASHBOARD_API_URL": "https://shoal.example.org/", "SHOAL_DASHBOARD_PORT": "9000"}
    assert Settings.from_environment(told) == Settings(api_url="https://shoal.example.org", port=9000)


@pytest.mark.parametrize(
    ("name", "text"),
    [("PORT", "http"), ("PORT", "65536"), ("PORT", "-1"), ("API_URL", "127.0.0.1:8080"), ("API_URL", "file:///etc")],
)
def test_settings_when_a_variable_cannot_be_used_then_it_is_named(name: str, text: str) -> None:
    with pytest.raises(BadSetting, match=f"SHOAL_DASHBOARD_{name}"):
        Settings.from_environment({f"SHOAL_DASHBOARD_{name}": text})
