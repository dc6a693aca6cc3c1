"""Caffe's solver on PyTorch: learning rates, update rules, snapshots, the test phase and its scores."""
