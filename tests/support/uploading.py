"""A program that uploads one file in parts and is killed when a test says so; run as a process of its own.

    python -m support.uploading URL KEY PATH REPOSITORY MOMENT

MOMENT is when it kills itself: `part:N` after N acknowledged parts, `publishing` before the request that publishes,
`published` after its reply and before the state is removed, `never`; `wait:N` stops after N parts until it is killed.
It prints the URL.
"""

from __future__ import annotations

import os
import signal
import sys
import threading

from entrepot.client import resume
from entrepot.client.clients import SyncClient
from entrepot.client.types import Phase, Progress
from support.sdk import PART, STUBBORN, in_a_hurry


def die(*_: object) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def main(url: str, key: str, path: str, repository: str, moment: str) -> None:
    what, _, count = moment.partition(":")
    if what == "published":
        resume.Claim.drop = die  # type: ignore[assignment]

    def progress(now: Progress) -> None:
        sent = now.safe - now.resumed
        if what == "part" and sent >= int(count) * PART:
            die()
        if what == "wait" and sent >= int(count) * PART:
            print("waiting", flush=True)
            threading.Event().wait()
        if what == "publishing" and now.phase is Phase.PUBLISHING:
            die()

    client = in_a_hurry(SyncClient(key, url=url), STUBBORN)
    found = client.upload_file(
        path,
        multipart_threshold=0,
        part_size=PART,
        concurrency=2,
        repository=repository,
        fallback_repository=[],
        progress=progress,
    )
    print(found)


if __name__ == "__main__":
    main(*sys.argv[1:])
