"""The OpenAPI 3.1 document said in 3.0. pure.

The Swagger UI that ships as a wheel reads 3.0. Owns the twins of what `document` uses of 3.1, and of
nothing else: a list of types with null in it, null among several schemas or in an `enum`, `const`, and a
schema's `examples`.
"""

from typing import Any, Final

VERSION: Final = "3.0.3"
_NULL: Final = {"type": "null"}


def downgrade(document: dict[str, Any]) -> dict[str, Any]:
    """The same document in OpenAPI 3.0; the argument is left as it is."""
    converted: dict[str, Any] = _convert(document)
    converted["openapi"] = VERSION
    del converted["info"]["summary"], converted["info"]["license"]["identifier"]
    return converted


def _convert(node: Any) -> Any:
    if isinstance(node, list):
        return [_convert(item) for item in node]
    if not isinstance(node, dict):
        return node
    node = {name: _convert(value) for name, value in node.items()}
    if isinstance(types := node.get("type"), list):
        node["type"] = next(name for name in types if name != "null")
        node["nullable"] = True
    if isinstance(options := node.get("anyOf"), list) and _NULL in options:
        node["anyOf"] = [option for option in options if option != _NULL]
        node["nullable"] = True
    if "const" in node:
        node["enum"] = [node.pop("const")]
    if isinstance(examples := node.get("examples"), list):
        del node["examples"]
        node["example"] = examples[0]
    return node
