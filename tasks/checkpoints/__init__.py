"""Opens base models and tokenizers, in the formats of their publishers, as local Hugging Face
folders.

Shared by the stages tokenizer, model and evaluation. It needs only torch, transformers, tokenizers,
safetensors and numpy (and sentencepiece for a `.model` file without `tokenizer.json`), so that it
can be imported on a bare training node.
"""
