"""What a call may use at the most, known before it is sent: the bounds that limits are held by. pure.

Owns the arithmetic from a request's fields to tokens that its usage will not exceed. Knows nothing of limits,
money or tokenizers. Rules:

- A bound may be far off, never too low: what is held and not used goes back, what is used and not held would
  pass a limit.
- A token stands for at least one byte of text, so bytes bound tokens (but for a few ligatures in tokenizers
  that normalize by NFKC). What a chat template writes around them is allowed for by constants.
- What bytes do not bound (images, templates told what to write) is bounded by the model's context.
"""

from typing import Any, Final

import msgspec

from proxy.call import COMPLETIONS_DEFAULT_TOKENS, Call
from proxy.endpoints import CHAT, EMBEDDINGS
from proxy.parts import parts_without_text, prompts_of

TEMPLATE_TOKENS: Final = 512
"""What a template writes of itself: default system prompts run to about 400 tokens (Mistral Small's)."""
MESSAGE_TOKENS: Final = 16
"""The marks around a message: 3 to 8 tokens in the templates of Llama, Qwen, Mistral, Gemma and gpt-oss."""
TOOLS_TOKENS: Final = 512
"""How tools are to be called, told once where there are any: up to about 300 tokens (Hermes')."""
TOOL_TOKENS: Final = 64
"""The marks around a tool; its JSON is counted as it is when it is written with indents."""
PROMPT_TOKENS: Final = 4
"""What a tokenizer puts around a plain prompt: marks of begin and end, a space before the first word."""
PART_TOKENS: Final = 16_384
"""A part that is no text, where the engine tells no context: an image of Qwen2-VL's default size limit."""
COMPLETION_TOKENS: Final = 32_768
"""An answer without a bound, where the engine tells no context: the longest that common models are set to."""

_WRITTEN_BY_TEMPLATE: Final = frozenset({"chat_template_kwargs", "documents", "chat_template"})

_encode: Final = msgspec.json.Encoder().encode


def prompt_tokens_max(call: Call, body_bytes: int, max_model_len: int | None) -> int:
    """The most prompt tokens a call can have, over all its prompts.

    `body_bytes`: how long the body is that goes to the engine. `max_model_len`: the model's context in
    tokens, None where the engine does not tell it.
    """
    if call.endpoint is not CHAT:
        return _prompts_max(prompts_of(call.fields[call.endpoint.input_field]), max_model_len)
    fields, messages = call.fields, call.fields["messages"]
    parts = indented = 0
    for message in messages:
        content = message.get("content")
        if not isinstance(content, str):
            parts += parts_without_text(content)
        if tool_calls := message.get("tool_calls"):
            indented += _bytes_indented(tool_calls)  # templates write the arguments anew
    if max_model_len is not None and (parts or _is_written_by_template(fields)):
        return max_model_len
    bound = indented + body_bytes + TEMPLATE_TOKENS + MESSAGE_TOKENS * len(messages) + PART_TOKENS * parts
    tools = fields.get("tools")
    if tools:
        bound += TOOLS_TOKENS + TOOL_TOKENS * (len(tools) if isinstance(tools, list) else 1)
        bound += _bytes_indented(tools)
    return bound if max_model_len is None else min(bound, max_model_len)


def _is_written_by_template(fields: dict[str, Any]) -> bool:
    return not _WRITTEN_BY_TEMPLATE.isdisjoint(fields) and any(map(fields.get, _WRITTEN_BY_TEMPLATE))


def completion_tokens_max(call: Call, prompt_tokens_min: int, max_model_len: int | None) -> int:
    """The most completion tokens a call can have, over all its choices.

    `prompt_tokens_min`: what its prompts have together, or less: 0 where only an upper bound is known. A
    number that is too high makes the bound too low.
    """
    if call.endpoint is EMBEDDINGS:
        return 0
    asked = _asked(call)
    if max_model_len is None:
        return max(COMPLETION_TOKENS if asked is None else asked, 1) * call.choices
    prompts = call.choices // call.choices_per_prompt
    room = (prompts * max_model_len - prompt_tokens_min) * call.choices_per_prompt
    if asked is not None:
        room = min(room, asked * call.choices)
    return max(room, call.choices)  # echo with max_tokens 0 makes one token all the same


def is_bounded(call: Call) -> bool:
    """Whether the client itself says how long the answer may be, or the endpoint does."""
    return call.endpoint is EMBEDDINGS or _asked(call) is not None


def _asked(call: Call) -> int | None:
    """What the client allows each choice; None: the rest of the context."""
    fields = call.fields
    asked: int | None = fields.get("max_tokens")
    if call.endpoint is CHAT:
        first: int | None = fields.get("max_completion_tokens")
        return first or asked  # engines differ in whether a zero counts as given
    return COMPLETIONS_DEFAULT_TOKENS if asked is None else asked


def _prompts_max(prompts: list[str] | list[list[int]], max_model_len: int | None) -> int:
    """Of a completion's or an embedding's prompts."""
    bounds = (
        (len(prompt.encode()) if isinstance(prompt, str) else len(prompt)) + PROMPT_TOKENS
        for prompt in prompts
    )
    if max_model_len is None:
        return sum(bounds)
    return sum(min(bound, max_model_len) for bound in bounds)


def _bytes_indented(value: Any) -> int:
    """How long a value is as JSON with indents of four, the widest that templates write it in."""
    return len(msgspec.json.format(_encode(value), indent=4))
