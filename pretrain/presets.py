"""Presets by model size: learning rate, batch, warm-up and decoder, each formula with its source."""

from dataclasses import dataclass

from bandloom.model.encoder import EncoderConfig
from bandloom.pretrain.config import DecoderConfig

BASE_LR = 1.5e-4  # for 256 samples a step: He et al. 2022 (MAE), table 8
WARMUP_SHARE = 0.05  # of the steps: MAE's 40 of 800 epochs
BATCH_SIZE = 4096  # MAE, table 8
SHARDED_FROM = 300_000_000  # parameters of the blocks: below it sharding only costs time (OpenTau#177: 2.6x)


@dataclass(frozen=True)
class Preset:
    """What follows from a size and the samples a step."""

    encoder: EncoderConfig
    decoder: DecoderConfig
    batch_size: int
    lr: float
    warmup_steps: int
    zero_stage: int


def preset(size: str, steps: int, batch_size: int = BATCH_SIZE) -> Preset:
    """Return what ``size`` decides.

    Width, depth and heads are the encoder's table (Dosovitskiy 2021, Touvron 2021, Zhai 2022), the decoder is 4 x 512
    from B on; the learning rate grows with the batch (Goyal et al. 2017); ZeRO's stage 1 begins where weights and
    moments pass 5 GB.

    Args:
        size: S, B, L, H or g; tiny and demo too.
        steps: optimizer steps of the run.
        batch_size: samples a step over all GPUs.
    """
    encoder = EncoderConfig.of_size(size)
    blocks = encoder.depth * (4 + 2 * encoder.mlp_ratio) * encoder.embed_dim**2
    return Preset(
        encoder=encoder,
        decoder=DecoderConfig.for_encoder(encoder),
        batch_size=batch_size,
        lr=BASE_LR * batch_size / 256,
        warmup_steps=round(WARMUP_SHARE * steps),
        zero_stage=int(blocks >= SHARDED_FROM),
    )
