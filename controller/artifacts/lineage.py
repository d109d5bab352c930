"""Where versions come from, and what data sets are for. Pure."""

from enum import StrEnum


class DatasetRole(StrEnum):
    """What a data set is used for."""

    CALIBRATION = "calibration"
    EVALUATION = "evaluation"
    TRAINING = "training"
    GOLDEN = "golden"


class VersionSource(StrEnum):
    """What made a version."""

    UPLOADED = "uploaded"
    FEDERATED = "federated"
    INCREMENTAL = "incremental"
