"""Values that fit a JSON schema (pure), for structured output and tool arguments.

Simple schemas are met: types, enum, const, bounds, lengths, common string formats, $ref, anyOf, oneOf, allOf.
A recursive schema ends after a few levels. Patterns are not met.
"""

import itertools
import json
from collections.abc import Iterator, Sequence
from typing import Any

DEPTH_MAX = 6

_FORMATS = {
    "date": "2026-03-14",
    "date-time": "2026-03-14T09:26:53Z",
    "time": "09:26:53Z",
    "email": "ada@example.com",
    "uri": "https://example.com/",
    "uuid": "6f1ed002-ab5b-4f30-9d25-2d1f6c3a7b10",
    "ipv4": "192.0.2.1",
}


def filled(schema: Any, words: Sequence[str], state: int) -> Any:
    """A value for the schema; strings come from `words` in turn, numbers and choices from `state`."""
    return _Filler(schema, itertools.cycle(words or ("river",)), state).value(schema, 0)


def filled_json(schema: Any, words: Sequence[str], state: int) -> str:
    return json.dumps(filled(schema, words, state), ensure_ascii=False)


class _Filler:
    def __init__(self, root: Any, words: Iterator[str], state: int) -> None:
        self._root = root
        self._words = words
        self._state = state

    def value(self, schema: Any, depth: int) -> Any:
        if not isinstance(schema, dict) or not schema:
            return next(self._words)
        schema = self._resolved(schema, depth)
        if "const" in schema:
            return schema["const"]
        if schema.get("enum"):
            return schema["enum"][self._state % len(schema["enum"])]
        kind = schema.get("type")
        if isinstance(kind, list):
            kind = next((name for name in kind if name != "null"), "null")
        if kind is None:
            kind = "object" if "properties" in schema else "array" if "items" in schema else "string"
        return self._of_kind(kind, schema, depth)

    def _of_kind(self, kind: str, schema: dict[str, Any], depth: int) -> Any:
        match kind:
            case "object":
                made: Any = self._object(schema, depth)
            case "array":
                made = self._array(schema, depth)
            case "integer":
                made = round(self._number(schema))
            case "number":
                made = float(self._number(schema))
            case "boolean":
                made = bool(self._state & 1)
            case "null":
                made = None
            case _:
                made = self._string(schema)
        return made

    def _resolved(self, schema: dict[str, Any], depth: int) -> dict[str, Any]:
        for _ in range(DEPTH_MAX):
            if "$ref" in schema:
                schema = self._referred(schema["$ref"])
            elif schema.get("allOf"):
                schema = {key: value for part in schema["allOf"] for key, value in part.items()}
            elif options := schema.get("anyOf") or schema.get("oneOf"):
                simple = [option for option in options if option.get("type") == "null"]
                schema = simple[0] if simple and depth >= DEPTH_MAX else options[0]
            else:
                break
        return schema

    def _referred(self, reference: str) -> dict[str, Any]:
        found: Any = self._root
        for part in reference.removeprefix("#").strip("/").split("/"):
            found = found.get(part, {}) if part else found
        return found if isinstance(found, dict) else {}

    def _object(self, schema: dict[str, Any], depth: int) -> dict[str, Any]:
        properties = schema.get("properties") or {}
        required = set(schema.get("required") or ())
        return {
            name: self.value(inner, depth + 1)
            for name, inner in properties.items()
            if name in required or depth < DEPTH_MAX - 2
        }

    def _array(self, schema: dict[str, Any], depth: int) -> list[Any]:
        least = int(schema.get("minItems", 0))
        wanted = 0 if depth >= DEPTH_MAX else min(int(schema.get("maxItems", 2)), 2)
        prefix = [self.value(inner, depth + 1) for inner in schema.get("prefixItems") or ()]
        rest = max(least, wanted) - len(prefix)
        return prefix + [self.value(schema.get("items"), depth + 1) for _ in range(rest)]

    def _number(self, schema: dict[str, Any]) -> float:
        low = _bound(schema, "minimum", "exclusiveMinimum")
        high = _bound(schema, "maximum", "exclusiveMaximum")
        if low is not None and high is not None:
            return low + (high - low) / 2
        if low is not None:
            return low + 1
        return self._state % 90 + 10 if high is None else high - 1

    def _string(self, schema: dict[str, Any]) -> str:
        known = _FORMATS.get(schema.get("format", ""))
        if known is not None:
            return known
        word = next(self._words)
        least, most = int(schema.get("minLength", 0)), schema.get("maxLength")
        word += "x" * (least - len(word))
        return word if most is None else word[: int(most)]


def _bound(schema: dict[str, Any], *names: str) -> float | None:
    return next((float(schema[name]) for name in names if schema.get(name) is not None), None)
