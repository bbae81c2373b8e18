import json

import numpy as np
import pytest
import torch

from bandloom.cli import main
from bandloom.errors import TextError
from bandloom.finetune.text.aligned_model import load_aligned
from bandloom.finetune.text.captions.words import class_words, sentences
from bandloom.finetune.text.image_cache import ImageCache
from bandloom.finetune.text.model import AlignModel, standardise, unit
from bandloom.finetune.text.train import noise
from bandloom.finetune.training.augment import d4
from bandloom.model.checkpoint import load_encoder
from bandloom.shards.read.shard_set import ShardSet
from bandloom.training.device_batch import DeviceBatch
from tests.bandloom.tiny_training import run_ranks
from tests.finetune.models import S2, chips, encoder
from tests.finetune.text.text_models import write_model

ALIGN = "tests.finetune.text.ranked_losses:align_run"
FEW = (
    "trainer.steps=4",
    "trainer.batch_size=8",
    "trainer.workers=0",
    "trainer.engine.warmup_steps=1",
    "trainer.engine.precision=fp32",
    "trainer.log_every=1",
    "split.block_m=600",
    "split.buffer_m=0",
    "curve_points=2",
)


@pytest.fixture(scope="session")
def word_vectors(tmp_path_factory, chip_shards):
    """Vectors of every sentence that the chips' classes make, in a file: no text model is needed."""
    words = class_words(ShardSet(chip_shards).label_set)
    texts = [text for word in words for text in sentences(word.seen)]
    rng = np.random.default_rng(0)
    vectors = np.concatenate([rng.normal(size=16) + 0.3 * rng.normal(size=(len(sentences(e.seen)), 16)) for e in words])
    path = tmp_path_factory.mktemp("vectors") / "words.npz"
    np.savez(path, texts=np.array(texts), vectors=vectors)
    return path


def run(tmp_path, shards, *overrides: str, out: str = "run") -> int:
    config = tmp_path / "config.yaml"
    config.write_text(f"shards: {shards}\n")
    with pytest.raises(SystemExit) as end:
        main(["align", str(config), *FEW, *overrides, "--out", str(tmp_path / out)])
    return int(end.value.code or 0)


def test_an_alignment_trains_reports_and_comes_back_without_a_text_model(
    tmp_path, chip_shards, encoder_folder, word_vectors
):
    moved = tmp_path / "words.npz"
    moved.write_bytes(word_vectors.read_bytes())
    assert (
        run(
            tmp_path,
            chip_shards,
            f"checkpoint={encoder_folder}",
            f"text.model={moved}",
            "holdout_classes=[lake, cropland]",
        )
        == 0
    )
    folder = tmp_path / "run"
    report = json.loads((folder / "metrics.json").read_text())
    numbers = report["three_numbers"]
    assert list(numbers) == [
        "seen classes, training words",
        "seen classes, unseen words",
        "held-out classes among themselves",
        "held-out classes among all",
    ]
    assert numbers["held-out classes among themselves"]["chance"] == 0.5
    assert numbers["held-out classes among all"]["classes"] > 2
    assert report["retrieval"]["class to image"]["map_at_100_chance"] > 0
    for name in ("config.yaml", "environment.json", "metrics.jsonl", "DONE", "text_vectors.safetensors"):
        assert (folder / name).is_file()
    lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines if "validation_mean_recall" in line] in ([2, 4], [])
    moved.unlink()
    aligned = load_aligned(folder)
    assert aligned.text(["forest", "an aerial view of lake"]).shape == (2, 32 + 201)
    with pytest.raises(TextError, match="not kept in the checkpoint"):
        aligned.text(["a word never heard"])
    with pytest.raises(TextError, match="empty text"):
        aligned.text([" "])
    with pytest.raises(TextError, match="same text vector"):
        aligned.classes({"one": ["forest"], "other": ["forest"]})
    before, after = load_encoder(encoder_folder), aligned.model.encoder
    assert all(
        torch.equal(value, after.state_dict()[name])
        for name, value in before.state_dict().items()
        if not name.startswith("norm.")
    )
    assert torch.equal(load_encoder(folder / "checkpoint").norm.weight, after.norm.weight)


def test_typed_again_a_finished_alignment_is_not_trained_again(tmp_path, chip_shards, word_vectors):
    few = ("size=demo", f"text.model={word_vectors}", "loss=infonce", "text.projection=mlp", "curve_points=0")
    assert run(tmp_path, chip_shards, *few, "trainer.steps=2", "trainer.snapshot_every=1") == 0
    first = (tmp_path / "run" / "checkpoint" / "model.safetensors").read_bytes()
    assert run(tmp_path, chip_shards, *few, "trainer.steps=2", "trainer.snapshot_every=1") == 0
    assert (tmp_path / "run" / "checkpoint" / "model.safetensors").read_bytes() == first


@pytest.mark.parametrize("text", ["scratch", "clip_text"])
def test_a_text_model_that_trains_is_saved_with_its_encoder(tmp_path, chip_shards, encoder_folder, text):
    if text != "scratch":
        write_model(tmp_path / text, text)
    model = "scratch" if text == "scratch" else str(tmp_path / text)
    few = (
        "text.mode=full",
        f"text.model={model}",
        *(["text.width=32"] if text == "scratch" else []),
        "mode=lora",
        "lora_rank=2",
        "curve_points=0",
        "captions.templates=['{}']",
    )
    assert run(tmp_path, chip_shards, f"checkpoint={encoder_folder}", *few) == 0
    aligned = load_aligned(tmp_path / "run")
    found = aligned.text(["forest", "some new lake"])
    assert found.shape == (2, 32 + 201)
    assert np.allclose(np.linalg.norm(found, axis=1), 1, atol=1e-5)
    kept = aligned.kept.vectors["forest"]
    assert np.allclose(aligned.source.encode(["forest"])[0], kept, atol=1e-5)


@pytest.mark.parametrize(
    ("overrides", "said"),
    [
        (("text.model=bert-base-uncased",), "hf download bert-base-uncased"),
        (("holdout_classes=[atlantis]",), "holdout_classes names 'atlantis'"),
        (("trainer.batch_size=100000",), "lower it, or use more ground"),
        (("split.kind=time",), "block_m is 600, which nothing reads where kind is time"),
        (("text.mode=full",), "is a file of vectors"),
    ],
)
def test_what_cannot_be_aligned_is_a_sentence_and_writes_nothing(
    tmp_path, chip_shards, word_vectors, capsys, overrides, said
):
    assert run(tmp_path, chip_shards, "size=demo", f"text.model={word_vectors}", *overrides) == 2
    assert said in capsys.readouterr().err
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(("image", "width"), [("tokens", 32), ("joined", 32 + 201)])
def test_standardising_is_folded_into_the_encoders_own_norm_and_into_the_samples_beside(image, width):
    model = AlignModel(encoder(), S2, 24, 16, image=image)
    before = model.tokens(chips(batch=12)).mean(1).detach()
    standardise(model, before)
    after = model.tokens(chips(batch=12)).mean(1)
    assert torch.allclose(after.mean(0), torch.zeros(width), atol=1e-4)
    assert torch.allclose(after.std(0), torch.ones(width), atol=1e-3)
    assert torch.allclose(before[:, :32], encoder().forward_features(chips(batch=12), S2).mean(1), atol=1e-5)


def test_a_remembered_image_is_the_encoded_one_turned_the_same_way():
    model, seen = AlignModel(encoder(), S2, 24, 16), []
    batch = DeviceBatch(
        S2,
        {gsd: chip.to(torch.uint16) for gsd, chip in chips(batch=3).items()},
        ("a", "b", "c"),
        np.array([3, 4, 5], np.uint64),
        None,
        None,
    )
    original = model.image
    model.image = lambda groups: seen.append(len(groups[10])) or original(groups)
    for turned in (False, True):
        remembered = ImageCache(model, turned=turned)
        expected = original((d4(batch) if turned else batch).groups)
        for again in range(2):
            assert torch.allclose(remembered.of(batch), expected, atol=1e-6), again
    assert seen == [3, 3]
    assert not torch.allclose(original(d4(batch).groups), original(batch.groups), atol=1e-4)


def test_noise_is_a_samples_own_and_as_long_as_asked():
    draws = np.array([3, 4, 3], np.uint64)
    found = noise(draws, 384, 0.5)
    assert torch.equal(found[0], found[2])
    assert not torch.equal(found[0], found[1])
    assert torch.allclose(found.norm(dim=1), torch.full((3,), 0.5), atol=0.06)
    assert not noise(draws, 384, 0.0).any()


def test_image_and_text_vectors_have_length_one():
    model = AlignModel(encoder(), S2, 24, 16)
    image, text, scale, bias = model(chips(), torch.randn(2, 16))
    for each in (image, text):
        assert torch.allclose(each.norm(dim=1), torch.ones(2), atol=1e-4)
    assert float(scale.detach()) == pytest.approx(10)
    assert float(bias.detach()) == pytest.approx(-2.71)
    assert torch.allclose(unit(torch.randn(3, 32)).mean(1), torch.zeros(3), atol=1e-6)


@pytest.mark.slow
def test_two_ranks_align_as_one_process_does(tmp_path, chip_shards, encoder_folder, word_vectors):
    config = {
        "shards": str(chip_shards),
        "checkpoint": str(encoder_folder),
        "text": {"model": str(word_vectors)},
        "mode": "lora",
        "lora_rank": 2,
        "curve_points": 0,
        "split": {"block_m": 600, "buffer_m": 0},
        "trainer": {
            "steps": 3,
            "batch_size": 8,
            "workers": 0,
            "log_every": 1,
            "engine": {"lr": 1e-3, "warmup_steps": 1, "precision": "fp32"},
        },
    }
    [one] = run_ranks(ALIGN, 1, tmp_path / "one", config=config, out=str(tmp_path / "run-one"))
    two = run_ranks(ALIGN, 2, tmp_path / "two", config=config, out=str(tmp_path / "run-two"))
    assert len(one) == 3
    assert two[0] == pytest.approx(one, rel=1e-4)
    assert (tmp_path / "run-two" / "DONE").is_file()
