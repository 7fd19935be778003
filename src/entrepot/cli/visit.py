"""Ask a server whether it takes a key, and whose it is."""

from __future__ import annotations

import random
import secrets
import time
from collections.abc import Mapping

from entrepot import wire
from entrepot.client.asking import Context, ask, fresh_token
from entrepot.client.commands import Request
from entrepot.client.errors import ServerError
from entrepot.client.profile import Profile
from entrepot.client.retry import Policy
from entrepot.client.sync import SyncDriver

_STALL_SECONDS = 20.0


def check(target: Profile) -> Mapping[str, object] | None:
    """The account of the key, None when the server does not tell. Raises EntrepotError: refused, or out of reach."""
    context = Context(time.time, random.random, lambda: secrets.token_hex(16), Policy(attempts=3))
    driver = SyncDriver(_STALL_SECONDS)
    headers = {"authorization": f"Key {target.key.reveal()}"}
    try:
        driver.run(fresh_token(context, target))
        request = Request("GET", target.url + wire.CURRENT_USER, headers)
        return driver.run(ask(context, lambda: request)).body
    except ServerError as error:
        if error.status_code in (404, 405) and context.tokens:
            return None  # an older server, which took the key
        raise
    finally:
        driver.transport.close()
