"""Prints as JSON what this interpreter's transformers reads from the checkpoint folders given.

Run by `test_old_readers.py` under this project's transformers and under an old release.
"""

import json
import sys

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

TEXT = "def f(x):\n    return  x\n中国 llama </s> w3 w4"
LENGTHS = (40, 600)
"""Tokens of a text: fewer, and more, than the positions that the models were trained with."""


def read(folder: str) -> dict[str, object]:
    """Angles, logits, types and settings of one checkpoint."""
    model = AutoModelForCausalLM.from_pretrained(folder, dtype="auto").eval()
    tokenizer = AutoTokenizer.from_pretrained(folder)
    generation = model.generation_config
    values: dict[str, object] = {
        "dtype": str(model.dtype),
        "tied": model.config.tie_word_embeddings,
        "positions": model.config.max_position_embeddings,
        "ids": [
            model.config.bos_token_id,
            model.config.eos_token_id,
            generation.bos_token_id,
            generation.eos_token_id,
        ],
        "suppressed": generation.suppress_tokens,
        "text": tokenizer(TEXT)["input_ids"],
        "special": [
            tokenizer.bos_token,
            tokenizer.eos_token,
            tokenizer.pad_token,
            tokenizer.model_max_length,
        ],
        "more_special": sorted(set(tokenizer.all_special_tokens)),
    }
    model = model.float()
    rotary = model.model.rotary_emb
    for length in LENGTHS:
        ids = (torch.arange(length) * 7 % 50 + 3)[None]
        with torch.no_grad():
            logits = model(input_ids=ids, use_cache=False).logits
        values[f"angles at {length}"] = rotary.inv_freq.tolist()
        values[f"scaling at {length}"] = float(rotary.attention_scaling)
        values[f"logits at {length}"] = logits[0, -1, :8].tolist()
    return values


if __name__ == "__main__":
    import transformers

    read_all = {folder: read(folder) for folder in sys.argv[1:]}
    sys.stdout.write(json.dumps({"transformers": transformers.__version__, "read": read_all}))
