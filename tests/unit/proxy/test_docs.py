"""`/docs` and `/openapi.json` say what the code does: the same fields, the same bounds, the same failures."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import msgspec
import pytest
from jsonschema import Draft202012Validator
from openapi_spec_validator import OpenAPIV30SpecValidator, OpenAPIV31SpecValidator

from proxy import docs, errors, pages
from proxy.docs.document import failures, openapi
from proxy.docs.field_schemas import FIELDS, SPECIAL
from proxy.endpoints import ENDPOINTS, Endpoint
from proxy.errors import FieldRefused, PathUnknown
from proxy.fields import Limits
from proxy.generate import simple_answer

ROOT = Path(__file__).parents[3]
VECTORS = ROOT / "tests" / "vectors" / "vllm"
STREAMS = set(VECTORS.glob("*_stream*.sse")) - {VECTORS / "messages_stream.sse"}  # /v1/messages is not served

VALUES: list[Any] = [
    None, True, False, 0, 1, -1, 2, 16, 17, 1.5, "", "x", "float", "base64", [], ["a"], ["text"],
    ["text", "a"], [1], [[1]], [[1], [2]], ["a", 1], ["a"] * 2048, ["a"] * 2049,
    [{"role": "user", "content": "hi"}], {}, {"include_usage": True}, {"include_usage": None},
    {"include_usage": "on"}, {"continuous_usage_stats": 1},
]  # fmt: skip


def validator(schema: dict[str, Any]) -> Draft202012Validator:
    return Draft202012Validator(schema | {"components": openapi()["components"]})


def of_component(name: str) -> Draft202012Validator:
    return validator({"$ref": f"#/components/schemas/{name}"})


def body_of(endpoint: Endpoint) -> dict[str, Any]:
    document = openapi()
    content = document["paths"][endpoint.path]["post"]["requestBody"]["content"]["application/json"]
    body: dict[str, Any] = document["components"]["schemas"][content["schema"]["$ref"].rpartition("/")[2]]
    return body


def test_the_document_is_valid_in_both_versions() -> None:
    """Generators and gateways refuse a document that is nearly OpenAPI."""
    OpenAPIV31SpecValidator(msgspec.json.decode(docs.page("/openapi.json").body)).validate()
    OpenAPIV30SpecValidator(msgspec.json.decode(docs.page("/docs/openapi-3.0.json").body)).validate()


def test_the_swagger_uis_document_holds_nothing_of_3_1() -> None:
    """The Swagger UI of the wheel shows an empty page for a document of 3.1."""

    def look(node: Any) -> None:
        if isinstance(node, dict):
            assert not isinstance(node.get("type"), list), node
            assert "const" not in node and {"type": "null"} not in node.get("anyOf", []), node
        for item in node.values() if isinstance(node, dict) else node if isinstance(node, list) else ():
            look(item)

    document = msgspec.json.decode(docs.page("/docs/openapi-3.0.json").body)
    assert document["openapi"].startswith("3.0.")
    look(document)
    assert document["paths"].keys() == openapi()["paths"].keys()


@pytest.mark.parametrize("endpoint", ENDPOINTS.values(), ids=lambda endpoint: endpoint.name)
def test_every_field_that_reaches_the_engine_is_described(endpoint: Endpoint) -> None:
    """A field added to proxy.fields and not to the document would be unknown to its users."""
    body = body_of(endpoint)
    assert body["properties"].keys() == endpoint.table.passed | endpoint.table.checked.keys()
    assert all(schema["description"] for schema in body["properties"].values())
    policy = openapi()["paths"][endpoint.path]["post"]["description"]
    for name in endpoint.table.dropped | endpoint.table.refused.keys():
        assert f"`{name}`" in policy


def test_no_field_is_described_that_is_no_more() -> None:
    """A field taken out of proxy.fields would stay in the tables for ever."""
    taken = {name for each in ENDPOINTS.values() for name in each.table.passed | each.table.checked.keys()}
    assert FIELDS.keys() == taken
    for endpoint_name, field in SPECIAL:
        (endpoint,) = (each for each in ENDPOINTS.values() if each.name == endpoint_name)
        assert field in endpoint.table.passed | endpoint.table.checked.keys()


@pytest.mark.parametrize("endpoint", ENDPOINTS.values(), ids=lambda endpoint: endpoint.name)
def test_a_checked_fields_schema_takes_what_its_check_takes(endpoint: Endpoint) -> None:
    """A document that allows what is refused with 400, or forbids what passes, misleads clients."""
    body = body_of(endpoint)
    for name, check in endpoint.table.checked.items():
        schema = validator(body["properties"][name])
        for value in VALUES:
            if value is None:
                assert schema.is_valid(None) is (name not in body["required"]), name
                continue
            try:
                check(name, value, Limits())
                passes = True
            except FieldRefused:
                passes = False
            assert schema.is_valid(value) is passes, (name, value)


def test_the_examples_fit_their_schemas() -> None:
    """`Try it out` sends the example as it is."""
    document = openapi()
    for path in document["paths"].values():
        for operation in path.values():
            contents = [answer.get("content", {}) for answer in operation["responses"].values()]
            contents += [answer["content"] for answer in document["components"]["responses"].values()]
            contents += [operation.get("requestBody", {"content": {}})["content"]]
            for content in contents:
                for kind in content.values():
                    examples = [example["value"] for example in kind.get("examples", {}).values()]
                    examples += [kind["example"]] if "example" in kind else []
                    for example in examples:
                        validator(kind["schema"]).validate(example)


@pytest.mark.parametrize(
    ("vector", "schema"),
    [
        ("chat", "ChatCompletion"), ("chat_n2", "ChatCompletion"), ("chat_tools", "ChatCompletion"),
        ("chat_logprobs", "ChatCompletion"), ("chat_json_schema", "ChatCompletion"),
        ("think", "ChatCompletion"),
        ("completions", "Completion"), ("completions_list", "Completion"),
        ("completions_echo_logprobs", "Completion"), ("embeddings", "EmbeddingList"),
        ("embeddings_list_base64", "EmbeddingList"),
    ],
)  # fmt: skip
def test_a_real_engines_answers_fit_the_schemas(vector: str, schema: str) -> None:
    """A schema written from memory would refuse what vLLM really sends."""
    of_component(schema).validate(json.loads((VECTORS / f"{vector}.json").read_bytes()))


@pytest.mark.parametrize("path", sorted(STREAMS), ids=lambda path: path.stem)
def test_a_real_engines_events_fit_the_schemas(path: Path) -> None:
    """The same for every event of every recorded stream."""
    schema = of_component("Completion" if path.stem.startswith("completions") else "ChatCompletionChunk")
    for line in path.read_bytes().splitlines():
        if line.startswith(b"data: {"):
            schema.validate(json.loads(line[6:]))


def test_the_simple_answer_fits_its_schema() -> None:
    of_component("Generated").validate(json.loads(simple_answer((VECTORS / "completions.json").read_bytes())))


def test_the_pages_fit_their_schemas() -> None:
    of_component("Front").validate(json.loads(pages.front()))
    of_component("Health").validate(json.loads(pages.health()))
    of_component("Readiness").validate(json.loads(pages.readiness([])[1]))
    of_component("Readiness").validate(json.loads(pages.readiness(["no engine answers"])[1]))


def test_every_failure_is_in_the_document() -> None:
    """A failure added to proxy.errors with a status or a code of its own has to reach the readers."""
    document = openapi()
    kinds = [kind for each in failures().values() for kind in each]
    assert errors.EngineBusy in kinds and errors.ClientGone not in kinds
    for kind in kinds:
        answer = document["components"]["responses"][f"Error{kind.status}"]
        assert kind.__name__ in answer["content"]["application/json"]["examples"]
        if kind.status != errors.MethodRefused.status:
            assert str(kind.status) in document["paths"]["/v1/chat/completions"]["post"]["responses"]


@pytest.mark.parametrize(
    ("path", "content_type"),
    [
        ("/docs", b"text/html; charset=utf-8"),
        ("/docs/start.js", b"text/javascript; charset=utf-8"),
        ("/docs/swagger-ui-bundle.js", b"text/javascript; charset=utf-8"),
        ("/docs/swagger-ui.css", b"text/css; charset=utf-8"),
        ("/docs/favicon-32x32.png", b"image/png"),
        ("/openapi.json", b"application/json"),
    ],
)
def test_each_page_has_its_type_and_may_be_kept(path: str, content_type: bytes) -> None:
    """A browser told not to sniff runs no script and applies no style of the wrong type."""
    page = docs.page(path)
    sent = dict(page.headers)
    assert page.content_type == content_type
    assert page.body
    assert sent[b"x-content-type-options"] == b"nosniff"
    assert sent[b"cache-control"].startswith(b"public, max-age=")


def test_the_page_names_no_other_host() -> None:
    """It has to work where nothing outside can be reached, and tells nobody outside that it was read."""
    page = docs.page("/docs")
    for body in (page.body, docs.page("/docs/start.js").body):
        assert b"//" not in body.replace(b"<!DOCTYPE", b"")
    policy = dict(page.headers)[b"content-security-policy"]
    assert b"default-src 'none'" in policy and b"http" not in policy


@pytest.mark.parametrize(
    "path",
    [
        "/docs/../__init__.py", "/docs/../../etc/passwd", "/docs//etc/passwd", "/docs/%2e%2e/x", "/docs/",
        "/docs/index.html", "/docs/swagger-ui-bundle.js.map", "/docs/swagger-ui-bundle.js/", "/docs/\0",
    ],
)  # fmt: skip
def test_nothing_else_is_found_below_docs(path: str) -> None:
    """Public pages must never become a way to the files of the server."""
    with pytest.raises(PathUnknown):
        docs.page(path)


def test_a_worker_loads_the_pages_only_when_somebody_looks() -> None:
    """The tables of the document would cost every worker memory and start-up time for nothing."""
    script = (
        "import sys, proxy.worker\n"
        "loaded = [name for name in sys.modules if name.startswith(('proxy.docs', 'swagger', 'fastapi'))]\n"
        "assert not loaded, loaded"
    )
    subprocess.run([sys.executable, "-c", script], cwd=ROOT, check=True)
