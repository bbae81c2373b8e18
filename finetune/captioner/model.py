"""The captioner: an image as a language model's first tokens, after LLaVA (Liu et al. 2023, 2304.08485).

Encoder tokens are averaged onto a small square grid and brought into the language model's width by two linear maps with
GELU between (LLaVA-1.5's ``mlp2x_gelu``). The sequence is: start token, image, prompt, answer, end token; the loss is
on answer and end alone.

A language model that does not train as a whole is held beside the module tree, not in it: it is on the device, but in
no snapshot, no gradient bucket and no checkpoint. What trains inside it (LoRA) is in the tree, by name.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Self

import torch
from torch import Tensor, nn
from torch.nn import functional

from bandloom.finetune.captioner.language import forgets_activations, trained_parameters
from bandloom.model.any_encoder import AnyEncoder
from bandloom.sensors import Sensor

IGNORED = -100  # cross_entropy's
Pair = tuple[str, str]  # prompt, answer


class Captioner(nn.Module):
    """An encoder, a projector and a language model.

    Args:
        encoder: frozen.
        sensor: whose native groups arrive.
        chip_px: side of an image in 10 m pixels.
        language: a causal language model, prepared by :func:`bandloom.finetune.captioner.language.prepare`.
        tokenizer: its own.
        image_tokens: most tokens that an image is shown as.
        most_tokens: of a prompt, and of an answer.
    """

    def __init__(
        self,
        encoder: AnyEncoder,
        sensor: Sensor,
        chip_px: int,
        language: Any,
        tokenizer: Any,
        image_tokens: int = 64,
        most_tokens: int = 128,
    ) -> None:
        super().__init__()
        encoder.check_sensor(sensor)
        self.encoder = encoder.requires_grad_(False)
        self.sensor, self.chip_px, self.tokenizer = sensor, chip_px, tokenizer
        self.grid, self.most_tokens = max(1, math.isqrt(image_tokens)), most_tokens
        width = int(language.config.hidden_size)
        self.project = nn.Sequential(nn.Linear(encoder.embed_dim, width), nn.GELU(), nn.Linear(width, width))
        trained = trained_parameters(language)
        self.whole = len(trained) == sum(1 for _ in language.parameters())
        self._beside: tuple[Any, ...] = () if self.whole else (language,)  # a tuple hides it from the module tree
        if self.whole:
            self.inside = language
        else:
            self.adapters = nn.ParameterDict({name.replace(".", "/"): value for name, value in trained.items()})

    @property
    def language(self) -> Any:
        """The language model."""
        return self.inside if self.whole else self._beside[0]

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> Self:
        """Take the language model along to a device."""
        for module in self._beside:
            module._apply(fn, recurse)
        return super()._apply(fn, recurse)

    def train(self, mode: bool = True) -> Self:
        """Let what trains train; the encoder and a frozen language model stay without dropout."""
        super().train(mode)
        self.encoder.eval()
        for module in self._beside:  # transformers checkpoints activations in training alone
            module.train(mode and forgets_activations(module))
        return self

    def forward(self, groups: Mapping[int, Tensor], ids: Tensor, targets: Tensor) -> Tensor:
        """Return the summed loss of the answers' tokens, a scalar.

        Args:
            groups: digital numbers ``{gsd_m: (B, C, H, W)}``.
            ids: prompt and answer, ``(B, L)``; padded on the right.
            targets: ids of answer and end, :data:`IGNORED` elsewhere, ``(B, L)``.
        """
        embedded = self._sequence(groups, ids)  # (B, P + L, H)
        # right padding comes after all that is read, so that the causal mask hides it already; a mask of ones would say
        # the same, and make a GPU's host wait while transformers looks whether it is all ones
        logits = self.language(inputs_embeds=embedded, use_cache=False).logits
        said = logits[:, -ids.shape[1] - 1 : -1].float()  # what is said before each of the L tokens
        return functional.cross_entropy(said.flatten(0, 1), targets.flatten(), ignore_index=IGNORED, reduction="sum")

    def encode(self, pairs: Sequence[Pair]) -> tuple[Tensor, Tensor, int]:
        """Return ids and targets ``(B, L)`` of prompts and answers, and how many were cut."""
        rows, cut = [], 0
        for prompt, answer in pairs:
            asked = self.tokenizer(prompt, add_special_tokens=False)["input_ids"]
            told = self.tokenizer(" " + answer, add_special_tokens=False)["input_ids"]
            cut += len(asked) > self.most_tokens or len(told) > self.most_tokens
            rows.append((asked[: self.most_tokens], [*told[: self.most_tokens], self.tokenizer.eos_token_id]))
        longest = max(len(asked) + len(told) for asked, told in rows)
        ids = torch.full((len(rows), longest), self.tokenizer.eos_token_id)
        targets = torch.full((len(rows), longest), IGNORED)
        for row, (asked, told) in enumerate(rows):
            ids[row, : len(asked) + len(told)] = torch.tensor([*asked, *told])
            targets[row, len(asked) : len(asked) + len(told)] = torch.tensor(told)
        return ids, targets, cut

    def length_of(self, prompt: str) -> int:
        """Return how many tokens a prompt has."""
        return len(self.tokenizer(prompt, add_special_tokens=False)["input_ids"])

    @torch.no_grad()
    def generate(self, groups: Mapping[int, Tensor], prompt: str, most_new: int | None = None) -> list[str]:
        """Return the likeliest answer, token by token, to one prompt about each image."""
        device = next(self.project.parameters()).device
        asked = self.tokenizer(prompt, add_special_tokens=False)["input_ids"][: self.most_tokens]
        batch = len(next(iter(groups.values())))
        embedded = self._sequence(groups, torch.tensor([asked] * batch, device=device))
        mask = torch.ones(embedded.shape[:2], dtype=torch.long, device=device)
        written = self.language.generate(
            inputs_embeds=embedded,
            attention_mask=mask,
            max_new_tokens=most_new or self.most_tokens,
            do_sample=False,
            num_beams=1,
            use_cache=True,
            eos_token_id=self.tokenizer.eos_token_id,
            pad_token_id=self.tokenizer.eos_token_id,
        )
        return [text.strip() for text in self.tokenizer.batch_decode(written, skip_special_tokens=True)]

    def _sequence(self, groups: Mapping[int, Tensor], ids: Tensor) -> Tensor:
        """Return start token, image and ids as embeddings, ``(B, P + L, H)`` in the language model's type."""
        read = self.language.get_input_embeddings()
        parts = [self.image(groups), read(ids)]
        if self.tokenizer.bos_token_id is not None:
            start = torch.full((len(ids), 1), self.tokenizer.bos_token_id, device=ids.device)
            parts.insert(0, read(start))
        return torch.cat([part.to(read.weight.dtype) for part in parts], 1)

    def image(self, groups: Mapping[int, Tensor]) -> Tensor:
        """Return the image's tokens, ``(B, P, H)``."""
        with torch.no_grad():
            tokens = self.encoder.forward_features(dict(groups), self.sensor)
            planes = tokens.transpose(1, 2).unflatten(2, self.encoder.grid(groups))  # (B, D, h, w)
            rows, columns = (min(self.grid, side) for side in planes.shape[-2:])
            seen = functional.adaptive_avg_pool2d(planes.float(), (rows, columns)).flatten(2).transpose(1, 2)
            seen = functional.layer_norm(seen, (seen.shape[-1],))
        return self.project(seen)
