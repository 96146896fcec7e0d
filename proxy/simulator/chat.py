"""A request for /v1/chat/completions (pure): read and checked, and what the model will write for it."""

from collections.abc import Iterator
from dataclasses import dataclass

from proxy.simulator import fields, prompts, prose, vocabulary
from proxy.simulator.config import SimulatorConfig
from proxy.simulator.deltas import THINK_END
from proxy.simulator.fields import Body
from proxy.simulator.sampling import (
    Sampling,
    StreamOptions,
    check_room,
    check_top_logprobs,
    read_sampling,
    stream_options,
)
from proxy.simulator.structured import structured_text
from proxy.simulator.tools import ToolCall, plan_call

# Fields that decide what the model writes.
_DECIDING = frozenset(("tools", "response_format", "structured_outputs"))


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

    def call_id(self, choice: int) -> str:
        """The tool call's id; a function of the request, unlike the engine's random one."""
        return f"chatcmpl-tool-{prose.next_state(self.seed(choice)):016x}"

    def finish_reason(self, reason: str) -> str:
        """A tool call's `stop` has names of its own."""
        return self.tool_call.finish_reason if reason == "stop" and self.tool_call is not None else reason

    def reasoning_tokens(self, choice: int, generated: int) -> int:
        """How many of a choice's tokens were thought, not said."""
        if not self.reasoning:
            return 0
        return min(generated, len(vocabulary.encode(self.reasoning_text(choice) + THINK_END)))


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
    decided = body.keys() & _DECIDING
    user_text = prompts.last_user_text(body) if decided else ""
    state = prose.seed_of(prompt, sampling.seed, 0) if decided else 0
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
