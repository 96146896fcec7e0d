"""A comparison with an engine as people and scripts read it. Pure.

The names are a contract with users' scripts: new ones may come, none is renamed.
"""

from collections.abc import Iterable, Sequence
from typing import Any

from admin.times import format_instant
from ledger.reconciliation.arithmetic import Sums, Tokens, Verdict, Window
from ledger.reconciliation.comparison import Comparison, Unjudged

PASSED = frozenset({Verdict.EXACT, Verdict.EXPLAINED, Verdict.UNKNOWN_CALLS})

WHY = {
    Unjudged.RESTARTED: "came after the last sample of an engine that was then restarted",
    Unjudged.NO_SAMPLE: "went to an engine that nobody has asked for its counts",
    Unjudged.ONE_SAMPLE: "cannot be compared yet: there is one sample of the engine",
    Unjudged.SEVERAL_ENGINES: "cannot be compared: several engines answer at this address",
}


def passes(comparisons: Sequence[Comparison], tolerance: int) -> bool:
    """Whether something was compared, and nothing is unexplained; one address is one engine's."""
    windows = [each.window for each in comparisons if each.window is not None]
    if any(each.unjudged is Unjudged.SEVERAL_ENGINES for each in comparisons):
        return False
    return bool(windows) and all(window.verdict(tolerance) in PASSED for window in windows)


def document(comparison: Comparison, tolerance: int) -> dict[str, Any]:
    """One comparison as JSON."""
    window, sums = comparison.window, comparison.sums
    shown: dict[str, Any] = {
        "backend": comparison.backend,
        "model": comparison.model or None,
        "from": format_instant(comparison.from_us),
        "until": format_instant(comparison.until_us),
        "verdict": "unjudged" if window is None else window.verdict(tolerance).value,
        "reason": comparison.unjudged and comparison.unjudged.value,
        "ledger": _ledger(sums),
    }
    if window is None:
        return shown
    ratio = window.capture_ratio
    return shown | {
        "engine": _tokens(window.engine),
        "capture_ratio": None if ratio is None else round(ratio, 6),
        "difference": _tokens(window.difference),
        "bounds": {"low": _tokens(window.low), "high": _tokens(window.high)},
        "unexplained": _tokens(window.unexplained),
        "causes": {
            "calls_across_edges": {
                "at_least": _tokens(Tokens() - window.start.after - window.end.before),
                "at_most": _tokens(window.start.before + window.end.after),
            },
            "prompts_of_choices_not_begun": -sums.unsure_prompt_tokens,
            "tokens_of_broken_streams": sums.untold_tokens,
            "unknown_calls": window.unknown_calls,
            "is_open": window.is_open,
        },
    }


def row(shown: dict[str, Any]) -> dict[str, Any]:
    """The columns of a table, out of a document."""
    engine, unexplained = shown.get("engine", {}), shown.get("unexplained", {})
    ratio = shown.get("capture_ratio")
    return {
        "backend": shown["backend"],
        "model": shown["model"],
        "from": _short(shown["from"]),
        "until": _short(shown["until"]),
        "calls": shown["ledger"]["calls"],
        "engine_prompt": engine.get("prompt_tokens"),
        "ledger_prompt": shown["ledger"]["prompt_tokens_by_choice"],
        "engine_generated": engine.get("generation_tokens"),
        "ledger_generated": shown["ledger"]["completion_tokens"],
        "captured": None if ratio is None else f"{100 * ratio:.4f}%",
        "unexplained": unexplained.get("prompt_tokens", 0) + unexplained.get("generation_tokens", 0)
        if unexplained
        else None,
        "verdict": shown["verdict"],
    }


def notes(comparisons: Iterable[Comparison], tolerance: int) -> list[str]:
    """What the numbers do not say by themselves, in a line each."""
    lines: list[str] = []
    for each in comparisons:
        who = f"{each.backend} {each.model}".strip()
        if each.unjudged is not None:
            lines.append(f"{who}: {_calls(each.sums)} {WHY[each.unjudged]}")
        if each.window is not None:
            lines += [f"{who}: {line}" for line in _window(each.window, tolerance)]
    return lines


def _window(window: Window, tolerance: int) -> list[str]:
    sums, lines = window.sums, []
    folded = sums.folded_prompt_tokens - sums.prompt_tokens
    if folded:
        lines.append(
            f"{sums.prompt_tokens} prompt tokens are billed; engines count a prompt once for each choice, "
            f"which makes {sums.folded_prompt_tokens}"
        )
    up = window.start.before + window.end.after
    down = window.start.after + window.end.before
    if up.total or down.total:
        lines.append(f"calls across the edges may be {up.total} tokens more or {down.total} less")
    if sums.untold_tokens:
        lines.append(f"streams that broke off may have made up to {sums.untold_tokens} tokens untold")
    if sums.unsure_prompt_tokens:
        lines.append(
            f"choices that perhaps never began may be {sums.unsure_prompt_tokens} prompt tokens less"
        )
    beyond = window.beyond
    verdict = window.verdict(tolerance)
    if verdict is Verdict.UNKNOWN_CALLS:
        lines.append(
            f"{_signed(beyond)} are within {window.unknown_calls} calls of unknown count: "
            "metergate usage show --by source"
        )
    elif verdict is Verdict.OPEN:
        lines.append(f"{_signed(beyond)} may be of calls that have not ended: ask again when they have")
    elif verdict is Verdict.ENGINE_ABOVE:
        lines.append(f"{_signed(beyond)} UNEXPLAINED: who else uses this engine, past metergate?")
    elif verdict is Verdict.LEDGER_ABOVE:
        lines.append(f"{_signed(beyond)} UNEXPLAINED: the ledger has tokens that the engine never counted")
    return lines


def _ledger(sums: Sums) -> dict[str, int]:
    return {
        "calls": sums.calls,
        "prompt_tokens": sums.prompt_tokens,
        "prompt_tokens_by_choice": sums.folded_prompt_tokens,
        "completion_tokens": sums.completion_tokens,
        "unknown_calls": sums.unknown_calls,
    }


def _tokens(tokens: Tokens) -> dict[str, int]:
    return {"prompt_tokens": tokens.prompt, "generation_tokens": tokens.generation}


def _calls(sums: Sums) -> str:
    counted = sums.counted
    return f"{sums.calls} calls ({counted.prompt} prompt and {counted.generation} completion tokens)"


def _signed(tokens: Tokens) -> str:
    return f"{tokens.prompt:+d} prompt and {tokens.generation:+d} generated tokens"


def _short(instant: str) -> str:
    """To the second."""
    return instant[:19] + "Z"
