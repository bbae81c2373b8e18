import json

import pytest
import torch

from bandloom.cli import main
from bandloom.errors import TextError
from bandloom.finetune.captioner.answers import same_answer
from bandloom.finetune.captioner.checkpoint import load_captioner
from bandloom.finetune.captioner.pairs import questions_of, read_questions
from bandloom.shards.read.shard_set import ShardSet
from tests.finetune.captioner.language_models import write_language
from tests.finetune.models import chips

FEW = (
    "size=demo",
    "trainer.steps=6",
    "trainer.batch_size=8",
    "trainer.workers=0",
    "trainer.engine.warmup_steps=1",
    "trainer.engine.precision=fp32",
    "trainer.log_every=1",
    "split.block_m=600",
    "split.buffer_m=0",
    "image_tokens=4",
    "test_pairs=6",
    "most_tokens=16",
)


def exits(arguments: list[str], code: int = 0) -> None:
    with pytest.raises(SystemExit) as end:
        main(arguments)
    assert int(end.value.code or 0) == code


def train(tmp_path, shards, *overrides: str, code: int = 0) -> None:
    config = tmp_path / "config.yaml"
    config.write_text(f"shards: {shards}\nlanguage: {{model: {tmp_path / 'llama'}}}\n")
    exits(["caption", "train", str(config), *FEW, *overrides, "--out", str(tmp_path / "run")], code)


@pytest.fixture
def questions(tmp_path, chip_shards):
    """Questions in RSVQA's form, about every sample."""
    shards = ShardSet(chip_shards)
    lines = []
    for entry in shards.entries:
        image = f"images/{entry.key}.tif"
        lines.append(
            {
                "image": image,
                "type": "rural_urban",
                "question": "is it a rural or an urban area?",
                "answer": "urban" if entry.class_index == 5 else "rural",
            }
        )
        lines.append({"image": image, "type": "count", "question": "how many roads are there", "answer": "2"})
    path = tmp_path / "questions.jsonl"
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return path


def test_a_captioner_trains_says_its_scores_comes_back_and_answers(tmp_path, chip_shards, questions):
    write_language(tmp_path / "llama")
    train(
        tmp_path,
        chip_shards,
        f"questions={questions}",
        "captions={sources: [labels]}",
        "language.mode=lora",
        "language.lora_rank=2",
    )
    run = tmp_path / "run"
    report = json.loads((run / "metrics.json").read_text())
    assert report["exchanges"] == 6
    assert set(report["loss"]) == {"own_image", "other_image"}
    assert "all" in report["questions"]
    losses = [
        line["loss"]
        for line in map(json.loads, (run / "metrics.jsonl").read_text().splitlines())
        if line["kind"] == "train"
    ]
    assert losses[-1] < losses[0]
    assert (run / "DONE").is_file()
    snapshot = sum(path.stat().st_size for path in (run / "snapshots").rglob("*.safetensors"))
    held = (run / "checkpoint" / "model.safetensors").stat().st_size
    assert snapshot < 3.5 * held + 2**16  # weights and two moments of what trains, no language model
    saved = load_captioner(run)
    groups = chips(batch=3)
    said = saved.model.generate(groups, "Describe the image:", 4)
    (tmp_path / "llama").rename(tmp_path / "moved")
    with pytest.raises(TextError, match=r"moved|no folder with a config\.json"):
        load_captioner(run)
    again = load_captioner(run, tmp_path / "moved")
    assert again.model.generate(groups, "Describe the image:", 4) == said
    out = tmp_path / "answers.jsonl"
    common = [
        "caption",
        "generate",
        str(run),
        "--images",
        str(chip_shards),
        "--language",
        str(tmp_path / "moved"),
        "--most-new",
        "3",
    ]
    exits([*common, "--questions", str(questions), "--out", str(out)])
    rows = [json.loads(line) for line in out.read_text().splitlines()]
    assert len(rows) == 2 * len(ShardSet(chip_shards))
    assert {row["question"] for row in rows} == {"is it a rural or an urban area?", "how many roads are there"}
    exits([*common, "--out", str(tmp_path / "captions.jsonl")])
    assert "question" not in json.loads((tmp_path / "captions.jsonl").read_text().splitlines()[0])
    exits([*common, "--question", "what is there", "--questions", str(questions), "--out", str(tmp_path / "x")], 2)


def test_a_whole_language_model_that_trained_is_saved_with_the_captioner(tmp_path, chip_shards):
    write_language(tmp_path / "llama", "gpt2")
    train(tmp_path, chip_shards, "captions={sources: [metadata]}", "language.mode=full", "trainer.steps=2")
    (tmp_path / "llama" / "config.json").unlink()
    saved = load_captioner(tmp_path / "run")
    assert saved.model.whole
    fresh = write_language(tmp_path / "fresh", "gpt2").state_dict()
    moved = saved.model.language.state_dict()
    assert any(not torch.equal(value, moved[name]) for name, value in fresh.items())


@pytest.mark.parametrize(
    ("overrides", "said"),
    [
        ((), "neither captions nor questions"),
        (("captions={sources: [labels]}", "language.model=/none"), "nothing is fetched from a hub"),
        (("captions={sources: [labels]}", "trainer.batch_size=10000"), "lower it, or use more ground"),
        (
            ("captions={sources: [labels]}", "trainer.engine.kind=deepspeed", "trainer.engine.zero_stage=3"),
            "use 0, 1 or 2",
        ),
        (("questions=/none.jsonl",), "cannot be read"),
    ],
)
def test_what_cannot_be_learnt_is_a_sentence_and_writes_nothing(tmp_path, chip_shards, capsys, overrides, said):
    write_language(tmp_path / "llama")
    train(tmp_path, chip_shards, *overrides, code=2)
    assert said in capsys.readouterr().err
    assert not (tmp_path / "run").exists()


def test_questions_find_their_images_by_key_by_file_and_by_scene(tmp_path):
    rows = [
        {"image": "images/72.tif", "question": "q", "answer": "a", "type": ""},
        {"image": "81_r0000_c0001", "question": "r", "answer": "b", "type": ""},
    ]
    found = questions_of(rows, ["72_r0000_c0000", "72_r0000_c0001", "81_r0000_c0001"], tmp_path)
    assert {key: [row["question"] for row in own] for key, own in found.items()} == {
        "72_r0000_c0000": ["q"],
        "72_r0000_c0001": ["q"],
        "81_r0000_c0001": ["r"],
    }
    with pytest.raises(TextError, match="none of the images in"):
        questions_of(rows, ["other"], tmp_path)


def test_questions_that_are_none_are_refused_by_their_line(tmp_path):
    path = tmp_path / "q.jsonl"
    for text, said in (
        ("", "holds no question"),
        ("\n{}", "line 2"),
        ("no", "line 1"),
        ("[1]", "line 1"),
        ('{"image": "a", "question": " "}', "empty question"),
    ):
        path.write_text(text)
        with pytest.raises(TextError, match=said):
            read_questions(path)


def test_rsvqas_own_questions_are_read():
    from pathlib import Path

    path = Path(__file__).parents[4] / "shared" / "data" / "rsvqa_lr" / "train.jsonl"
    if not path.is_file():
        pytest.skip("the real questions of ../shared/data are not here")
    rows = read_questions(path)
    assert len(rows) == 300
    assert {row["type"] for row in rows} >= {"rural_urban", "count", "presence"}
    keys = sorted({f"{row['image'].removeprefix('images/').removesuffix('.tif')}_r0000_c0000" for row in rows})
    assert sum(map(len, questions_of(rows, keys, path).values())) == 300


def test_answers_are_compared_without_case_and_full_stop():
    assert same_answer("Yes.", " yes")
    assert not same_answer("yes", "no")
