"""Settings: where values come from, which are refused, and that an error names the setting as the user gave it."""

from __future__ import annotations

import pickle
from pathlib import Path

import pytest
from pydantic import ValidationError

from entrepot.cli.exits import USAGE
from entrepot.cli.main import main
from entrepot.client.volume import PAGE
from entrepot.settings import RENAMED, Settings, SettingsError, flag_name, variable_name

TIMES = ["upload_ttl", "multipart_ttl", "token_ttl", "stall_timeout", "sweep_interval", "tombstone_ttl"]
TIMES += ["orphan_grace", "trash_ttl", "clock_jump_pause", "import_timeout"]


@pytest.fixture
def settings_file(tmp_path, monkeypatch):
    """Write a settings file that `load` reads."""

    def write(text: str | bytes) -> Path:
        path = tmp_path / "settings.toml"
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
        monkeypatch.setenv("ENTREPOT_SETTINGS", str(path))
        return path

    return write


@pytest.mark.parametrize("name", TIMES)
@pytest.mark.parametrize("text", ["nan", "inf", "-inf", "1e15", "soon", "-1"])
def test_a_time_is_a_finite_number_of_seconds(name: str, text: str) -> None:
    with pytest.raises(SettingsError, match=name.replace("_", ".")):
        Settings.load({name: text})


@pytest.mark.parametrize(
    ("name", "text", "wanted"),
    [
        ("port", "http", "a whole number"),
        ("port", "0", "at least 1"),
        ("port", "65536", "at most 65535"),
        ("drain_timeout", "1.5", "a whole number"),
        ("min_free_space", "M", "a number of bytes"),
        ("min_free_space", "1.5M", "a number of bytes"),
        ("reply_memory", "1K", "at least 1M"),
        ("account_quota", "-1", "a number of bytes"),
        ("trash_ttl", "7d", "a number of seconds"),
        ("stall_timeout", "0", "at least 0.1"),
        ("max_orphan_share", "half", "a number from 0 to 1"),
        ("max_orphan_share", "nan", "a number from 0 to 1"),
        ("max_orphan_share", "2", "at most 1"),
        ("fetch_allow", "intranet", "addresses and networks"),
        ("accepted_hosts", "https://a.example", "host names"),
        ("accepted_hosts", "a.example/path", "host names"),
        ("log_format", "xml", "auto, json or text"),
    ],
)
def test_an_error_says_what_the_value_must_be(name: str, text: str, wanted: str) -> None:
    flag = "--" + name.replace("_", "-")
    with pytest.raises(SettingsError, match=rf"^{flag}: '{text}' cannot be used: it must be {wanted}"):
        Settings.load({name: text})


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
        Settings.load({"public_url": text})


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "[::]", "0", "*"])
def test_a_wildcard_address_needs_a_public_url(host: str, monkeypatch) -> None:
    with pytest.raises(SettingsError, match=r"^--host needs --public-url \(ENTREPOT_PUBLIC_URL\), which is not set\. "):
        Settings.load({"host": host})
    monkeypatch.setenv("ENTREPOT_HOST", host)
    with pytest.raises(SettingsError, match=r"^ENTREPOT_HOST needs --public-url"):
        Settings.load({})
    assert Settings(host=host, public_url="https://media.example").api_origin == "https://media.example"


def test_an_empty_address_is_a_wildcard() -> None:
    with pytest.raises(ValidationError, match="host needs public_url"):
        Settings(host="")


def test_a_flag_wins_over_a_variable_and_a_variable_over_the_file(settings_file, monkeypatch) -> None:
    settings_file('port = 1001\nworkers = 3\nmax_upload_size = "1M"\n')
    monkeypatch.setenv("ENTREPOT_PORT", "1002")
    monkeypatch.setenv("ENTREPOT_WORKERS", "2")
    settings = Settings.load({"port": "1003"})
    assert (settings.port, settings.workers, settings.max_upload_size) == (1003, 2, 1024**2)


def test_an_empty_value_is_ignored(settings_file, monkeypatch) -> None:
    settings_file('host = ""\nport = 1001\npublic_url = ""\n')
    monkeypatch.setenv("ENTREPOT_PORT", "")
    monkeypatch.setenv("ENTREPOT_CDN_URL", "")
    settings = Settings.load({"port": "", "home": None})
    assert (settings.host, settings.port, settings.public_url, settings.cdn_url) == ("127.0.0.1", 1001, None, None)


def test_the_file_may_use_the_types_of_toml(settings_file) -> None:
    settings_file(
        'min_free_space = 5\ntrash_ttl = 1.5\naccepted_hosts = ["A.example", "b"]\nfetch_allow = "10.0.0.1, ::1"\n'
    )
    settings = Settings.load({})
    assert (settings.min_free_space, settings.trash_ttl, settings.accepted_hosts) == (5, 1.5, ("a.example", "b"))
    assert settings.fetch_allow == ("10.0.0.1/32", "::1/128")


@pytest.mark.parametrize(
    ("line", "wanted"),
    [
        ("port = true", "a whole number"),
        ("port = [80]", "a whole number"),
        ("port = 80.5", "a whole number"),
        ("min_free_space = false", "a number of bytes"),
        ("trash_ttl = true", "a number of seconds"),
        ("host = 5", "text"),
        ("home = {}", "text"),
        ("public_url = 5", "text"),
        ("fetch_allow = 10", "a list"),
        ("accepted_hosts = [1]", "text"),
        ("log_format = 5", "auto, json or text"),
    ],
)
def test_an_error_names_the_key_in_the_file(settings_file, line: str, wanted: str) -> None:
    path = settings_file(line)
    with pytest.raises(SettingsError, match=rf"^{line.split()[0]} in {path}: .* cannot be used: it must be {wanted}"):
        Settings.load({})


def test_an_error_names_the_variable(monkeypatch) -> None:
    monkeypatch.setenv("ENTREPOT_WORKERS", "many")
    with pytest.raises(SettingsError, match=r"^ENTREPOT_WORKERS: 'many' cannot be used: it must be a whole number.$"):
        Settings.load({})
    assert Settings.load({"workers": "2"}).workers == 2


def test_all_errors_are_named_at_once(monkeypatch) -> None:
    monkeypatch.setenv("ENTREPOT_DRAIN_TIMEOUT", "x")
    with pytest.raises(SettingsError) as caught:
        Settings.load({"port": "y"})
    assert [line.partition(":")[0] for line in str(caught.value).splitlines()] == ["--port", "ENTREPOT_DRAIN_TIMEOUT"]


@pytest.mark.parametrize(
    "name", ["public_url", "port", "min_free_space", "fetch_allow", "accepted_hosts", "log_format"]
)
@pytest.mark.parametrize("value", ["https://user:s3cret@h", f"{'0' * 32}:{'a' * 64}", ["s3cret@h:x/y"]])
def test_no_secret_is_repeated(name: str, value) -> None:
    with pytest.raises(SettingsError) as caught:
        Settings.load({name: value})
    assert "s3cret" not in str(caught.value) and "aaaa" not in str(caught.value)
    assert "its value cannot be used" in str(caught.value)
    assert caught.value.__cause__ is None and caught.value.__context__ is None


def test_an_unknown_key_of_the_file_is_an_error(settings_file) -> None:
    settings_file("prot = 1001\n")
    with pytest.raises(SettingsError, match=r"unknown keys: prot\. Its keys are the flags of entrepot serve"):
        Settings.load({})


@pytest.mark.parametrize(
    ("text", "reason"), [("port = = 1", "Invalid value"), ("port 1", "Expected"), (b"\xff = 1", "it is not UTF-8")]
)
def test_a_malformed_file_is_an_error(settings_file, text, reason: str) -> None:
    path = settings_file(text)
    with pytest.raises(SettingsError, match=rf"^The settings file {path} cannot be read: {reason}"):
        Settings.load({})


def test_a_file_that_is_missing_or_a_folder_is_an_error(tmp_path, monkeypatch) -> None:
    for path, reason in ((tmp_path / "none.toml", "No such file"), (tmp_path, "Is a directory")):
        monkeypatch.setenv("ENTREPOT_SETTINGS", str(path))
        with pytest.raises(SettingsError, match=rf"^The settings file {path} cannot be read: {reason}"):
            Settings.load({})


def test_direct_construction_reads_no_variable_and_no_file(settings_file, monkeypatch) -> None:
    settings_file("port = 1001\n")
    monkeypatch.setenv("ENTREPOT_WORKERS", "63")
    settings = Settings()
    assert settings.port == 8000 and settings.workers != 63


def test_settings_are_frozen_and_travel_to_other_processes(tmp_path) -> None:
    settings = Settings(home=tmp_path, accepted_hosts=("b.example", "c.example"), account_quota=5)
    assert pickle.loads(pickle.dumps(settings)) == settings
    with pytest.raises(ValidationError):
        settings.port = 1


def test_accepted_hosts_may_have_ports_and_be_addresses() -> None:
    hosts = Settings.load({"accepted_hosts": "A.example, b.example:8443,192.0.2.7, [2001:db8::1]:80"}).accepted_hosts
    assert hosts == ("a.example", "b.example:8443", "192.0.2.7", "[2001:db8::1]:80")


def test_certificate_and_key_go_together(monkeypatch) -> None:
    with pytest.raises(SettingsError, match=r"^--tls-cert needs --tls-key \(ENTREPOT_TLS_KEY\), which is not set"):
        Settings.load({"tls_cert": "c.pem"})
    monkeypatch.setenv("ENTREPOT_TLS_KEY", "k.pem")
    with pytest.raises(SettingsError, match=r"^ENTREPOT_TLS_KEY needs --tls-cert"):
        Settings.load({})


def test_a_page_of_the_volume_has_at_least_what_our_client_asks_for() -> None:
    assert Settings.load({"volume_max_page_entries": str(PAGE)}).volume_max_page_entries == PAGE
    with pytest.raises(SettingsError, match="volume-max-page-entries"):
        Settings.load({"volume_max_page_entries": str(PAGE - 1)})


@pytest.mark.parametrize(("old", "new"), RENAMED.items())
def test_an_old_name_is_an_error_that_says_the_new_one(settings_file, monkeypatch, capsys, old: str, new: str) -> None:
    assert new in Settings.model_fields and old not in Settings.model_fields
    with monkeypatch.context() as environ:
        environ.setenv(variable_name(old), "1")
        with pytest.raises(SettingsError, match=f"^{variable_name(old)} is now {variable_name(new)}: rename it.$"):
            Settings.load({new: "5"})
        environ.setenv(variable_name(old), "")
        Settings.load({})
    assert main(["serve", flag_name(old), "1"]) == USAGE
    assert f"\n{flag_name(old)} is now {flag_name(new)}.\n" in capsys.readouterr().err
    path = settings_file(f"{old} = 1\n")
    with pytest.raises(SettingsError, match=f"^{old} in {path} is now {new}: rename it.$"):
        Settings.load({})
