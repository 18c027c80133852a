"""Networks in the forms of other programs: PyTorch's tensors, and ONNX."""
