"""Weights and nets carried between Caffe, PyTorch and ONNX, and the proof that nothing changed."""
