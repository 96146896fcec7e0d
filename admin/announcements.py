"""What a starting metergate says. Pure: lines from facts.

A line of news goes to stdout, a warning to stderr; the keys are said once, on the first start.
"""

import json
import shlex
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from admin.first_run_file import FirstRun

SIMULATOR = """\
**********************************************************************
*  THE SIMULATOR ANSWERS, NOT A MODEL: its words mean nothing.       *
*  For a real one: metergate up --engine http://127.0.0.1:8000       *
**********************************************************************"""


def ledger_away(reason: str) -> str:
    """A data plane that starts all the same, and cannot know a key yet."""
    return (
        f"metergate: STARTING WITHOUT THE LEDGER: {reason}\n"
        "metergate: calls are answered 503 until the database is there, and served from then on"
    )


def places(
    *, base_url: str | None, admin_url: str | None, metrics_url: str | None, keys: Path | None
) -> list[str]:
    """Where everything is; `keys` is first-run.json, where there is one."""
    rows = [
        ("data plane", base_url),
        ("control plane", admin_url and f"{admin_url} (docs: {admin_url}/docs)"),
        ("metrics", metrics_url and f"{metrics_url}/metrics"),
        ("keys", keys and f"in {keys}"),
    ]
    return [f"  {name:<14} {where}" for name, where in rows if where]


def first_keys(made: "FirstRun", path: Path, model: str | None) -> list[str]:
    """The keys, said once, and a line to paste that streams an answer; `model` None: none is known."""
    if model is None:
        models = shlex.join(
            ["curl", f"{made.base_url}/models", "-H", f"Authorization: Bearer {made.api_key}"]
        )
        ways = [
            "No engine has answered yet. Once one does, this lists its models:",
            "",
            f"  {models}",
            "",
            "and this streams an answer, with one of them in place of MODEL:",
        ]
    else:
        ways = ["Try it:"]
    return [
        "",
        f"  API key        {made.api_key}",
        f"  admin key      {made.admin_key}",
        f"  (said this once; also in {path}, which only you can read)",
        "",
        *ways,
        "",
        f"  {curl(made.base_url, made.api_key, model or 'MODEL')}",
        "",
    ]


def curl(base_url: str, api_key: str, model: str) -> str:
    """A command that streams a chat completion; quoted for a shell, whatever the model is called."""
    body = {"model": model, "messages": [{"role": "user", "content": "Hello!"}], "stream": True}
    words = ["curl", "-N", f"{base_url}/chat/completions"]
    words += ["-H", f"Authorization: Bearer {api_key}", "-H", "Content-Type: application/json"]
    return shlex.join([*words, "-d", json.dumps(body)])


def silent_engine(url: str, reason: str) -> str:
    """An engine that does not answer while we start."""
    return f"warning: the engine {url} {reason}; started without it, its models come when it does"


def unpriced(models: Iterable[str], *, refused: bool) -> str | None:
    """The models without a price, in one line; None where every model has one."""
    names = sorted(set(models))
    if not names:
        return None
    what = ("is", "its calls are") if len(names) == 1 else ("are", "their calls are")
    fate = "refused" if refused else "free"
    return (
        f"warning: {_listed(names)} {what[0]} without a price: {what[1]} {fate}; "
        f"set one with: metergate price set {shlex.quote(names[0])} --input 0.15 --output 0.60"
    )


def _listed(names: Sequence[str], shown_max: int = 3) -> str:
    shown = ", ".join(names[:shown_max])
    return shown if len(names) <= shown_max else f"{shown} and {len(names) - shown_max} more"
