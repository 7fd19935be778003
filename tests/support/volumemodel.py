"""The volume as a dictionary: what every deed does to it, and the status that v1 must answer.

It knows nothing of disks, links, staging or time. A path is text without empty components, "" is the volume itself.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum

ServerContext = bytes | None  # a file's bytes, or a folder

CREATED, DONE, BAD, MISSING, CONFLICT, UNMET = 201, 200, 400, 404, 409, 412


class When(Enum):
    """The condition of a write, as far as the dictionary is concerned."""

    ALWAYS = "no condition"
    RIGHT = "If-Match with the ETag that it has"
    STALE = "If-Match with an ETag that it had, or never had"
    THERE = "If-Match: *"
    ABSENT = "If-None-Match: *"


@dataclass
class Dropped:
    """A thing in the trash: what was at `path`, its own nodes under relative paths ("" itself)."""

    path: str
    nodes: dict[str, ServerContext]


@dataclass
class Model:
    """Each method changes the dictionary and returns the status, or changes nothing and returns an error's."""

    nodes: dict[str, ServerContext] = field(default_factory=dict)
    trash: dict[str, Dropped] = field(default_factory=dict)  # by the id that the server gave

    # What is there

    def is_file(self, path: str) -> bool:
        return self.nodes.get(path) is not None

    def is_folder(self, path: str) -> bool:
        return path == "" or (path in self.nodes and self.nodes[path] is None)

    def exists(self, path: str) -> bool:
        return path == "" or path in self.nodes

    def children(self, path: str) -> list[str]:
        """Their names, bytewise in order."""
        above = f"{path}/" if path else ""
        names = {below[len(above) :] for below in self.nodes if below.startswith(above)}
        return sorted((name for name in names if name and "/" not in name), key=str.encode)

    def below(self, path: str) -> dict[str, ServerContext]:
        """Itself and all that it holds, by relative path."""
        above = f"{path}/" if path else ""
        held = {below[len(above) :]: node for below, node in self.nodes.items() if below.startswith(above)}
        return held | ({"": self.nodes[path]} if path in self.nodes else {})

    def meets(self, path: str, when: When) -> bool:
        match when:
            case When.ALWAYS:
                return True
            case When.ABSENT:
                return not self.exists(path)
            case When.THERE | When.RIGHT:
                return self.is_file(path)
            case When.STALE:
                return False

    def has_way_to(self, path: str) -> bool:
        """Whether all that is above it is a folder or can become one."""
        return not any(self.is_file(above) for above in _above(path))

    # Deeds

    def put(self, path: str, data: bytes, when: When = When.ALWAYS) -> int:
        if not self.has_way_to(path) or self.is_folder(path):
            return CONFLICT
        if not self.meets(path, when):
            return UNMET
        status = DONE if path in self.nodes else CREATED
        self._make_way(path)
        self.nodes[path] = data
        return status

    def make_folder(self, path: str) -> int:
        if not self.has_way_to(path) or self.is_file(path):
            return CONFLICT
        self._make_way(path)
        self.nodes[path] = None
        return DONE

    def rename(self, path: str, destination: str, *, overwrite: bool) -> int:
        if path == destination:
            return DONE if self.exists(path) else MISSING
        if refusal := self._cannot_place(path, destination, overwrite):
            return refusal
        self._place(destination, self._take(path))
        return DONE

    def copy(self, path: str, destination: str, *, overwrite: bool) -> int:
        if refusal := self._cannot_place(path, destination, overwrite):
            return refusal
        self._place(destination, self.below(path))
        return DONE

    def delete(self, path: str, *, recursive: bool = True, when: When = When.ALWAYS) -> tuple[int, Dropped | None]:
        """What was deleted belongs into `trash` under the id that the server tells, unless it is gone for good."""
        if not self.exists(path):
            return MISSING, None
        if when is not When.ALWAYS and self.is_folder(path):
            return CONFLICT, None
        if not self.meets(path, when):
            return UNMET, None
        if not recursive and self.is_folder(path) and self.children(path):
            return CONFLICT, None
        return DONE, Dropped(path, self._take(path))

    def restore(self, trash_id: str, destination: str | None = None) -> int:
        if trash_id not in self.trash:
            return MISSING
        dropped = self.trash[trash_id]
        place = dropped.path if destination is None else destination
        if self.exists(place) or not self.has_way_to(place):
            return CONFLICT
        self._place(place, dropped.nodes)
        del self.trash[trash_id]
        return DONE

    def drop_trash(self, trash_id: str) -> int:
        return DONE if self.trash.pop(trash_id, None) else MISSING

    # Parts of deeds

    def _cannot_place(self, path: str, destination: str, overwrite: bool) -> int:
        """Why this cannot get the other name, or 0."""
        if destination.startswith(f"{path}/"):
            return BAD
        if not self.exists(path):
            return MISSING
        if self.is_folder(destination) or not self.has_way_to(destination):
            return CONFLICT
        if self.is_file(destination) and (self.is_folder(path) or not overwrite):
            return CONFLICT
        return 0

    def _make_way(self, path: str) -> None:
        self.nodes |= dict.fromkeys(_above(path))

    def _take(self, path: str) -> dict[str, ServerContext]:
        taken = self.below(path)
        for below in taken:
            del self.nodes[f"{path}/{below}" if below else path]
        return taken

    def _place(self, path: str, nodes: dict[str, ServerContext]) -> None:
        self._make_way(path)
        self.nodes |= {f"{path}/{below}" if below else path: node for below, node in nodes.items()}


def stands_between(found: dict[str, ServerContext], before: Model, after: Model) -> bool:
    """Whether this may be left by a deed that was cut: all of it was done, or nothing but empty folders on the way to
    where something was to go."""
    made = {path for path in after.nodes.keys() - before.nodes.keys() if after.is_folder(path)}
    return found == after.nodes or {path: node for path, node in found.items() if path not in made} == before.nodes


def _above(path: str) -> list[str]:
    """The folders that hold it, but for the volume itself."""
    parts = path.split("/")
    return ["/".join(parts[:end]) for end in range(1, len(parts))]
