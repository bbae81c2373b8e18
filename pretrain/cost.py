"""The cost of a pretraining run by arithmetic: FLOPs, memory a GPU, and samples a second from its loader."""

from dataclasses import dataclass

import torch

from bandloom.model.encoder import Encoder, EncoderConfig, count_parameters
from bandloom.model.statistics import Statistics
from bandloom.model.stem import PIXEL_M, TAPS
from bandloom.model.token_layout import token_layout
from bandloom.pretrain.config import PretrainConfig
from bandloom.pretrain.mae import MaskedAutoencoder
from bandloom.pretrain.objectives import Distillation, MovingTeacher, Objective, VisualWords
from bandloom.sensors import SLOTS, Sensor
from bandloom.training.flops import TRAIN_FACTOR, block_flops, linear_flops

# bytes kept for the backward pass, fitted to what torch keeps of real steps (a test counts it for S, B and L): of a
# block, a token and unit of width (with bf16 the residual stream stays fp32); and of a token, a native sample
BLOCK_BYTES = {"bf16": 37.2, "fp32": 65.7}
SAMPLE_BYTES = {"bf16": 14.9, "fp32": 16.4}
WORD_BYTES = {"bf16": 10.3, "fp32": 16.1}  # of a token and word that it is asked for (objective.kind: visual_words)
ROTARY_BYTES = {"bf16": 6.0, "fp32": 12.1}  # of an encoder's block that rotates queries and keys, beside BLOCK_BYTES
STEM_BYTES = {"bf16": 4.1, "fp32": 4.3}  # of a token, and filter and place of the stem
BAND_BYTES = {"bf16": 2.0, "fp32": 4.0}  # of a token and 10 m sample of the stem's bands
BLOCK_INPUT_BYTES = 4.0  # all that a block keeps with activation checkpointing
# the share of an H100's peak, by the encoder's width, that kernels' times predict for steps without compilation; norms,
# casts and residuals take 60, 45 and 40 % of a step of S, B and L. No card has measured it yet.
PREDICTED_MFU = ((384, 0.18), (768, 0.27), (1 << 30, 0.33))
DEFAULT_SIDE_PX = 240  # of a sample, where no shards say otherwise


@dataclass(frozen=True)
class Cost:
    """The figures of one run; FLOPs are those of one sample."""

    tokens: int
    visible: int
    encoder_parameters: int
    parameters: int
    forward_flops: float
    weights_bytes: float
    activation_bytes: float
    sample_bytes: int
    teacher_flops: float = 0.0

    @property
    def train_flops(self) -> float:
        """FLOPs of a training step for one sample: forward, and twice that backward; a teacher's forward alone."""
        return TRAIN_FACTOR * self.forward_flops + self.teacher_flops


def cost_of(
    config: PretrainConfig,
    sensor: Sensor,
    side_px: int = DEFAULT_SIDE_PX,
    world: int = 1,
    taught: float = 1.0,
) -> Cost:
    """Return what a run of ``config`` costs on samples of ``sensor``, without building a weight.

    Args:
        config: the run.
        sensor: whose samples.
        side_px: side of a sample in pixels of 10 m; ``config.crop_px`` goes first.
        world: number of GPUs.
        taught: share of samples for which a step runs the frozen teacher of ``objective.kind: distil``.
    """
    model = meta_model(config)
    tokens = ((config.crop_px or side_px) * 10 // config.token_m) ** 2
    visible = max(1, round(tokens * (1 - config.objective.mask_ratio)))
    parameters = count_parameters(model)
    micro = max(1, config.trainer.batch_size // (world * config.trainer.engine.accumulate))
    return Cost(
        tokens=tokens,
        visible=visible,
        encoder_parameters=count_parameters(model.encoder),
        parameters=parameters,
        forward_flops=forward_flops(config, sensor, tokens, visible, model.objective),
        weights_bytes=parameters * bytes_a_parameter(config, world),
        activation_bytes=micro * _activation_bytes(config, sensor, tokens, visible, model.objective),
        sample_bytes=sum(
            2 * len(group.bands) * ((config.crop_px or side_px) * 10 // group.gsd_m) ** 2 for group in sensor.groups
        ),
        teacher_flops=_teacher_flops(config, sensor, config.crop_px or side_px, taught, model.objective),
    )


def meta_model(config: PretrainConfig) -> MaskedAutoencoder:
    """Return the autoencoder with shapes and no memory behind them."""
    statistics = Statistics(mean=dict.fromkeys(SLOTS, 0.1), std=dict.fromkeys(SLOTS, 0.1))
    with torch.device("meta"):
        return MaskedAutoencoder(Encoder(config.encoder(), statistics), config.decoder_or_default(), config.objective)


def forward_flops(config: PretrainConfig, sensor: Sensor, tokens: int, visible: int, objective: Objective) -> float:
    """Return the FLOPs of one sample's forward pass: matrix products alone, see :mod:`bandloom.training.flops`.

    What the objective itself multiplies, such as pictures of surroundings, is left out: it is small beside the blocks.
    """
    encoder, decoder = config.encoder(), config.decoder_or_default()
    decoding = decoder.depth * block_flops(tokens, decoder.embed_dim)
    ends = linear_flops(visible, encoder.embed_dim, decoder.embed_dim + objective.visible_outputs)
    own = _encoder_flops(config, sensor, visible)
    return own + ends + decoding + linear_flops(tokens, decoder.embed_dim, objective.outputs)


def _encoder_flops(config: PretrainConfig, sensor: Sensor, tokens: int) -> float:
    """Return the FLOPs of our own encoder over ``tokens`` tokens of one sample."""
    encoder, samples = config.encoder(), token_layout(sensor, config.token_m).samples
    embedding = (
        stem_flops(encoder, sensor, tokens)
        + linear_flops(tokens, samples, encoder.embed_dim)
        + linear_flops(tokens, samples, len(SLOTS))  # how much of each slot is there
        + linear_flops(tokens, len(SLOTS), encoder.embed_dim)  # vectors of absent slots
    )
    return embedding + encoder.depth * block_flops(tokens, encoder.embed_dim, encoder.mlp_ratio)


def stem_flops(encoder: EncoderConfig, sensor: Sensor, tokens: int) -> float:
    """Return the FLOPs of the stem: filters at every place of a token, and their map."""
    places = (encoder.token_m // PIXEL_M - TAPS + 1) ** 2
    filtering = linear_flops(tokens * places, len(sensor.slots) * TAPS**2, encoder.stem_filters)
    return filtering + linear_flops(tokens, encoder.stem_filters, encoder.embed_dim)


def _teacher_flops(config: PretrainConfig, sensor: Sensor, side_px: int, taught: float, objective: Objective) -> float:
    """Return the FLOPs of what a teacher says of one sample: it sees all tokens, and nothing flows back."""
    if isinstance(objective, MovingTeacher):
        return _encoder_flops(config, sensor, (side_px * 10 // config.token_m) ** 2)
    if isinstance(objective, Distillation) and taught and objective.teacher.takes(sensor):
        return taught * objective.teacher.flops(sensor, side_px)
    return 0.0


def bytes_a_parameter(config: PretrainConfig, world: int) -> float:
    """Return the bytes of GPU memory a parameter takes, with its gradient and moments.

    fp32 weight, gradient and two moments are 16; bf16 autocast keeps a copy of 2; DDP's buckets are 4 more. ZeRO keeps
    a master beside the weight from stage 1 on, and spreads master and moments (12), then gradients (4), then weights
    (4) over the ranks (Rajbhandari et al. 2020, section 5).
    """
    engine = config.trainer.engine
    cast = 0.0 if engine.precision == "fp32" else 2.0
    if engine.kind == "torch" or engine.zero_stage == 0:
        return 16.0 + cast + (4.0 if world > 1 else 0.0)
    spread = {1: (12.0, 8.0), 2: (16.0, 4.0), 3: (20.0, 0.0)}[engine.zero_stage]
    return spread[0] / world + spread[1] + cast


def _activation_bytes(config: PretrainConfig, sensor: Sensor, tokens: int, visible: int, objective: Objective) -> float:
    """Return what one sample keeps for the backward pass; precision ``auto`` is bf16, as on a card."""
    encoder, decoder = config.encoder(), config.decoder_or_default()
    precision = "fp32" if config.trainer.engine.precision == "fp32" else "bf16"
    own = encoder.depth * visible * encoder.embed_dim
    inside = own + decoder.depth * tokens * decoder.embed_dim
    ends = SAMPLE_BYTES[precision] * tokens * token_layout(sensor, config.token_m).samples
    if isinstance(objective, VisualWords):
        ends += WORD_BYTES[precision] * tokens * objective.visible_outputs
    ends += stem_bytes(encoder, sensor, visible, precision)
    rotated = ROTARY_BYTES[precision] if encoder.positions == "rotary" else 0.0
    if not config.trainer.engine.activation_checkpointing:
        return BLOCK_BYTES[precision] * inside + rotated * own + ends
    # the input of every block, and the inside of one at a time
    turned = (BLOCK_BYTES[precision] + rotated) * visible * encoder.embed_dim
    one = max(turned, BLOCK_BYTES[precision] * tokens * decoder.embed_dim)
    return BLOCK_INPUT_BYTES * inside + one + ends


def stem_bytes(encoder: EncoderConfig, sensor: Sensor, tokens: int, precision: str) -> float:
    """Return what the stem keeps of one sample: the bands at 10 m, and the rectified responses of every place."""
    side = encoder.token_m // PIXEL_M
    places = (side - TAPS + 1) ** 2 * encoder.stem_filters
    bands = len(sensor.slots) * side**2 if encoder.stem_filters else 0
    return tokens * (STEM_BYTES[precision] * places + BAND_BYTES[precision] * bands)


def predicted_mfu(embed_dim: int) -> float:
    """Return the share of an H100's bf16 peak that a step without compilation is expected to reach."""
    return next(share for width, share in PREDICTED_MFU if embed_dim <= width)


def needed_samples_per_s(cost: Cost, peak_flops: float, mfu: float) -> float:
    """Return the samples a second that one GPU consumes at a share of its peak."""
    return mfu * peak_flops / cost.train_flops
