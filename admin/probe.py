"""Asking an engine for its models, with the standard library: the start and `doctor` do, once.

The data plane has its own way; this one is for the operator's eyes.
"""

import http.client
import json
import socket
import ssl
import time
import urllib.error
import urllib.request
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from pathlib import Path

ANSWER_BYTES_MAX = 1 << 20
"""A list of models is a few kilobytes; more is something else."""

WRONG_BASE = "give the base URL of an OpenAI-compatible server, which is what comes before /v1/models"
WAIT_OR_LOOK = "wait until it has loaded; else see that this machine can reach it"


class EngineSilent(Exception):
    """The engine does not answer as an engine does; the message says how, as a sentence about it goes on."""

    wants_key = False
    """Whether it was for the key that it was given, or was not."""

    def __init__(self, fact: str, do: str) -> None:
        """`do`: what an operator can do about it."""
        super().__init__(fact)
        self.do = do


class _KeyRefused(EngineSilent):
    wants_key = True


@dataclass(frozen=True, slots=True)
class Answer:
    """What an engine lists, how long that took, and the time that it had (None: it does not say), beside this
    machine's.
    """

    models: list[str]
    seconds: float
    date_us: int | None
    asked_us: int


def models(
    base_url: str, *, api_key: str | None, ca_file: Path | None = None, timeout_seconds: float
) -> list[str]:
    """The ids an engine lists at /v1/models. Raises EngineSilent."""
    return ask(base_url, api_key=api_key, ca_file=ca_file, timeout_seconds=timeout_seconds).models


def ask(base_url: str, *, api_key: str | None, ca_file: Path | None = None, timeout_seconds: float) -> Answer:
    """What it answers at /v1/models. Raises EngineSilent."""
    request = urllib.request.Request(f"{base_url}/v1/models")  # noqa: S310 - settings let http(s) through alone
    if api_key:
        request.add_header("Authorization", f"Bearer {api_key}")
    handlers: list[urllib.request.BaseHandler] = [urllib.request.ProxyHandler({})]
    if ca_file:
        handlers.append(urllib.request.HTTPSHandler(context=ssl.create_default_context(cafile=ca_file)))
    opener = urllib.request.build_opener(*handlers)
    began, began_us = time.monotonic(), time.time_ns() // 1000
    try:
        with opener.open(request, timeout=timeout_seconds) as answer:
            date = answer.headers.get("date")
            content = json.loads(answer.read(ANSWER_BYTES_MAX))
        names = [str(model["id"]) for model in content["data"]]
        seconds = time.monotonic() - began
        return Answer(names, seconds, _read_date(date), began_us + int(seconds * 500_000))
    except urllib.error.HTTPError as fault:
        fault.close()
        fact = f"answers {fault.code} to /v1/models"
        if fault.code in {401, 403}:
            raise _KeyRefused(fact, "set METERGATE_ENGINE_API_KEY to its key") from None
        raise EngineSilent(fact, WRONG_BASE if fault.code < 500 else "look at its own log lines") from None
    except urllib.error.URLError as fault:
        raise _unreached(fault.reason) from None
    except TimeoutError:
        raise EngineSilent(f"does not answer within {timeout_seconds:g} s", WAIT_OR_LOOK) from None
    except http.client.HTTPException:
        raise EngineSilent("does not speak HTTP", "if it speaks TLS, its URL begins with https://") from None
    except OSError as fault:
        raise EngineSilent(f"breaks off ({type(fault).__name__})", "look at its own log lines") from None
    except (ValueError, KeyError, TypeError):
        raise EngineSilent(
            "answers /v1/models with something else than a list of models", WRONG_BASE
        ) from None


def is_ready(plane_url: str, timeout_seconds: float = 2.0) -> bool:
    """Whether a data plane says that calls can be served."""
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(f"{plane_url}/readyz", timeout=timeout_seconds) as answer:
            return bool(answer.status == 200)
    except (OSError, http.client.HTTPException):
        return False


def _unreached(reason: object) -> EngineSilent:
    """No connection, or none on which HTTP could be spoken."""
    if isinstance(reason, ssl.SSLCertVerificationError):
        fact = f"has a certificate that is not trusted ({reason.verify_message})"
        return EngineSilent(fact, "set METERGATE_ENGINE_CA_FILE to who signed it")
    if isinstance(reason, ssl.SSLError):
        return EngineSilent("does not speak TLS", "if it speaks plain HTTP, its URL begins with http://")
    if isinstance(reason, socket.gaierror):
        return EngineSilent(f"does not answer ({reason.strerror})", "correct the name in its URL")
    if isinstance(reason, TimeoutError):
        return EngineSilent("does not answer (timed out)", WAIT_OR_LOOK)
    why = getattr(reason, "strerror", None) or str(reason)
    return EngineSilent(f"does not answer ({why})", "start it, or correct its URL")


def _read_date(header: str | None) -> int | None:
    """The middle of the second that a Date header tells."""
    try:
        return None if header is None else int(parsedate_to_datetime(header).timestamp() * 1e6) + 500_000
    except ValueError:
        return None
