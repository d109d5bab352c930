"""What the voyage does, in figures, and what it must reach. Reasons stand with the constants."""

from typing import Final

MODEL: Final = "digits"
DEVICES: Final = 6
LOCAL_DATASET: Final = "digits"
# Two devices have OpenVINO only, so that both runtimes serve; which are offered is what is installed, narrowed.
RUNTIMES: Final = ("onnxruntime", "openvino", "onnxruntime", "onnxruntime", "openvino", "onnxruntime")

FIRST_DEVICE: Final = 0  # version 1 knows its data alone, so that there is something to learn
FIRST_EPOCHS: Final = 10

HELD_OUT: Final = "digits-heldout"
INVERTED: Final = "digits-heldout-inverted"
CALIBRATION: Final = "digits-calibration"
GOLDEN: Final = "digits-golden"
REPLAY: Final = "digits-replay"

ROUNDS: Final = 10
LOCAL_EPOCHS: Final = 2
LEARNING_RATE: Final = 0.05
MOMENTUM: Final = 0.9
BATCH_SIZE: Final = 32

REQUESTS: Final = 200  # each device answers all held-out digits, one request a digit

DRIFTING_DEVICE: Final = 5  # sees nine of the ten digits and has enough of them for a clean stream
CLEAN_SAMPLES: Final = 400  # 200 make the reference, the others must raise no alarm
INVERTED_SAMPLES_LIMIT: Final = 300  # a shift that is not noticed by then is not noticed
NEW_SAMPLES: Final = 200
NEW_SAMPLES_A_SHARD: Final = 20  # labelled samples come in portions
# None of 400 clean streams of 400 samples crosses it, 5 cross the default of 0.25; drift is noticed 11 samples later.
DRIFT_THRESHOLD: Final = 0.4
STEPS: Final = 300

# What must be reached, each a share 0..1.
MIN_FEDERATED_ACCURACY: Final = 0.93
MIN_FEDERATED_GAIN: Final = 0.15
MAX_INT8_ACCURACY_DROP: Final = 0.01
MAX_INT8_SIZE_RATIO: Final = 0.30
MIN_NEW_GAIN: Final = 0.50
MAX_OLD_DROP: Final = 0.03
EPSILON: Final = 1e-9  # 0.93 - 0.92 is a little more than 0.01 in floating point
