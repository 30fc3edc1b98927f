"""Graphs from torch modules (`from_torch`, `aten`, `moved`) and ONNX files (`onnx_network`, `onnx_ops`).

Both write through `build`, and compose what is not primitive (`compose`, `windows`, `recurrent`, `recognize`).
"""
