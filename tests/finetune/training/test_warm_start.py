"""A head that is fitted before everything trains starts where a probe ends."""

from pathlib import Path

import numpy as np
import pytest
import torch

from bandloom.finetune.config import FinetuneConfig
from bandloom.finetune.data.splits import TRAIN
from bandloom.finetune.model.task_model import TaskModel
from bandloom.finetune.setting import open_setting
from bandloom.finetune.training.warm_start import fit_classifier
from bandloom.probes import ridge
from bandloom.training.ranks import Ranks


@pytest.mark.parametrize("head", ["linear", "joined"])
def test_a_classifier_starts_as_the_ridge_probe_of_its_own_features(chip_shards: Path, encoder_folder: Path, head):
    split = {"block_m": 1200, "buffer_m": 0}
    config = FinetuneConfig.model_validate(
        {"shards": chip_shards, "task": "classify", "checkpoint": encoder_folder, "split": split}
    )
    setting, encoder = open_setting(config, Ranks.from_environment())
    model = TaskModel(encoder, setting.data.sensor, setting.data.label_set, "classify", setting.chip_px, head).eval()
    before = {name: value.clone() for name, value in model.encoder.state_dict().items()}
    fit_classifier(model, model.head, setting.data)
    features, logits, labels = [], [], []
    with torch.no_grad():
        for found in setting.data.samples(TRAIN):
            groups = {gsd: torch.from_numpy(group.astype(np.int32))[None] for gsd, group in found.groups.items()}
            features.append(model.head.pool(model.chip_tokens(groups))[0].double().numpy())
            logits.append(model(groups)[0].numpy())
            labels.append(int(found.label))
    rows = np.stack(features)
    rows = (rows - rows.mean(0)) / (rows.std(0) + 1e-6)
    wanted = ridge(rows, np.array(labels), rows, len(setting.data.label_set))
    assert (np.stack(logits).argmax(1) == wanted).mean() > 0.98  # float32 decides ties otherwise
    assert (wanted == labels).mean() > 0.3
    assert all(torch.equal(value, before[name]) for name, value in model.encoder.state_dict().items())
