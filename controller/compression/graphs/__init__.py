"""ONNX files as graphs: their weights, their ranges, their cost. Inside the sandbox."""
