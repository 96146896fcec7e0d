"""A request body, read once and written anew. pure.

Owns the way from the client's bytes to the `Call` that admission and metering go by, and to the bytes that
the engine gets. Both come from one decoded object, so that no trick of JSON (duplicate keys, UTF-16,
escaped names) makes the engine read another request than the one that is metered. Must not know tenants
beyond the salt it is handed.
"""

from hashlib import sha256
from typing import Any, Final

import msgspec

from ledger.record import END_USER_CHARS_MAX
from proxy.endpoints import CHAT, COMPLETIONS, EMBEDDINGS, GENERATE, Endpoint
from proxy.errors import BodyUnreadable, FieldMissing, FieldRefused
from proxy.fields import Limits, prompts_in
from proxy.stream import UsageWish

_decode: Final = msgspec.json.Decoder().decode
_encode: Final = msgspec.json.Encoder().encode

COMPLETIONS_DEFAULT_TOKENS: Final = 16
"""`max_tokens` of /v1/completions where it is not given, in vLLM as at OpenAI."""

_ASK_USAGE: Final = {"include_usage": True, "continuous_usage_stats": True}


class Call(msgspec.Struct, frozen=True):
    """What one request asks for, as far as the proxy has to know.

    `choices`: all the answers it will get, over all prompts. `silence`, `hide_reasoning`: see
    `CompletionStream`. `fields`: what goes to the engine, but for the cache's salt. `end_user`: the app's own
    user, as far as the ledger keeps it.
    """

    endpoint: Endpoint
    model: str
    stream: bool
    wish: UsageWish
    choices_per_prompt: int
    choices: int
    silence: bool
    hide_reasoning: bool
    fields: dict[str, Any]
    end_user: str = ""

    def engine_body(self, salt: str | None) -> bytes:
        """The body for the engine. `salt` is the tenant's, or None where the prefix cache is shared.

        A client's own salt is kept apart from every other tenant's by hashing both into one.
        """
        if salt is None:
            return _encode(self.fields)
        own = self.fields.get("cache_salt")
        return _encode(
            self.fields | {"cache_salt": sha256(f"{salt}\0{own}".encode()).hexdigest() if own else salt}
        )

    def forget_fields(self) -> None:
        """No engine is asked again: a long prompt does not stay for as long as its answer takes."""
        self.fields.clear()


def read_call(endpoint: Endpoint, body: bytes, limits: Limits, only_model: str | None = None) -> Call:
    """Reads a body. `only_model` stands in for a missing model where the endpoint allows that.

    Raises BodyUnreadable, FieldMissing, FieldRefused, FieldUnsupported.
    """
    sent = _object(body)
    fields = endpoint.table.apply(sent, limits)
    model = fields.get("model") or (only_model if endpoint is GENERATE else None)
    if not model:
        raise FieldMissing("You must provide a model parameter.", "model")
    fields["model"] = model
    if fields.get(endpoint.input_field) is None:
        raise FieldMissing(f"Missing required parameter: '{endpoint.input_field}'.", endpoint.input_field)
    n = fields.get("n") or 1
    prompts = prompts_in(fields["prompt"]) if endpoint is COMPLETIONS else 1
    choices = n * prompts
    if choices > limits.max_prompts:
        raise FieldRefused(f"`n` times the prompts is {choices}; the most is {limits.max_prompts}.", "n")
    stream = bool(fields.get("stream"))
    wish = _wish(fields, stream)
    silence = hide_reasoning = False
    if stream:
        fields["stream_options"] = _ASK_USAGE
        if endpoint is CHAT:
            silence, hide_reasoning = _ask_for_silent_tokens(fields)
    user = _end_user(fields.get("user"))
    return Call(endpoint, model, stream, wish, n, choices, silence, hide_reasoning, fields, user)


def _end_user(user: Any) -> str:
    """The request's `user` as a name for the ledger; "" where it is none."""
    if not isinstance(user, str):
        return ""
    return user[:END_USER_CHARS_MAX].replace("\0", "")


def capped(call: Call, completion_tokens: int) -> Call:
    """The same call, allowed no more than so many completion tokens over all its choices, but one for each.

    Nothing that the client asked for is raised; a call that asks for no more already is returned as it is.
    For less than the call may make at the most: the engine refuses a `max_tokens` beyond its context.
    """
    if call.endpoint is EMBEDDINGS:
        return call
    each = max(1, completion_tokens // call.choices)
    fields = call.fields
    lowered = {
        name: each
        for name in ("max_tokens", "max_completion_tokens", "min_tokens")
        if (fields.get(name) or 0) > each
    }
    unset = fields.get("max_tokens") is None and not fields.get("max_completion_tokens")
    if unset and (call.endpoint is CHAT or each < COMPLETIONS_DEFAULT_TOKENS):
        lowered["max_tokens"] = each
    return msgspec.structs.replace(call, fields=fields | lowered) if lowered else call


def _object(body: bytes) -> dict[str, Any]:
    try:
        sent = _decode(body)
    except (msgspec.DecodeError, msgspec.ValidationError, UnicodeDecodeError, RecursionError) as error:
        raise BodyUnreadable(
            "We could not parse the JSON body of your request. It must be one JSON object in UTF-8."
        ) from error
    if not isinstance(sent, dict):
        raise BodyUnreadable("The body of your request must be a JSON object.")
    return sent


def _wish(fields: dict[str, Any], stream: bool) -> UsageWish:
    """What the client asked to see of the usage; takes `stream_options` out of the fields."""
    options = fields.pop("stream_options", None)
    if options is None:
        return UsageWish.NONE
    if not stream:
        raise FieldRefused("`stream_options` is only allowed with `stream` set to true.", "stream_options")
    if not options.get("include_usage"):
        return UsageWish.NONE  # as vLLM: continuous_usage_stats alone is without effect
    return UsageWish.RUNNING if options.get("continuous_usage_stats") else UsageWish.FINAL


def _ask_for_silent_tokens(fields: dict[str, Any]) -> tuple[bool, bool]:
    """Has the engine send a chunk for tokens it would make in silence, so that the running count never lags.

    A tool parser keeps tokens back until the call is whole: `return_token_ids` gives each a chunk. With
    `include_reasoning: false` nothing is sent at all while the model thinks: we let it be sent, and take it
    out. Returns (silence, hide_reasoning).
    """
    silence = bool(fields.get("tools")) and not fields.get("return_token_ids")
    if silence:
        fields["return_token_ids"] = True
    hide_reasoning = fields.get("include_reasoning") is False
    if hide_reasoning:
        fields["include_reasoning"] = True
    return silence, hide_reasoning
