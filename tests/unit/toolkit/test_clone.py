"""`clone_repository` from an https server on the loopback."""

from __future__ import annotations

import shutil
import ssl
import subprocess
import sys
from pathlib import Path

import pytest
import trustme

from entrepot.toolkit import clone_repository
from entrepot.toolkit.errors import CloneError
from support.internet import Reply, Request, Site

pytestmark = pytest.mark.skipif(not shutil.which("git"), reason="there is no git (apt install git)")


def git(folder: Path, *arguments: str) -> str:
    who = ["-c", "user.name=x", "-c", "user.email=x@example.com", "-c", "init.defaultBranch=main"]
    done = subprocess.run(["git", *who, *arguments], cwd=folder, check=True, capture_output=True, text=True)
    return done.stdout.strip()


@pytest.fixture
def origin(tmp_path):
    """A repository with two commits; returns its folder and their hashes, the older first."""
    work = tmp_path / "work"
    work.mkdir()
    git(work, "init", "-q")
    commits = []
    for text in ("one", "two"):
        (work / "file.txt").write_text(text)
        git(work, "add", "file.txt")
        git(work, "commit", "-q", "-m", text)
        commits.append(git(work, "rev-parse", "HEAD"))
    git(work, "update-server-info")
    return work, commits


@pytest.fixture
def url(origin, tmp_path, monkeypatch):
    """Its https URL, by git's dumb protocol."""
    ca, context = trustme.CA(), ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    ca.issue_cert("127.0.0.1").configure_cert(context)
    ca.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    monkeypatch.setenv("GIT_SSL_CAINFO", str(tmp_path / "ca.pem"))
    monkeypatch.setenv("ENTREPOT_VOLUME", str(tmp_path / "volume"))

    def answer(request: Request) -> Reply:
        path = origin[0] / ".git" / request.path.partition("?")[0].removeprefix("/project.git/")
        return Reply(path.read_bytes()) if path.is_file() else Reply(status=404)

    with Site(answer, context) as site:
        yield f"https://127.0.0.1:{site.port}/project.git"


def test_a_repository_is_cloned_below_the_volume(url, tmp_path):
    path = clone_repository(url)
    assert path == tmp_path / "volume" / ".fal" / "repos" / "project"
    assert (path / "file.txt").read_text() == "two"
    assert [entry.name for entry in path.parent.iterdir()] == ["project"]


def test_a_commit_is_checked_out_and_reused_without_the_network(url, origin, tmp_path, monkeypatch):
    first = origin[1][0]
    path = clone_repository(url, commit_hash=first)
    assert path.name == f"project-{first[:8]}"
    assert (path / "file.txt").read_text() == "one"
    (path / "mark").touch()
    monkeypatch.setenv("GIT_SSL_CAINFO", "/nonexistent")
    assert clone_repository(url, commit_hash=first) == path
    assert (path / "mark").exists()


def test_a_commit_may_be_as_short_as_git_shows_it_when_a_name_is_given(url, origin):
    first = origin[1][0]
    path = clone_repository(url, commit_hash=first[:7], repo_name="mine")
    assert (path / "file.txt").read_text() == "one"
    (path / "mark").touch()
    assert (clone_repository(url, commit_hash=first[:7], repo_name="mine") / "mark").exists()
    with pytest.raises(ValueError, match="too short"):
        clone_repository(url, commit_hash=first[:7])


def test_force_clones_anew(url, origin):
    path = clone_repository(url, commit_hash=origin[1][1])
    (path / "mark").touch()
    clone_repository(url, commit_hash=origin[1][1], force=True)
    assert not (path / "mark").exists()


def test_name_folder_and_path_can_be_chosen(url, tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "path", list(sys.path))
    path = clone_repository(url, target_dir=tmp_path / "repos", repo_name="mine", include_to_path=True)
    assert path == tmp_path / "repos" / "mine"
    assert sys.path[0] == str(path)


def test_a_clone_that_fails_leaves_the_old_one_and_nothing_else(url, origin):
    path = clone_repository(url, repo_name="mine")
    with pytest.raises(CloneError, match="Failed to clone"):
        clone_repository(url, repo_name="mine", commit_hash="0" * 40)
    assert (path / "file.txt").read_text() == "two"
    assert [entry.name for entry in path.parent.iterdir()] == ["mine"]


def test_something_else_that_has_the_name_is_not_touched(url, tmp_path):
    neighbour = tmp_path / "repos" / "mine"
    neighbour.mkdir(parents=True)
    (neighbour / "data").write_bytes(b"x")
    with pytest.raises(CloneError, match="no Git repository"):
        clone_repository(url, target_dir=tmp_path / "repos", repo_name="mine", force=True)
    assert (neighbour / "data").exists()


@pytest.mark.parametrize(
    "bad", ["http://example.com/a.git", "ssh://h/a", "file:///etc", "ext::sh -c id", "--upload-pack=x"]
)
def test_only_https_is_cloned(bad):
    with pytest.raises(CloneError):
        clone_repository(bad)


@pytest.mark.parametrize("name", ["..", "a/b", "-x", "", "."])
def test_a_name_that_leads_elsewhere_is_refused(name, tmp_path):
    if name:
        with pytest.raises(CloneError, match="no name"):
            clone_repository("https://example.com/a.git", repo_name=name, target_dir=tmp_path)


@pytest.mark.parametrize("commit", ["abc", "--hard", "main", "0123456g", "x" * 40])
def test_what_is_no_commit_is_refused(commit):
    with pytest.raises(ValueError, match="Commit hash"):
        clone_repository("https://example.com/a.git", commit_hash=commit)


def test_a_server_that_cannot_be_reached_is_an_error_with_git_s_words(tmp_path):
    with pytest.raises(CloneError, match=r"git clone"):
        clone_repository("https://127.0.0.1:1/a.git", target_dir=tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_git_s_words_have_no_query(tmp_path):
    with pytest.raises(CloneError, match=r"git clone") as caught:
        clone_repository("https://127.0.0.1:1/a.git?token=secret", target_dir=tmp_path)
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize("name", [".git", ".GIT", ".fal_entrepot.1.clone"])
def test_a_name_that_makes_the_folder_a_repository_or_is_our_own_is_refused(name, tmp_path):
    """A stranger's config in `.git` would be run by the next git command in the folder."""
    with pytest.raises(CloneError, match="no name"):
        clone_repository(f"https://127.0.0.1:1/{name}", repo_name=name, target_dir=tmp_path)


def test_d01_a_clone_of_another_url_is_neither_taken_nor_replaced(url, origin, tmp_path, monkeypatch):
    work, (first, _) = origin
    one = tmp_path / "repos" / "mine"
    shutil.copytree(work, one)
    git(one, "checkout", "-q", first)
    wish = {"commit_hash": first, "target_dir": tmp_path / "repos", "repo_name": "mine"}
    git(one, "remote", "add", "origin", url.replace("/project", "/fork/project"))
    two = clone_repository(url, **wish)
    assert two.name.startswith("mine-") and one.is_dir()
    assert git(two, "config", "remote.origin.url") == url
    monkeypatch.setenv("GIT_SSL_CAINFO", "/nonexistent")
    assert clone_repository(url.removesuffix(".git") + "/", **wish) == two
    assert clone_repository(url.replace("/project", "/fork/project"), **wish) == one
