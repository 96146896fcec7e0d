"""/v1/models, /tokenize and /detokenize (pure)."""

from collections.abc import Callable

import msgspec

from proxy.simulator import fields, prompts, vocabulary
from proxy.simulator.config import SimulatorConfig
from proxy.simulator.fields import Body

_encode = msgspec.json.Encoder().encode


def models(config: SimulatorConfig, now_s: int, random_hex: Callable[[int], str]) -> bytes:
    """The served models; `created` is the request's time, and `root` a path, as with the real engine."""
    data = [
        {
            "id": model,
            "object": "model",
            "created": now_s,
            "owned_by": "vllm",
            "root": f"/models/{model}",
            "parent": None,
            "max_model_len": config.max_model_len,
            "permission": [
                {
                    "id": f"modelperm-{random_hex(8)}",
                    "object": "model_permission",
                    "created": now_s,
                    "allow_create_engine": False,
                    "allow_sampling": True,
                    "allow_logprobs": True,
                    "allow_search_indices": False,
                    "allow_view": True,
                    "allow_fine_tuning": False,
                    "organization": "*",
                    "group": None,
                    "is_blocking": False,
                }
            ],
        }
        for model in config.models
    ]
    return _encode({"object": "list", "data": data})


def tokenized(body: Body, model: str, max_model_len: int) -> bytes:
    """Of a prompt, or of messages with the chat template around them."""
    if "messages" in body:
        ids = prompts.chat_prompt(body, model)
    else:
        ids = vocabulary.encode(str(fields.required(body, "prompt")))
    names = (
        [vocabulary.decode((token,)) for token in ids] if fields.boolean(body, "return_token_strs") else None
    )
    return _encode({"count": len(ids), "max_model_len": max_model_len, "tokens": ids, "token_strs": names})


def detokenized(body: Body) -> bytes:
    fields.required(body, "tokens")
    known = [token for token in fields.integers(body, "tokens") if 0 <= token < vocabulary.SIZE]
    return _encode({"prompt": vocabulary.decode(known)})
