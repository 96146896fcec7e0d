"""The tables of OpenAI's paths in docs/api.md are what the control plane answers."""

import json
import re
from pathlib import Path

from admin.app import ORGANIZATION
from tests.integration.docs.reading import ROOT

PART = (ROOT / "docs/api.md").read_text().partition("# The control plane: OpenAI's Administration API")[2]
HERE, _, NOT_HERE = PART.partition("Not there, and why:")
PUBLISHED = json.loads((Path(__file__).parents[2] / "vectors/openai/administration.json").read_text())


def nameless(route: str) -> str:
    """Without the names of what stands in the path: those are nobody's business but the code's."""
    return re.sub(r"{\w+}", "{}", route)


def documented() -> set[str]:
    rows = re.findall(r"^\| (`/[^|]*) \| ([A-Z ]+) \|", HERE, re.MULTILINE)
    return {
        nameless(f"{method} {path}")
        for paths, methods in rows
        for path in re.findall(r"`([^`]+)`", paths)
        for method in methods.split()
    }


def test_every_path_is_in_the_table_and_no_other() -> None:
    """Guards against a resource that nobody finds, and one that is promised."""
    answered = {
        nameless(f"{method} {route.path}")
        for module in ORGANIZATION
        for route in module.router.routes
        for method in route.methods
    }
    assert documented() == answered


def test_every_path_that_openai_publishes_here_is_answered() -> None:
    """Guards against a walk of the official client that leaves one out."""
    published = {nameless(operation.replace("/organization", "", 1)) for operation in PUBLISHED["answers"]}
    assert published <= documented()
    for word in ("certificates", "hosted_tool_permissions", "data_retention", "groups"):
        assert f"/{word}`" in NOT_HERE
