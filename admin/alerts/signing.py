"""A webhook's signature, as Standard Webhooks and OpenAI's own webhooks have it.

Pure. `webhook-signature` is `v1,` and the base64 of HMAC-SHA256 over the id, the timestamp and the body, with
points between; OpenAI's SDKs check it (`client.webhooks.unwrap`). An alert's secret is not kept anywhere: it
is made of the server's own secret and the alert's id, so that no copy of the database holds it.
"""

import base64
import hmac
from typing import Final

SECRET_PREFIX: Final = "whsec_"  # noqa: S105
_PURPOSE: Final = b"metergate spend alert webhook\0"


def secret_of(pepper: bytes, alert_id: str) -> str:
    """What the holder of an alert checks its webhooks with."""
    return SECRET_PREFIX + base64.b64encode(_key(pepper, alert_id)).decode()


def headers(pepper: bytes, alert_id: str, message_id: str, body: bytes, now_seconds: int) -> dict[str, str]:
    """The three headers of a call."""
    signed = b"%b.%d.%b" % (message_id.encode(), now_seconds, body)
    signature = base64.b64encode(hmac.digest(_key(pepper, alert_id), signed, "sha256")).decode()
    return {
        "webhook-id": message_id,
        "webhook-timestamp": str(now_seconds),
        "webhook-signature": f"v1,{signature}",
    }


def _key(pepper: bytes, alert_id: str) -> bytes:
    return hmac.digest(pepper, _PURPOSE + alert_id.encode(), "sha256")
