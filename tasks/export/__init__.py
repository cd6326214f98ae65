"""Shared: a trained model as a folder for other programs, and as a GGUF file for llama.cpp."""
