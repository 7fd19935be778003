"""How much goes in one transaction when uploads expire."""

from __future__ import annotations

import asyncio

import pytest

from entrepot.metadata.sqlite import operations
from support.facts import ACCOUNT, LIMIT, a_blob, a_part, an_upload
from support.metadata import Catalogue


def test_uploads_of_many_parts_expire_a_few_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    async def test() -> None:
        store = Catalogue(None)
        try:
            await store.accounts.add(ACCOUNT)
            for upload_id, parts in (("a", 2), ("b", 2), ("c", 3), ("d", 0), ("e", 1)):
                await store.uploads.begin(an_upload(upload_id), LIMIT)
                for number in range(1, parts + 1):
                    blob = a_blob(f"{upload_id}-{number}")
                    await store.uploads.add_part(a_part(upload_id, number, blob), blob)
            monkeypatch.setattr(operations, "MAX_PARTS_EXPIRED", 3)
            assert [await store.housekeeping.expire_uploads(1000.0, 10) for _ in range(4)] == [2, 1, 2, 0]
            assert await store.accounts.usage(ACCOUNT.id) == 0
        finally:
            await store.close()

    asyncio.run(test())
