"""`clone_repository`: a Git repository at a commit in a folder, whole or not at all. Needs `git`.

The URL is the programmer's, not a stranger's: git resolves and connects by itself.
"""

from __future__ import annotations

import os
import re
import secrets
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from entrepot.client.local import expanded
from entrepot.client.partial import HIDDEN, try_lock
from entrepot.fetch import Call, FetchError, shown, urls
from entrepot.toolkit.errors import CloneError
from entrepot.toolkit.lease import Lease
from entrepot.toolkit.naming import url_digest
from entrepot.toolkit.volume import volume

_COMMIT = re.compile(r"[0-9a-fA-F]{4,64}")  # git itself takes no fewer digits
_NAMED = 8  # digits of the commit in the name of a folder that has none of the caller's
_NAME = re.compile(r"[^/\\\x00-\x1f-][^/\\\x00-\x1f]*")
_TEMP = ".clone"
# https alone, redirects and submodules included; a line that stands still for a minute is given up.
_SAFE = (
    "-c", "protocol.allow=never", "-c", "protocol.https.allow=always", "-c", "advice.detachedHead=false",
    "-c", "http.lowSpeedLimit=1000", "-c", "http.lowSpeedTime=60",
)  # fmt: skip
_OTHERS = (
    "GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE", "GIT_OBJECT_DIRECTORY", "GIT_PREFIX", "GIT_CONFIG_PARAMETERS",
    "GIT_COMMON_DIR", "GIT_ALTERNATE_OBJECT_DIRECTORIES", "GIT_ALLOW_PROTOCOL",
)  # fmt: skip


def clone_repository(
    https_url: str,
    *,
    commit_hash: str | None = None,
    target_dir: str | os.PathLike[str] | None = None,
    repo_name: str | None = None,
    force: bool = False,
    include_to_path: bool = False,
) -> Path:
    """Clone a repository with its submodules and return its folder.

    It lies in `target_dir` (without one: `<volume>/.fal/repos`) under `repo_name` (without one: the URL's last segment,
    with 8 digits of the commit); where a clone of another URL has that name, `-` and 8 hex digits are added. What is
    there at that commit is returned as it is unless `force`; without a commit it is cloned anew. `include_to_path` puts
    it first on `sys.path`. Raises CloneError; ValueError for what is no commit.
    Without `repo_name` a commit has 8 digits at least.
    """
    least = 4 if repo_name else _NAMED
    if commit_hash is not None and (not _COMMIT.fullmatch(commit_hash) or len(commit_hash) < least):
        raise ValueError(f"Commit hash {commit_hash!r} is too short or no hash; give {least} to 64 hex digits.")
    place = _checked(https_url)
    folder = Path(expanded(target_dir)).absolute() if target_dir else volume().absolute() / ".fal" / "repos"
    name = repo_name or Path(https_url).stem + (f"-{commit_hash[:_NAMED]}" if commit_hash else "")
    if not _NAME.fullmatch(name) or not name.strip(". ") or name.lower() == ".git" or name.startswith(HIDDEN):
        raise CloneError(f"{name!r} is no name for a repository's folder.", "Give one as repo_name.")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        path = _cloned(https_url, place, commit_hash, folder, name, force)
    except OSError as error:
        raise CloneError(f"Failed to clone {place} to {folder / name}: {error}.", "Check folder and space.") from error
    if include_to_path and str(path) not in sys.path:
        sys.path.insert(0, str(path))
    return path


def _checked(url: str) -> str:
    """The URL as it may be shown. Raises CloneError unless it is https."""
    try:
        target = urls.read(url)
    except FetchError as error:
        raise CloneError(f"{error}.", error.fix) from error
    if target.scheme != "https":
        raise CloneError(f"{shown(url)} is no https URL.", "Repositories are cloned by https only.")
    return shown(url)


def _cloned(url: str, place: str, commit: str | None, folder: Path, name: str, force: bool) -> Path:
    path = _place(folder, name, url)
    if not force and _is_at(path, commit):
        return path
    _check_ours(path)
    with Lease(folder, url_digest(f"{url}\0{commit}\0{name}")[:24], Call(), place) as lease:
        if not force and (_is_at(path, commit) or lease.done):
            return path
        with _temporary(folder) as temp:
            _git(place, "clone", "--recursive", "--", url, str(temp / "new"))
            if commit:
                _git(place, "checkout", "--quiet", "--detach", commit, "--", cwd=temp / "new")
                _git(place, "submodule", "update", "--init", "--recursive", cwd=temp / "new")
                if not _is_at(temp / "new", commit):
                    raise CloneError(f"Failed to clone {place}: it is not at commit {commit}.", "Check the commit.")
            path = _place(folder, name, url)
            _put(temp, path)
        lease.finish(path.name, 0)
    return path


def _place(folder: Path, name: str, url: str) -> Path:
    """Where the clone lies, or will lie: another repository's is neither taken for it nor replaced."""
    mine, there = _same(url), ""
    if (folder / name / ".git").exists():
        with suppress(CloneError):
            there = _same(_git(str(folder / name), "config", "--get", "remote.origin.url", cwd=folder / name).strip())
    return folder / (name if there in ("", mine) else f"{name}-{url_digest(mine)[:8]}")


def _same(url: str) -> str:
    """One spelling of the URLs of a repository."""
    return url.rstrip("/").removesuffix(".git")


def _put(temp: Path, path: Path) -> None:
    """Give the new one the name; the old one, if there is one, goes with the temporary folder."""
    with suppress(FileNotFoundError):
        path.rename(temp / "old")
    try:
        (temp / "new").rename(path)
    except OSError:
        if (temp / "old").exists() and not path.exists():
            (temp / "old").rename(path)
        raise


def _is_at(path: Path, commit: str | None) -> bool:
    """Whether a repository is there whose HEAD is this commit."""
    if not commit or not (path / ".git").exists():
        return False
    try:
        head = _git(str(path), "rev-parse", "--verify", "HEAD", cwd=path).strip()
    except CloneError:
        return False
    return head.startswith(commit.lower())


def _check_ours(path: Path) -> None:
    """Raises CloneError when something else has the name: it is not ours to replace."""
    if path.is_symlink() or (path.exists() and not (path / ".git").exists()):
        raise CloneError(f"{path} is there and is no Git repository.", "Give another repo_name or target_dir.")


@contextmanager
def _temporary(folder: Path) -> Iterator[Path]:
    """A folder of our own, locked for its life; what ended processes left is swept."""
    _sweep(folder)
    temp = folder / f"{HIDDEN}{secrets.token_hex(6)}{_TEMP}"
    temp.mkdir(0o700)
    fd = os.open(temp, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        try_lock(fd)
        yield temp
    finally:
        shutil.rmtree(temp, ignore_errors=True)
        os.close(fd)


def _sweep(folder: Path) -> None:
    for left in folder.glob(f"{HIDDEN}*{_TEMP}"):
        with suppress(OSError):
            fd = os.open(left, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
            try:
                # One that was made this minute may not be locked yet.
                if time.time() - os.fstat(fd).st_mtime > 60 and try_lock(fd):
                    shutil.rmtree(left, ignore_errors=True)
            finally:
                os.close(fd)


def _git(place: str, *arguments: str, cwd: Path | None = None) -> str:
    """What a git command writes. It asks nobody anything. Raises CloneError with git's own last words."""
    environ = {name: value for name, value in os.environ.items() if name not in _OTHERS}
    environ |= {"GIT_TERMINAL_PROMPT": "0", "GIT_ASKPASS": "true", "SSH_ASKPASS": "true", "LC_ALL": "C"}
    # A repository's own settings would name where its large files come from: any URL at all.
    environ["GIT_LFS_SKIP_SMUDGE"] = "1"
    try:
        done = subprocess.run(
            ["git", *_SAFE, *arguments],
            cwd=cwd, env=environ, stdin=subprocess.DEVNULL, capture_output=True, text=True, errors="replace",
        )  # fmt: skip
    except FileNotFoundError:
        raise CloneError(f"Failed to clone {place}: there is no git.", "Install it: apt install git") from None
    if done.returncode:
        # Git quotes URLs with their queries, which may be tokens.
        said = " ".join(re.sub(r"https?://[^\s']+", lambda url: shown(url[0]), done.stderr).split())[-500:]
        raise CloneError(f"Failed to clone {place}: git {arguments[0]}: {said}", "Check URL, commit and credentials.")
    return done.stdout
