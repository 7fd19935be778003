"""What a user may pass as the lifetime and access of an upload."""

from __future__ import annotations

import json
from types import SimpleNamespace
from typing import Any

import pytest

import entrepot
from entrepot import StorageACL, StorageACLRule, StorageSettings
from entrepot.client.types import settings_of
from entrepot.toolkit.lifetime import header_of

WEEK = {"expiration_duration_seconds": 604_800}
PRIVATE: dict[str, Any] = {"initial_acl": {"default": "forbid", "rules": [{"user": "ada", "decision": "allow"}]}}


@pytest.mark.parametrize(
    ("lifecycle", "expires", "header"),
    [
        ("7d", None, WEEK),
        (604_800, None, WEEK),
        (None, "7d", WEEK),
        ({"expires_in": "7d"}, None, WEEK),
        (WEEK, None, WEEK),
        ({"expiration_duration_seconds": None}, None, {"expiration_duration_seconds": None}),
        (StorageSettings("7d"), None, WEEK),
        (PRIVATE, "7d", {**WEEK, **PRIVATE}),
        ({"initial_acl": "hide"}, None, {"initial_acl": {"default": "hide"}}),
        (StorageSettings(initial_acl=StorageACL("forbid", [StorageACLRule("ada", "allow")])), None, PRIVATE),
        (StorageSettings(initial_acl=PRIVATE["initial_acl"]), None, PRIVATE),
        (StorageSettings(initial_acl=StorageACL("forbid", PRIVATE["initial_acl"]["rules"])), None, PRIVATE),
        (SimpleNamespace(expires_in="7d", initial_acl=None), None, WEEK),
        (SimpleNamespace(expires_in=None, initial_acl=SimpleNamespace(default="hide", rules=None)), "7d",
         {**WEEK, "initial_acl": {"default": "hide"}}),
    ],
)  # fmt: skip
def test_n7_a_lifetime_is_taken_as_text_number_dict_or_object(lifecycle, expires, header):
    settings = settings_of(lifecycle, expires)
    assert settings is not None
    assert json.loads(settings.header() or "{}") == header


@pytest.mark.parametrize("preference", ["7d", 604_800, {"expires_in": "7d"}, WEEK, StorageSettings("7d")])
def test_n7_the_toolkit_takes_the_same_lifetimes(preference):
    assert json.loads(header_of(preference) or "{}") == WEEK


def test_n7_nothing_said_is_left_to_the_account():
    assert settings_of(None) is None


@pytest.mark.parametrize(
    ("lifecycle", "expires", "error", "said"),
    [
        ("7 days", None, ValueError, "7d"),
        (0, None, ValueError, "from 1"),
        ({"expire_in": "7d"}, None, ValueError, "'expire_in'"),
        ({"initial_acl": {"defualt": "forbid"}}, None, ValueError, "'defualt'"),
        ({"initial_acl": {"rules": [{"usr": "ada"}]}}, None, ValueError, "'usr'"),
        ({"initial_acl": {"rules": [{"user": "ada"}]}}, None, ValueError, "allow, forbid or hide"),
        ([1], None, TypeError, "lifecycle"),
        (object(), None, TypeError, "lifecycle"),
        ({"initial_acl": 7}, None, TypeError, "initial_acl"),
        ({"initial_acl": {"rules": 7}}, None, TypeError, "rules"),
        ({"initial_acl": {"rules": {"user": "ada"}}}, None, TypeError, "rules"),
        ({"expires_in": "7d", "expiration_duration_seconds": 60}, None, ValueError, "one of them"),
        ("7d", "1h", ValueError, "one of them"),
    ],
)
def test_n7_what_makes_no_sense_is_an_error_that_names_it(lifecycle, expires, error, said):
    with pytest.raises(error, match=said):
        settings_of(lifecycle, expires)


def test_n7_the_lifetime_of_an_upload_is_text(server):
    client = entrepot.SyncClient(server.key, url=server.url)
    for options in ({"lifecycle": "1h"}, {"expires": "1h"}, {"lifecycle": {"expires_in": "1h"}}):
        url = client.upload(b"x", "text/plain", **options)
        assert url.expires_at is not None
    assert client.upload(b"x", "text/plain").expires_at is None
    client.close()
