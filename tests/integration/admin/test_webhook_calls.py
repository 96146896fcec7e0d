"""Where webhooks may lead, and what becomes of their answers: over real connections."""

import asyncio
import socket
import ssl
from typing import Any

import pytest

from admin.alerts.webhooks import WebhookFailed, Webhooks
from tests.integration.admin.test_spend_alerts import CERTIFICATE, hook


def leading_to(monkeypatch: pytest.MonkeyPatch, *answers: list[str]) -> list[str]:
    """Makes every name lead to the next answer in turn; the names that were asked for."""
    asked: list[str] = []

    async def getaddrinfo(host: str, port: int, **_: Any) -> list[Any]:
        asked.append(host)
        found = answers[min(len(asked), len(answers)) - 1]
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, port)) for address in found]

    monkeypatch.setattr(asyncio.get_running_loop(), "getaddrinfo", getaddrinfo, raising=False)
    return asked


@pytest.mark.parametrize(
    "address",
    ["127.0.0.1", "10.0.0.5", "172.16.0.1", "192.168.1.1", "169.254.169.254", "100.64.0.1", "0.0.0.0",
     "224.0.0.1", "::1", "fe80::1", "fc00::1", "::ffff:127.0.0.1", "::ffff:169.254.169.254",
     "64:ff9b::7f00:1", "2002:7f00:1::", "::7f00:1", "fec0::1", "ff02::1"],
)  # fmt: skip
async def test_a_name_that_leads_inside_is_not_called(address: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Guards against a tenant that reads the cloud's metadata, or speaks to the database, through us."""
    async with hook() as receiver:
        port = receiver.url.rpartition(":")[2].partition("/")[0]
        webhooks = Webhooks(may_be_private=False)
        asked = leading_to(monkeypatch, [address])
        with pytest.raises(WebhookFailed, match="public internet"):
            await webhooks.call(f"https://a.example:{port}/", {}, b"{}")
        assert asked == ["a.example"]
        assert receiver.calls == []
        await webhooks.close()


async def test_a_name_is_looked_up_once_and_its_address_is_what_is_called(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Guards against a name that leads outside when it is checked and inside when it is called."""
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(CERTIFICATE)
    trusted = ssl.create_default_context(cafile=CERTIFICATE)
    monkeypatch.setattr("admin.alerts.webhooks.is_public", lambda address: address == "127.0.0.1")
    async with hook(tls) as receiver:
        webhooks = Webhooks(may_be_private=False, verify=trusted)
        asked = leading_to(monkeypatch, ["10.9.9.9", "127.0.0.1"], ["10.9.9.9"])
        await webhooks.call(receiver.url, {"webhook-id": "msg_1"}, b'{"a": 1}')
        assert asked == ["localhost"]
        ((headers, body),) = receiver.calls
        assert (headers["host"], headers["webhook-id"], body) == (
            receiver.url.split("/")[2], "msg_1", b'{"a": 1}'
        )  # fmt: skip
        await webhooks.close()


async def test_a_certificate_of_another_name_is_not_trusted() -> None:
    """Guards against who answers at the address being taken for who the URL names."""
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(CERTIFICATE)
    async with hook(tls) as receiver:
        webhooks = Webhooks(may_be_private=True)
        with pytest.raises(WebhookFailed, match="does not answer"):
            await webhooks.call(receiver.url, {}, b"{}")
        assert receiver.calls == []
        await webhooks.close()


@pytest.mark.parametrize(("status", "is_taken"), [(200, True), (204, True), (302, False), (404, False)])
async def test_only_2xx_is_an_arrival(status: int, is_taken: bool) -> None:
    """Guards against a redirect that is followed to where no check was made, and a 404 that counts."""
    async with hook() as receiver:
        receiver.status = status
        webhooks = Webhooks(may_be_private=True)
        try:
            await webhooks.call(receiver.url, {}, b"{}")
        except WebhookFailed as fault:
            assert not is_taken and str(status) in str(fault)
        else:
            assert is_taken
        assert len(receiver.calls) == 1
        await webhooks.close()


async def test_plain_http_is_for_private_networks_alone() -> None:
    """Guards against an alert that anybody on the way can read."""
    webhooks = Webhooks(may_be_private=False)
    with pytest.raises(WebhookFailed, match="https"):
        await webhooks.call("http://a.example/", {}, b"{}")
    await webhooks.close()
