"""Trained models for use elsewhere: ONNX, a safetensors file, a Hugging Face folder."""
