"""The control plane over the network, asked with an admin key.

Rules: the key goes to the URL that was named and nowhere else, so no redirect is followed and no proxy of the
environment is used; it is in no message. Every wait is bounded. Each POST has an Idempotency-Key of its own:
where the connection broke it is sent again, and done once. A change of another kind is sent again only where
it cannot have arrived.
"""

import ssl
import sys
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.metadata import PackageNotFoundError, version
from ipaddress import ip_address
from typing import Final
from urllib.parse import quote, urlsplit

import httpx

from admin.cli.api import Answer, Asked, Streamed
from admin.cli.command import Fault
from ledger.keys import ADMIN_PREFIX, is_well_formed
from ledger.setting import Secret

TIMEOUT: Final = httpx.Timeout(connect=5.0, read=60.0, write=30.0, pool=5.0)
PAUSES_S: Final = (0.2, 1.0)
"""Before it is asked a second time, and a third."""
_IN_USE: Final = "idempotency_key_in_use"


def checked_url(text: str) -> str:
    """A base URL without a slash at its end. Raises Fault."""
    try:
        parts = urlsplit(text)
        is_url = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        is_url = False
    if not is_url or not text.isascii() or not text.isprintable() or " " in text:
        raise Fault("the URL of a control plane is one such as https://admin.example.com")
    if parts.username is not None or parts.password is not None:
        raise Fault("no user and password in the URL: the key comes from METERGATE_ADMIN_KEY")
    if parts.query or parts.fragment:
        raise Fault("the URL of a control plane has nothing behind its path")
    return text.rstrip("/")


def checked_key(key: Secret | None, whence: str) -> Secret:
    """An admin key. Raises Fault, without what was given."""
    if key is None:
        raise Fault(f"no admin key: set {whence}, or give --admin-key-file")
    if not is_well_formed(key.get_secret_value().encode(), ADMIN_PREFIX):
        raise Fault(f"what is in {whence} is no admin key: they begin with {ADMIN_PREFIX}, and have no typo")
    return key


class Remote:
    """Answers from a control plane at a URL. `url` and `key` are checked."""

    def __init__(self, url: str, key: Secret) -> None:
        """Connects on first use."""
        self._url = url
        self._warn()
        self._client = httpx.Client(
            headers={
                "Authorization": f"Bearer {key.get_secret_value()}",
                "User-Agent": f"metergate-cli/{_version()}",
            },
            timeout=TIMEOUT,
            verify=_trust(url),
            follow_redirects=False,
            trust_env=False,
        )

    def ask(self, asked: Asked) -> Answer:
        """The answer. Raises Fault where there is none."""
        request = self._request(asked)
        for pause_s in (*PAUSES_S, None):
            with self._faults():
                try:
                    response = self._client.send(request)
                except httpx.TransportError as fault:
                    if pause_s is None or not _may_repeat(asked.method, fault):
                        raise
                else:
                    is_underway = response.status_code == 409 and _IN_USE in response.text
                    if pause_s is None or not is_underway:
                        self._refuse_redirect(response)
                        request_id = response.headers.get("x-request-id")
                        return Answer(response.status_code, response.content, request_id)
            time.sleep(pause_s)
        raise AssertionError("the last try returns or raises")

    def open(self, asked: Asked) -> Streamed:
        """The answer, bit by bit: not asked again. Raises Fault where there is none."""
        with self._faults():
            response = self._client.send(self._request(asked), stream=True)
            self._refuse_redirect(response)
        return Streamed(response.status_code, self._chunks(response))

    def advice(self, status: int, code: str | None) -> str:
        """What to do, where the message of the answer does not say it."""
        if status == 401:
            return "Check METERGATE_ADMIN_KEY, or the file of --admin-key-file."
        if status == 404 and code in (None, "unknown_url"):
            return f"is {self._url} a control plane, of this version of metergate?"
        if code is None:
            return f"is {self._url} a control plane?"
        return ""

    def wait_posted(self) -> None:
        """Not at all: journals are on the hosts of data planes."""

    def close(self) -> None:
        """Closes the connection."""
        self._client.close()

    def _request(self, asked: Asked) -> httpx.Request:
        headers = {}
        if asked.method == "POST":
            headers["Idempotency-Key"] = str(uuid.uuid4())
        if asked.tenant is not None:
            if not asked.tenant.isascii() or not asked.tenant.isprintable():
                raise Fault(f"no tenant with the id {asked.tenant!r}")
            headers["OpenAI-Organization"] = asked.tenant
        path = "/".join((asked.root, *(quote(word, safe="") for word in asked.words)))
        return self._client.build_request(
            asked.method,
            f"{self._url}{path}",
            params=list(asked.query),
            json=asked.body,
            headers=headers,
        )

    def _chunks(self, response: httpx.Response) -> Iterator[bytes]:
        try:
            with self._faults():
                yield from response.iter_bytes()
        finally:
            response.close()

    def _refuse_redirect(self, response: httpx.Response) -> None:
        if response.is_redirect:
            where = response.headers.get("location", "elsewhere")
            raise Fault(f"{self._url} redirects to {where!r}: the key is not sent there; give its URL")

    @contextmanager
    def _faults(self) -> Iterator[None]:
        try:
            yield
        except httpx.TimeoutException as fault:
            raise Fault(f"{self._url} does not answer in time ({type(fault).__name__})") from None
        except httpx.ConnectError as fault:
            tls = _tls_fault(fault)
            if tls is None:
                raise Fault(f"cannot reach {self._url}: {fault}; is it up, and the URL right?") from None
            raise Fault(
                f"no TLS with {self._url}: {tls}; SSL_CERT_FILE names another file of certificates to trust"
            ) from None
        except (httpx.TransportError, httpx.DecodingError) as fault:
            raise Fault(f"the connection to {self._url} broke: {fault}") from None

    def _warn(self) -> None:
        parts = urlsplit(self._url)
        if parts.scheme == "http" and not _is_loopback(parts.hostname or ""):
            print(
                f"metergate: warning: {self._url} is not https: the admin key travels unprotected",
                file=sys.stderr,
            )


def _may_repeat(method: str, fault: httpx.TransportError) -> bool:
    """Whether it did not arrive, or does no harm if it arrives twice."""
    if isinstance(fault, httpx.ConnectError | httpx.ConnectTimeout):
        return _tls_fault(fault) is None
    return method in ("GET", "POST") and not isinstance(fault, httpx.TimeoutException)


def _tls_fault(fault: BaseException) -> str | None:
    """What TLS says about it, if it was that."""
    cause: BaseException | None = fault
    while cause is not None:
        if isinstance(cause, ssl.SSLCertVerificationError):
            return cause.verify_message
        if isinstance(cause, ssl.SSLError):
            return cause.reason or "it failed"
        cause = cause.__cause__ or cause.__context__
    return None


def _trust(url: str) -> ssl.SSLContext:
    """The system's certificates, or SSL_CERT_FILE's; none are read where there is no TLS."""
    if url.startswith("https:"):
        return ssl.create_default_context()
    return ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)


def _is_loopback(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost" or host.endswith(".localhost")


def _version() -> str:
    try:
        return version("metergate")
    except PackageNotFoundError:
        return "0"
