"""An encoder with random weights and words for tokens, written in a second."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors
from transformers import BertConfig, BertModel

WORDS = [f"w{number}" for number in range(200)]
SPECIAL = ["[PAD]", "[UNK]", "[CLS]", "[SEP]"]


def write_encoder(folder: Path, *, positions: int = 64, pooling: str = "", **settings: Any) -> Path:
    """A BERT of 16 dimensions; with `pooling`, as a folder of sentence-transformers."""
    folder.mkdir(parents=True, exist_ok=True)
    torch.manual_seed(0)
    vocabulary = {token: id_ for id_, token in enumerate([*SPECIAL, *WORDS])}
    config = BertConfig(
        vocab_size=len(vocabulary),
        hidden_size=16,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=32,
        max_position_embeddings=positions,
        pad_token_id=0,
    )
    model = BertModel(config).eval()
    for parameter in model.parameters():  # random ones are so small that all texts look alike
        torch.nn.init.normal_(parameter, std=0.5)
    model.save_pretrained(folder)
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.Lowercase()
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    tokenizer.save(str(folder / "tokenizer.json"))
    (folder / "tokenizer_config.json").write_text(
        json.dumps(
            {
                "tokenizer_class": "PreTrainedTokenizerFast",
                "pad_token": "[PAD]",
                "unk_token": "[UNK]",
                "cls_token": "[CLS]",
                "sep_token": "[SEP]",
                "model_max_length": positions,
            }
        )
    )
    if pooling:
        listed = [
            {"type": "sentence_transformers.models.Transformer", "path": ""},
            {"type": "sentence_transformers.models.Pooling", "path": "1_Pooling"},
            {"type": "sentence_transformers.models.Normalize", "path": "2_Normalize"},
        ]
        (folder / "modules.json").write_text(json.dumps(listed))
        (folder / "1_Pooling").mkdir()
        names = {
            "mean": "mean_tokens", "cls": "cls_token", "max": "max_tokens", "lasttoken": "lasttoken"
        }  # fmt: skip
        modes = {f"pooling_mode_{name}": kind == pooling for kind, name in names.items()}
        (folder / "1_Pooling" / "config.json").write_text(json.dumps(modes))
    if settings:
        (folder / "sentence_bert_config.json").write_text(json.dumps(settings))
    return folder
