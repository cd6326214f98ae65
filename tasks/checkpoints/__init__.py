"""Shared: base models and tokenizers in the formats their publishers use, opened as local Hugging
Face folders.

Used by the stages tokenizer, model and evaluation. Needs only torch, transformers, tokenizers,
safetensors and numpy (and sentencepiece for a bare `.model` file), so it imports on a bare training
node.
"""
