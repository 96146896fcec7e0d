"""What a starting metergate says. Pure: lines from facts.

A line of news goes to stdout, a warning to stderr; the keys are said once, on the first start.
"""

import json
import shlex
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from admin.asking import Heard
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
    """The keys, said once, and a line to paste that streams an answer; `model` None: none is known yet."""
    return [
        "",
        f"  API key        {made.api_key}",
        f"  admin key      {made.admin_key}",
        f"  (said this once; also in {path}, which only you can read)",
        "",
        *(
            try_it(made, model)
            if model
            else ["A line to try it with comes here as soon as an engine answers."]
        ),
        "",
    ]


def try_it(made: "FirstRun", model: str) -> list[str]:
    """A line to paste that streams an answer."""
    return ["Try it:", "", f"  {curl(made.base_url, made.api_key, model)}"]


def curl(base_url: str, api_key: str, model: str) -> str:
    """A command that streams a chat completion; quoted for a shell, whatever the model is called."""
    body = {"model": model, "messages": [{"role": "user", "content": "Hello!"}], "stream": True}
    words = ["curl", "-N", f"{base_url}/chat/completions"]
    words += ["-H", f"Authorization: Bearer {api_key}", "-H", "Content-Type: application/json"]
    return shlex.join([*words, "-d", json.dumps(body)])


def missing_engines(heard: "Heard") -> list[str]:
    """The engines that do not answer, or serve nothing: why, what becomes of calls, and what to do."""
    lines = [f"warning: the engine {url} {fault}: {fault.do}" for url, fault in heard.silent.items()]
    if heard.silent:
        fate = f"go to {', '.join(heard.serving)} alone" if heard.serving else "get 503 engine_unavailable"
        lines.append(
            f"warning: until then calls {fate}; nothing has to be restarted when it answers. "
            "For another URL, restart with --engine URL or METERGATE_ENGINES"
        )
    empty = (url for url, models in heard.serving.items() if not models)
    return lines + [f"warning: the engine {url} answers and serves no model: load one" for url in empty]


NOT_IN_TIME = (
    "warning: no answer for an hour. The data plane goes on asking and says when there is one; "
    "metergate doctor says what is wrong"
)


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
