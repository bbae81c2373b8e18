"""The masked autoencoder (He et al. 2022) over native samples, for any sensor that the encoder takes."""

import torch
from torch import Tensor, nn

from bandloom.model import torch_compat  # noqa: F401  (timm needs it)
from bandloom.model.encoder import Encoder, drop_slots, position_embedding, take_tokens
from bandloom.pretrain.config import DecoderConfig, ObjectiveConfig
from bandloom.pretrain.masking import dropped_slots, random_masking
from bandloom.pretrain.objectives import Decoded, Prediction, make_objective
from bandloom.training.device_batch import DeviceBatch
from bandloom.training.device_memory import constant
from bandloom.training.ranks import Ranks


class MaskedAutoencoder(nn.Module):
    """Encode the visible tokens, decode all of them, pay for the hidden ones by an objective.

    Names follow facebookresearch/mae: ``ids_keep``, ``ids_restore``, ``mask`` (1 is removed), ``decoder_embed``,
    ``mask_token``, ``decoder_blocks``, ``decoder_norm``, ``decoder_pred``.
    """

    def __init__(self, encoder: Encoder, decoder: DecoderConfig, objective: ObjectiveConfig) -> None:
        super().__init__()
        from timm.models.vision_transformer import Block

        self.encoder, self.config = encoder, objective
        self.objective = make_objective(objective, encoder.config.token_m, encoder.statistics)
        self.objective.follow(encoder)
        self.decoder_dim = decoder.embed_dim
        self.decoder_embed = nn.Linear(encoder.embed_dim, decoder.embed_dim)
        self.mask_token = nn.Parameter(torch.zeros(decoder.embed_dim))
        self.decoder_blocks = nn.ModuleList(
            Block(decoder.embed_dim, decoder.num_heads, 4.0, qkv_bias=True) for _ in range(decoder.depth)
        )
        self.decoder_norm = nn.LayerNorm(decoder.embed_dim, eps=1e-6)
        self.decoder_pred = nn.Linear(decoder.embed_dim, self.objective.outputs)
        nn.init.normal_(self.mask_token, std=0.02)
        asked = self.objective.visible_outputs
        self.visible_pred = nn.Linear(encoder.embed_dim, asked) if asked else None

    def forward(self, batch: DeviceBatch) -> tuple[Tensor, Tensor]:
        """Return the sums and counts of a batch's loss; what they are of is the objective's."""
        decoded = self.decode(batch)
        # autocast would round small differences away
        with torch.autocast(decoded.samples.device.type, enabled=False):
            sums, counts = self.objective(decoded)
        return sums, counts

    def after_step(self, progress: float, ranks: Ranks) -> None:
        """Let the objective go along with a step that was taken; engines call it."""
        self.objective.after_step(self.encoder, progress, ranks)

    def counts(self, batch: DeviceBatch) -> Tensor:
        """Return the counts of a batch's loss without running a layer."""
        _, valid = self.encoder.samples(batch.groups, batch.sensor)
        mask = random_masking(batch.draws, valid.any(-1), self.config, self.encoder.grid(batch.groups))[2]
        return self.objective.counts(valid, mask, batch.sensor)

    def decode(self, batch: DeviceBatch) -> Decoded:
        """Mask, encode, decode; returns what the decoder says of all tokens beside what was measured."""
        sensor = batch.sensor
        samples, valid = self.encoder.samples(batch.groups, sensor)  # (B, T, S)
        positions = self.encoder.positions(*self.encoder.grid(batch.groups))  # (T, D)
        rows, columns = self.encoder.grid(batch.groups)
        ids_keep, ids_restore, mask = random_masking(batch.draws, valid.any(-1), self.config, (rows, columns))
        dropped = dropped_slots(batch.draws, sensor, self.config, valid.device)
        seen = drop_slots(take_tokens(valid, ids_keep), sensor, self.encoder.config.token_m, dropped)
        latent = self.encoder.forward_tokens(take_tokens(samples, ids_keep), seen, sensor, positions[ids_keep])
        outputs = self.forward_decoder(latent, ids_restore, rows, columns)
        visible = None if self.visible_pred is None else in_place(self.visible_pred(latent), ids_restore)
        return Decoded(outputs, samples, valid, mask, sensor, visible, batch)

    def predict(self, batch: DeviceBatch) -> Prediction | None:
        """Return predicted samples of all tokens beside the true ones; None where the objective predicts none."""
        return self.objective.predict(self.decode(batch))

    def forward_decoder(self, latent: Tensor, ids_restore: Tensor, rows: int, columns: int) -> Tensor:
        """Decode visible tokens ``(B, V, D)`` into the objective's numbers for all tokens ``(B, T, P)``."""
        tokens = self.decoder_embed(latent)
        b, v, d = tokens.shape
        hidden = self.mask_token.to(tokens.dtype).expand(b, ids_restore.shape[1] - v, d)
        tokens = take_tokens(torch.cat([tokens, hidden], dim=1), ids_restore)  # (B, T, D), back in place
        of = (rows, columns, self.decoder_dim, self.encoder.config.token_m)
        tokens = tokens + constant(tokens.device, position_embedding, *of)
        for block in self.decoder_blocks:
            tokens = block(tokens)
        return self.decoder_pred(self.decoder_norm(tokens))


def in_place(visible: Tensor, ids_restore: Tensor) -> Tensor:
    """Put what is said of visible tokens ``(B, V, X)`` where they were cut, ``(B, T, X)``, 0 where hidden."""
    b, v, x = visible.shape
    return take_tokens(torch.cat([visible, visible.new_zeros(b, ids_restore.shape[1] - v, x)], dim=1), ids_restore)
