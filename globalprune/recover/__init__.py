"""Finetuning after the cut: LoRA or all weights, from text or from a teacher too."""
