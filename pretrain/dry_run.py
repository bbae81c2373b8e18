"""``bandloom pretrain --dry-run``: prints the resolved config and its cost, trains nothing."""

from bandloom.command_line.console import console, table
from bandloom.errors import BandloomError
from bandloom.pretrain.config import PretrainConfig
from bandloom.pretrain.cost import DEFAULT_SIDE_PX, Cost, cost_of, needed_samples_per_s, predicted_mfu
from bandloom.sensors import SENSORS, Sensor
from bandloom.training.flops import PEAK_BF16_TFLOPS, peak_flops
from bandloom.training.ranks import Ranks

ASSUMED_CARD = "H100"  # where no card is at hand


def dry_run(config: PretrainConfig, ranks: Ranks) -> None:
    """Print the resolved config, parameters, memory a GPU, FLOPs a step, and what the loader has to deliver."""
    sensor, side_px, taught, samples = _samples(config)
    cost = cost_of(config, sensor, side_px, ranks.world, taught)
    console.print(config.to_yaml())
    console.print(
        table(
            f"{config.size} on {ranks.world} rank{'s' * (ranks.world > 1)}",
            ("what", "how much"),
            rows(config, cost, ranks, samples),
        )
    )


def rows(config: PretrainConfig, cost: Cost, ranks: Ranks, samples: str) -> list[tuple[str, str]]:
    """Return the figures as a person reads them."""
    batch = config.trainer.batch_size
    peak, card = peak_flops(ranks.device), ""
    if peak is None:
        peak, card = PEAK_BF16_TFLOPS[ASSUMED_CARD] * 1e12, f" on an {ASSUMED_CARD}"
    mfu = predicted_mfu(config.encoder().embed_dim)
    rate = needed_samples_per_s(cost, peak, mfu)
    total_s = config.trainer.steps * batch / (rate * ranks.world)
    memory = cost.weights_bytes + cost.activation_bytes
    figures = [
        ("samples", samples),
        ("tokens a sample, visible", f"{cost.tokens}, {cost.visible}"),
        ("parameters of the encoder", f"{cost.encoder_parameters:,}"),
        ("parameters in training", f"{cost.parameters:,}"),
        ("memory a GPU: weights and moments", f"{cost.weights_bytes / 1e9:.2f} GB"),
        ("memory a GPU: activations, about", f"{cost.activation_bytes / 1e9:.2f} GB"),
        ("memory a GPU, together", f"{memory / 1e9:.2f} GB"),
        ("FLOPs of a step", f"{cost.train_flops * batch:.3e}"),
        ("of which the teacher's", f"{cost.teacher_flops * batch:.3e}"),
        ("FLOPs of a step a GPU", f"{cost.train_flops * batch / ranks.world:.3e}"),
        (f"samples a second a GPU{card} at {mfu:.0%} MFU", f"{rate:,.0f}"),
        ("which takes tokens a second from the loader", f"{rate * cost.tokens:,.0f}"),
        ("and megabytes a second", f"{rate * cost.sample_bytes / 1e6:,.0f}"),
        ("hours for the run, at that rate", f"{total_s / 3600:.2f}"),
    ]
    return [row for row in figures if cost.teacher_flops or "teacher" not in row[0]]


def _samples(config: PretrainConfig) -> tuple[Sensor, int, float, str]:
    """Return a sensor, the side of its samples, the share that a teacher runs for, and what was found, shards or not.

    Raises:
        CheckpointError: the teacher does not take a sensor of the shards.
    """
    from bandloom.pretrain.teacher_statistics import taught_share
    from bandloom.shards.read.shard_set import ShardSet

    try:
        shards = ShardSet(config.shards)
        indices = shards.indices(config.split)
    except BandloomError:
        said = f"{config.shards} is not there yet; as of Sentinel-2 L1C"
        return SENSORS["sentinel2-l1c"], DEFAULT_SIDE_PX, 1.0, said
    count = len(indices)
    sensor = max(shards.sensors.values(), key=lambda sensor: len(sensor.slots))
    epochs = config.trainer.steps * config.trainer.batch_size / max(1, count)
    taught = taught_share(config, shards, indices)
    return sensor, shards.side_px, taught, f"{count:,} of {sensor.name}, seen {epochs:.1f} times"
