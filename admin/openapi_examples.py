"""The OpenAPI document with words and examples everywhere: those that its schemas have, those of the
glossary, and bodies made of them. Pure; of OpenAPI 3.0 (admin/openapi30.py), and in place.

An answer's example is its schema's members' examples together. A request's is what the schema says itself
(`json_schema_extra`), or its required members: who writes it down whole would write every choice at once.
"""

from collections.abc import Iterator
from typing import Any, Final

from admin.openapi_glossary import IDS, TERMS

Document = dict[str, Any]
Schema = dict[str, Any]

_JSON: Final = "application/json"
_PAGE: Final = "A page of a list"
"""Of the schemas that have no words of their own: those that are made of a generic one."""
_REF: Final = "#/components/schemas/"
_TYPES: Final[dict[str, type | tuple[type, ...]]] = {
    "string": str, "integer": int, "number": (int, float), "boolean": bool, "array": list, "object": dict,
}  # fmt: skip


class NoExample(Exception):
    """A schema from which no example can be made; the text says where it is."""


def with_examples(document: Document) -> Document:
    """The document, with a description and an example of whatever it has words for."""
    schemas: dict[str, Schema] = document["components"]["schemas"]
    for name, schema in schemas.items():
        if "enum" not in schema:
            schema.setdefault("description", _PAGE)
        for member, of in schema.get("properties", {}).items():
            schema["properties"][member] = _told(of, member, schemas, IDS.get(name))
    for operation in operations(document):
        for parameter in operation.get("parameters", ()):
            _tell_parameter(parameter, schemas)
        for content, is_request in _contents(operation):
            if "example" not in content and "examples" not in content:
                content["example"] = example_of(content["schema"], schemas, is_request=is_request)
        for status, answer in operation["responses"].items():
            if status >= "400":  # FastAPI takes every null out of what it is told
                error = answer["content"][_JSON]["example"]["error"]
                answer["content"][_JSON]["example"] = {"error": {"param": None, "code": None, **error}}
    return document


def operations(document: Document) -> Iterator[Document]:
    """Every operation of the document."""
    for path in document["paths"].values():
        yield from path.values()


def example_of(schema: Schema, schemas: dict[str, Schema], *, is_request: bool = False) -> Any:
    """An example of a schema. Raises NoExample."""
    if "example" in schema:
        return schema["example"]
    if "default" in schema and not is_request:
        return schema["default"]
    for name in ("allOf", "anyOf", "oneOf"):
        if name in schema:
            return example_of(schema[name][0], schemas, is_request=is_request)
    if "$ref" in schema:
        name = schema["$ref"].removeprefix(_REF)
        try:
            return example_of(schemas[name], schemas, is_request=is_request)
        except NoExample as inner:
            raise NoExample(f"{name}: {inner}") from None
    if "enum" in schema:
        return schema["enum"][0]
    match schema.get("type"):
        case "object":
            return _object(schema, schemas, is_request=is_request)
        case "array":
            return [example_of(schema["items"], schemas, is_request=is_request)]
        case "boolean":
            return False
        case _:
            raise NoExample(f"no example of {schema}")


def _object(schema: Schema, schemas: dict[str, Schema], *, is_request: bool) -> Any:
    wanted = schema.get("required", []) if is_request else schema.get("properties", {})
    made = {}
    for name in wanted:
        try:
            made[name] = example_of(schema["properties"][name], schemas, is_request=is_request)
        except NoExample as inner:
            raise NoExample(f"{name}: {inner}") from None
    page = made.get("data")
    if isinstance(page, list) and page and {"first_id", "last_id"} <= made.keys():
        made |= {"first_id": page[0]["id"], "last_id": page[-1]["id"]}
    return made


def _told(schema: Schema, name: str, schemas: dict[str, Schema], own_id: str | None) -> Schema:
    """A member's schema, with what it means and an example where it says neither itself."""
    if "$ref" in schema:  # in 3.0 nothing may stand beside a reference
        schema = {"allOf": [schema]}
    term = TERMS.get(name)
    if term is None:
        return schema
    schema.setdefault("description", term.says)
    examples = (own_id,) if name == "id" and own_id is not None else term.examples
    fitting = [one for one in examples if _fits(one, schema, schemas)]
    if fitting and not _says_one(schema):
        schema["example"] = fitting[0]
    return schema


def _says_one(schema: Schema) -> bool:
    return "example" in schema or "enum" in schema


def _fits(value: Any, schema: Schema, schemas: dict[str, Schema]) -> bool:
    """Whether a value is of a schema's type, and one of its choices."""
    if value is None:
        return bool(schema.get("nullable"))
    if "$ref" in schema:
        return _fits(value, schemas[schema["$ref"].removeprefix(_REF)], schemas)
    for name in ("allOf", "anyOf", "oneOf"):
        if name in schema:
            return any(_fits(value, one, schemas) for one in schema[name])
    if "enum" in schema:
        return value in schema["enum"]
    if isinstance(value, bool) and schema.get("type") != "boolean":
        return False
    if isinstance(value, list) and "items" in schema:
        return all(_fits(one, schema["items"], schemas) for one in value)
    return isinstance(value, _TYPES.get(schema.get("type", ""), ()))


def _tell_parameter(parameter: Document, schemas: dict[str, Schema]) -> None:
    schema = parameter["schema"]
    schema.pop("nullable", None)  # what is left out is left out: no query says null
    term = TERMS.get(parameter["name"])
    if "description" not in parameter:
        said = schema.get("description") or (term and term.says)
        if said:
            parameter["description"] = said
    if term and "example" not in parameter and "example" not in schema and parameter["in"] == "path":
        parameter["example"] = next(one for one in term.examples if one is not None)


def _contents(operation: Document) -> Iterator[tuple[Document, bool]]:
    """The bodies of an operation, and whether each is a request's."""
    if _JSON in operation.get("requestBody", {}).get("content", {}):
        yield operation["requestBody"]["content"][_JSON], True
    for status, response in operation["responses"].items():
        if status.startswith("2") and _JSON in response.get("content", {}):
            yield response["content"][_JSON], False
