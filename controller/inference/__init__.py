"""Inference by the controller itself: a variant run for whoever asks over REST, each in a runner of its own."""
