"""Ask a server until it answers: retries, and the token for the CDN."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial

from entrepot import wire
from entrepot.client.commands import Alone, Call, Flow, Reply, Request, Send, Sleep
from entrepot.client.errors import EntrepotError, ServerError
from entrepot.client.profile import Profile
from entrepot.client.replies import answered, moment, text
from entrepot.client.retry import Policy

# A token is renewed this many seconds before its end, so that none ends on the way.
TOKEN_MARGIN = 60.0

Credential = Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Answer:
    """A success: its headers and its JSON."""

    headers: Mapping[str, str]
    body: Mapping[str, object]


@dataclass(frozen=True, slots=True)
class Token:
    """A CDN token (protocol 2.2). `renew_at` by this machine's clock, whatever the server's says."""

    credential: Credential = field(repr=False)
    base_url: str
    renew_at: float


@dataclass(slots=True)
class Context:
    """What all flows of a client share. Clock and randomness are passed in; tokens are kept by server."""

    clock: Callable[[], float]
    random: Callable[[], float]
    new_id: Callable[[], str]
    policy: Policy = field(default_factory=Policy)
    tokens: dict[str, Token] = field(default_factory=dict)


def ask(
    ctx: Context,
    make: Callable[[], Request],
    policy: Policy | None = None,
    check: Callable[[], None] | None = None,
) -> Flow[Answer]:
    """Send a request that may be repeated until it succeeds, fails for good, or the patience is over.

    `check` is called before each repetition: what it raises ends the trying.
    """
    patience = policy or ctx.policy
    attempt = 0
    while True:
        attempt += 1
        request = make()
        try:
            reply: Reply = yield Send(request)
            return Answer(reply.headers, answered(reply, request, ctx.clock()))
        except EntrepotError as error:
            pause = patience.pause(attempt, error, ctx.random())
            if pause is None:
                raise
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
        if ctx.tokens.get(target.url) is token:
            del ctx.tokens[target.url]
    raise AssertionError("the second trial returns or raises")


def fresh_token(ctx: Context, target: Profile, policy: Policy | None = None) -> Flow[Token]:
    """The token for a server. Of many that need one at once, one asks."""
    held = ctx.tokens.get(target.url)
    if held is not None and ctx.clock() < held.renew_at:
        return held
    token: Token = yield Alone(f"token {target.url}", _renew(ctx, target, policy))
    return token


def _renew(ctx: Context, target: Profile, policy: Policy | None) -> Flow[Token]:
    held = ctx.tokens.get(target.url)
    if held is not None and ctx.clock() < held.renew_at:
        return held  # somebody else was first
    headers = {"authorization": f"Key {target.key.reveal()}", "content-type": "application/json"}
    url = f"{target.url}{wire.TOKEN}?storage_type=fal-cdn-v3"
    asked_at = ctx.clock()
    answer = yield from ask(ctx, lambda: Request("POST", url, headers, b"{}"), policy)
    token = Token(
        {"authorization": f"{answer.body.get('token_type', 'Bearer')} {text(answer.body, 'token')}"},
        text(answer.body, "base_url").rstrip("/"),
        asked_at + _lifetime(answer.body) - TOKEN_MARGIN,
    )
    ctx.tokens[target.url] = token
    return token


def _lifetime(body: Mapping[str, object]) -> float:
    """Seconds from the token's making to its end, both by the server's clock. Unknown: it is used once."""
    made, ends = moment(body.get("created_at")), moment(body.get("expires_at"))
    if made is None or ends is None or (made.tzinfo is None) != (ends.tzinfo is None):
        return 0.0
    return (ends - made).total_seconds()
