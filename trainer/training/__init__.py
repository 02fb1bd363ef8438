"""Training of an adapter: DPO and supervised fine-tuning on TRL."""
