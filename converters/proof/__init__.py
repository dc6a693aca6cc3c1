"""The proof that nothing changed: one input through PyTorch and every other runtime, layer by layer."""
