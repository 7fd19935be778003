"""Where servers and keys are found, and the file that keeps them."""

from __future__ import annotations

import datetime
import os
import stat
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from entrepot.client import profile, saved, toml
from entrepot.client.errors import ConfigurationError
from entrepot.domain.keys import Secret


@pytest.fixture
def environ(tmp_path: Path) -> dict[str, str]:
    return {"ENTREPOT_CONFIG": str(tmp_path / "of" / "config.toml")}


def path(environ: dict[str, str]) -> Path:
    return Path(environ["ENTREPOT_CONFIG"])


def test_what_others_wrote_into_the_file_is_kept(environ):
    path(environ).parent.mkdir()
    values = {
        "theme": 'dark "\U0001f600" \x7f\n',
        "numbers": [1, 2.5, True],
        "profiles": {"a b.ü": {"url": "http://x", "key": "i:s", "note": "mine", "since": datetime.date(2026, 1, 2)}},
        "other": {"deep": {"empty": {}}, "list": [{"a": 1}]},
    }
    path(environ).write_text(toml.dumps(values))
    assert tomllib.loads(path(environ).read_text()) == values
    saved.save("http://x", Secret("i:new"), environ)
    values["current"] = "a b.ü"
    values["profiles"]["a b.ü"]["key"] = "i:new"  # type: ignore[index]
    assert tomllib.loads(path(environ).read_text()) == values


def test_the_file_is_for_its_user_alone_and_a_link_stays_one(environ, tmp_path):
    path(environ).parent.mkdir()
    path(environ).symlink_to(tmp_path / "real.toml")
    saved.save("http://x", Secret("i:s"), environ)
    assert path(environ).is_symlink()
    assert stat.S_IMODE((tmp_path / "real.toml").stat().st_mode) == 0o600


def test_two_processes_that_save_at_once_lose_nothing_of_each_other(environ):
    save = "import sys; from entrepot.client import saved; from entrepot.domain.keys import Secret\n"
    save += "for n in range(30): saved.save(f'http://{sys.argv[1]}{n}', Secret('i:s'), name=f'{sys.argv[1]}{n}')"
    both = [subprocess.Popen([sys.executable, "-c", save, who], env={**os.environ, **environ}) for who in "ab"]
    assert [each.wait(60) for each in both] == [0, 0]
    found = tomllib.loads(path(environ).read_text())
    assert sorted(found["profiles"]) == sorted(f"{who}{n}" for who in "ab" for n in range(30))
    assert {stat.S_IMODE(each.stat().st_mode) for each in path(environ).parent.iterdir()} == {0o600}


def test_where_there_is_no_profile_nothing_is_made(environ):
    with pytest.raises(saved.NoProfile):
        saved.remove(environ=environ)
    assert not path(environ).parent.exists()


def test_names_are_found_for_servers_and_none_is_replaced_by_another(environ):
    names = [
        saved.save(url, Secret("i:s"), environ)[1] for url in ("http://a", "http://b:1", "https://b:1", "http://a")
    ]
    assert names == ["default", "b:1", "https://b:1", "default"]


def test_n2_the_only_profile_left_is_current_and_of_several_none(environ):
    for name in ("default", "work", "third"):
        saved.save(f"http://{name}", Secret("i:s"), environ, name=name)
    assert saved.remove(environ=environ) == ("third", "http://third")
    assert [entry.current for entry in saved.entries(environ)] == [False, False]
    with pytest.raises(saved.NoProfile, match="saved are: default, work"):
        profile.targets(environ=environ)
    with pytest.raises(saved.NoProfile, match="No profile is current"):
        saved.remove(environ=environ)
    saved.remove("work", environ)
    assert [(entry.name, entry.current) for entry in saved.entries(environ)] == [("default", True)]
    assert profile.targets(environ=environ)[0].url == "http://default"
    saved.remove(environ=environ)
    with pytest.raises(ConfigurationError, match="No server is configured"):
        profile.targets(environ=environ)
    with pytest.raises(saved.NoProfile):
        saved.remove("work", environ)


def test_n2_a_profile_that_moves_keeps_its_key_and_the_current_one(environ):
    for name in ("one", "two"):
        saved.save(f"http://{name}", Secret(f"{name}:s"), environ, name=name)
    saved.move("one", "http://else:1", environ)
    assert profile.targets(environ=environ)[0].url == "http://two"
    assert profile.targets(profile="one", environ=environ)[0] == profile.Profile("http://else:1", Secret("one:s"))


@pytest.mark.parametrize(
    ("url", "theirs"),
    [
        ("https://rest.fal.ai", True),
        ("https://v3.fal.media", True),
        ("https://queue.fal.run:443", True),
        ("https://FAL.AI", True),
        ("https://notfal.ai", False),
        ("https://fal.ai.example.com", False),
        ("http://127.0.0.1:8000", False),
    ],
)
def test_w6_hosts_of_fal_are_known_by_their_domain(url, theirs):
    assert saved.is_of_fal(url) is theirs


def test_a_named_profile_uses_its_own_key_though_another_has_the_same_server(environ):
    for name in ("one", "two"):
        saved.save("http://x", Secret(f"{name}:s"), environ, name=name)
    assert profile.targets(profile="one", environ=environ)[0].key_id == "one"
    assert profile.targets(environ=environ)[0].key_id == "two"
    assert profile.targets(url="http://x/", environ=environ)[0].key_id == "two"


def test_each_place_is_named(environ):
    saved.save("http://x", Secret("i:s"), environ)
    (one,) = profile.found(environ={**environ, "FAL_KEY": "f:s"})
    assert (one.url_from, one.key_from, one.target.key_id) == ("profile default", "FAL_KEY", "f")
    (one,) = profile.found("k:s", "http://y", environ=environ)
    assert one.url_from == one.key_from == "an argument"


def test_of_a_key_without_an_id_nothing_is_shown():
    assert profile.Profile("http://x", Secret("allofitissecret")).key_id == ""


@pytest.mark.parametrize(
    "text",
    ["profiles = 1", "profiles = {a = 1}", "[profiles.default]\nurl = 1\nkey = 'hushhush'", "'hushhush'", "\x00"],
)
def test_a_file_that_makes_no_sense_is_refused_without_being_quoted(environ, text):
    path(environ).parent.mkdir()
    path(environ).write_text(text)
    path(environ).chmod(0o600)
    with pytest.raises(ConfigurationError) as refused:
        profile.targets(environ=environ)
    assert "hushhush" not in str(refused.value)


def test_a_key_that_is_taken_for_a_url_is_not_repeated(environ):
    with pytest.raises(ConfigurationError) as refused:
        profile.targets(environ={**environ, "ENTREPOT_URL": "id:hushhush"})
    assert "hushhush" not in str(refused.value)


def test_the_variable_may_name_several_servers_in_order(environ):
    told = {**environ, "ENTREPOT_URL": "http://b:1/, https://a  http://c", "ENTREPOT_KEY": "i:s"}
    assert [each.url for each in profile.targets(environ=told)] == ["http://b:1", "https://a", "http://c"]
