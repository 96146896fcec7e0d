"""/v1/embeddings, /v1/rerank and /v1/score (pure).

A text's vector is the normalised sum of its tokens' vectors, which are made of hashes: texts that share words
are near each other, so that retrieval in a demo finds something.
"""

import base64
import math
import struct
from collections.abc import Sequence
from functools import lru_cache
from hashlib import shake_128
from typing import Any

import msgspec

from proxy.simulator import fields, prompts, vocabulary
from proxy.simulator.errors import BadRequest, InvalidField
from proxy.simulator.fields import Body
from proxy.simulator.sampling import check_room
from proxy.simulator.usage import full_usage

_encode = msgspec.json.Encoder().encode


@lru_cache(maxsize=8192)
def _token_vector(token: int, size: int) -> tuple[int, ...]:
    # A word is the same word behind a space and with a capital.
    raw = shake_128(vocabulary.PIECES[token].strip().lower()).digest(2 * size)
    return struct.unpack(f"<{size}h", raw)


def vector(ids: Sequence[int], size: int) -> list[float]:
    """A unit vector of float32 values."""
    sums = [0] * size
    for token in ids:
        for at, value in enumerate(_token_vector(token, size)):
            sums[at] += value
    length = math.sqrt(sum(value * value for value in sums)) or 1.0
    return list(struct.unpack(f"<{size}f", struct.pack(f"<{size}f", *(value / length for value in sums))))


def _invalid(key: str, value: object) -> InvalidField:
    return InvalidField.validation(
        {
            "type": "string_type",
            "loc": f"body.{key}",
            "msg": "Input should be a valid string",
            "input": fields.shown(value),
        }
    )


def _read_texts(body: Body, key: str, max_model_len: int) -> list[list[int]]:
    value = fields.required(body, key)
    ids = prompts.text_or_tokens(value)
    if ids is None or not ids:
        raise _invalid(key, value)
    for text in ids:
        check_room(len(text) - 1, max_model_len)
    return ids


def embeddings(
    body: Body, *, call_id: str, created: int, model: str, size: int, max_model_len: int
) -> tuple[bytes, int]:
    """The answer and its prompt tokens."""
    inputs = _read_texts(body, "input", max_model_len)
    dimensions = fields.integer(body, "dimensions", size) or size
    if not 0 < dimensions <= size:
        raise BadRequest.about(
            f"dimensions must be between 1 and {size}, got {dimensions}.", "dimensions", dimensions
        )
    encoding = fields.text(body, "encoding_format") or "float"
    if encoding not in ("float", "base64"):
        raise _invalid("encoding_format", encoding)
    data = []
    for index, ids in enumerate(inputs):
        values = vector(ids, dimensions)
        shown: list[float] | str = values
        if encoding == "base64":
            shown = base64.b64encode(struct.pack(f"<{dimensions}f", *values)).decode()
        data.append({"index": index, "object": "embedding", "embedding": shown})
    prompt_tokens = sum(map(len, inputs))
    answer = {
        "id": call_id,
        "object": "list",
        "created": created,
        "model": model,
        "data": data,
        "usage": full_usage(prompt_tokens, 0, None, None),
    }
    return _encode(answer), prompt_tokens


def _similarity(one: Sequence[int], other: Sequence[int], size: int) -> float:
    return sum(a * b for a, b in zip(vector(one, size), vector(other, size), strict=True))


def rerank(body: Body, call_id: str, model: str, size: int) -> tuple[bytes, int]:
    """Documents by falling relevance; usage has just two keys."""
    query = vocabulary.encode(str(fields.required(body, "query")))
    documents = fields.required(body, "documents")
    if not isinstance(documents, list) or not documents:
        raise _invalid("documents", documents)
    texts = [
        document if isinstance(document, str) else str(document.get("text", "")) for document in documents
    ]
    ids = [vocabulary.encode(text) for text in texts]
    scores = [_similarity(query, document, size) for document in ids]
    order = sorted(range(len(texts)), key=lambda index: -scores[index])
    top = fields.integer(body, "top_n", 0) or len(texts)
    prompt_tokens = len(query) + sum(map(len, ids))
    answer = {
        "id": call_id,
        "model": model,
        "usage": {"prompt_tokens": prompt_tokens, "total_tokens": prompt_tokens},
        "results": [
            {
                "index": index,
                "document": {"text": texts[index], "multi_modal": None},
                "relevance_score": scores[index],
            }
            for index in order[:top]
        ],
    }
    return _encode(answer), prompt_tokens


def score(body: Body, call_id: str, created: int, model: str, size: int) -> tuple[bytes, int]:
    """One text with each of several, or pairs of two lists of a length."""
    first, second = _texts_of(body, "text_1", "queries"), _texts_of(body, "text_2", "documents")
    prompt_tokens = sum(map(len, first)) + sum(map(len, second))
    if len(first) == 1:
        first = first * len(second)
    if len(first) != len(second):
        raise BadRequest("Input lengths must be either 1:1, 1:N or N:N")
    answer: dict[str, Any] = {
        "id": call_id,
        "object": "list",
        "created": created,
        "model": model,
        "data": [
            {"index": index, "object": "score", "score": _similarity(one, other, size)}
            for index, (one, other) in enumerate(zip(first, second, strict=True))
        ],
        "usage": full_usage(prompt_tokens, 0, None, None),
    }
    return _encode(answer), prompt_tokens


def _texts_of(body: Body, key: str, alias: str) -> list[list[int]]:
    value = body.get(key, body.get(alias))
    texts = [value] if isinstance(value, str) else value
    if not isinstance(texts, list) or not all(isinstance(text, str) for text in texts):
        raise _invalid(key, value)
    return [vocabulary.encode(text) for text in texts]
