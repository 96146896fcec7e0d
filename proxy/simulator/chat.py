"""/v1/chat/completions (pure): the request read, the model's text decided, answers and events rendered.

Key orders, nulls and absences are the engine's: an event's `usage` and `system_fingerprint` are there only where vLLM
sends them.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import msgspec

from proxy.simulator import fields, logprobs, prompts, prose, vocabulary
from proxy.simulator.batch import Choice
from proxy.simulator.config import SimulatorConfig
from proxy.simulator.deltas import THINK_END, Deltas, PlainDeltas, ReasoningDeltas
from proxy.simulator.fields import Body
from proxy.simulator.generation import Step
from proxy.simulator.heads import Head
from proxy.simulator.sampling import (
    Sampling,
    StreamOptions,
    check_room,
    check_top_logprobs,
    read_sampling,
    stream_options,
)
from proxy.simulator.structured import structured_text
from proxy.simulator.tools import ToolCall, ToolDeltas, plan_call
from proxy.simulator.usage import CacheUse, chat_details, final_usage, full_usage

_encode = msgspec.json.Encoder().encode
DONE_EVENT = b"data: [DONE]\n\n"


@dataclass(frozen=True, slots=True)
class ChatCall:
    """A chat request, checked."""

    prompt: list[int]
    stream: bool
    options: StreamOptions
    sampling: Sampling
    room_tokens: int
    top_logprobs: int | None
    tool_call: ToolCall | None
    structured: str | None
    reasoning: bool
    include_reasoning: bool

    @property
    def prompts(self) -> list[list[int]]:
        return [self.prompt]

    def seed(self, choice: int) -> int:
        return prose.seed_of(self.prompt, self.sampling.seed, choice)

    def reasoning_text(self, choice: int) -> str:
        """What the model thinks before it answers: one sentence."""
        return vocabulary.decode(prose.sentence(prose.next_state(self.seed(choice) ^ 1), first=True))

    def tokens(self, prompt_index: int, choice: int) -> Iterator[int]:
        """What the model writes, without end or ending in the end token."""
        del prompt_index
        if self.reasoning:
            yield from vocabulary.encode(self.reasoning_text(choice) + THINK_END)
        if self.tool_call is not None:
            yield from prose.fixed(vocabulary.encode(self.tool_call.written))
        elif self.structured is not None:
            yield from prose.fixed(vocabulary.encode(self.structured))
        else:
            sampling = self.sampling
            yield from prose.prose(
                self.seed(choice), min_tokens=sampling.min_tokens, endless=sampling.ignore_eos
            )


def read_chat(body: Body, model: str, config: SimulatorConfig) -> ChatCall:
    """Raises EngineRefusal."""
    stream = fields.boolean(body, "stream")
    options = stream_options(body, stream, stream and config.force_include_usage)
    max_tokens = fields.integer(body, "max_completion_tokens", fields.integer(body, "max_tokens"))
    sampling = read_sampling(body, stream=stream, max_tokens=max_tokens, max_model_len=config.max_model_len)
    prompt = prompts.chat_prompt(body, model)
    room_tokens = check_room(len(prompt), config.max_model_len)
    top = fields.integer(body, "top_logprobs", 0) if fields.boolean(body, "logprobs") else None
    check_top_logprobs(top)
    user_text = prompts.last_user_text(body)
    state = prose.seed_of(prompt, sampling.seed, 0)
    return ChatCall(
        prompt=prompt,
        stream=stream,
        options=options,
        sampling=sampling,
        room_tokens=room_tokens,
        top_logprobs=top,
        tool_call=plan_call(body, user_text, config.auto_tool_choice, state),
        structured=structured_text(body, user_text, state),
        reasoning=config.reasoning,
        include_reasoning=fields.boolean(body, "include_reasoning", True),
    )


def _call_id(call: ChatCall, choice: int) -> str:
    return f"chatcmpl-tool-{prose.next_state(call.seed(choice)):016x}"


def _finish_reason(call: ChatCall, reason: str) -> str:
    return call.tool_call.finish_reason if reason == "stop" and call.tool_call is not None else reason


def _reasoning_tokens(call: ChatCall, choice: int, generated: int) -> int:
    if not call.reasoning:
        return 0
    return min(generated, len(vocabulary.encode(call.reasoning_text(choice) + THINK_END)))


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
            deltas = ToolDeltas(call.tool_call, _call_id(call, choice))
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
            details = b'{"reasoning_tokens":%d}' % _reasoning_tokens(self._call, choice, generated)
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
                _encode(_finish_reason(call, step.finish_reason))
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

    def closing(self, choices: list[Choice]) -> list[bytes]:
        """The whole call's usage, where it was asked for."""
        if not self._include_usage:
            return []
        generated = sum(choice.generated_tokens for choice in choices)
        completion_details = None
        if self._call.reasoning:
            made = sum(
                _reasoning_tokens(self._call, choice.index, choice.generated_tokens) for choice in choices
            )
            completion_details = {"reasoning_tokens": made}
        usage = final_usage(self._prompt_tokens, generated, self._details, completion_details)
        return [self._begin + b'],"usage":' + _encode(usage) + self._fingerprint + b"}\n\n"]


def chat_answer(call: ChatCall, head: Head, use: CacheUse, made: list[list[Step]], details: bool) -> bytes:
    """The unstreamed answer, of all choices' steps."""
    generated = sum(map(len, made))
    completion_details = None
    if call.reasoning:
        reasoned = sum(_reasoning_tokens(call, index, len(steps)) for index, steps in enumerate(made))
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
        "finish_reason": _finish_reason(call, last.finish_reason or "stop"),
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
        message["tool_calls"] = [{"id": _call_id(call, index), "type": "function", "function": function}]
    message["reasoning"] = reasoning
    return message
