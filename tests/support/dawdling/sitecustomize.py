"""Read by every Python process whose PYTHONPATH has this folder: a server that dawdles before it changes a name.

What was checked before a change must hold when it is made. Between the two lie microseconds, in which no test would
ever meet; here it is up to three milliseconds, at random, now and then none.
"""

from __future__ import annotations

import os
import random
import time

NAMES = ("rename", "link", "unlink", "rmdir", "make_dir")


def install() -> None:
    from entrepot import atomic

    chance = random.Random(os.getpid())

    def dawdle(op: atomic.Op) -> None:
        if op.kind.value in NAMES:
            time.sleep(max(0.0, chance.uniform(-0.001, 0.003)))

    atomic.tap = dawdle


if os.environ.get("ENTREPOT_TEST_DAWDLE"):
    install()
