"""Make a tiny chat model with random weights, which vLLM serves as it serves any other.

    ENVIRONMENT/bin/python tests/vllm/tiny_model.py FOLDER [--think]

Run by the environment of install.py (it needs torch, transformers and tokenizers); no network, some
seconds, about half a megabyte. The same files come out each time: the corpus is computed and the weights are
seeded.

What it says is no language. That is enough here: greedy decoding says the same thing each time, tokens are
counted as any model's are, and JSON schemas and tool calls come out well-formed because vLLM's grammars see
to it.
"""

from __future__ import annotations

import argparse
import itertools
import json
from pathlib import Path

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

SEED = 20
VOCABULARY = 768
CONTEXT_TOKENS = 2048
HIDDEN = 64

START, END, PAD = "<|start|>", "<|end|>", "<|pad|>"
THINK = ("<think>", "</think>")

# A turn is `<|start|>role: text<|end|>`; the tools, as JSON, are a turn of their own before the others.
CHAT_TEMPLATE = """\
{%- macro said(content) -%}
{%- if content is string -%}{{ content }}
{%- else -%}{%- for part in content or [] -%}{{ part.text or '' }}{%- endfor -%}{%- endif -%}
{%- endmacro -%}
{%- if tools -%}<|start|>tools: {{ tools | tojson }}<|end|>{%- endif -%}
{%- for message in messages -%}
<|start|>{{ message.role }}: {{ said(message.content) }}
{%- for call in message.tool_calls or [] -%}<tool_call>{{ call.function | tojson }}</tool_call>{%- endfor -%}
<|end|>
{%- endfor -%}
{%- if add_generation_prompt -%}<|start|>assistant: {%- endif -%}
"""


def corpus() -> list[str]:
    """Words of two syllables, JSON, and some English, from which the tokenizer learns its merges."""
    syllables = ["".join(pair) for pair in itertools.product("bdfgklmnprstvz", "aeiou")]
    words = [first + second for first, second in itertools.product(syllables, syllables[::7])]
    english = (
        "you are a helpful assistant and what is the weather like in the city of today for me please tell "
        "count "
    )
    schema = (
        '<tool_call>{"name": "value", "arguments": {"city": true, "unit": null}}</tool_call> '
        '{"type": "function", "function": {"name": "get_weather", "description": "x", "parameters": '
        '{"type": "object", "properties": {"type": "string", "enum": ["a", "b"], "type": "boolean"}, '
        '"required": ["a"], "additionalProperties": false, "strict": true}}} '
    )
    return [" ".join(words), english * 40, schema * 20, "0 1 2 3 4 5 6 7 8 9 10 20 100 . , ! ? : ; ( ) " * 5]


def tokenizer(specials: list[str]) -> Tokenizer:
    made = Tokenizer(models.BPE())
    made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    made.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=VOCABULARY, special_tokens=specials, initial_alphabet=alphabet, show_progress=False
    )
    made.train_from_iterator(corpus(), trainer)
    return made


def rare_tokens(made: Tokenizer, specials: list[str]) -> list[int]:
    """Tokens to be said seldom: parts of characters beyond ASCII, control characters, special ones."""
    rare = [made.token_to_id(name) for name in specials]
    for byte in pre_tokenizers.ByteLevel.alphabet():
        token = made.token_to_id(byte)
        text = made.decode([token])
        if not (text.isascii() and text.isprintable()):
            rare.append(token)
    return rare


def model(made: Tokenizer, specials: list[str]) -> LlamaForCausalLM:
    torch.manual_seed(SEED)
    config = LlamaConfig(
        vocab_size=made.get_vocab_size(),
        hidden_size=HIDDEN,
        intermediate_size=2 * HIDDEN,
        num_hidden_layers=2,
        num_attention_heads=2,
        num_key_value_heads=1,
        max_position_embeddings=CONTEXT_TOKENS,
        initializer_range=0.25,
        tie_word_embeddings=False,
        bos_token_id=made.token_to_id(START),
        eos_token_id=made.token_to_id(END),
        pad_token_id=made.token_to_id(PAD),
        dtype="bfloat16",
    )
    weights = LlamaForCausalLM(config)
    with torch.no_grad():
        weights.lm_head.weight[rare_tokens(made, specials)] *= 0.6
    return weights.to(torch.bfloat16)


def make(folder: Path, think: bool) -> None:
    specials = [START, END, PAD, *(THINK if think else ())]
    made = tokenizer(specials)
    wrapped = PreTrainedTokenizerFast(
        tokenizer_object=made, bos_token=START, eos_token=END, pad_token=PAD, model_max_length=CONTEXT_TOKENS
    )
    wrapped.chat_template = CHAT_TEMPLATE
    folder.mkdir(parents=True, exist_ok=True)
    wrapped.save_pretrained(folder)
    weights = model(made, specials)
    weights.save_pretrained(folder)
    # Only the ids: a generation config with sampling settings would change what a bare request means.
    ids = {f"{kind}_token_id": getattr(weights.config, f"{kind}_token_id") for kind in ("bos", "eos", "pad")}
    (folder / "generation_config.json").write_text(json.dumps(ids))
    print(f"{folder}: {made.get_vocab_size()} tokens, {weights.num_parameters()} parameters")


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--think", action="store_true", help="add <think>, for a reasoning parser")
    arguments = parser.parse_args()
    make(arguments.folder, arguments.think)


if __name__ == "__main__":
    main()
