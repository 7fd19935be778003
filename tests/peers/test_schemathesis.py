"""schemathesis over the published document: the server does what it says, and refuses what it does not allow."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

from support.server import running

ROOT = Path(__file__).parents[2]
COMMAND = ROOT / ".venv-peers" / "bin" / "schemathesis"
CONFIGURATION = Path(__file__).with_name("schemathesis.toml")


def test_p1_schemathesis_finds_nothing_in_the_document(tmp_path: Path) -> None:
    """The seed is in the configuration: to look further, run it with `--seed` and `--max-examples`."""
    # What is imported by URL comes from this server itself.
    with running(tmp_path / "server", fetch_allow="127.0.0.0/8") as server:
        done = subprocess.run(
            [COMMAND, "--config-file", CONFIGURATION, "--no-color", "run", f"{server.url}/openapi.json"],
            env={**os.environ, "ENTREPOT_AUTHORIZATION": f"Key {server.key}"},
            cwd=ROOT,
            capture_output=True,
            text=True,
            timeout=280,
        )
        assert done.returncode == 0, "\n".join(line[:500] for line in f"{done.stdout}{done.stderr}".splitlines())
        assert not [line for line in server.log_lines() if line.get("level") == "error"]
