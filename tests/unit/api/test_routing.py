"""How a URL finds its routes: matched as it comes, from both ends."""

from __future__ import annotations

import pytest

from entrepot.api.http_context import HttpContext
from entrepot.api.routing import Route, Router
from entrepot.api.services import Services


async def nothing(ctx: HttpContext, services: Services) -> None:
    pass


TEMPLATES = [
    "GET /things", "POST /things/{file}", "GET /things/{file}", "DELETE /things/{file}/parts/{upload_id}",
    "POST /things/{file}/parts/{upload_id}/done", "GET /other/{name}", "HEAD /other/{name}", "POST /other/fixed",
]  # fmt: skip
ROUTER = Router(Route(method, template, nothing) for method, template in map(str.split, TEMPLATES))


def found(method: str, url: str) -> tuple[str, dict[str, bytes]] | None:
    hit = ROUTER.find(url.encode()).get(method)
    return hit and (hit[0].template, dict(hit[1]))


@pytest.mark.parametrize(
    ("method", "url", "template", "names"),
    [
        ("GET", "/things", "/things", {}),
        ("GET", "/things/a/b", "/things/{file}", {"path": b"a/b"}),
        ("GET", "/things/", "/things/{file}", {"path": b""}),
        ("POST", "/things/a%2Fparts%2Fx", "/things/{file}", {"path": b"a%2Fparts%2Fx"}),
        ("DELETE", "/things/a/b/parts/x", "/things/{file}/parts/{upload_id}", {"path": b"a/b", "upload_id": b"x"}),
        ("POST", "/things/a/parts/x/done", "/things/{file}/parts/{upload_id}/done", {"path": b"a", "upload_id": b"x"}),
        ("GET", "/other/a%2Fb", "/other/{name}", {"name": b"a%2Fb"}),
    ],
)
def test_a_url_finds_the_template_that_fits_best(method: str, url: str, template: str, names: dict[str, bytes]) -> None:
    assert found(method, url) == (template, names)


def test_the_methods_of_all_fitting_templates_are_merged() -> None:
    assert set(ROUTER.find(b"/things/a/parts/x")) == {"GET", "HEAD", "POST", "DELETE"}


def test_a_get_route_answers_head_unless_there_is_one() -> None:
    assert found("HEAD", "/things") == ("/things", {})
    head = ROUTER.find(b"/other/x")["HEAD"][0]
    assert (head.method, ROUTER.find(b"/things")["HEAD"][0].method) == ("HEAD", "GET")


def test_a_template_without_names_answers_its_url_alone() -> None:
    assert set(ROUTER.find(b"/other/fixed")) == {"POST"}


@pytest.mark.parametrize("url", ["/", "/thing", "/things2", "/other", "/other/", "/other/a/b", "//things", "/nothing"])
def test_a_url_that_is_no_route_finds_nothing(url: str) -> None:
    assert not ROUTER.find(url.encode())
