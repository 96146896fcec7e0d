"""What /v1/chat/completions answers (pure): a stream's events, and the unstreamed answer.

Key orders, nulls and absences are the engine's: an event's `usage` and `system_fingerprint` are there only
where vLLM sends them.
"""

from collections.abc import Sequence
from typing import Any

import msgspec

from proxy.simulator import logprobs
from proxy.simulator.chat import ChatCall
from proxy.simulator.deltas import THINK_END, Deltas, PlainDeltas, ReasoningDeltas
from proxy.simulator.generation import Step
from proxy.simulator.heads import Head
from proxy.simulator.tools import ToolDeltas
from proxy.simulator.usage import CacheUse, chat_details, final_usage, full_usage

_encode = msgspec.json.Encoder().encode


class ChatEvents:
    """Renders a stream's events. The parts that do not change are rendered once."""

    def __init__(
        self,
        call: ChatCall,
        head: Head,
        use: CacheUse,
        *,
        details: bool,
        usage: bool = True,
        running: bool = True,
    ) -> None:
        self._call = call
        self._include_usage = usage and call.options.include_usage
        self._continuous = running and usage and call.options.continuous_usage
        self._details = chat_details(use) if details else None
        self._deltas = [self._deltas_of(choice) for choice in range(call.sampling.n)]
        self._begin = (
            b'data: {"id":%b,"object":"chat.completion.chunk","created":%d,"model":%b,"choices":['
            % (
                _encode(head.id),
                head.created,
                _encode(head.model),
            )
        )
        self._fingerprint = b',"system_fingerprint":%b' % _encode(head.fingerprint)
        self._prompt_tokens = len(call.prompt)
        self._plain = (
            not call.reasoning
            and call.tool_call is None
            and call.top_logprobs is None
            and not call.sampling.return_token_ids
        )
        self._texts = (
            [self._text_template(choice) for choice in range(call.sampling.n)] if self._plain else []
        )

    def _deltas_of(self, choice: int) -> Deltas:
        call = self._call
        deltas: Deltas = PlainDeltas()
        if call.tool_call is not None:
            deltas = ToolDeltas(call.tool_call, call.call_id(choice))
        if call.reasoning:
            return ReasoningDeltas(len(call.reasoning_text(choice)), call.include_reasoning, deltas)
        return deltas

    def _text_template(self, choice: int) -> bytes:
        """The commonest event of all: one more piece of plain text, and where asked the running usage."""
        body = self._begin.replace(b"%", b"%%") + b'{"index":%d,"delta":{"content":%%b}' % choice
        body += b',"logprobs":null,"finish_reason":null,"token_ids":null}]'
        if self._continuous:
            body += (
                b',"usage":{"prompt_tokens":%d,"total_tokens":%%d,"completion_tokens":%%d'
                % self._prompt_tokens
            )
            body += b',"completion_tokens_details":null}'
        return body + b"}\n\n"

    def _usage(self, choice: int, generated: int) -> bytes:
        if not self._continuous:
            return b""
        details = b"null"
        if self._call.reasoning:
            details = b'{"reasoning_tokens":%d}' % self._call.reasoning_tokens(choice, generated)
        return (
            b',"usage":{"prompt_tokens":%d,"total_tokens":%d,"completion_tokens":%d,"completion_tokens_details":%b}'
            % (
                self._prompt_tokens,
                self._prompt_tokens + generated,
                generated,
                details,
            )
        )

    def opening(self) -> list[bytes]:
        """The role, once for each choice; it goes out together with the first token."""
        ids = _encode(self._call.prompt) if self._call.sampling.return_token_ids else b"null"
        return [
            self._begin
            + b'{"index":%d,"delta":{"role":"assistant","content":""},"logprobs":null,"finish_reason":null}]'
            % choice
            + self._usage(choice, 0)
            + b',"prompt_token_ids":%b,"prompt_text":null}\n\n' % ids
            for choice in range(self._call.sampling.n)
        ]

    def chunk(self, choice: int, step: Step, tokens: Sequence[int], generated: int) -> bytes | None:
        """The event of newly generated tokens; None where the parsers are silent."""
        if self._plain and step.finish_reason is None:
            text = _encode(step.text)
            if self._continuous:
                return self._texts[choice] % (text, self._prompt_tokens + generated, generated)
            return self._texts[choice] % text
        return self._full_chunk(choice, step, tokens, generated)

    def _full_chunk(self, choice: int, step: Step, tokens: Sequence[int], generated: int) -> bytes | None:
        call = self._call
        deltas = self._deltas[choice]
        delta = deltas.feed(step.text)
        asked = deltas.shown_when_asked and (call.sampling.return_token_ids or call.top_logprobs is not None)
        if delta is None or (step.finish_reason is not None and not step.text and not self._plain):
            if not asked and step.finish_reason is None:
                return None
            delta = b"{}"
        shown = b"null"
        if call.top_logprobs is not None and deltas.shown_when_asked:
            shown = _encode({"content": [logprobs.chat_entry(token, call.top_logprobs) for token in tokens]})
        ids = _encode(list(tokens)) if call.sampling.return_token_ids and deltas.shown_when_asked else b"null"
        reason = b"null"
        if step.finish_reason is not None:
            reason = (
                _encode(call.finish_reason(step.finish_reason))
                + b',"stop_reason":'
                + _encode(step.stop_reason)
            )
        body = b'{"index":%d,"delta":%b,"logprobs":%b,"finish_reason":%b,"token_ids":%b}]' % (
            choice,
            delta,
            shown,
            reason,
            ids,
        )
        end = self._fingerprint if step.finish_reason is not None and not self._include_usage else b""
        return self._begin + body + self._usage(choice, generated) + end + b"}\n\n"

    def closing(self, generated: Sequence[int]) -> list[bytes]:
        """The whole call's usage, where it was asked for; `generated` tokens of each choice."""
        if not self._include_usage:
            return []
        completion_details = None
        if self._call.reasoning:
            made = sum(self._call.reasoning_tokens(choice, count) for choice, count in enumerate(generated))
            completion_details = {"reasoning_tokens": made}
        usage = final_usage(self._prompt_tokens, sum(generated), self._details, completion_details)
        return [self._begin + b'],"usage":' + _encode(usage) + self._fingerprint + b"}\n\n"]


def chat_answer(call: ChatCall, head: Head, use: CacheUse, made: list[list[Step]], details: bool) -> bytes:
    """The unstreamed answer, of all choices' steps."""
    generated = sum(map(len, made))
    completion_details = None
    if call.reasoning:
        reasoned = sum(call.reasoning_tokens(index, len(steps)) for index, steps in enumerate(made))
        completion_details = {"reasoning_tokens": reasoned}
    top = call.sampling.prompt_logprobs
    answer = {
        "id": head.id,
        "object": "chat.completion",
        "created": head.created,
        "model": head.model,
        "choices": [_choice(call, index, steps) for index, steps in enumerate(made)],
        "service_tier": None,
        "system_fingerprint": head.fingerprint,
        "usage": full_usage(
            len(call.prompt), generated, chat_details(use) if details else None, completion_details
        ),
        "prompt_logprobs": None if top is None else logprobs.prompt_logprobs(call.prompt, top),
        "prompt_token_ids": call.prompt if call.sampling.return_token_ids else None,
        "prompt_text": None,
        "kv_transfer_params": None,
        "ec_transfer_params": None,
        "metrics": None,
    }
    return _encode(answer)


def _choice(call: ChatCall, index: int, steps: list[Step]) -> dict[str, Any]:
    last = steps[-1]
    content: list[dict[str, Any]] | None = None
    if call.top_logprobs is not None:
        content = [logprobs.chat_entry(step.token, call.top_logprobs) for step in steps]
    return {
        "index": index,
        "message": _message(call, index, "".join(step.text for step in steps), last.finish_reason),
        "logprobs": None if content is None else {"content": content},
        "finish_reason": call.finish_reason(last.finish_reason or "stop"),
        "stop_reason": last.stop_reason,
        "token_ids": [step.token for step in steps] if call.sampling.return_token_ids else None,
        "routed_experts": None,
    }


def _message(call: ChatCall, index: int, text: str, finish_reason: str | None) -> dict[str, Any]:
    reasoning = None
    content: str | None = text
    if call.reasoning:
        thought, mark, rest = text.partition(THINK_END)
        reasoning = thought if call.include_reasoning else None
        content = rest if mark else None
    message: dict[str, Any] = {
        "role": "assistant",
        "content": content,
        "refusal": None,
        "annotations": None,
        "audio": None,
        "function_call": None,
    }
    if call.tool_call is not None and finish_reason == "stop":
        message["content"] = ""
        function = {"name": call.tool_call.name, "arguments": call.tool_call.arguments}
        message["tool_calls"] = [{"id": call.call_id(index), "type": "function", "function": function}]
    message["reasoning"] = reasoning
    return message
