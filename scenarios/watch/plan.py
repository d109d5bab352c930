"""What the scenario does, in figures."""

from typing import Any, Final

MODELS: Final = ("watch", "digits")
SEED: Final = 0
EPOCHS: Final = {"watch": 12, "digits": 12}
LEARNING_RATE: Final = 0.05
BATCH_SIZE: Final = 64
GOLDEN_SAMPLES: Final = 32
CALIBRATION_SAMPLES: Final = 200
MAX_ACCURACY_DROP: Final = 0.02

WINDOW: Final = 100  # steps of 20 ms
CHANNELS: Final = 6
EXERCISES: Final = 7
UNSEEN_PEOPLE: Final = 3  # of ten, the last ones: they are measured on, and not learned from
DIGITS_TRAINED: Final = 1400  # of 1,797

# Half the width is a quarter of the weights.
TECHNIQUES: Final[dict[str, list[dict[str, Any]] | None]] = {
    "fp32": None,
    "int8": None,
    "prune50": [{"op": "prune", "keep": 0.5, "target": "macs", "training": {"epochs": 8}}],
    "distill25": [{"op": "distill", "width": 0.5, "training": {"epochs": 16, "learning_rate": 0.05}}],
    "binary": [{"op": "binarize", "training": {"epochs": 12}}],
}
