"""What /openapi.json says is what a running metergate does, asked over HTTP."""

import json
from typing import Any

import httpx
import pytest
from jsonschema import Draft202012Validator

from proxy.docs.document import openapi
from tests.integration.docs.reading import Reader

DOCUMENT = openapi()
OPERATIONS = [(path, method) for path, methods in DOCUMENT["paths"].items() for method in methods]
KEYED = [(path, method) for path, method in OPERATIONS if DOCUMENT["paths"][path][method]["security"]]
CALLS = [path for path, method in OPERATIONS if method == "post"]
TIMEOUT_S = 60


def ask(
    reader: Reader, path: str, method: str, *, key: str | None = None, body: Any = None
) -> httpx.Response:
    base = reader.metergate.base_url.removesuffix("/v1")
    sent = {} if key is None else {"authorization": f"Bearer {key}"}
    url = base + path.replace("{model}", "simulated")
    return httpx.request(method, url, headers=sent, json=body, timeout=TIMEOUT_S)


def validate(answer: httpx.Response, path: str, method: str, data: Any) -> None:
    """Fails unless the document has this status, and the data are of its form."""
    described = DOCUMENT["paths"][path][method]["responses"][str(answer.status_code)]
    if "$ref" in described:
        described = DOCUMENT["components"]["responses"][described["$ref"].rpartition("/")[2]]
    schema = described["content"]["application/json"]["schema"]
    Draft202012Validator(schema | {"components": DOCUMENT["components"]}).validate(data)


@pytest.mark.parametrize(("path", "method"), OPERATIONS)
def test_every_operation_answers_its_example_as_described(path: str, method: str, reader: Reader) -> None:
    """The first thing people do with a document is to try its example."""
    operation = DOCUMENT["paths"][path][method]
    content = operation.get("requestBody", {}).get("content", {}).get("application/json", {})
    examples = [example["value"] for example in content.get("examples", {}).values()] or [None]
    for body in [example for example in examples if not (example or {}).get("stream")]:
        answer = ask(reader, path, method, key=reader.metergate.api_key, body=body)
        assert answer.status_code == 200, answer.text
        validate(answer, path, method, answer.json())
        assert answer.headers["x-request-id"].startswith("req_")


def test_a_streams_events_are_as_described(reader: Reader) -> None:
    """Events have a schema of their own, and the document says how they are framed."""
    body = DOCUMENT["paths"]["/v1/chat/completions"]["post"]["requestBody"]["content"]["application/json"]
    streamed = body["examples"]["stream"]["value"]
    answer = ask(reader, "/v1/chat/completions", "post", key=reader.metergate.api_key, body=streamed)
    *events, done, rest = answer.text.split("\n\n")
    assert (done, rest) == ("data: [DONE]", "")
    reference = {"$ref": "#/components/schemas/ChatCompletionChunk", "components": DOCUMENT["components"]}
    chunks = [json.loads(event.removeprefix("data: ")) for event in events]
    for chunk in chunks:
        Draft202012Validator(reference).validate(chunk)
    assert chunks[-1]["usage"]["completion_tokens"] == 32


@pytest.mark.parametrize(("path", "method"), KEYED)
def test_without_a_key_the_answer_is_the_described_401(path: str, method: str, reader: Reader) -> None:
    """`security` in the document is a promise to the operator, too."""
    for key in (None, "sk-mg-nonsense"):
        answer = ask(reader, path, method, key=key, body={} if method == "post" else None)
        assert answer.status_code == 401
        validate(answer, path, method, answer.json())


@pytest.mark.parametrize("path", CALLS)
def test_a_refused_field_is_the_described_400(path: str, reader: Reader) -> None:
    """`additionalProperties: false` has to be true."""
    answer = ask(reader, path, "post", key=reader.metergate.api_key, body={"no_such_field": 1})
    assert answer.status_code == 400
    validate(answer, path, "post", answer.json())
    assert answer.json()["error"]["param"] == "no_such_field"


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("/docs", 200), ("/docs/", 200), ("/docs/start.js", 200), ("/docs/swagger-ui.css", 200),
        ("/openapi.json", 200), ("/docs/nothing", 404), ("/docs/../README.md", 404),
        ("/docs/..%2f..%2fREADME.md", 404), ("/docs/%2e%2e/%2e%2e/etc/passwd", 404),
        ("/docs//etc/passwd", 404),
    ],
)  # fmt: skip
def test_the_pages_are_public_and_nothing_beside_them_is(path: str, status: int, reader: Reader) -> None:
    """A public folder is the classic way out of it."""
    base = httpx.URL(reader.metergate.base_url.removesuffix("/v1"))
    answer = httpx.get(base.copy_with(raw_path=path.encode()), timeout=TIMEOUT_S)
    assert answer.status_code == status
    if status == 200:
        assert answer.headers["cache-control"].startswith("public")
    else:
        assert answer.json()["error"]["code"] == "unknown_url"
