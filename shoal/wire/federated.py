"""Messages about federated learning: what a device trains in a round, and what it gives back."""

from typing import Annotated

import msgspec

from shoal.wire.devices import ArtifactRef, Count, Sha256, ShortText


class FederatedRoundSpec(msgspec.Struct, frozen=True, kw_only=True):
    """A device's share of a round.

    Attributes:
        train_program: A `torch.export` program `forward(x) -> logits` in training mode. Loading it can run code:
            it is loaded only because the offer that names its digest was signed by the controller.
        weights: The global weights, safetensors, keys as the program's state_dict.
        dataset: Name of the folder of local data.
        local_epochs, batch_size, learning_rate, momentum: SGD with momentum on cross-entropy.
        seed: Orders the samples; same seed, data and weights give the same update.
        is_last_round: The training process may go away after this one.
    """

    run_id: ShortText
    round: Count
    train_program: ArtifactRef
    weights: ArtifactRef
    dataset: ShortText
    local_epochs: Annotated[int, msgspec.Meta(ge=1, le=1000)]
    batch_size: Annotated[int, msgspec.Meta(ge=1, le=65536)]
    learning_rate: Annotated[float, msgspec.Meta(gt=0, le=10)]
    momentum: Annotated[float, msgspec.Meta(ge=0, lt=1)]
    seed: Count
    is_last_round: bool = False


class FederatedRoundResult(msgspec.Struct, frozen=True, kw_only=True):
    """A device's update: its weights after training, uploaded as safetensors before this is sent.

    Attributes:
        update: Digest of the uploaded safetensors file: float32, names and shapes as the round's weights.
        examples: n_k, the local samples it trained on, > 0.
        loss: Mean training loss of the last local epoch.
    """

    update: Sha256
    size_bytes: Count
    examples: Annotated[int, msgspec.Meta(ge=1, le=2**31)]
    loss: float
    duration_s: float
