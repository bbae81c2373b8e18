"""The rival: a masked autoencoder as facebookresearch/mae writes it, for 13 bands copied up to 10 m."""

import torch
from torch import Tensor, nn

from bandloom.model import torch_compat  # noqa: F401  (timm needs it)
from bandloom.model.encoder import position_embedding

SIDE = 6  # pixels of a patch: 60 m
BANDS = 13


class PlainMae(nn.Module):
    """Convolutional patch embedding of every patch, argsort masking, all patches predicted, norm_pix_loss."""

    def __init__(self, embed_dim: int, depth: int, heads: int, decoder: tuple[int, int, int], grid: int) -> None:
        from timm.models.vision_transformer import Block

        super().__init__()
        width, decoder_depth, decoder_heads = decoder
        self.patch_embed = nn.Conv2d(BANDS, embed_dim, SIDE, SIDE)
        self.register_buffer("pos_embed", position_embedding(grid, grid, embed_dim, 60)[None])
        self.register_buffer("decoder_pos_embed", position_embedding(grid, grid, width, 60)[None])
        self.blocks = nn.ModuleList(Block(embed_dim, heads, 4.0, qkv_bias=True) for _ in range(depth))
        self.norm = nn.LayerNorm(embed_dim)
        self.decoder_embed = nn.Linear(embed_dim, width)
        self.mask_token = nn.Parameter(torch.zeros(1, 1, width))
        self.decoder_blocks = nn.ModuleList(
            Block(width, decoder_heads, 4.0, qkv_bias=True) for _ in range(decoder_depth)
        )
        self.decoder_norm = nn.LayerNorm(width)
        self.decoder_pred = nn.Linear(width, BANDS * SIDE**2)

    pos_embed: Tensor
    decoder_pos_embed: Tensor

    def forward(self, images: Tensor, mask_ratio: float = 0.75) -> Tensor:
        """Return the loss of normalised images ``(B, 13, H, W)``."""
        x = self.patch_embed(images).flatten(2).transpose(1, 2) + self.pos_embed  # (B, T, D)
        b, t, d = x.shape
        keep = int(t * (1 - mask_ratio))
        ids_shuffle = torch.rand(b, t, device=x.device).argsort(1)
        ids_restore = ids_shuffle.argsort(1)
        x = x.gather(1, ids_shuffle[:, :keep, None].expand(-1, -1, d))
        for block in self.blocks:
            x = block(x)
        x = self.decoder_embed(self.norm(x))
        hidden = self.mask_token.to(x.dtype).expand(b, t - keep, -1)
        x = torch.cat([x, hidden], 1).gather(1, ids_restore[..., None].expand(-1, -1, x.shape[-1]))
        x = x + self.decoder_pos_embed
        for block in self.decoder_blocks:
            x = block(x)
        predicted = self.decoder_pred(self.decoder_norm(x)).float()
        mask = torch.ones(b, t, device=x.device).scatter_(1, ids_shuffle[:, :keep], 0.0)
        target = patchify(images)
        target = (target - target.mean(-1, keepdim=True)) / (target.var(-1, keepdim=True) + 1e-6).sqrt()
        return (((predicted - target) ** 2).mean(-1) * mask).sum() / mask.sum()


def patchify(images: Tensor) -> Tensor:
    """Cut ``(B, C, H, W)`` into patches ``(B, T, C * 36)``."""
    b, c, h, w = images.shape
    x = images.reshape(b, c, h // SIDE, SIDE, w // SIDE, SIDE).permute(0, 2, 4, 3, 5, 1)
    return x.reshape(b, -1, SIDE * SIDE * c)


def normalised(stack: Tensor) -> Tensor:
    """Return reflectance by mean and two deviations, float32."""
    return ((stack.float() - 1000.0) / 10000.0 - 0.15) / 0.2
