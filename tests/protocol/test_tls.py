"""The server over TLS with a private CA, as the fal toolkit needs it (docs/protocol.md 1.3)."""

from __future__ import annotations

import hashlib
import ssl
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import trustme

from support.rawhttp import Connection
from support.server import Server, running
from support.talk import Talk, line

DATA = bytes(range(256)) * 4000  # about 1 MB: many TLS records


@dataclass(frozen=True)
class Secure:
    server: Server
    ca: Path
    context: ssl.SSLContext


@pytest.fixture(scope="module")
def secure(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Secure]:
    folder = tmp_path_factory.mktemp("tls")
    authority = trustme.CA()
    certificate = authority.issue_cert("127.0.0.1", "localhost")
    authority.cert_pem.write_to_path(str(folder / "ca.pem"))
    for part in certificate.cert_chain_pems:
        part.write_to_path(str(folder / "cert.pem"), append=True)
    certificate.private_key_pem.write_to_path(str(folder / "key.pem"))
    context = ssl.create_default_context(cafile=str(folder / "ca.pem"))
    with running(folder, tls_cert=str(folder / "cert.pem"), tls_key=str(folder / "key.pem")) as server:
        yield Secure(server, folder / "ca.pem", context)


def test_uploads_and_reads_work_over_https_and_links_say_so(secure: Secure) -> None:
    talk = Talk(secure.server, secure.context)
    url = talk.upload(DATA)
    assert url.startswith(f"https://127.0.0.1:{secure.server.port}/")
    assert talk.get(url).body == DATA
    assert talk.get(url, range="bytes=500000-600000").body == DATA[500000:600001]


def test_the_upload_command_trusts_a_private_ca_through_ssl_cert_file(secure: Secure, tmp_path: Path) -> None:
    file = tmp_path / "a.bin"
    file.write_bytes(DATA)
    url, key = secure.server.url, secure.server.key
    done = secure.server.run("upload", str(file), ENTREPOT_URL=url, ENTREPOT_KEY=key, SSL_CERT_FILE=str(secure.ca))
    assert Talk(secure.server, secure.context).get(done.stdout.strip()).body == DATA
    refused = secure.server.run("upload", str(file), check=False, ENTREPOT_URL=url, ENTREPOT_KEY=key)
    assert refused.returncode == 1
    assert "certificate" in refused.stderr.lower()


def test_plain_http_on_the_tls_port_gets_no_file_and_harms_nobody(secure: Secure) -> None:
    for _ in range(20):
        with line(secure.server) as plain:
            plain.send_head("GET", "/healthz")
            assert b" 200 " not in plain.rest()
    assert Talk(secure.server, secure.context).get("/healthz").status == 200


def test_a_connection_that_never_says_hello_holds_nobody_up(secure: Secure) -> None:
    silent = [line(secure.server) for _ in range(20)]
    try:
        assert Talk(secure.server, secure.context).get("/healthz").status == 200
    finally:
        for each in silent:
            each.close()


@pytest.mark.filterwarnings("ignore:ssl.TLSVersion")
@pytest.mark.parametrize(
    ("version", "accepted"),
    [
        (ssl.TLSVersion.TLSv1, False),
        (ssl.TLSVersion.TLSv1_1, False),
        (ssl.TLSVersion.TLSv1_2, True),
        (ssl.TLSVersion.TLSv1_3, True),
    ],
)
def test_tls_1_2_is_the_oldest_that_is_spoken(secure: Secure, version: ssl.TLSVersion, accepted: bool) -> None:
    context = ssl.create_default_context(cafile=str(secure.ca))
    context.set_ciphers("ALL:@SECLEVEL=0")  # so that it is the server that refuses
    context.minimum_version = context.maximum_version = version
    if accepted:
        assert Talk(secure.server, context).get("/healthz").status == 200
    else:
        with pytest.raises((ssl.SSLError, ConnectionError)):
            Connection.open(secure.server.port, tls=context, server_name="127.0.0.1")


def test_a_client_without_the_ca_is_not_fooled(secure: Secure) -> None:
    with pytest.raises(ssl.SSLCertVerificationError):
        Talk(secure.server, ssl.create_default_context()).get("/healthz")


@pytest.mark.parametrize("missing", ["tls_cert", "tls_key"])
def test_a_certificate_without_its_key_refuses_to_start(secure: Secure, tmp_path: Path, missing: str) -> None:
    settings = {k: v for k, v in secure.server.settings.items() if k != missing}
    refused = Server(tmp_path, settings)
    done = refused.run(*refused.arguments(), check=False)
    assert done.returncode == 2
    flag = "--" + missing.replace("_", "-")
    assert f"{flag} (ENTREPOT_{missing.upper()})" in done.stderr


@pytest.mark.parametrize("damage", ["missing", "empty", "exchanged"])
def test_a_certificate_that_cannot_be_used_refuses_to_start_and_says_why(
    secure: Secure, tmp_path: Path, damage: str
) -> None:
    good = secure.server.settings
    bad = tmp_path / "bad.pem"
    if damage == "empty":
        bad.write_text("")
    settings = {**good, "tls_cert": str(bad)}
    if damage == "exchanged":
        settings = {"tls_cert": good["tls_key"], "tls_key": good["tls_cert"]}
    refused = Server(tmp_path, settings)
    refused.new_key()
    done = refused.run(*refused.arguments(), check=False)
    assert done.returncode == 2
    assert "tls_cert" in done.stderr
    assert "Traceback" not in done.stderr


def test_the_bytes_that_arrive_over_tls_have_the_digest_that_was_sent(secure: Secure) -> None:
    talk = Talk(secure.server, secure.context)
    reply = talk.post("/files/upload", DATA)
    assert reply.json()["digest"] == f"sha256:{hashlib.sha256(DATA).hexdigest()}"
