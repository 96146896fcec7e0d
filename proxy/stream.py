"""A stream on its way through: the engine's events in, the client's events out, the usage noted. pure.

Owns what is changed in a stream: the running and final usage that we asked for and the client did not, the
traces of the fields that we set to be told of silent tokens, and the engine's error events. All else leaves
as it came: same keys, same order, same values. Knows nothing of sockets. Rules:

- An event leaves in the call in which its last byte came. Events that came together leave together.
- The fast path edits bytes: in JSON text the bytes `"usage":` cannot occur inside a string (there the
  quotes are escaped), so a run of events with exactly one `],"usage":{...}` each is cut without being
  decoded. Whatever it does not recognize is decoded.
- `choices` empty and a usage object: the engine's last word. An `error` member: the engine failed, and what
  follows is not relayed.
- A stream that we end ourselves is made whole by `closing`: each event on its way leaves only what that
  needs, its bytes and whether a choice has finished.
"""

import re
from enum import Enum, auto
from typing import Any, Final

import msgspec

from proxy.closing import DONE, finish_chunk, head_of, usage_chunk, usage_object
from proxy.metering import StreamMeter, UsageMissing
from proxy.sse import Splitter, parse, render, split

_RUNNING: Final = re.compile(
    rb'\{"prompt_tokens":(\d+),"total_tokens":\d+,"completion_tokens":(\d+)'
    rb'(?:,"completion_tokens_details":(?:null|\{[^{}]*\}))?\}'
)
_MARK: Final = b'],"usage":{'
_INDEX: Final = b'"choices":[{"index":'
_FINISH: Final = b'"finish_reason":"'

_decode: Final = msgspec.json.Decoder().decode
_REASONING: Final = frozenset({"reasoning", "reasoning_content"})
_UNREADABLE: Final = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)
_encode: Final = msgspec.json.Encoder().encode


class UsageWish(Enum):
    """What the client asked to see of the usage."""

    NONE = auto()
    """Nothing: no chunk has a `usage` member, and the usage-only chunk is left out."""
    FINAL = auto()
    """`include_usage`, in OpenAI's form: `usage: null` on each chunk and a last chunk with the total."""
    RUNNING = auto()
    """`continuous_usage_stats` too (vLLM's): all as the engine sends it."""


class CompletionStream:
    """The events of one streamed /v1/chat/completions or /v1/completions call.

    `wish`: what the client asked to see. `choices_per_prompt`: the call's `n`; `choices`: all its choices.
    `silence`: we set `return_token_ids` to be told of the tokens of a tool call; its traces are taken out.
    `hide_reasoning`: the client asked for none, and the engine sends it so that the count never lags.
    `fingerprint`: the engine's `system_fingerprint`, where it is known: vLLM puts it on the last chunk it
    sends, and that one is left out when the client did not ask for usage.
    """

    __slots__ = (
        "_choices",
        "_finished",
        "_hide_reasoning",
        "_last",
        "_silence",
        "_splitter",
        "_told_total",
        "_wish",
        "done",
        "failed",
        "fingerprint",
        "meter",
    )

    def __init__(
        self,
        wish: UsageWish,
        *,
        choices_per_prompt: int = 1,
        choices: int = 1,
        silence: bool = False,
        hide_reasoning: bool = False,
        fingerprint: str | None = None,
    ) -> None:
        self._wish = wish
        self._choices = choices
        self._silence = silence
        self._hide_reasoning = hide_reasoning
        self._splitter = Splitter()
        self._last = b""  # the last chunk as it came: what `closing` takes the id and the model from
        self._finished: set[int] = set()
        self._told_total = False
        self.fingerprint = fingerprint
        self.meter = StreamMeter(choices_per_prompt)
        self.done = False
        """Whether the engine's `[DONE]` has come."""
        self.failed: dict[str, Any] | None = None
        """The engine's error object, once it has sent one: nothing after it is relayed, `[DONE]` least of
        all."""

    def feed(self, data: bytes) -> bytes:
        """Takes the engine's next bytes; returns what goes to the client now (b"": nothing yet).

        Raises EventTooLarge.
        """
        whole = self._splitter.feed(data)
        if not whole or self.failed:
            return b""
        if self._silence or self._hide_reasoning:
            return self._slow(whole)
        if whole.find(b"\n") == len(whole) - 2 and b"\r" not in whole:  # one event of one line
            return self._fast(whole) or self._slow(whole)
        # Each on its own way: an event's bytes must not depend on what came together with it.
        return b"".join(self._fast(event) or self._slow(event) for event in split(whole))

    def closing(self) -> bytes:
        """The events that end the stream cleanly for the client, once nothing more of the engine's comes.

        Each choice that has not finished does so with `length`, then comes the total as it is billed, if the
        client asked for usage, and [DONE]. Nothing, where the engine has ended the stream by itself. Before
        the first chunk there is nothing to finish: [DONE] alone.
        """
        if self.done:
            return b""
        head = head_of(self._last)
        if head is None:
            return DONE
        unfinished = [index for index in range(self._choices) if index not in self._finished]
        fingerprint = {"system_fingerprint": self.fingerprint} if self.fingerprint else {}
        if self._wish is UsageWish.NONE:  # vLLM puts the fingerprint on the last chunks it sends
            events = [finish_chunk(head, index, fingerprint) for index in unfinished]
        elif self._wish is UsageWish.FINAL:
            events = [finish_chunk(head, index, {"usage": None}) for index in unfinished]
        else:
            running = {index: usage_object(*self.meter.choice(index)) for index in unfinished}
            events = [finish_chunk(head, index, {"usage": usage}) for index, usage in running.items()]
        if self._wish is not UsageWish.NONE and not self._told_total:
            total, _ = self.meter.reading()
            usage = usage_object(total.prompt_tokens, total.completion_tokens)
            events.append(usage_chunk(head, {"usage": usage, **fingerprint}))
        return b"".join((*events, DONE))

    def _fast(self, whole: bytes) -> bytes | None:
        """Cuts or blanks the running usage of plain chunks by bytes; None where an event is not plain."""
        mark = whole.rfind(_MARK)
        if mark < 0 or self.failed or whole.find(b'"usage":') != mark + 2:
            return None
        finishes = _FINISH in whole
        if finishes and self._wish is UsageWish.NONE and self.fingerprint:
            return None
        found = _RUNNING.match(whole, mark + 10)
        if found is None or whole[mark - 1] == 0x5B:  # "[": the choices are empty, this is the last word
            return None
        index = 0
        if self._choices > 1:
            at = whole.find(_INDEX) + len(_INDEX)
            if at < len(_INDEX):
                return None
            index = int(whole[at : whole.index(b",", at)])
        self.meter.running(index, int(found[1]), int(found[2]))
        self._last = whole
        if finishes:
            self._finished.add(index)
        if self._wish is UsageWish.NONE:
            return whole[: mark + 1] + whole[found.end() :]
        if self._wish is UsageWish.FINAL:
            return whole[: mark + 10] + b"null" + whole[found.end() :]
        return whole

    def _slow(self, whole: bytes) -> bytes:
        """Decodes each event, edits it, and writes it anew where it changed."""
        out = []
        for raw in split(whole):
            if self.failed:
                break
            out.append(self._edit(raw))
        return b"".join(out)

    def _edit(self, raw: bytes) -> bytes:
        data = parse(raw).data
        if data is None:
            return raw  # a comment: the engine's keep-alive
        if data == b"[DONE]":
            self.done = True
            return raw
        try:
            chunk = _decode(data)
        except _UNREADABLE:
            return raw  # not ours to judge: the client gets what the engine sent
        if not isinstance(chunk, dict):
            return raw
        error = chunk.get("error") or (chunk if chunk.get("object") == "error" else None)
        if error:
            self.failed = error if isinstance(error, dict) else {"message": str(error)}
            return b""
        self._remember(raw, chunk)
        if not self._note(chunk):
            return b""
        changed = self._strip_usage(chunk)
        if self._silence or self._hide_reasoning:
            changed = True
            if not self._strip_silence(chunk):
                return b""
        if self._wish is UsageWish.NONE and self.fingerprint and _finishes(chunk):
            changed = True
            chunk.setdefault("system_fingerprint", self.fingerprint)
        return render(_encode(chunk)) if changed else raw

    def _remember(self, raw: bytes, chunk: dict[str, Any]) -> None:
        """Keeps what `closing` needs of a chunk."""
        choices = chunk.get("choices")
        if not isinstance(choices, list):
            return
        self._last = raw
        for choice in choices:
            if isinstance(choice, dict) and choice.get("finish_reason") is not None:
                index = choice.get("index")
                self._finished.add(index if isinstance(index, int) else 0)
        if not choices and isinstance(chunk.get("usage"), dict):
            self._told_total = True

    def _note(self, chunk: dict[str, Any]) -> bool:
        """Notes the chunk's usage; False for the usage-only chunk that the client did not ask for."""
        choices, usage = chunk.get("choices"), chunk.get("usage")
        if not isinstance(usage, dict):
            return True
        if not choices:
            try:
                self.meter.final(usage)
            except UsageMissing:
                return self._wish is not UsageWish.NONE
            fingerprint = chunk.get("system_fingerprint")
            if isinstance(fingerprint, str):
                self.fingerprint = fingerprint
            return self._wish is not UsageWish.NONE
        prompt, completion = usage.get("prompt_tokens"), usage.get("completion_tokens")
        if isinstance(prompt, int):
            index = choices[0].get("index", 0)
            self.meter.running(index, prompt, completion if isinstance(completion, int) else 0)
        return True

    def _strip_usage(self, chunk: dict[str, Any]) -> bool:
        """Takes out of a chunk the usage that the client did not ask for; True where that changed it."""
        if not chunk.get("choices") or "usage" not in chunk:
            return False
        if self._wish is UsageWish.NONE:
            del chunk["usage"]
            return True
        if self._wish is UsageWish.FINAL:
            chunk["usage"] = None
            return True
        return False

    def _strip_silence(self, chunk: dict[str, Any]) -> bool:
        """Takes out what came only because we asked; False where nothing is left that the engine would have
        sent."""
        if self._silence and chunk.get("prompt_token_ids") is not None:
            chunk["prompt_token_ids"] = None
        choices = chunk.get("choices") or []
        kept = not choices
        for choice in choices:
            if self._silence and "token_ids" in choice:
                choice["token_ids"] = None
            if self._hide_reasoning:
                _hide_reasoning(choice)
            # With `logprobs` the engine itself tells of each silent token.
            told = choice.get("delta") or choice.get("logprobs") or choice.get("finish_reason") is not None
            kept = kept or bool(told)
        return kept


def _hide_reasoning(choice: dict[str, Any]) -> None:
    """Takes a choice's reasoning out; its tokens and their logprobs are its text once more."""
    delta = choice.get("delta")
    if not isinstance(delta, dict):
        return
    thought = [delta.pop(name, None) for name in _REASONING]
    if any(thought):
        for name in ("logprobs", "token_ids"):
            if choice.get(name) is not None:
                choice[name] = None


def _finishes(chunk: dict[str, Any]) -> bool:
    choices = chunk.get("choices") or [{}]
    return choices[0].get("finish_reason") is not None
