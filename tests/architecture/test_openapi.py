"""The control plane's OpenAPI document, walked whole: whoever adds a route says what it is, shows it, and
says how it fails.
"""

import json
import re
from collections.abc import Iterator
from functools import cache
from typing import Any

import pytest
from jsonschema import Draft4Validator
from openapi_spec_validator import validate

from admin.app import create_app
from admin.config import AdminSettings
from admin.openapi_glossary import IDS, TERMS
from admin.openapi_tags import TAGS

Json = dict[str, Any]
JSON = "application/json"
PEOPLES = {("post", "/admin/v1/session"), ("post", "/admin/v1/invites/accept"),
           ("post", "/admin/v1/password-resets/accept")}  # fmt: skip
"""For who brings a password or a token."""


@cache
def document() -> Json:
    return create_app(AdminSettings()).openapi()


def operations() -> Iterator[tuple[str, str, Json]]:
    for path, methods in document()["paths"].items():
        for method, operation in methods.items():
            yield path, method, operation


def schemas() -> dict[str, Json]:
    found: dict[str, Json] = document()["components"]["schemas"]
    return found


def contents(operation: Json) -> Iterator[tuple[str, Json]]:
    """The bodies of an operation: the request's, and each answer's by its status; JSON but for exports."""
    if "requestBody" in operation:
        yield "request", operation["requestBody"]["content"][JSON]
    for status, answer in operation["responses"].items():
        for content in answer.get("content", {}).values():
            yield status, content
        assert "content" in answer or status == "304", operation["operationId"]


def said_of_null(node: Any) -> Any:
    """A schema of OpenAPI 3.0 as draft 4 has it: `nullable` is a choice."""
    if isinstance(node, list):
        return [said_of_null(one) for one in node]
    if not isinstance(node, dict):
        return node
    node = {name: said_of_null(value) for name, value in node.items() if name != "example"}
    return {"anyOf": [node, {"type": "null"}]} if node.pop("nullable", False) is True else node


@cache
def components() -> Any:
    return said_of_null(document()["components"])


def faults_of(value: Any, schema: Json) -> list[str]:
    validator = Draft4Validator(
        {**said_of_null(schema), "components": said_of_null(document()["components"])}
    )
    return [f"{fault.json_path}: {fault.message}" for fault in validator.iter_errors(value)]


def test_it_is_a_document_of_openapi() -> None:
    """Guards against what no generator of clients reads."""
    validate(document())


def test_every_operation_is_named_grouped_and_told_of() -> None:
    """Guards against a route that /docs shows as a path and nothing more, and against names that change with
    a path: generated clients have them as their methods.
    """
    names = []
    for path, method, operation in operations():
        where = f"{method} {path}"
        names.append(operation["operationId"])
        assert re.fullmatch(r"[a-z]+(_[a-z]+)*", operation["operationId"]), where
        assert operation["summary"] and operation["description"], where
        assert len(operation["tags"]) == 1 and operation["tags"][0] in TAGS, where
    assert len(names) == len(set(names)) > 100
    assert [tag["name"] for tag in document()["tags"]] == list(TAGS)


def test_every_parameter_says_what_it_is() -> None:
    """Guards against a filter that one has to guess at."""
    silent = [
        f"{method} {path}: {parameter['name']}"
        for path, method, operation in operations()
        for parameter in operation.get("parameters", ())
        if not parameter.get("description") or (parameter["in"] == "path" and "example" not in parameter)
    ]
    assert not silent


def test_every_schema_and_member_says_what_it_is() -> None:
    """Guards against a member that is added without a word: say it beside it, or in the glossary."""
    silent = [name for name, schema in schemas().items() if not ("enum" in schema or schema["description"])]
    for name, schema in schemas().items():
        members = schema.get("properties", {})
        silent += [f"{name}.{member}" for member, of in members.items() if not of.get("description")]
    assert not silent


def test_every_body_has_an_example_which_is_one() -> None:
    """Guards against an answer that is not shown, and an example that has become false."""
    wrong = []
    for path, method, operation in operations():
        for which, content in contents(operation):
            where = f"{method} {path}, {which}"
            if not content.get("example"):
                wrong.append(f"{where}: none")
            else:
                wrong += [f"{where}: {fault}" for fault in faults_of(content["example"], content["schema"])]
    assert not wrong, "\n".join(wrong)


def test_every_other_example_is_one() -> None:
    """Guards against an example beside a member or parameter that its own schema refuses."""
    wrong = []
    for name, schema in schemas().items():
        for member, of in schema.get("properties", {}).items():
            if "example" in of:
                wrong += [f"{name}.{member}: {fault}" for fault in faults_of(of["example"], of)]
    for path, method, operation in operations():
        for one in operation.get("parameters", ()):
            where = f"{method} {path}: {one['name']}"
            for shown in [*([one["example"]] if "example" in one else []), *_shown(one["schema"])]:
                wrong += [f"{where}: {fault}" for fault in faults_of(shown, one["schema"])]
    assert not wrong, "\n".join(wrong)


def _shown(schema: Json) -> list[Any]:
    return [schema["example"]] if "example" in schema else []


def test_every_failure_has_openais_shape_and_an_example() -> None:
    """Guards against an error that is told as a status and nothing more."""
    for path, method, operation in operations():
        where = f"{method} {path}"
        failures = {one: answer for one, answer in operation["responses"].items() if one >= "400"}
        for status, answer in failures.items():
            content = answer["content"][JSON]
            assert content["schema"] == {"$ref": "#/components/schemas/ErrorBody"}, (where, status)
            assert set(content["example"]["error"]) == {"message", "type", "param", "code"}, (where, status)
        if path not in ("/healthz", "/readyz"):
            assert {"400", "401", "403", "404", "500", "503"} <= failures.keys(), where
        assert ("413" in failures) == ("requestBody" in operation), where
        for status in operation["responses"]:
            headers = set(operation["responses"][status]["headers"])
            wanted = {"401": {"WWW-Authenticate"}, "429": {"Retry-After"}, "503": {"Retry-After"}}
            assert headers >= {"x-request-id", *wanted.get(status, set())}, (where, status)


def test_every_way_in_is_told_of() -> None:
    """Guards against a client that is not told which of its credentials a route takes, and what a session
    needs beside its cookie.
    """
    assert set(document()["components"]["securitySchemes"]) == {"AdminKey", "Session", "CsrfToken"}
    for path, method, operation in operations():
        ways = operation.get("security", [])
        if path in ("/healthz", "/readyz") or (method, path) in PEOPLES:
            assert ways == [], path
            continue
        session = {"Session": []} if method == "get" else {"Session": [], "CsrfToken": []}
        assert ways in ([{"AdminKey": []}, session], [session]), (method, path)


def test_the_headers_of_changes_are_told_of() -> None:
    """Guards against a POST that does not say that it can be sent twice."""
    for path, method, operation in operations():
        names = {one["name"] for one in operation.get("parameters", ()) if one["in"] == "header"}
        is_keyed = {"AdminKey": []} in operation.get("security", [])
        assert ("Idempotency-Key" in names) == (is_keyed and method == "post"), path
        assert ("If-Match" in names) == (is_keyed and method != "get"), path
        assert ("OpenAI-Organization" in names) == path.startswith("/v1/organization/"), path
        if "304" in operation["responses"]:
            assert "ETag" in operation["responses"]["200"]["headers"] and "If-None-Match" in names, path


def test_the_document_leads_nowhere_else() -> None:
    """Guards against documentation that is empty where there is no way to the internet."""
    assert "servers" not in document() and "externalDocs" not in document()
    hosts = re.findall(r"https?://([^\s\"'/:]+)", json.dumps(document()))
    assert all(re.search(r"example$|example\.com$|^10\.|^127\.", host) for host in hosts), hosts


def test_the_glossary_has_nothing_that_nobody_uses() -> None:
    """Guards against words that stay when what they told of is gone."""
    used = {member for schema in schemas().values() for member in schema.get("properties", {})}
    used |= {one["name"] for _, _, operation in operations() for one in operation.get("parameters", ())}
    assert not TERMS.keys() - used
    assert not IDS.keys() - schemas().keys()


@pytest.mark.parametrize("broken", ["description", "example"])
def test_the_walk_sees_what_is_missing(broken: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Guards against a walk that looks at nothing."""
    members = schemas()["TenantView"]["properties"]
    if broken == "description":
        monkeypatch.delitem(members["name"], "description")
        with pytest.raises(AssertionError, match=r"TenantView\.name"):
            test_every_schema_and_member_says_what_it_is()
    else:
        monkeypatch.setitem(members["name"], "example", 7)
        with pytest.raises(AssertionError, match=r"TenantView\.name"):
            test_every_other_example_is_one()
