"""Calling a webhook: to the address that was checked, and to no other.

A URL is a tenant's choice. So its name is resolved here, its addresses are judged by
admin/alerts/addresses.py, and the connection goes to the very address that passed, under the name of the URL
in `Host` and in TLS: there is no second look at the name that could give another answer. No redirect is
followed, no proxy of the environment is used, no connection is kept (the pool would know it by its address
alone), and of the answer only the status is read.
"""

import asyncio
import socket
import ssl
from typing import Final

import httpx

from admin.alerts.addresses import is_public

TIMEOUT_SECONDS: Final = 10.0
"""For each step: connecting, sending, the answer's head."""
CALL_SECONDS_MAX: Final = 30.0
"""For all of it: a receiver that sends its head a byte at a time is not waited for."""
ADDRESSES_MAX: Final = 3
"""How many addresses of one name are tried."""


class WebhookFailed(Exception):
    """The webhook was not called, or did not say 2xx; the message says why, without the URL."""


class Webhooks:
    """Calls webhooks. `may_be_private`: wherever they are."""

    def __init__(self, *, may_be_private: bool, verify: ssl.SSLContext | bool = True) -> None:
        """`verify` says which certificates are trusted. Close it in the end."""
        self._may_be_private = may_be_private
        self._verify = verify
        self._client: httpx.AsyncClient | None = None

    async def call(self, url: str, headers: dict[str, str], body: bytes) -> None:
        """POSTs the body. Raises WebhookFailed."""
        try:
            async with asyncio.timeout(CALL_SECONDS_MAX):
                status = await self._post(httpx.URL(url), headers, body)
        except TimeoutError:
            raise WebhookFailed("took too long") from None
        except (httpx.InvalidURL, UnicodeError):
            raise WebhookFailed("has no URL that can be called") from None
        if not 200 <= status < 300:
            raise WebhookFailed(f"answered {status}")

    async def close(self) -> None:
        """Closes what is open."""
        if self._client is not None:
            await self._client.aclose()

    def _connected(self) -> httpx.AsyncClient:
        """Made when it is first used: reading all certificates costs more than a worker that calls none."""
        if self._client is None:
            self._client = httpx.AsyncClient(
                timeout=TIMEOUT_SECONDS,
                verify=self._verify,
                trust_env=False,
                follow_redirects=False,
                limits=httpx.Limits(max_connections=32, max_keepalive_connections=0),
            )
        return self._client

    async def _post(self, url: httpx.URL, headers: dict[str, str], body: bytes) -> int:
        if url.scheme != "https" and not self._may_be_private:
            raise WebhookFailed("is no https:// URL")
        port = url.port or (443 if url.scheme == "https" else 80)
        fault: Exception | None = None
        for address in await self._addresses(url.host, port):
            try:
                async with self._connected().stream(
                    "POST",
                    url.copy_with(host=address, port=url.port),
                    content=body,
                    headers={
                        **headers,
                        "host": url.netloc.decode(),
                        "content-type": "application/json",
                        "user-agent": "metergate",
                    },
                    extensions={"sni_hostname": url.host},
                ) as answer:
                    return answer.status_code
            except (httpx.ConnectError, httpx.ConnectTimeout) as error:
                fault = error
            except httpx.HTTPError as error:
                raise WebhookFailed(f"does not answer ({type(error).__name__})") from None
        raise WebhookFailed(f"does not answer ({type(fault).__name__})")

    async def _addresses(self, host: str, port: int) -> list[str]:
        """Where to connect: what the name leads to, as far as it may be called. At least one."""
        loop = asyncio.get_running_loop()
        try:
            found = await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM)
        except OSError:
            raise WebhookFailed("has a name that leads nowhere") from None
        addresses = list(dict.fromkeys(str(where[0]) for *_, where in found))
        allowed = [one for one in addresses if self._may_be_private or is_public(one)]
        if not allowed:
            raise WebhookFailed("is not on the public internet (METERGATE_WEBHOOK_PRIVATE_ADDRESSES)")
        return allowed[:ADDRESSES_MAX]
