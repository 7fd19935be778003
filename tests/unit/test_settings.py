"""Settings: what is taken, what is refused, and that both name the setting."""

from __future__ import annotations

import pytest

from entrepot.client.volume import PAGE
from entrepot.settings import Settings, SettingsError

TIMES = ["upload_ttl", "multipart_ttl", "token_ttl", "stall_timeout", "sweep_interval", "tombstone_ttl"]
TIMES += ["orphan_grace", "trash_ttl", "clock_guard", "import_timeout"]


@pytest.mark.parametrize("name", TIMES)
@pytest.mark.parametrize("text", ["nan", "inf", "-inf", "1e15", "soon", "-1"])
def test_a_time_is_a_finite_number_of_seconds(name: str, text: str) -> None:
    with pytest.raises(SettingsError, match=name.replace("_", ".")):
        Settings.load({name: text}, {})


@pytest.mark.parametrize(
    ("name", "text", "wanted"),
    [
        ("port", "http", "a whole number"),
        ("drain", "1.5", "a whole number"),
        ("reserve", "M", "a number of bytes"),
        ("reserve", "1.5M", "a number of bytes"),
        ("trash_ttl", "7d", "a number of seconds"),
        ("orphan_brake", "half", "a number from 0 to 1"),
        ("orphan_brake", "nan", "a number from 0 to 1"),
        ("fetch_allow", "intranet", "addresses and networks"),
    ],
)
def test_what_cannot_be_read_is_told_with_what_it_must_be(name: str, text: str, wanted: str) -> None:
    with pytest.raises(SettingsError, match=f"{text}.*cannot be used.* it must be {wanted}"):
        Settings.load({name: text}, {})


@pytest.mark.parametrize(
    "text",
    [
        "x",
        "ftp://h",
        "http://",
        "http://h:99999",
        "http://h:0",
        "http://h/path",
        "http://h?q",
        "http://u:p@h",
        "http://é",
    ],
)
def test_an_origin_is_a_scheme_a_host_and_maybe_a_port(text: str) -> None:
    with pytest.raises(SettingsError, match="public-url"):
        Settings.load({"public_url": text}, {})


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "[::]", "", "0", "*"])
def test_a_wildcard_address_needs_a_public_url(host: str) -> None:
    with pytest.raises(SettingsError, match="public_url"):
        Settings(host=host)
    assert Settings(host=host, public_url="https://media.example").api_origin == "https://media.example"


def test_a_flag_wins_over_a_variable_and_a_variable_over_the_file(tmp_path) -> None:
    file = tmp_path / "s.toml"
    file.write_text('port = 1001\nworkers = 3\nmax_upload = "1M"\n')
    environ = {"ENTREPOT_SETTINGS": str(file), "ENTREPOT_PORT": "1002", "ENTREPOT_WORKERS": "2"}
    settings = Settings.load({"port": "1003"}, environ)
    assert (settings.port, settings.workers, settings.max_upload) == (1003, 2, 1024**2)


def test_an_unknown_key_of_the_file_is_an_error(tmp_path) -> None:
    file = tmp_path / "s.toml"
    file.write_text("prot = 1001\n")
    with pytest.raises(SettingsError, match=r"unknown keys: prot\. Its keys are the flags of entrepot serve"):
        Settings.load({}, {"ENTREPOT_SETTINGS": str(file)})


def test_another_process_reads_equal_settings_from_the_environment(tmp_path) -> None:
    settings = Settings(
        home=tmp_path, public_url="https://a.example", accepted_hosts=("b.example", "c.example"), account_quota=5
    )
    assert Settings.load({}, settings.to_environ()) == settings


def test_certificate_and_key_go_together(tmp_path) -> None:
    with pytest.raises(SettingsError, match="tls_key"):
        Settings(tls_cert=tmp_path / "c")


def test_a_page_of_the_volume_has_at_least_what_our_client_asks_for(tmp_path) -> None:
    assert Settings.load({"volume_page": str(PAGE)}, {}).volume_page == PAGE
    with pytest.raises(SettingsError, match=r"volume.page"):
        Settings.load({"volume_page": str(PAGE - 1)}, {})
