"""Where the blobs are, as the environment says it: refused by the variable's name, and the key never shown."""

from pathlib import Path

import pytest

from controller.errors import Invalid
from controller.settings import Settings

S3 = {
    "SHOAL_BLOBS_URL": "s3://bucket/a/prefix",
    "SHOAL_BLOBS_ENDPOINT": "https://s3.example.org",
    "SHOAL_BLOBS_REGION": "eu-west-1",
    "SHOAL_BLOBS_ACCESS_KEY_ID": "the-key",
    "SHOAL_BLOBS_SECRET_ACCESS_KEY": "the-secret",
}


def test_blobs_when_nothing_is_set_then_are_in_the_state_folder(tmp_path: Path) -> None:
    at = Settings(state=tmp_path).blobs_at()
    assert (at.url, at.endpoint, at.allow_http) == ((tmp_path / "blobs").as_uri(), "", False)


def test_blobs_when_on_s3_then_carry_what_the_store_needs_and_show_no_key() -> None:
    settings = Settings.from_environment(S3)
    at = settings.blobs_at()
    assert (at.url, at.endpoint, at.region) == ("s3://bucket/a/prefix", "https://s3.example.org", "eu-west-1")
    assert (at.access_key_id, at.secret_access_key, at.allow_http, at.redirect) == (
        "the-key",
        "the-secret",
        False,
        True,
    )
    assert "the-secret" not in f"{settings!r} {at!r} {settings} {at}"
    assert "the-key" not in f"{settings!r} {at!r}"


@pytest.mark.parametrize(
    ("changed", "variable"),
    [
        ({"SHOAL_BLOBS_URL": "gs://bucket"}, "SHOAL_BLOBS_URL"),
        ({"SHOAL_BLOBS_URL": "/a/folder"}, "SHOAL_BLOBS_URL"),
        ({"SHOAL_BLOBS_URL": "s3://"}, "SHOAL_BLOBS_URL"),
        ({"SHOAL_BLOBS_URL": "s3://key:the-secret@bucket"}, "SHOAL_BLOBS_URL"),
        ({"SHOAL_BLOBS_ENDPOINT": "s3.example.org"}, "SHOAL_BLOBS_ENDPOINT"),
        ({"SHOAL_BLOBS_ENDPOINT": "http://s3.example.org"}, "SHOAL_BLOBS_ENDPOINT"),
        ({"SHOAL_BLOBS_ENDPOINT": "http://127.0.0.1.example.org"}, "SHOAL_BLOBS_ENDPOINT"),
        ({"SHOAL_BLOBS_SECRET_ACCESS_KEY": ""}, "SHOAL_BLOBS_ACCESS_KEY_ID"),
        ({"SHOAL_BLOBS_CA": "/nothing/here.pem"}, "SHOAL_BLOBS_CA"),
        ({"SHOAL_MAX_UPLOAD_BYTES": str(6 * 2**30)}, "SHOAL_MAX_UPLOAD_BYTES"),
    ],
)
def test_blobs_when_set_wrongly_then_the_variable_is_named_and_no_secret(
    changed: dict[str, str], variable: str
) -> None:
    with pytest.raises(Invalid) as caught:
        Settings.from_environment({**S3, **changed}).blobs_at()
    assert (caught.value.code, caught.value.facts["variable"]) == ("settings.invalid", variable)
    assert "the-secret" not in caught.value.message


@pytest.mark.parametrize(
    "changed",
    [
        {"SHOAL_BLOBS_ENDPOINT": "http://127.0.0.1:9000"},
        {"SHOAL_BLOBS_ENDPOINT": "http://[::1]:9000"},
        {"SHOAL_BLOBS_ENDPOINT": "http://localhost:9000"},
        {"SHOAL_BLOBS_ENDPOINT": "http://s3.example.org", "SHOAL_BLOBS_ALLOW_HTTP": "1"},
    ],
)
def test_endpoint_without_tls_when_on_this_machine_or_allowed_then_is_taken(changed: dict[str, str]) -> None:
    assert Settings.from_environment({**S3, **changed}).blobs_at().allow_http
