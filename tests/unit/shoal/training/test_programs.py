"""Nets as programs: what travels of them, and what does not."""

import numpy as np
import torch
from torch import nn

from shoal.training.loop import Sgd, train_epochs
from shoal.training.programs import export_programs, load_program, read_weights, set_weights, weights_of
from shoal.wire.tensors import MAX_ABS_WEIGHT, check_update, decode_tensors, encode_tensors


def test_batch_normalisation_when_trained_for_long_then_its_weights_are_still_an_update() -> None:
    torch.manual_seed(0)
    files = export_programs(nn.Sequential(nn.Linear(4, 4), nn.BatchNorm1d(4), nn.Linear(4, 2)), torch.zeros(2, 4))
    given = read_weights(files.weights)
    net = load_program(files.train_program)
    set_weights(net, given)
    x = np.random.default_rng(0).normal(size=(64, 4)).astype(np.float32)
    sgd = Sgd(learning_rate=0.01, momentum=0.9, batch_size=2, seed=0)
    train_epochs(net, x, (x[:, 0] > 0).astype(np.int64), epochs=34, sgd=sgd)  # 1,088 batches
    update = weights_of(net)
    check_update(update, given, max_abs=MAX_ABS_WEIGHT)
    assert not np.array_equal(update["1.running_mean"], given["1.running_mean"])
    assert update["1.num_batches_tracked"] == 0


def test_tensors_when_they_travel_then_keep_their_shapes() -> None:
    sent = {"scalar": np.array(3, np.float32), "turned": np.arange(6, dtype=np.float32).reshape(2, 3).T}
    came = decode_tensors(encode_tensors(sent))
    assert {name: array.shape for name, array in came.items()} == {"scalar": (), "turned": (3, 2)}
    np.testing.assert_array_equal(came["turned"], sent["turned"])
