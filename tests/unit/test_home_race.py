"""Two first starts at once: each step of making a home may be the other's already."""

from __future__ import annotations

from pathlib import Path

from entrepot import atomic
from entrepot.atomic import Kind, Op
from entrepot.home import Home


def test_making_a_home_is_not_disturbed_by_another_first_start(tmp_path: Path) -> None:
    root = tmp_path / "above" / "home"
    met: list[str] = []

    def other(op: Op) -> None:
        """The other start does each step just before we do."""
        path = Path(op.path)
        if op.kind is Kind.MAKE_DIR and not path.exists():
            path.mkdir(0o700)
            met.append(path.name)
        if op.kind is Kind.LINK:
            Path(op.target).write_text("the other's secret")
            met.append(Path(op.target).name)

    with atomic.observe(other):
        Home.prepare(root)
    assert met == ["above", "home", "blobs", "run", "signing.secret"]
    assert (root / "signing.secret").read_text() == "the other's secret"
    assert sorted(path.name for path in root.iterdir()) == ["blobs", "run", "signing.secret"]
