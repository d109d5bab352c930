"""Photos on every runtime: EfficientNet-Lite0 with ImageNet weights, in int8, `python -m scenarios.photos`."""
