"""/v1/completions (pure): the request read, answers and events rendered.

Unlike chat there is no role event, `stop_reason` is in every choice, running usage is per choice for the
prompt too, and no usage tells completion_tokens_details.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import msgspec

from proxy.simulator import fields, logprobs, prompts, prose, vocabulary
from proxy.simulator.config import SimulatorConfig
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
from proxy.simulator.usage import CacheUse, completion_details, final_usage, full_usage

_encode = msgspec.json.Encoder().encode
MAX_TOKENS_DEFAULT = 16


@dataclass(frozen=True, slots=True)
class CompletionCall:
    """A completion request, checked. Choices are prompts x n, prompt by prompt."""

    prompts: list[list[int]]
    stream: bool
    options: StreamOptions
    sampling: Sampling
    room_tokens: int
    logprobs: int | None
    echo: bool
    # echo with max_tokens 0: the engine generates one token all the same, counts it, and shows only the
    # prompt.
    echo_only: bool
    structured: str | None

    def tokens(self, prompt_index: int, choice: int) -> Iterator[int]:
        if self.structured is not None:
            return prose.fixed(vocabulary.encode(self.structured))
        sampling = self.sampling
        state = prose.seed_of(self.prompts[prompt_index], sampling.seed, choice)
        return prose.prose(state, min_tokens=sampling.min_tokens, endless=sampling.ignore_eos)


def read_completion(body: Body, model: str, config: SimulatorConfig) -> CompletionCall:
    """Raises EngineRefusal."""
    del model
    stream = fields.boolean(body, "stream")
    options = stream_options(body, stream, stream and config.force_include_usage)
    prompt_ids = prompts.completion_prompts(body.get("prompt"))
    echo = fields.boolean(body, "echo")
    max_tokens = fields.integer(body, "max_tokens", MAX_TOKENS_DEFAULT)
    sampling = read_sampling(
        body,
        stream=stream,
        max_tokens=max_tokens,
        max_model_len=config.max_model_len,
        least_max_tokens=0 if echo else 1,
    )
    top = fields.integer(body, "logprobs")
    check_top_logprobs(top)
    structured = structured_text(body, "", prose.seed_of(prompt_ids[0], sampling.seed, 0))
    return CompletionCall(
        prompts=prompt_ids,
        stream=stream,
        options=options,
        sampling=sampling,
        room_tokens=min(check_room(len(prompt), config.max_model_len) for prompt in prompt_ids),
        logprobs=top,
        echo=echo,
        echo_only=echo and max_tokens == 0,
        structured=structured,
    )


class CompletionEvents:
    """Renders a stream's events."""

    def __init__(
        self,
        call: CompletionCall,
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
        self._details = completion_details(use) if details else None
        self._begin = b'data: {"id":%b,"object":"text_completion","created":%d,"model":%b,"choices":[' % (
            _encode(head.id),
            head.created,
            _encode(head.model),
        )
        self._fingerprint = b',"system_fingerprint":%b' % _encode(head.fingerprint)
        self._offsets: dict[int, int] = {}
        self._template = self._begin.replace(b"%", b"%%") + (
            b'{"index":%d,"text":%b,"logprobs":%b,"finish_reason":%b,"stop_reason":%b,'
            b'"prompt_token_ids":%b,"token_ids":%b}]'
        )

    def opening(self) -> list[bytes]:
        return []

    def _prompt(self, choice: int) -> list[int]:
        return self._call.prompts[choice // self._call.sampling.n]

    def chunk(self, choice: int, step: Step, tokens: Sequence[int], generated: int) -> bytes | None:
        """The event of newly generated tokens; an echoed prompt comes with the first."""
        call = self._call
        prompt = self._prompt(choice)
        first = generated == len(tokens)
        text = "" if call.echo_only else step.text
        if first and call.echo:
            text = vocabulary.decode(prompt) + text
        shown_ids = call.sampling.return_token_ids
        reason, stop_reason = b"null", b"null"
        end = b""
        if step.finish_reason is not None:
            reason, stop_reason = _encode(step.finish_reason), _encode(step.stop_reason)
            end = b"" if self._include_usage else self._fingerprint
        body = self._template % (
            choice,
            _encode(text),
            b"null" if call.logprobs is None else self._logprobs(choice, prompt, tokens, first),
            reason,
            stop_reason,
            _encode(prompt) if first and (call.echo or shown_ids) else b"null",
            _encode(list(tokens)) if shown_ids else b"null",
        )
        if self._continuous:
            body += b',"usage":{"prompt_tokens":%d,"total_tokens":%d,"completion_tokens":%d}' % (
                len(prompt),
                len(prompt) + generated,
                generated,
            )
        return body + end + b"}\n\n"

    def _logprobs(self, choice: int, prompt: list[int], tokens: Sequence[int], first: bool) -> bytes:
        echoed = prompt if first and self._call.echo else []
        offset = self._offsets.get(choice, 0)
        shown = [*echoed, *tokens]
        self._offsets[choice] = offset + sum(len(vocabulary.decode((token,))) for token in shown)
        return _encode(logprobs.completion_logprobs(shown, self._call.logprobs or 0, offset, bool(echoed)))

    def closing(self, generated: Sequence[int]) -> list[bytes]:
        """The whole call's usage, where it was asked for; each prompt once."""
        if not self._include_usage:
            return []
        prompt_tokens = sum(map(len, self._call.prompts))
        usage = final_usage(prompt_tokens, sum(generated), self._details, None)
        return [self._begin + b'],"usage":' + _encode(usage) + self._fingerprint + b"}\n\n"]


def completion_answer(
    call: CompletionCall, head: Head, use: CacheUse, made: list[list[Step]], details: bool
) -> bytes:
    """The unstreamed answer, of all choices' steps."""
    prompt_tokens = sum(map(len, call.prompts))
    answer = {
        "id": head.id,
        "object": "text_completion",
        "created": head.created,
        "model": head.model,
        "choices": [_choice(call, index, steps) for index, steps in enumerate(made)],
        "service_tier": None,
        "system_fingerprint": head.fingerprint,
        "usage": full_usage(
            prompt_tokens, sum(map(len, made)), completion_details(use) if details else None, None
        ),
        "kv_transfer_params": None,
        "ec_transfer_params": None,
        "metrics": None,
    }
    return _encode(answer)


def _choice(call: CompletionCall, index: int, steps: list[Step]) -> dict[str, Any]:
    prompt = call.prompts[index // call.sampling.n]
    last = steps[-1]
    shown_steps = [] if call.echo_only else steps
    text = "".join(step.text for step in shown_steps)
    shown = [step.token for step in shown_steps]
    if call.echo:
        text = vocabulary.decode(prompt) + text
        shown = prompt + shown
    top = call.sampling.prompt_logprobs
    if top is None and call.echo:
        top = call.logprobs
    return {
        "index": index,
        "text": text,
        "logprobs": None
        if call.logprobs is None
        else logprobs.completion_logprobs(shown, call.logprobs, 0, first_unknown=call.echo),
        "finish_reason": last.finish_reason,
        "stop_reason": last.stop_reason,
        "token_ids": [step.token for step in steps] if call.sampling.return_token_ids else None,
        "prompt_logprobs": None if top is None else logprobs.prompt_logprobs(prompt, top),
        "prompt_token_ids": prompt if call.sampling.return_token_ids else None,
        "routed_experts": None,
    }
