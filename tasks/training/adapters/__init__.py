"""LoRA and QLoRA by PEFT: adapters on frozen layers, merged at the end of a phase."""
