"""`make demo` is what a newcomer runs first: it works, and leaves nothing behind."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import psutil

ROOT = Path(__file__).parents[2]


def run_demo(folder: Path) -> subprocess.CompletedProcess[str]:
    environ = {**os.environ, "TMPDIR": str(folder), "HOME": str(folder / "nobody"), "ENTREPOT_PORT": "1"}
    script = [sys.executable, str(ROOT / "scripts" / "demo.py")]
    return subprocess.run(script, env=environ, capture_output=True, text=True, timeout=250)


def test_the_demo_shows_both_clients_and_leaves_nothing_behind(tmp_path):
    result = run_demo(tmp_path)
    assert result.returncode == 0, result.stdout + result.stderr
    assert result.stderr == ""
    lines = result.stdout.splitlines()
    assert 6 <= len(lines) <= 15
    assert all(line.startswith("✓ ") for line in lines)
    assert any("entrepot upload gave the URL http://127.0.0.1:" in line for line in lines)
    assert any("the stock fal_client gave the URL http://127.0.0.1:" in line for line in lines)
    assert sum("gave 206" in line for line in lines) == 2
    assert sum(line.startswith("✓ 120 MB by ") for line in lines) == 2
    assert list(tmp_path.iterdir()) == []
    assert [p for p in psutil.process_iter(["cmdline"]) if str(tmp_path) in " ".join(p.info["cmdline"] or [])] == []
