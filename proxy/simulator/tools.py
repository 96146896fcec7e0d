"""Tool calls (pure): when the simulated model calls a tool, what it writes, and what a tool parser lets out.

The model writes `<tool_call>` and a JSON object, as Hermes-style models do. The parser is silent until the
name is complete, silent again until the arguments begin, and silent over the closing mark: those tokens are
generated, counted and shown by no chunk.
"""

import re
from dataclasses import dataclass
from typing import Any

import msgspec

from proxy.simulator import fields
from proxy.simulator.errors import BadRequest
from proxy.simulator.fields import Body
from proxy.simulator.schema import filled_json

_WORDS = re.compile(r"\w+")


@dataclass(frozen=True, slots=True)
class ToolCall:
    """The one call that the model makes. `named`: the request asked for this very tool."""

    name: str
    arguments: str
    named: bool

    @property
    def written(self) -> str:
        return f"{self._until_arguments}{self.arguments}}}\n</tool_call>"

    @property
    def _until_arguments(self) -> str:
        return f'<tool_call>\n{{"name": {_quoted(self.name)}, "arguments": '

    @property
    def name_end(self) -> int:
        """How many characters are written when the name is known."""
        return len('<tool_call>\n{"name": ' + _quoted(self.name))

    @property
    def arguments_start(self) -> int:
        return len(self._until_arguments)

    @property
    def finish_reason(self) -> str:
        """vLLM says `stop` where the request named the tool."""
        return "stop" if self.named else "tool_calls"


def _quoted(text: str) -> str:
    return msgspec.json.encode(text).decode()


def plan_call(body: Body, user_text: str, auto_allowed: bool, state: int) -> ToolCall | None:
    """The call that the request's tools and tool_choice lead to; None: an answer in words.

    With `auto` the model calls the first tool of whose name the user said a word.
    """
    tools = body.get("tools")
    if tools is None:
        return None
    if not isinstance(tools, list) or not tools:
        message = (
            "`tools` must not be an empty array. Either provide at least one tool or omit the field entirely."
        )
        raise BadRequest.about(message, "tools")
    functions = [
        tool["function"]
        for tool in tools
        if isinstance(tool, dict) and isinstance(tool.get("function"), dict)
    ]
    choice = body.get("tool_choice", "auto")
    if choice == "none":
        return None
    if isinstance(choice, dict):
        name = (fields.mapping(choice, "function") or {}).get("name")
        named = [function for function in functions if function.get("name") == name]
        if not named:
            raise BadRequest(
                f"The tool specified in `tool_choice` does not match any of the specified `tools`: {name}"
            )
        return _call(named[0], user_text, True, state)
    if choice == "required":
        return _call(functions[0], user_text, False, state)
    if not auto_allowed:
        raise BadRequest(
            '"auto" tool choice requires --enable-auto-tool-choice and --tool-call-parser to be set'
        )
    said = {word.lower() for word in _WORDS.findall(user_text)}
    for function in functions:
        parts = re.split(r"[^a-z0-9]+", str(function.get("name", "")).lower())
        if any(len(part) > 3 and part in said for part in parts):
            return _call(function, user_text, False, state)
    return None


def _call(function: dict[str, Any], user_text: str, named: bool, state: int) -> ToolCall:
    arguments = filled_json(function.get("parameters") or {"type": "object"}, telling_words(user_text), state)
    return ToolCall(str(function.get("name", "")), arguments, named)


def telling_words(user_text: str) -> list[str]:
    """What a model would fill in: names (capitalised, not the first word), or else the longest word."""
    words = _WORDS.findall(user_text)
    names = [word for word in words[1:] if word[0].isupper()]
    return names or sorted(words, key=len, reverse=True)[:1]


class ToolDeltas:
    """Lets out of a written tool call what a streaming parser would."""

    __slots__ = ("_call", "_id", "_named", "_written")

    shown_when_asked = True

    def __init__(self, call: ToolCall, call_id: str) -> None:
        self._call = call
        self._id = call_id
        self._written = 0
        self._named = False

    def feed(self, text: str) -> bytes | None:
        """The delta of one more piece of the text; None: silence."""
        start = self._written
        self._written = end = start + len(text)
        call = self._call
        if not self._named and end >= call.name_end:
            self._named = True
            return b'{"content":null,"tool_calls":[%b]}' % msgspec.json.encode(
                {"id": self._id, "type": "function", "index": 0, "function": {"name": call.name}}
            )
        first = max(0, start - call.arguments_start)
        after = min(len(call.arguments), end - call.arguments_start)
        if after <= first:
            return None
        return (
            b'{"content":null,"tool_calls":[{"index":0,"function":{"arguments":%b}}]}'
            % msgspec.json.encode(call.arguments[first:after])
        )
