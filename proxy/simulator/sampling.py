"""The fields that chat and completions share (pure): checked as the engine checks them, with its words."""

import math
from dataclasses import dataclass

from proxy.simulator import fields
from proxy.simulator.errors import BadRequest
from proxy.simulator.fields import Body
from proxy.simulator.generation import Limits

N_MAX = 16_384  # VLLM_MAX_N_SEQUENCES
TOP_LOGPROBS_MAX = 20  # --max-logprobs


@dataclass(frozen=True, slots=True)
class Sampling:
    """How to generate; `max_tokens` as asked, None where it was not."""

    n: int
    seed: int | None
    max_tokens: int | None
    min_tokens: int
    ignore_eos: bool
    stop: tuple[str, ...]
    stop_token_ids: frozenset[int]
    include_stop: bool
    prompt_logprobs: int | None
    cache_salt: str | None
    return_token_ids: bool
    stream_interval: int

    def limits(self, room_tokens: int) -> Limits:
        """Where generation ends: what was asked, or what is left of the context."""
        wanted = room_tokens if self.max_tokens is None else min(self.max_tokens, room_tokens)
        return Limits(
            wanted, self.min_tokens, self.ignore_eos, self.stop, self.stop_token_ids, self.include_stop
        )


@dataclass(frozen=True, slots=True)
class StreamOptions:
    """What the stream tells about usage. Continuous stats without include_usage are silently ignored."""

    include_usage: bool
    continuous_usage: bool


def stream_options(body: Body, stream: bool, forced: bool) -> StreamOptions:
    options = fields.mapping(body, "stream_options")
    if options is not None and not stream:
        raise BadRequest.about("Stream options can only be defined when `stream=True`.", "stream_options")
    if forced:
        return StreamOptions(True, True)
    options = options or {}
    include = fields.boolean(options, "include_usage")
    return StreamOptions(include, include and fields.boolean(options, "continuous_usage_stats"))


def read_sampling(
    body: Body, *, stream: bool, max_tokens: int | None, max_model_len: int, least_max_tokens: int = 1
) -> Sampling:
    """Raises BadRequest or InvalidField."""
    n = fields.integer(body, "n", 1) or 0
    temperature = fields.number(body, "temperature")
    _check_temperature(temperature)
    _check_top_p(fields.number(body, "top_p"))
    if n < 1:
        raise BadRequest(f"n must be at least 1, got {n}.")
    if n > N_MAX:
        more = "To increase this limit, set the VLLM_MAX_N_SEQUENCES environment variable."
        raise BadRequest(f"n must be at most {N_MAX}, got {n}. {more}")
    if temperature == 0 and n > 1 and not fields.boolean(body, "use_beam_search"):
        raise BadRequest(f"n must be 1 when using greedy sampling, got {n}.")
    _check_max_tokens(max_tokens, max_model_len, least_max_tokens)
    prompt_logprobs = fields.integer(body, "prompt_logprobs")
    if prompt_logprobs is not None and stream:
        raise BadRequest.about("`prompt_logprobs` are not available when `stream=True`.", "prompt_logprobs")
    return Sampling(
        n=n,
        seed=fields.integer(body, "seed"),
        max_tokens=max_tokens,
        min_tokens=fields.integer(body, "min_tokens", 0) or 0,
        ignore_eos=fields.boolean(body, "ignore_eos"),
        stop=tuple(stop for stop in fields.texts(body, "stop") if stop),
        stop_token_ids=frozenset(fields.integers(body, "stop_token_ids")),
        include_stop=fields.boolean(body, "include_stop_str_in_output"),
        prompt_logprobs=prompt_logprobs,
        cache_salt=fields.text(body, "cache_salt"),
        return_token_ids=fields.boolean(body, "return_token_ids"),
        stream_interval=max(1, fields.integer(body, "stream_interval", 1) or 1),
    )


def _check_temperature(temperature: float | None) -> None:
    if temperature is None:
        return
    if not math.isfinite(temperature):
        message = f"temperature must be a finite number, got {temperature}."
        raise BadRequest.about(message, "temperature", temperature)
    if temperature < 0:
        message = f"temperature must be non-negative, got {temperature}."
        raise BadRequest.about(message, "temperature", temperature)


def _check_top_p(top_p: float | None) -> None:
    if top_p is not None and not 0 < top_p <= 1:
        raise BadRequest.about(f"top_p must be in (0, 1], got {top_p}.", "top_p", top_p)


def _check_max_tokens(max_tokens: int | None, max_model_len: int, least: int) -> None:
    if max_tokens is None:
        return
    if max_tokens > max_model_len:
        message = (
            f"max_tokens={max_tokens} cannot be greater than max_model_len={max_model_len}. "
            "Please request fewer output tokens."
        )
        raise BadRequest.about(message, "max_tokens", max_tokens)
    if max_tokens < least:
        message = f"max_tokens must be at least {least}, got {max_tokens}."
        raise BadRequest.about(message, "max_tokens", max_tokens)


def check_top_logprobs(count: int | None) -> None:
    if count is not None and count > TOP_LOGPROBS_MAX:
        message = (
            f"Requested sample logprobs of {count}, which is greater than max allowed: {TOP_LOGPROBS_MAX}"
        )
        raise BadRequest.about(message, "logprobs", count)


def check_room(prompt_tokens: int, max_model_len: int) -> int:
    """How many tokens the context has left for the answer; BadRequest where there is none."""
    room_tokens = max_model_len - prompt_tokens
    if room_tokens > 0:
        return room_tokens
    least = max_model_len + 1
    message = (
        f"This model's maximum context length is {max_model_len} tokens. However, your prompt contains "
        f"at least {least} input tokens, which exceeds this limit even without any output tokens. "
        "Please reduce the length of the input prompt."
    )
    raise BadRequest.about(message, "input_tokens", least)
