"""What imports and copies need of a volume, a package that this one does not import.

`Place` is how a file is named there, `When` what must hold of the place, `Entry` what is shown of a file.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Protocol, TypeVar

from entrepot.domain.acl import Principal
from entrepot.domain.digests import Expected

Place_contra = TypeVar("Place_contra", contravariant=True)
When_contra = TypeVar("When_contra", contravariant=True)
Entry_co = TypeVar("Entry_co", covariant=True)
Place = TypeVar("Place")
When = TypeVar("When")
Entry = TypeVar("Entry")


class Sink(Protocol[Place_contra, When_contra, Entry_co]):
    """Where files go: a stream is published at a place when it has ended well, and leaves nothing when it has not.

    Each account has its own, or none: services are given a function that raises Problem unless `who` may write there.
    """

    async def take(
        self,
        who: Principal,
        path: Place_contra,
        stream: AsyncIterator[bytes],
        *,
        length: int | None,
        expected: tuple[Expected, ...],
        when: When_contra,
        confirm: Callable[[bytes], Awaitable[None]] | None = None,
    ) -> tuple[Entry_co, bool]:
        """The file, and whether it is new there. `confirm` gets the SHA-256 of the bytes before the file is there.
        Raises Problem, and whatever the stream and `confirm` raise."""

    async def holds(self, who: Principal, path: Place_contra, sha256: bytes) -> bool:
        """Whether the file at a path has these bytes."""
