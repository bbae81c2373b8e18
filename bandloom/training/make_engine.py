"""Makes the engine that a config names: plain torch or DeepSpeed."""

from torch import nn

from bandloom.run_state.pulse import spoken
from bandloom.training.engine import Engine, EngineConfig
from bandloom.training.precision import resolve_precision
from bandloom.training.ranks import Ranks


def make_engine(model: nn.Module, config: EngineConfig, ranks: Ranks, steps: int, depth: int = 0) -> Engine:
    """Return the engine that ``config.kind`` names, with ``model`` on the rank's device.

    Args:
        model: with the same weights on every rank.
        config: how it is trained.
        ranks: the processes of the run, started.
        steps: length of the learning rate's schedule.
        depth: number of encoder blocks, for layer decay.
    """
    with spoken("making the engine"):
        return _make(model, config, ranks, steps, depth)


def _make(model: nn.Module, config: EngineConfig, ranks: Ranks, steps: int, depth: int) -> Engine:
    config = config.with_changes(precision=resolve_precision(config.precision, ranks.device))
    if config.kind == "deepspeed":
        from bandloom.training.deepspeed_engine import DeepSpeedEngine

        return DeepSpeedEngine(model, config, ranks, steps, depth)
    from bandloom.training.torch_engine import TorchEngine

    return TorchEngine(model, config, ranks, steps, depth)
