"""Saying an OpenAPI 3.1 document in 3.0."""

from typing import Any

import pytest

from admin.openapi30 import downgrade


@pytest.mark.parametrize(
    ("written", "said"),
    [
        ({"anyOf": [{"type": "string"}, {"type": "null"}]}, {"type": "string", "nullable": True}),
        (
            {"anyOf": [{"$ref": "#/a"}, {"type": "null"}], "title": "T"},
            {"allOf": [{"$ref": "#/a"}], "nullable": True, "title": "T"},
        ),
        (
            {"anyOf": [{"type": "string"}, {"type": "integer"}, {"type": "null"}]},
            {"anyOf": [{"type": "string"}, {"type": "integer"}], "nullable": True},
        ),
        ({"$ref": "#/a", "title": "T"}, {"allOf": [{"$ref": "#/a"}], "title": "T"}),
        ({"$ref": "#/a"}, {"$ref": "#/a"}),
        ({"const": "list"}, {"enum": ["list"]}),
        (
            {"type": "null", "title": "T"},
            {"type": "string", "nullable": True, "enum": [None], "title": "T"},
        ),
        ({"type": "string", "examples": ["a", "b"]}, {"type": "string", "example": "a"}),
        ({"exclusiveMinimum": 0}, {"minimum": 0, "exclusiveMinimum": True}),
        (
            {"anyOf": [{"type": "string"}, {"type": "integer"}]},
            {"anyOf": [{"type": "string"}, {"type": "integer"}]},
        ),
    ],
)
def test_what_3_0_says_otherwise_is_said_otherwise(written: dict[str, Any], said: dict[str, Any]) -> None:
    assert downgrade({"schema": [written]}) == {"schema": [said], "openapi": "3.0.3"}


def test_the_argument_stays_as_it_is() -> None:
    document = {"openapi": "3.1.0", "a": {"const": 1}}
    downgrade(document)
    assert document == {"openapi": "3.1.0", "a": {"const": 1}}
