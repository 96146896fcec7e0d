"""An OpenAPI 3.1 document said in 3.0. Pure.

FastAPI writes 3.1; the Swagger UI that ships as a wheel reads 3.0, and so do many generators. What FastAPI
uses of 3.1 has an exact twin in 3.0: `anyOf` with null is `nullable`, `examples` of a schema is `example`,
`const` is an `enum` of one, what stands beside a `$ref` stands beside an `allOf` of it, what is null alone is
a text that may be nothing but null, and exclusive bounds are flags.
"""

from typing import Any

VERSION = "3.0.3"


def downgrade(document: dict[str, Any]) -> dict[str, Any]:
    """The same document in OpenAPI 3.0.3; the argument is left as it is."""
    converted = _convert(document)
    assert isinstance(converted, dict)
    return {**converted, "openapi": VERSION}


def _convert(node: Any) -> Any:
    if isinstance(node, list):
        return [_convert(item) for item in node]
    if not isinstance(node, dict):
        return node
    node = {key: _convert(value) for key, value in node.items()}
    if "$ref" in node and len(node) > 1:
        node = {"allOf": [{"$ref": node.pop("$ref")}], **node}
    options = node.get("anyOf")
    if isinstance(options, list) and {"type": "null"} in options:
        del node["anyOf"]
        rest = [option for option in options if option != {"type": "null"}]
        if len(rest) == 1 and "$ref" not in rest[0]:
            node = {**rest[0], **node}
        else:
            node["allOf" if len(rest) == 1 else "anyOf"] = rest
        node["nullable"] = True
    if node.get("type") == "null" and len(node) > 1:
        node |= {"type": "string", "nullable": True, "enum": [None]}
    if "const" in node and not isinstance(node["const"], dict):
        node["enum"] = [node.pop("const")]
    if isinstance(node.get("examples"), list):
        node["example"] = node.pop("examples")[0]
    for bound, limit in (("exclusiveMinimum", "minimum"), ("exclusiveMaximum", "maximum")):
        if isinstance(node.get(bound), int | float) and not isinstance(node.get(bound), bool):
            node[limit] = node[bound]
            node[bound] = True
    return node
