"""A head that is fitted before everything trains starts where a probe ends."""

from pathlib import Path

import numpy as np
import torch

from bandloom.encoder import Encoder, EncoderConfig
from bandloom.probes import ridge
from bandloom.statistics import Statistics
from finetune.config import FinetuneConfig
from finetune.model import TaskModel
from finetune.runs import open_setting
from finetune.splits import TRAIN
from finetune.warm_start import fit_classifier
from bandloom.ranks import Ranks
