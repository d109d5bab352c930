"""One package per application: real data, a model, and a voyage through the whole system that measures itself.

A scenario speaks to the controller only through `shoal.client` and to devices only over their own doors (environment,
data folder, Open Inference Protocol); it imports neither `controller` nor `agent`.
"""
