"""Recipes: what is done to a version before it becomes a variant, step by step; and the search for good ones."""

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from shoal.schemas.common import Name, Request, Selector

Share = Annotated[float, Field(gt=0, le=1)]
Epochs = Annotated[int, Field(ge=0, le=1000)]
Layers = Annotated[list[str], Field(max_length=1000)]  # names as a sensitivity report tells them
RuntimeName = Literal["onnxruntime", "litert", "executorch", "torchscript", "openvino", "armnn", "edgeimpulse"]


class Training(Request):
    """How weights are fine-tuned, on the compression's training data set.

    Attributes:
        learning_rate: Of SGD with momentum 0.9, falling to zero along a cosine.
    """

    epochs: Epochs = 4
    learning_rate: float = Field(default=0.01, gt=0, le=10)
    batch_size: int = Field(default=32, ge=2, le=4096)


class Prune(Request):
    """Take away what matters least, then fine-tune.

    Attributes:
        method: `channels`: whole channels go, the model becomes smaller and faster; `magnitude`: single weights become
            zero, which saves bytes only where the file is compressed.
        keep: Share of what `target` counts that stays.
        target: `macs`, `size` (bytes of the weights), `latency` (measured by onnxruntime here); for `magnitude` the
            share of weights that stay.
    """

    op: Literal["prune"] = "prune"
    method: Literal["channels", "magnitude"] = "channels"
    keep: Share = 0.5
    target: Literal["macs", "size", "latency", "weights"] = "macs"
    training: Training = Training()


class Distill(Request):
    """Train a smaller student by a teacher's soft targets; kept only where it beats the student trained without.

    Attributes:
        width: Share of the channels of every layer that the derived student has. None: the version named in `student`.
        student: Number of another version of the same model, whose program is the student.
        temperatures, weights: Tried with each other; the best on held-out training samples is taken.
    """

    op: Literal["distill"] = "distill"
    width: Share | None = 0.5
    student: int | None = Field(default=None, ge=1)
    temperatures: list[Annotated[float, Field(ge=1, le=100)]] = Field(default=[2.0, 4.0], min_length=1, max_length=8)
    weights: list[Share] = Field(default=[0.5, 0.9], min_length=1, max_length=8)
    training: Training = Training(epochs=8, learning_rate=0.05)

    @model_validator(mode="after")
    def _one_student(self) -> Self:
        if (self.width is None) == (self.student is None):
            raise ValueError("a student is either derived by its width or named as a version")
        return self


class Binarize(Request):
    """Make weights -1 or +1 times a scale a filter; smaller in the file, not faster.

    Attributes:
        ends: What the first and the last layer become.
    """

    op: Literal["binarize"] = "binarize"
    ends: Literal["int8", "float"] = "int8"
    training: Training = Training(epochs=8)


class Quantize(Request):
    """Make the numbers smaller; the last step of a recipe.

    Attributes:
        mode: `static` int8 (calibrated activations), `dynamic` int8 (activations scaled as they come), `fp16`.
        calibration: How the range of activations is chosen from the calibration set.
        quantizer: Of static int8: `own` makes an ONNX file, or what the runtime's own converter makes; `nncf`, for
            openvino alone, OpenVINO's own form by NNCF, for which the toolchain is needed.
        aware: Fine-tune with quantization simulated, so that the weights get used to it.
        float_layers: So many layers stay in float, the most sensitive first; or those that are named.
    """

    op: Literal["quantize"] = "quantize"
    mode: Literal["static", "dynamic", "fp16"] = "static"
    calibration: Literal["minmax", "percentile", "entropy"] = "minmax"
    quantizer: Literal["own", "nncf"] = "own"
    aware: Training | None = None
    float_layers: Annotated[int, Field(ge=0, le=1000)] | Layers = 0


RecipeStep = Annotated[Prune | Distill | Binarize | Quantize, Field(discriminator="op")]


class Recipe(Request):
    """A pipeline: at most one of each step, in the order distill, prune, binarize or quantize.

    Attributes:
        name: Of the variants. A name means one pipeline: `fp32`, `fp16`, `int8`, `int8-dynamic` mean what they say;
            `int8-nncf` is OpenVINO's own int8.
        steps: None where the name says it all.
        runtimes: That shall run the result.
    """

    name: Name
    steps: list[RecipeStep] | None = Field(default=None, max_length=4)
    runtimes: list[RuntimeName] = Field(min_length=1, max_length=7)


class Budget(Request):
    """What a variant may cost. A compression that cannot keep it ends as refused, with the closest that there was.

    Attributes:
        max_accuracy_drop: Below the version's own score, in the score's points, 0..1.
        max_latency_ms: Of a single inference, median; on the devices of `selector` by their profiles, or, without
            one, as measured here.
    """

    max_accuracy_drop: float = Field(default=0.02, ge=0, le=1)
    max_size_bytes: int | None = Field(default=None, ge=1)
    max_latency_ms: float | None = Field(default=None, gt=0)
    selector: Selector | None = None


class Search(Request):
    """Find recipes: trials in parallel, the hopeless ones stopped early; the result is a Pareto front.

    Attributes:
        max_trials: At most so many recipes are tried to the end.
    """

    runtimes: list[RuntimeName] = Field(default=["onnxruntime"], min_length=1, max_length=7)
    max_trials: int = Field(default=16, ge=1, le=500)
