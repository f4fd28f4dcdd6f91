"""The checkpoint that ships, in its safetensors and ONNX forms, and its model card."""
