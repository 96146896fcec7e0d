"""Asking an engine for its models, with the standard library: the start and `doctor` do, once.

The data plane has its own way; this one is for the operator's eyes.
"""

import http.client
import json
import ssl
import urllib.error
import urllib.request
from pathlib import Path

ANSWER_BYTES_MAX = 1 << 20
"""A list of models is a few kilobytes; more is something else."""


class EngineSilent(Exception):
    """The engine does not answer as an engine does; the message says how."""


def models(
    base_url: str, *, api_key: str | None, ca_file: Path | None = None, timeout_seconds: float
) -> list[str]:
    """The ids an engine lists at /v1/models. Raises EngineSilent."""
    request = urllib.request.Request(f"{base_url}/v1/models")  # noqa: S310 - settings let http(s) through alone
    if api_key:
        request.add_header("Authorization", f"Bearer {api_key}")
    handlers: list[urllib.request.BaseHandler] = [urllib.request.ProxyHandler({})]
    if ca_file:
        handlers.append(urllib.request.HTTPSHandler(context=ssl.create_default_context(cafile=ca_file)))
    opener = urllib.request.build_opener(*handlers)
    try:
        with opener.open(request, timeout=timeout_seconds) as answer:
            content = json.loads(answer.read(ANSWER_BYTES_MAX))
        return [str(model["id"]) for model in content["data"]]
    except urllib.error.HTTPError as fault:
        fault.close()
        hint = ": set METERGATE_ENGINE_API_KEY" if fault.code in {401, 403} else ""
        raise EngineSilent(f"answers {fault.code} to /v1/models{hint}") from None
    except urllib.error.URLError as fault:
        reason = getattr(fault.reason, "strerror", None) or str(fault.reason)
        raise EngineSilent(f"does not answer ({reason})") from None
    except TimeoutError:
        raise EngineSilent(f"does not answer within {timeout_seconds:g} s") from None
    except (OSError, http.client.HTTPException) as fault:
        raise EngineSilent(f"does not answer ({type(fault).__name__})") from None
    except (ValueError, KeyError, TypeError):
        raise EngineSilent("answers /v1/models with something else than a list of models") from None
