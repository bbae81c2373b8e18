"""The masked autoencoder over native samples (He et al. 2022), for any sensor that the encoder takes."""

import torch
from torch import Tensor, nn

from bandloom import torch_compat  # noqa: F401  (timm needs it)
from bandloom.device_batch import DeviceBatch
from bandloom.encoder import Encoder, drop_slots, take_tokens
from bandloom.sensors import Sensor
from bandloom.token_layout import TokenLayout, area_overlap, reference_layout, token_layout
from pretrain.config import DecoderConfig, ObjectiveConfig
from pretrain.masking import dropped_slots, random_masking
from pretrain.objective import Prediction, pixel_loss


class MaskedAutoencoder(nn.Module):
    """Encode the visible tokens, decode all of them, predict the native samples of the hidden ones.

    Names follow facebookresearch/mae: ``ids_keep``, ``ids_restore``, ``mask`` (1 is removed), ``decoder_embed``,
    ``mask_token``, ``decoder_blocks``, ``decoder_norm``, ``decoder_pred``.
    """

    def __init__(self, encoder: Encoder, decoder: DecoderConfig, objective: ObjectiveConfig) -> None:
        super().__init__()
        from timm.models.vision_transformer import Block

        self.encoder, self.objective = encoder, objective
        self.layout = reference_layout(encoder.config.token_m)
        self.decoder_dim = decoder.embed_dim
        self.decoder_embed = nn.Linear(encoder.embed_dim, decoder.embed_dim)
        self.mask_token = nn.Parameter(torch.zeros(decoder.embed_dim))
        self.decoder_blocks = nn.ModuleList(
            Block(decoder.embed_dim, decoder.num_heads, 4.0, qkv_bias=True) for _ in range(decoder.depth)
        )
        self.decoder_norm = nn.LayerNorm(decoder.embed_dim, eps=1e-6)
        self.decoder_pred = nn.Linear(decoder.embed_dim, self.layout.samples)
        nn.init.normal_(self.mask_token, std=0.02)

    def forward(self, batch: DeviceBatch) -> Tensor:
        """Return the loss of a batch, a scalar."""
        prediction = self.predict(batch)
        # autocast would round small differences away
        with torch.autocast(prediction.samples.device.type, enabled=False):
            return pixel_loss(prediction, self.objective)

    def predict(self, batch: DeviceBatch) -> Prediction:
        """Mask, encode, decode; returns predictions of all tokens beside their targets."""
        sensor = batch.sensor
        samples, valid = self.encoder.samples(batch.groups, sensor)  # (B, T, S)
        positions = self.encoder.positions(*self.encoder.grid(batch.groups))  # (T, D)
        rows, columns = self.encoder.grid(batch.groups)
        ids_keep, ids_restore, mask = random_masking(batch.draws, valid.any(-1), self.objective, (rows, columns))
        dropped = dropped_slots(batch.draws, sensor, self.objective).to(valid.device)
        seen = drop_slots(take_tokens(valid, ids_keep), sensor, self.encoder.config.token_m, dropped)
        latent = self.encoder.forward_tokens(take_tokens(samples, ids_keep), seen, sensor, positions[ids_keep])
        decoded = self.forward_decoder(latent, ids_restore, rows, columns)
        return Prediction(self.to_sensor(decoded.float(), sensor), samples, valid, mask, token_layout_of(self, sensor))

    def forward_decoder(self, latent: Tensor, ids_restore: Tensor, rows: int, columns: int) -> Tensor:
        """Decode visible tokens ``(B, V, D)`` into reference samples of all tokens ``(B, T, S)``."""
        from bandloom.encoder import position_embedding

        tokens = self.decoder_embed(latent)
        b, v, d = tokens.shape
        hidden = self.mask_token.to(tokens.dtype).expand(b, ids_restore.shape[1] - v, d)
        tokens = take_tokens(torch.cat([tokens, hidden], dim=1), ids_restore)  # (B, T, D), back in place
        positions = position_embedding(rows, columns, self.decoder_dim, self.encoder.config.token_m)
        tokens = tokens + positions.to(tokens.device)
        for block in self.decoder_blocks:
            tokens = block(tokens)
        return self.decoder_pred(self.decoder_norm(tokens))

    def to_sensor(self, samples: Tensor, sensor: Sensor) -> Tensor:
        """Resample predictions on the reference grids ``(B, T, S_reference)`` to a sensor's grids, by area."""
        wanted = token_layout_of(self, sensor)
        if wanted == self.layout:
            return samples
        source = {slot.slot: slot for slot in self.layout.slots}
        parts = []
        for slot in wanted.slots:
            own = source[slot.slot]
            square = samples[..., own.start : own.stop].unflatten(-1, (own.side, own.side))
            if own.side != slot.side:
                overlap = torch.from_numpy(area_overlap(slot.side, own.side)).to(samples)  # (wanted, own)
                square = overlap @ square @ overlap.T
            parts.append(square.flatten(-2))
        return torch.cat(parts, dim=-1)


def token_layout_of(model: MaskedAutoencoder, sensor: Sensor) -> TokenLayout:
    """Return the sample table of ``sensor`` at the model's token size."""
    return token_layout(sensor, model.encoder.config.token_m)
