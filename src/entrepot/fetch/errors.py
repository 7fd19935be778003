"""What can go wrong on the way to a stranger's URL: one tree.

Every message names the URL as it may be shown (no credentials, query or fragment); `fix` says what to do about it.
"""

from __future__ import annotations


class FetchError(Exception):
    """Base of all. `code` is stable, `url` may be shown and logged."""

    code = "fetch_failed"
    default_fix = "Check the URL, then try again."

    def __init__(self, url: str, reason: str, fix: str = "") -> None:
        super().__init__(url, reason, fix)
        self.url = url
        self.reason = reason
        self.fix = fix or self.default_fix

    def __str__(self) -> str:
        return f"{self.url}: {self.reason}"


class InvalidUrl(FetchError):
    """No URL, or one that cannot be sent as it is."""

    code = "invalid_url"
    default_fix = "Give a complete http or https URL."


class InvalidHeader(FetchError):
    """A request header that cannot be sent, or that is not the caller's to set."""

    code = "invalid_header"
    default_fix = "Leave this header out."


class Blocked(FetchError):
    """A rule of the policy forbids it. No packet was sent there."""

    code = "blocked"
    default_fix = "Use a URL that the public internet can reach."


class BlockedAddress(Blocked):
    """The host has an address that is not public."""

    code = "blocked_address"
    default_fix = "If this neighbour may be read, add its address or network to ENTREPOT_FETCH_ALLOW."


class BlockedPort(Blocked):
    """A port of another protocol."""

    code = "blocked_port"
    default_fix = "Serve the file on port 80, 443 or one above 1023 that no other protocol uses."


class BlockedScheme(Blocked):
    """Neither http nor https."""

    code = "blocked_scheme"
    default_fix = "Only http and https URLs can be read."


class BlockedPath(Blocked):
    """A URL of our own server that is no file's, or a redirect by it."""

    code = "blocked_path"
    default_fix = "Of this server only the URLs of files (/files/b/...) can be read."


class TooManyRedirects(FetchError):
    """More hops than are followed, or a loop."""

    code = "too_many_redirects"
    default_fix = "Use the URL that the last redirect leads to."


class ConnectionFailed(FetchError):
    """The host is unknown or does not answer, or the connection broke."""

    code = "connection_failed"
    default_fix = "Check that the server is up, then try again."


class Truncated(ConnectionFailed):
    """The connection ended before the reply did."""

    code = "truncated"
    default_fix = "Try again."


class Stalled(ConnectionFailed):
    """No byte moved for as long as is waited, or the whole took longer than was allowed."""

    code = "stalled"
    default_fix = "Try again later."


class TooSlow(FetchError):
    """Bytes move, but so few that it would never end."""

    code = "too_slow"
    default_fix = "Try again later, or get the file from a faster server."


class ProxyFailed(FetchError):
    """The proxy of the policy cannot be reached, or does not let the request through."""

    code = "proxy_failed"
    default_fix = "Check ENTREPOT_FETCH_PROXY, and what the proxy allows."


class TlsFailed(FetchError):
    """The server's certificate is not to be trusted, or it does not speak TLS."""

    code = "tls_failed"
    default_fix = "Check the URL and the clock of this machine; name a private CA with SSL_CERT_FILE."


class TooLarge(FetchError):
    """More bytes than the limit."""

    code = "too_large"
    default_fix = "Raise the limit, or use a smaller file."


class BadReply(FetchError):
    """What came is not HTTP/1.1, exceeds the limits of a reply's head, or is encoded in a way not asked for."""

    code = "bad_reply"
    default_fix = "Report it to those who run that server."


class BadStatus(FetchError):
    """Not the status that was hoped for. `status` is the one that came, with its Retry-After."""

    code = "bad_status"
    default_fix = "Check the URL and, if it needs any, the credentials in the request headers."

    def __init__(self, url: str, status: int, reason: str, fix: str = "", retry_after: str = "") -> None:
        super().__init__(url, reason, fix)
        self.status = status
        self.retry_after = retry_after


class WrongType(FetchError):
    """Not a media type that was demanded: often a page instead of a file."""

    code = "wrong_type"
    default_fix = "Use the URL of the file itself, not of a page that shows it."


class Cancelled(FetchError):
    """Ended from outside."""

    code = "cancelled"
    default_fix = "Try again when it is wanted."
