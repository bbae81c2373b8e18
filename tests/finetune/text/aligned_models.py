"""An aligned model in memory, with vectors of a few words and no text model."""

import numpy as np

from bandloom.finetune.text.aligned_model import Aligned
from bandloom.finetune.text.captions.words import sentences
from bandloom.finetune.text.model import AlignModel
from bandloom.finetune.text.text_model.vectors import KeptVectors
from bandloom.model.encoder import Encoder
from tests.finetune.models import S2, encoder

WORDS = ("water", "forest", "field", "city")


class Vocabulary:
    """A text source that gives every text a vector of its own, by its letters."""

    dim, digest = 16, "letters"

    def encode(self, texts):
        rows = [np.random.default_rng(list(text.encode())).normal(size=16) for text in texts]
        return np.stack([row / np.linalg.norm(row) for row in rows]).astype(np.float32)

    def describe(self):
        return {"model": "letters", "pooling": "auto", "digest": "letters", "licence": "", "dim": 16}


def aligned(own: Encoder | None = None, chip_px: int = 24) -> Aligned:
    model = AlignModel(own or encoder(), S2, chip_px, 16).eval()
    source = Vocabulary()
    kept = KeptVectors("letters")
    kept.of([text for word in WORDS for text in sentences([word])], source)
    return Aligned(model, kept, source, {"text": source.describe(), "label_set": None}, "this model")
