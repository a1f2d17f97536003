"""gp finetune: a cut model trained again, with LoRA or in full, with or without a teacher."""
