"""Prompts as token ids (pure): the chat template, and the four shapes of a completion's prompt."""

from collections.abc import Sequence
from typing import Any

from proxy.simulator import fields, vocabulary
from proxy.simulator.errors import BadRequest, InvalidField
from proxy.simulator.fields import Body

_NEWLINE = vocabulary.encode("\n")


def chat_prompt(body: Body, model: str) -> list[int]:
    """The token ids of `messages`, each between the template's marks, and the mark of the answer's begin."""
    messages = fields.required(body, "messages")
    if not isinstance(messages, list):
        raise InvalidField.validation(
            {
                "type": "list_type",
                "loc": "body.messages",
                "msg": "Input should be a valid list",
                "input": fields.shown(messages),
            }
        )
    if not messages:
        raise BadRequest("Cannot apply chat template to an empty conversation. Provide at least one message.")
    ids: list[int] = []
    for message in messages:
        if not isinstance(message, dict):
            raise BadRequest("Each message must be a JSON object.")
        ids.append(vocabulary.START)
        ids += vocabulary.encode(str(message.get("role", "user")))
        ids += _NEWLINE
        ids += vocabulary.encode(content_text(message.get("content"), model))
        ids.append(vocabulary.END)
        ids += _NEWLINE
    ids.append(vocabulary.START)
    ids += vocabulary.encode("assistant\n")
    return ids


def content_text(content: Any, model: str) -> str:
    """A message's text: a string, or the text parts of a list. An image is refused as by a text model."""
    if content is None:
        return ""
    if isinstance(content, str):
        return content
    if not isinstance(content, list):
        raise BadRequest("A message's content must be a string or a list of parts.")
    texts = []
    for part in content:
        if isinstance(part, str):
            texts.append(part)
        elif isinstance(part, dict) and part.get("type", "text") in (
            "text",
            "input_text",
            "output_text",
            "refusal",
        ):
            texts.append(str(part.get("text") or part.get("refusal") or ""))
        else:
            raise BadRequest(f"{model} is not a multimodal model")
    return "\n".join(texts)


def last_user_text(body: Body) -> str:
    """What the user said last; empty if the last message is not the user's."""
    message = body["messages"][-1]
    if message.get("role") != "user":
        return ""
    content = message.get("content")
    if isinstance(content, list):
        return "\n".join(part.get("text", "") for part in content if isinstance(part, dict))
    return content or ""


def completion_prompts(value: Any) -> list[list[int]]:
    """A text, token ids, or a list of either."""
    if not value:
        raise BadRequest.about("Either prompt or prompt_embeds must be provided and non-empty.", "prompt")
    prompts = text_or_tokens(value)
    if prompts is None:
        raise InvalidField.validation(
            {
                "type": "string_type",
                "loc": "body.prompt",
                "msg": "Input should be a valid string",
                "input": fields.shown(value),
            }
        )
    return prompts


def text_or_tokens(value: Any) -> list[list[int]] | None:
    """None where the value has none of the four shapes; BadRequest for ids out of vocabulary."""
    if isinstance(value, str):
        return [vocabulary.encode(value)]
    if not isinstance(value, list):
        return None
    if all(_is_id(item) for item in value):
        return [_checked(value)]
    if all(isinstance(item, str) for item in value):
        return [vocabulary.encode(item) for item in value]
    if all(isinstance(item, list) and all(_is_id(part) for part in item) for item in value):
        return [_checked(item) for item in value]
    return None


def _is_id(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _checked(ids: Sequence[int]) -> list[int]:
    for token in ids:
        if not 0 <= token < vocabulary.SIZE:
            raise BadRequest(f"Token id {token} is out of vocabulary")
    return list(ids)
