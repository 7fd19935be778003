"""`entrepot serve --profile` at a home that has its first key already: its keys are known by their hashes alone."""

from __future__ import annotations

from entrepot.cli import serve
from entrepot.server.bootstrap import Start
from entrepot.settings import Settings


def test_n2_a_profile_that_cannot_be_saved_is_told_of(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("ENTREPOT_CONFIG", str(tmp_path / "config.toml"))
    settings = Settings.load({"home": str(tmp_path / "home"), "port": "18999"})
    serve.announce(settings, Start(None, None), "my work")  # type: ignore[arg-type]  # no home is needed
    said = capsys.readouterr().out
    assert "Profile 'my work' is not saved" in said
    assert "login --url http://127.0.0.1:18999 --profile 'my work'" in said
    assert not (tmp_path / "config.toml").exists()
