"""How many bodies come in at once: each takes memory and threads, so some are refused and others wait (I9)."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

from entrepot.domain.errors import Code
from entrepot.service.request_bodies import UploadLimiter
from entrepot.volume.multipart import Parts
from entrepot.volume.unpack import Unpacking
from entrepot.volume.volume import Limits, Volume
from support.inprocess import InProcess
from support.volumes import OWNER, STORE, make, p, put, refused, stream, tree


async def held(begun: asyncio.Event, end: asyncio.Event) -> AsyncIterator[bytes]:
    begun.set()
    yield b"1"
    await end.wait()
    yield b"2"


def test_when_as_many_come_in_as_may_single_writes_are_refused_and_all_others_wait(tmp_path):
    async def tell(volume: Volume) -> None:
        parts, begun, end = Parts(volume, 10), asyncio.Event(), asyncio.Event()
        upload = await parts.begin(OWNER, p("whole"))
        first = asyncio.create_task(parts.write(OWNER, p("whole"), upload, 1, held(begun, end)))
        await begun.wait()
        await asyncio.sleep(0)
        with refused(Code.RATE_LIMITED):
            await put(volume, "f", b"x")
        with refused(Code.RATE_LIMITED):
            await Unpacking(volume).unpack(OWNER, p("a"), stream(b"x"))
        others = [
            asyncio.create_task(parts.write(OWNER, p("whole"), upload, 2, stream(b"3"))),
            asyncio.create_task(volume.take(OWNER, p("f"), stream(b"y"))),
        ]
        assert not (await asyncio.wait(others, timeout=0.1))[0]
        end.set()
        await asyncio.gather(first, *others)
        await put(volume, "g", b"z")
        assert tree(tmp_path / "data") == {"f": b"y", "g": b"z"}
        assert [part.size for part in (await parts.list(OWNER, p("whole"), upload)).parts] == [2, 1]

    async def run() -> None:
        volume = Volume(make(tmp_path / "data"), STORE, Limits(), lambda: 1e9, threads=4, gate=UploadLimiter(1))
        try:
            await tell(volume)
        finally:
            await volume.close()

    asyncio.run(run())


def test_a_worker_counts_the_bodies_for_the_volume_among_all_others(tmp_path):
    target = "/v1/serverless/files/file/f"
    with InProcess(tmp_path, max_concurrent_bodies=1) as app:
        with app.busy():
            reply = app.ask("PUT", target, b"x")
            assert (reply.status, reply.headers["retry-after"]) == (429, "1")
        assert app.ask("PUT", target, b"x").status == 201
