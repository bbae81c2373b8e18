import csv
import unicodedata

import numpy as np
import pytest
import torch

from bandloom.classes.label_set import LabelClass, LabelSet
from bandloom.cli import main
from bandloom.errors import TextError
from bandloom.export.from_torch.export_run import export_run
from bandloom.export.from_torch.options import ExportOptions
from bandloom.finetune.model.checkpoint import load_task_model
from bandloom.finetune.text.aligned_model import load_aligned, save_aligned
from bandloom.finetune.text.report import image_vectors
from bandloom.finetune.text.search.images import images_of
from bandloom.finetune.text.zeroshot import bake, baked, choose_classes, zeroshot
from bandloom.model.checkpoint import load_encoder
from bandloom.shards.read.shard_set import ShardSet
from tests.finetune.models import chips
from tests.finetune.text.aligned_models import WORDS, Vocabulary, aligned


def test_a_baked_head_gives_the_cosines_of_words():
    model = aligned()
    classes = choose_classes(model, WORDS)
    groups = chips(batch=6)
    with torch.no_grad():
        cosine = model.model.image(groups).numpy() @ model.classes(classes.prompts).T
        logits = baked(model, classes)(groups).numpy()
    assert np.allclose(logits / model.model.scale().item(), cosine, atol=1e-5)
    assert (logits.argmax(1) == cosine.argmax(1)).all()


@pytest.mark.slow
def test_baked_exported_and_run_by_the_engine_the_classes_and_scores_are_those_of_the_cosine(
    tmp_path, chip_shards, encoder_folder
):
    import onnxruntime as ort

    model = aligned(load_encoder(encoder_folder))
    classes = choose_classes(model, WORDS)
    bake(model, classes, tmp_path, tmp_path / "words")
    assert load_task_model(tmp_path / "words" / "checkpoint").label_set.names == WORDS
    bundle = export_run(tmp_path / "words", tmp_path / "words.bundle", ExportOptions(shards=chip_shards))
    shards = ShardSet(chip_shards)
    cosine = image_vectors(model, shards, np.arange(len(shards))) @ model.classes(classes.prompts).T
    session = ort.InferenceSession(str(bundle.path / "model.onnx"), providers=["CPUExecutionProvider"])
    images = list(images_of(model, chip_shards))
    logits = []
    for image in images:
        feeds = {
            f"g{gsd}": np.ascontiguousarray(group[None]).view(np.uint8).reshape(1, *group.shape, 2)
            for gsd, group in image.groups.items()
        }
        logits.append(session.run(["logits"], feeds)[0][0])
    found = np.stack(logits).reshape(len(images), len(WORDS)) / model.model.scale().item()
    assert len(found) > 50
    assert (found.argmax(1) == cosine.argmax(1)).all()
    assert np.abs(found - cosine).max() < 1e-4
    assert [land_class["name"] for land_class in bundle.record.contract.label_set["classes"]] == list(WORDS)


def test_chips_of_shards_and_of_scenes_are_classified_by_words(tmp_path, chip_shards, scenes_folder):
    model = aligned()
    model.record["label_set"] = ShardSet(chip_shards).label_set.to_dict()
    classes = choose_classes(model, ["lake", "trees", "grassland", "shrubland", "cropland"])
    report = zeroshot(model, classes, chip_shards, tmp_path / "found.csv")
    with (tmp_path / "found.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == report["chips"] == sum(report["counts"].values())
    for row in rows[:5]:
        scores = {name: float(row[name]) for name in classes.prompts}
        assert row["class"] == max(scores, key=scores.__getitem__)
    assert report["score"]["chance"] == 0.2
    assert classes.label_set.classes[0].code == 80
    scene = next((scenes_folder / "scenes").iterdir())
    assert zeroshot(model, classes, scene, tmp_path / "scene.csv")["chips"] == 100


def test_the_command_bakes_and_classifies_without_a_text_model(tmp_path, chip_shards, encoder_folder):
    save_aligned(tmp_path / "run" / "checkpoint", aligned(load_encoder(encoder_folder)))
    main_exits(
        [
            "zeroshot",
            str(tmp_path / "run"),
            "--classes",
            "water,forest",
            "--images",
            str(chip_shards),
            "--out",
            str(tmp_path / "a.csv"),
            "--bake",
            str(tmp_path / "baked"),
        ]
    )
    assert (tmp_path / "a.csv").is_file()
    assert load_task_model(tmp_path / "baked" / "checkpoint").label_set.names == ("water", "forest")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--classes", "water,forest"], "say what to do with the words"),
        (["--classes", "water", "--bake", "x"], "1 classes are named"),
        (["--classes", "water,water", "--bake", "x"], "named twice"),
        (["--classes", "water,volcano", "--bake", "x"], "not kept in the checkpoint"),
        (["--classes", "water,forest", "--bake", "x", "--text", "/none"], "/none does not exist"),
    ],
)
def test_words_that_cannot_be_used_are_refused_in_a_sentence(tmp_path, capsys, arguments, said):
    save_aligned(tmp_path / "run" / "checkpoint", aligned())
    main_exits(["zeroshot", str(tmp_path / "run"), *arguments], 2)
    assert said in capsys.readouterr().err


def test_a_saved_model_comes_back_the_same(tmp_path):
    model = aligned()
    save_aligned(tmp_path / "m", model)
    again = load_aligned(tmp_path / "m")
    assert again.source is None
    assert np.array_equal(again.text(["water"]), model.text(["water"]))
    groups = chips()
    with torch.no_grad():
        assert torch.equal(again.model.image(groups), model.model.image(groups))


def test_another_text_model_than_the_one_of_the_training_is_refused(tmp_path):
    save_aligned(tmp_path / "m", aligned())
    np.savez(tmp_path / "other.npz", texts=np.array(["water"]), vectors=np.ones((1, 16)))
    with pytest.raises(TextError, match="is another text model"):
        load_aligned(tmp_path / "m", str(tmp_path / "other.npz"))


def test_a_runs_own_words_stand_for_its_classes_however_their_names_are_typed():
    """The run's words, not those of a shipped label set of the same name; an own name in any case is that class."""
    model = aligned()
    classes = (LabelClass(7, "AnnualCrop", "#112233"), LabelClass(9, "Forêt", "#223344"))
    model.record |= {
        "label_set": LabelSet("eurosat10", classes).to_dict(),
        "words": [["AnnualCrop", "annual crop", "barley"], ["Forêt", "forêt", "taiga"]],
    }
    typed = ["annual CROP", unicodedata.normalize("NFD", "FORÊT"), "volcano"]
    chosen = choose_classes(model, typed, templates=["{}"])
    assert chosen.prompts == {
        "AnnualCrop": ["annual crop", "barley"],
        "Forêt": ["forêt", "taiga"],
        "volcano": ["volcano"],
    }
    assert [land_class.code for land_class in chosen.label_set.classes] == [7, 9, 1]
    with pytest.raises(TextError, match="'annualcrop' is named twice"):
        choose_classes(model, ["annualcrop", "Annual Crop"])
    assert list(choose_classes(model, []).prompts) == ["AnnualCrop", "Forêt"]


def test_truth_in_other_letters_is_the_same_class(tmp_path, chip_shards):
    model = aligned()
    names = ShardSet(chip_shards).label_set.names
    as_spelled = zeroshot(model, choose_classes(model, names), chip_shards, tmp_path / "a.csv")
    shouted = zeroshot(model, choose_classes(model, [name.upper() for name in names]), chip_shards, tmp_path / "b.csv")
    assert as_spelled["score"]["samples"] == shouted["score"]["samples"] > 50


def test_a_class_is_the_mean_of_its_prompts():
    model = aligned()
    found = model.classes({"water": ["water", "a satellite image of water"], "forest": ["forest"]})
    each = model.model.text(torch.from_numpy(Vocabulary().encode(["water", "a satellite image of water"])))
    mean = each.detach().numpy().mean(0)
    assert np.allclose(found[0], mean / np.linalg.norm(mean), atol=1e-6)


def main_exits(arguments: list[str], code: int = 0) -> None:
    with pytest.raises(SystemExit) as end:
        main(arguments)
    assert int(end.value.code or 0) == code
