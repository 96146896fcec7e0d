"""The ports: those of the metergate that runs here answer, and say that they are ready; else those of the
settings are free.
"""

import http.client
import json
import urllib.error
import urllib.request
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any, Final

from admin.addresses import Address
from admin.doctor.finding import Check, Finding, Look, Tell, note, ok, wrong
from admin.doctor.listeners import listener_on
from admin.sockets import AddressUnusable, listen

ANSWER_SECONDS: Final = 3.0
ANSWER_BYTES_MAX: Final = 1 << 20


@dataclass(frozen=True, slots=True)
class Port:
    """An address, and where it is by the settings."""

    address: Address
    host: str
    port: int

    @property
    def purpose(self) -> str:
        """Who is to listen there."""
        return self.address.purpose


def looks(ports: list[Port], places: Mapping[str, Mapping[str, str]]) -> list[Look]:
    """One for each. `places`: where the roles that run are reached, by purpose."""
    found: list[Look] = []
    for port in ports:
        url = places.get(port.address.role, {}).get(port.purpose)
        look = partial(_look_at_free, port) if url is None else partial(_look_at_running, port, url)
        found.append(Look(Check.PORT, look, port.purpose))
    return found


def _look_at_free(port: Port, tell: Tell) -> None:
    where = f"{port.host}:{port.port}"
    if port.port == 0:
        tell(ok(Check.PORT, "any free port", about=port.purpose))
        return
    try:
        listen(port.host, port.port, purpose=port.purpose, choose_with=port.address.setting).close()
    except AddressUnusable as fault:
        told = f"{port.host}:{port.port} cannot be listened on"
        if fault.is_taken:
            listener = listener_on(port.port)
            told = f"{where} is taken by {listener or 'a process of somebody else'}"
        elif reason := str(fault).partition("(")[2].partition(")")[0]:
            told += f" ({reason})"
        tell(
            wrong(
                Check.PORT,
                told,
                f"stop it, or choose another with {port.address.setting}",
                about=port.purpose,
            )
        )
    else:
        tell(ok(Check.PORT, f"{where} is free", about=port.purpose))


def _look_at_running(port: Port, url: str, tell: Tell) -> None:
    try:
        status, _ = _get(url + port.address.page)
    except OSError as fault:
        do = "look at its log lines; if it hangs, restart it"
        tell(
            wrong(
                Check.PORT, f"it runs and does not answer at {url} ({_reason(fault)})", do, about=port.purpose
            )
        )
        return
    if status != 200:
        do = "look at its log lines"
        tell(wrong(Check.PORT, f"it answers {status} at {url}{port.address.page}", do, about=port.purpose))
        return
    tell(ok(Check.PORT, f"it answers at {url}", about=port.purpose))
    if port.address.ready:
        try:
            tell(_readiness(*_get(url + port.address.ready), about=port.purpose))
        except OSError as fault:
            told = f"{port.address.ready} does not answer ({_reason(fault)})"
            tell(wrong(Check.READY, told, "look at the database", about=port.purpose))


def _readiness(status: int, body: Any, *, about: str) -> Finding:
    """`/readyz` of either plane."""
    body = body if isinstance(body, dict) else {}
    error = body.get("error") or {}
    problems = ", ".join(map(str, body.get("problems") or [error.get("message") or f"it answers {status}"]))
    do = "the lines around this one say more"
    if status != 200:
        return wrong(Check.READY, f"calls are not served: {problems}", do, about=about)
    if body.get("status") != "ready":
        return note(Check.READY, f"calls are served, not for ever: {problems}", do, about=about)
    return ok(Check.READY, "it is ready for calls", about=about)


def _get(url: str) -> tuple[int, Any]:
    """Status and JSON (None: something else). Raises OSError."""
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(url, timeout=ANSWER_SECONDS) as answer:
            status, content = answer.status, answer.read(ANSWER_BYTES_MAX)
    except urllib.error.HTTPError as fault:
        with fault:
            status, content = fault.code, fault.read(ANSWER_BYTES_MAX)
    except http.client.HTTPException as fault:
        raise OSError(f"no HTTP: {type(fault).__name__}") from None
    try:
        return status, json.loads(content)
    except ValueError:
        return status, None


def _reason(fault: OSError) -> str:
    reason = getattr(fault, "reason", fault)
    return str(getattr(reason, "strerror", None) or reason)
