"""Guarded fetch: reading http and https URLs that a stranger may have chosen.

    with Fetcher(Policy(allow=allowed_networks())).open(url, max_bytes=50 * MIB) as response:
        response.expect(200)
        for chunk in response.chunks():
            ...

Each hop is resolved once; when any of the answers is not public nothing is sent, else the connection goes to one of
these very addresses, with the name in SNI and Host. With a proxy, which only an operator can name, that is the proxy's
business; what can be seen from here, addresses and ports, is refused all the same.
"""

from entrepot.fetch.call import Call
from entrepot.fetch.errors import FetchError
from entrepot.fetch.fetcher import Fetcher
from entrepot.fetch.policy import Policy, allowed_networks, origins
from entrepot.fetch.proxy import Proxy, configured_proxy, exempted, proxy_of
from entrepot.fetch.response import Response
from entrepot.fetch.urls import shown

__all__ = [
    "Call",
    "FetchError",
    "Fetcher",
    "Policy",
    "Proxy",
    "Response",
    "allowed_networks",
    "configured_proxy",
    "exempted",
    "origins",
    "proxy_of",
    "shown",
]
