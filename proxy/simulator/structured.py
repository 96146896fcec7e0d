"""Structured output (pure): the text that fits a request's response_format or structured_outputs."""

import json

from proxy.simulator import fields
from proxy.simulator.errors import BadRequest
from proxy.simulator.fields import Body
from proxy.simulator.schema import filled_json
from proxy.simulator.tools import telling_words


def structured_text(body: Body, user_text: str, state: int) -> str | None:
    """The whole answer; None where the model is free. Regexes and grammars are not simulated."""
    words = telling_words(user_text)
    response_format = fields.mapping(body, "response_format") or {}
    outputs = fields.mapping(body, "structured_outputs") or {}
    if response_format.get("type") == "json_schema":
        described = response_format.get("json_schema")
        if not described:
            message = "When response_format type is 'json_schema', the 'json_schema' field must be provided."
            raise BadRequest.about(message, "response_format")
        return filled_json(described.get("schema") or {"type": "object"}, words, state)
    if outputs.get("choice"):
        return str(outputs["choice"][state % len(outputs["choice"])])
    if outputs.get("json") is not None:
        schema = outputs["json"]
        return filled_json(json.loads(schema) if isinstance(schema, str) else schema, words, state)
    if response_format.get("type") == "json_object" or outputs.get("json_object"):
        return json.dumps({"answer": words[0] if words else "river"}, ensure_ascii=False)
    return None
