"""What a network begins with: weights of an earlier run, of a bundle, or the layers of the other network."""

from pathlib import Path
from typing import Any

import numpy as np


def load_start(network: Any, start: Path) -> None:
    """Begin with earlier weights.

    Of a run the state of its optimizer is taken as well, of a bundle's arrays those that the network has, in order.
    """
    if start.suffix != ".npz":
        if network.compiled:
            network.optimizer.build(network.trainable_variables)  # without it Keras leaves out its state
        network.load_weights(start)
        return
    with np.load(start, allow_pickle=False) as arrays:
        earlier = [arrays[key].astype(np.float32) for key in sorted(arrays.files)]
    wanted = [tuple(weight.shape) for weight in network.weights]
    taken: list[Any] = []
    for values in earlier:
        if len(taken) < len(wanted) and values.shape == wanted[len(taken)]:
            taken.append(values)
    if len(taken) < len(wanted):
        raise ValueError(f"{start.name} does not hold the weights of this network")
    network.set_weights(taken)


def transfer_layers(network: Any, levels: Any, weights: Path) -> int:
    """Begin with the layers of a trained level network that have a namesake of the same shape; returns their number.

    The first convolution knows one channel less: the level's share begins without influence.
    """
    levels.load_weights(weights)
    taken = 0
    for layer in levels.layers:
        mine = next((other for other in network.layers if other.name == layer.name), None)
        theirs = layer.get_weights()
        if mine is None or not theirs or mine.name in {"levels", "mask"}:
            continue
        ours = mine.get_weights()
        if len(ours) == len(theirs) and ours[0].ndim == 4 and ours[0].shape[2] == theirs[0].shape[2] + 1:
            theirs[0] = np.concatenate([theirs[0], np.zeros_like(ours[0][:, :, -1:])], axis=2)
        if [values.shape for values in ours] == [values.shape for values in theirs]:
            mine.set_weights(theirs)
            taken += 1
    return taken
