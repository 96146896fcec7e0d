"""Reads fields of a request body as leniently as the engine does (pure).

The engine coerces: "2", 2.0 and 2 are one integer; "on", 1 and true one boolean. What cannot be coerced is
refused with the engine's words. A body is the decoded JSON object; a missing or null field is its default.
"""

from typing import Any

from proxy.simulator.errors import InvalidField

Body = dict[str, Any]

_TRUE = frozenset(("1", "true", "t", "yes", "y", "on"))
_FALSE = frozenset(("0", "false", "f", "no", "n", "off"))


def shown(value: object) -> str:
    """A value as the engine's messages show it: containers only by their size."""
    if isinstance(value, dict | list):
        return f"<{type(value).__name__} of {len(value)} items>"
    return str(value)


def _refuse(key: str, kind: str, message: str, value: object) -> InvalidField:
    return InvalidField.validation(
        {"type": kind, "loc": f"body.{key}", "msg": message, "input": shown(value)}
    )


def integer(body: Body, key: str, default: int | None = None) -> int | None:
    value = body.get(key)
    if value is None:
        return default
    if isinstance(value, bool):
        return int(value)
    if isinstance(value, int):
        return value
    if isinstance(value, float):
        if value.is_integer():
            return int(value)
        raise _refuse(
            key,
            "int_from_float",
            "Input should be a valid integer, got a number with a fractional part",
            value,
        )
    if isinstance(value, str):
        try:
            return int(value.strip())
        except ValueError:
            message = "Input should be a valid integer, unable to parse string as an integer"
            raise _refuse(key, "int_parsing", message, value) from None
    raise _refuse(key, "int_type", "Input should be a valid integer", value)


def number(body: Body, key: str) -> float | None:
    value = body.get(key)
    if value is None:
        return None
    if isinstance(value, int | float):
        return float(value)
    if isinstance(value, str):
        try:
            return float(value)
        except ValueError:
            message = "Input should be a valid number, unable to parse string as a number"
            raise _refuse(key, "float_parsing", message, value) from None
    raise _refuse(key, "float_type", "Input should be a valid number", value)


def boolean(body: Body, key: str, default: bool = False) -> bool:
    value = body.get(key)
    if value is None:
        return default
    if isinstance(value, bool):
        return value
    if isinstance(value, int | float) and value in (0, 1):
        return bool(value)
    if isinstance(value, str):
        word = value.lower()
        if word in _TRUE or word in _FALSE:
            return word in _TRUE
        message = "Input should be a valid boolean, unable to interpret input"
        raise _refuse(key, "bool_parsing", message, value)
    raise _refuse(key, "bool_type", "Input should be a valid boolean", value)


def text(body: Body, key: str) -> str | None:
    value = body.get(key)
    if value is None or isinstance(value, str):
        return value
    raise _refuse(key, "string_type", "Input should be a valid string", value)


def texts(body: Body, key: str) -> tuple[str, ...]:
    """A string or a list of strings."""
    value = body.get(key)
    if value is None:
        return ()
    if isinstance(value, str):
        return (value,)
    if isinstance(value, list) and all(isinstance(item, str) for item in value):
        return tuple(value)
    raise _refuse(key, "string_type", "Input should be a valid string", value)


def integers(body: Body, key: str) -> tuple[int, ...]:
    value = body.get(key)
    if value is None:
        return ()
    if isinstance(value, list) and all(isinstance(item, int) for item in value):
        return tuple(value)
    raise _refuse(key, "list_type", "Input should be a valid list", value)


def mapping(body: Body, key: str) -> Body | None:
    value = body.get(key)
    if value is None or isinstance(value, dict):
        return value
    message = "Input should be a valid dictionary"
    raise _refuse(key, "dict_type", message, value)


def required(body: Body, key: str) -> Any:
    if key not in body:
        raise InvalidField.validation(
            {"type": "missing", "loc": f"body.{key}", "msg": "Field required", "input": shown(body)}
        )
    return body[key]
