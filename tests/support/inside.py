"""What tests may do behind a server's back: look into its catalogue, find its files on disk, add accounts."""

from __future__ import annotations

import asyncio
import secrets
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import apsw

from entrepot.domain.accounts import Account
from entrepot.service.accounts import Accounts
from support.metadata import Catalogue
from support.server import Server
from support.trees import files_below


def rows(server: Server, sql: str, *args: Any) -> list[tuple[Any, ...]]:
    """Read the catalogue of a home that may be served."""
    db = apsw.Connection(str(server.home / "catalogue.db"), flags=apsw.SQLITE_OPEN_READONLY)
    try:
        db.set_busy_timeout(60_000)
        return list(db.execute(sql, args))
    finally:
        db.close()


def segments_of(server: Server, url: str) -> list[Path]:
    """The files that hold an object's bytes, in order."""
    found = rows(
        server,
        "SELECT s.key FROM segments s JOIN objects o ON o.blob_nr = s.blob_nr WHERE o.path = ? ORDER BY s.start",
        urlsplit(url).path,
    )
    return [server.home / "blobs" / key for (key,) in found]


def segment_files(server: Server) -> set[Path]:
    """Every file that holds bytes of users now, published or not."""
    return set(files_below(server.home / "blobs"))


def unnamed_files(server: Server) -> set[Path]:
    """Files on disk that no row names: uploads under way, or what they left."""
    found = segment_files(server)
    named = {server.home / "blobs" / key for (key,) in rows(server, "SELECT key FROM segments")}
    # A sweep between the two looks takes file and row away.
    return {path for path in found - named if path.exists()}


def add_account(server: Server, nickname: str) -> str:
    """Make an account of this name and return a key of it."""

    async def add(metadata: Catalogue) -> str:
        await metadata.accounts.add(Account(f"id-of-{nickname}", nickname, time.time()))
        accounts = Accounts(metadata.accounts, metadata.uploads, time.time, secrets.token_bytes)
        return (await accounts.create_key("test", nickname)).reveal()

    return with_metadata(server, add)


def a_key(server: Server) -> str:
    """One more key of the default account."""
    return str(with_accounts(server, lambda accounts: accounts.create_key("one more")).reveal())


def revoke(server: Server, key: str) -> None:
    """As `entrepot keys revoke` does, without a process of its own."""
    with_accounts(server, lambda accounts: accounts.revoke_key(key.partition(":")[0]))


def with_accounts(server: Server, act: Callable[[Accounts], Awaitable[Any]]) -> Any:
    async def done(metadata: Catalogue) -> Any:
        return await act(Accounts(metadata.accounts, metadata.uploads, time.time, secrets.token_bytes))

    return with_metadata(server, done)


def with_metadata(server: Server, deed: Callable[[Catalogue], Awaitable[Any]]) -> Any:
    """Do something with the catalogue, as one more process of the home would."""

    async def act() -> Any:
        metadata = Catalogue(server.home / "catalogue.db", lock_path=server.home / "catalogue.lock")
        try:
            return await deed(metadata)
        finally:
            await metadata.close()

    return asyncio.run(act())
