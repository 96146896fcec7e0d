"""A walk through OpenAI's usage and costs with the official SDK, of whichever version runs this.

    ENVIRONMENT/bin/python tests/integration/admin/usage_tour.py BASE_URL ADMIN_KEY START_TIME

A program by itself, since two major versions of the SDK cannot be in one environment: it prints every page
with what was asked, for the test to hold against the published schemas. Needs nothing but `openai`.
"""

import itertools
import json
import sys
from typing import Any

import openai

BY = ("project_id", "user_id", "api_key_id", "model")
DIMENSIONS = {
    "completions": (*BY, "batch", "service_tier"),
    "embeddings": BY,
    "moderations": BY,
    "images": (*BY, "size", "source"),
    "audio_speeches": BY,
    "audio_transcriptions": BY,
    "vector_stores": ("project_id",),
    "code_interpreter_sessions": ("project_id",),
    "file_search_calls": ("project_id", "user_id", "api_key_id", "vector_store_id"),
    "web_search_calls": (*BY, "context_level"),
    "costs": ("project_id", "line_item", "api_key_id"),
}


def groupings(product: str) -> list[tuple[str, ...]]:
    """What a product is asked by: nothing, each dimension, all of them."""
    names = DIMENSIONS[product]
    return [by for size in sorted({0, 1, len(names)}) for by in itertools.combinations(names, size)]


def walk(base_url: str, admin_key: str, start_time: int) -> list[tuple[str, str, dict[str, Any]]]:
    """Every page: the product, what it was grouped by, and the answer."""
    client = openai.OpenAI(base_url=base_url, admin_api_key=admin_key, api_key="unused", max_retries=0)
    usage = client.admin.organization.usage
    seen = []
    for product in DIMENSIONS:
        for by in groupings(product):
            asked: dict[str, Any] = {"start_time": start_time, "group_by": list(by)}
            while True:
                page = getattr(usage, product)(**asked)
                assert not page.data or page.data[0].start_time >= start_time
                seen.append((product, ",".join(by), page.to_dict(mode="json")))
                if not page.has_more:
                    break
                asked["page"] = page.next_page
    return seen


if __name__ == "__main__":
    found = walk(sys.argv[1], sys.argv[2], int(sys.argv[3]))
    json.dump({"version": openai.__version__, "seen": found}, sys.stdout)
