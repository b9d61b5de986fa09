"""Seconds of a training step, and of a token of a batch of answers, on a machine.

A step takes as long as the slowest of three: launching kernels, computing, moving weights and gradients between GPUs.
This module refuses to know recipes. Invariant: it gives back each measured point of `calibration.json` within the
tolerance that tests/studies/test_scale.py states.
"""

from offmodel.engines.footprint import Shape
from offmodel.studies.scale.machines import Machine, calibration

_SMALL = 1e9  # parameters; shares of the peak were measured below
# Forward 2, backward 4 operations a parameter and token; frozen weights need no gradient of their own.
_OPERATIONS = {"full": 6, "lora": 4}
# Bytes a parameter that go from GPU to GPU: gathered twice a pass in 16 bits, gradients summed in float32.
_MOVED = {"full": 8, "lora": 4}


def step_seconds(
    machine: Machine,
    shape: Shape,
    trained: str,
    *,
    gpus: int,
    tokens: float,
    passes: int,
    recompute: bool,
    captured: bool,
) -> float:
    """One optimizer step.

    Args:
        machine: where.
        shape: the model.
        trained: "full" or "lora".
        gpus: that train together.
        tokens: of the step on each of them.
        passes: forward passes on each of them.
        recompute: activation checkpointing.
        captured: whether passes are captured, so that nothing is launched.
    """
    fitted = calibration()["fitted"]
    again = 2 if recompute else 0
    launch = 0.0 if captured else fitted["launch" if gpus == 1 else "launch_sharded"][trained]
    operations = _OPERATIONS[trained] + again
    computing = operations * shape.active * tokens / (machine.operations * _share(shape, trained))
    # What a GPU holds itself need not come.
    moved = passes * _MOVED[trained] * shape.parameters * (gpus - 1) / gpus
    launching = shape.layers * passes * launch * (1 + again / 6)
    return max(launching, computing, moved / fitted["link_bytes_a_second"])


def token_seconds(machine: Machine, shape: Shape, sampler: str, *, rows: int, length: float) -> float:
    """One token more for each row of a batch.

    Args:
        machine: where.
        shape: the model.
        sampler: "transformers" (captured steps), "transformers, plain" or "vllm".
        rows: of the batch.
        length: mean tokens of a row so far.
    """
    fitted, assumed = calibration()["fitted"], calibration()["assumed"]
    computing = 2 * shape.active * rows / (machine.operations * _share(shape, "sampling"))
    bandwidth = machine.bandwidth * assumed["share_of_bandwidth"]
    # With many rows every expert is asked, so all weights are read for each token of the batch.
    multiplying = max(computing, 2.0 * shape.parameters / bandwidth)
    attending = 2.0 * rows * length * shape.cache * shape.layers / bandwidth
    return shape.layers * fitted["launch_a_token"][sampler] + multiplying + attending


def _share(shape: Shape, what: str) -> float:
    fitted, assumed = (calibration()[kind]["share_of_peak"] for kind in ("fitted", "assumed"))
    if shape.parameters < _SMALL:
        return fitted[what]
    return assumed["mixture"] if shape.feed_active < shape.feed else fitted["large"]
