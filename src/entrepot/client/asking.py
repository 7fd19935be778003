"""Ask a server until it answers: retries, and the token for the CDN."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from entrepot import wire
from entrepot.client.commands import Alone, Call, Flow, Receive, Reply, Request, Send, Sleep, Take
from entrepot.client.errors import ConfigurationError, EntrepotError, ServerError
from entrepot.client.profile import Profile
from entrepot.client.replies import NOT_OURS, answered, link, moment, text
from entrepot.client.retry import Policy

# A token is renewed this many seconds before its end, so that none ends on the way.
TOKEN_MARGIN = 60.0
# What may stand in a header: an error of the HTTP library would quote anything else.
_SENDABLE = re.compile(r"[!-~]+")

Credential = Mapping[str, str]
OnWait = Callable[[float, ServerError], None]


@dataclass(frozen=True, slots=True)
class Answer:
    """A success: its headers and its JSON value."""

    headers: Mapping[str, str] = field(repr=False)
    value: Any = field(repr=False)

    @property
    def body(self) -> Mapping[str, object]:
        """The value when it is an object, else an empty one."""
        return self.value if isinstance(self.value, dict) else {}

    @property
    def rows(self) -> list[Mapping[str, object]]:
        """The value, which must be an array of objects: anything else is no empty listing. Raises EntrepotError."""
        if not isinstance(self.value, list) or not all(isinstance(each, dict) for each in self.value):
            raise EntrepotError("The server's reply is no list.", NOT_OURS)
        return self.value


@dataclass(frozen=True, slots=True)
class Token:
    """A CDN token (docs/protocol.md 2.2). `renew_at` by this machine's clock, whatever the server's says."""

    credential: Credential = field(repr=False)
    base_url: str
    renew_at: float


@dataclass(slots=True)
class Context:
    """What all flows of a client share. Clock and randomness are passed in; tokens are kept by server and key. `heard`
    are the URLs of servers that have answered. `on_wait` is told, in any thread, how many seconds are waited because a
    server asked for it (429), and why."""

    clock: Callable[[], float]
    random: Callable[[], float]
    new_id: Callable[[], str]
    policy: Policy = field(default_factory=Policy)
    tokens: dict[str, Token] = field(default_factory=dict)
    heard: set[str] = field(default_factory=set)
    on_wait: OnWait | None = None


def ask(
    ctx: Context,
    make: Callable[[], Request],
    policy: Policy | None = None,
    check: Callable[[], None] | None = None,
    take: Take | None = None,
) -> Flow[Answer]:
    """Send a request that may be repeated until it succeeds, fails for good, or the patience is over.

    `check` is called before each repetition: what it raises ends the trying. `take` reads the body of a success in
    place of us, and then there is no JSON.
    """
    patience = policy or ctx.policy
    attempt = 0
    while True:
        attempt += 1
        request = make()
        try:
            reply: Reply = yield Receive(request, take) if take else Send(request)
            if take and 200 <= reply.status < 300:
                return Answer(reply.headers, {})
            return Answer(reply.headers, answered(reply, request, ctx.clock()))
        except EntrepotError as error:
            pause = patience.pause(attempt, error, ctx.random())
            if pause is None:
                raise
            if ctx.on_wait and isinstance(error, ServerError) and error.status_code == 429:
                yield Call(partial(ctx.on_wait, pause, error))
        yield Sleep(pause)
        if check:
            yield Call(check)


def ask_cdn(
    ctx: Context,
    target: Profile,
    make: Callable[[Token], Request],
    policy: Policy | None = None,
    check: Callable[[], None] | None = None,
) -> Flow[Answer]:
    """As `ask`, with a token. One that is refused although it should hold is renewed, once."""
    for last in (False, True):
        token = yield from fresh_token(ctx, target, policy)
        try:
            return (yield from ask(ctx, partial(make, token), policy, check))
        except ServerError as error:
            if last or error.status_code != 401:
                raise
        _forget(ctx, target, token)
    raise AssertionError("the second trial returns or raises")


def token_after(ctx: Context, target: Profile, refused: Token | None, policy: Policy) -> Flow[Token]:
    """The token for a server; another one than that which it refused."""
    if refused:
        _forget(ctx, target, refused)
    return (yield from fresh_token(ctx, target, policy))


def _forget(ctx: Context, target: Profile, token: Token) -> None:
    if ctx.tokens.get(_place(target)) is token:
        del ctx.tokens[_place(target)]


def has_token(ctx: Context, target: Profile) -> bool:
    """Whether a server has given one."""
    return _place(target) in ctx.tokens


def fresh_token(ctx: Context, target: Profile, policy: Policy | None = None) -> Flow[Token]:
    """The token for a server. Of many that need one at once, one asks."""
    held = ctx.tokens.get(_place(target))
    if held is not None and ctx.clock() < held.renew_at:
        return held
    token: Token = yield Alone(_place(target), _renew(ctx, target, policy))
    return token


def _renew(ctx: Context, target: Profile, policy: Policy | None) -> Flow[Token]:
    held = ctx.tokens.get(_place(target))
    if held is not None and ctx.clock() < held.renew_at:
        return held  # somebody else was first
    headers = {**key_header(target), "content-type": "application/json"}
    url = f"{target.url}{wire.TOKEN}?storage_type=fal-cdn-v3"
    asked_at = ctx.clock()
    answer = yield from ask(ctx, lambda: Request("POST", url, headers, b"{}"), policy)
    kind, value = str(answer.body.get("token_type") or "Bearer"), text(answer.body, "token")
    if not _SENDABLE.fullmatch(kind + value):
        raise EntrepotError("The server's reply has no usable 'token'.", "Check the server's URL.")
    token = Token(
        {"authorization": f"{kind} {value}"},
        link(answer.body, "base_url", target.url).rstrip("/"),
        asked_at + _lifetime(answer.body) - TOKEN_MARGIN,
    )
    ctx.tokens[_place(target)] = token
    return token


def key_header(target: Profile) -> Credential:
    """What says who asks, where no token is wanted. Raises ConfigurationError."""
    key = target.key.reveal()
    if not _SENDABLE.fullmatch(key):
        raise ConfigurationError("The key has characters that no key has.", "Check ENTREPOT_KEY, or what else has it.")
    return {"authorization": f"Key {key}"}


def _place(target: Profile) -> str:
    """What a token is kept under. A program may change its key meanwhile, and then means another account."""
    return f"{target.url} {hashlib.sha256(target.key.reveal().encode()).hexdigest()}"


def _lifetime(body: Mapping[str, object]) -> float:
    """Seconds from the token's making to its end, both by the server's clock. Unknown: it is used once."""
    made, ends = moment(body.get("created_at")), moment(body.get("expires_at"))
    if made is None or ends is None or (made.tzinfo is None) != (ends.tzinfo is None):
        return 0.0
    return (ends - made).total_seconds()
