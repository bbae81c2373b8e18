import datetime as clock
import logging

import numpy as np
import pytest

from bandloom.classes.label_set import LabelClass, LabelSet
from bandloom.classes.taxonomy import get_taxonomy
from bandloom.errors import LabelError, TextError
from bandloom.finetune.text.captions.caption_file import read_captions
from bandloom.finetune.text.captions.captions import CaptionConfig, make_captions
from bandloom.finetune.text.captions.sentences_of_ground import mask_caption, metadata_caption, season, sun_elevation
from bandloom.finetune.text.captions.words import ClassWords, class_words, readable, sentences
from bandloom.shards.build.build import build
from bandloom.shards.build.plan import BuildOptions
from bandloom.shards.read.shard_set import ShardSet
from bandloom.shards.synth import label_set as synthetic_classes
from tests.finetune.models import S2


def captions(shards: ShardSet, *, turned: bool = True, **config):
    return make_captions(CaptionConfig(**config), shards, shards.indices(None), turned=turned)


def test_class_names_read_like_words_and_bring_their_synonyms():
    assert [readable(name) for name in ("AnnualCrop", "built_up", "SeaLake", "Bare / sparse")] == [
        "annual crop",
        "built up",
        "sea lake",
        "bare sparse",
    ]
    words = class_words(get_taxonomy("eurosat10").label_set, keep_back=1)
    assert words[3] == ClassWords("Highway", ("highway", "motorway"), ("main road",))
    for word in words:
        assert not set(word.seen) & set(word.unseen)
        assert len(word.seen) >= 2


def test_every_synthetic_class_has_words_to_train_with_and_a_word_to_ask_with():
    for class_word in class_words(synthetic_classes(), keep_back=1):
        assert len(class_word.seen) >= 3
        assert len(class_word.unseen) == 1


def test_a_label_set_without_synonyms_speaks_by_its_names():
    own = LabelSet("mine", (LabelClass(1, "RiceField"), LabelClass(2, "village")))
    assert class_words(own, keep_back=2) == (
        ClassWords("RiceField", ("rice field",)),
        ClassWords("village", ("village",)),
    )
    with pytest.raises(LabelError, match="RiceField"):
        class_words(own, "eurosat10")


def test_a_template_needs_a_place_for_the_word():
    assert sentences(["sea"], ["{} from above"]) == ["sea from above"]
    with pytest.raises(TextError, match=r"must hold \{\} once"):
        sentences(["sea"], ["from above"])


def test_masks_are_told_by_fraction_largest_first():
    words = tuple(ClassWords(name, (name,)) for name in ("river", "forest", "pasture", "road"))
    told = mask_caption(np.array([0.02, 0.7, 0.275, 0.005]), words, np.random.default_rng(0))
    assert told == "mostly forest, partly pasture, a little river"


def test_metadata_says_season_place_sensor_and_sun():
    noon = clock.datetime(2025, 6, 21, 11, 0, tzinfo=clock.UTC)
    told = metadata_caption(S2, noon, 15.0, 50.0)
    assert told == "an image of Sentinel-2 l1c near 50 degrees north, 15 degrees east in summer under a high sun"
    assert metadata_caption(S2, None, None, None) == "an image of Sentinel-2 l1c"
    assert [season(noon, lat) for lat in (50.0, -50.0)] == ["summer", "winter"]
    assert "June" in season(noon, 3.0)


@pytest.mark.parametrize(
    ("time", "lon", "lat", "expected"),
    [  # solstices and equinox by geometry: 90 - |lat - declination| at true noon
        (clock.datetime(2025, 6, 21, 12, 2, tzinfo=clock.UTC), 0.0, 50.0, 63.4),
        (clock.datetime(2025, 12, 21, 11, 58, tzinfo=clock.UTC), 0.0, 50.0, 16.6),
        (clock.datetime(2025, 3, 20, 12, 7, tzinfo=clock.UTC), 0.0, 0.0, 89.5),
        (clock.datetime(2025, 3, 20, 18, 7, tzinfo=clock.UTC), 0.0, 40.0, 0.0),
    ],
)
def test_the_sun_stands_where_geometry_puts_it(time, lon, lat, expected):
    assert sun_elevation(time, lon, lat) == pytest.approx(expected, abs=1.0)


def test_chips_are_captioned_by_their_class_and_nothing_is_said_twice(chip_shards):
    shards = ShardSet(chip_shards)
    made = captions(shards, templates=["a view of {}", "{}"], keep_back=1)
    key = next(iter(made.of_key))
    words = made.words[made.class_of[key]]
    assert {made.texts[i] for i in made.of_key[key]} == {t for w in words.seen for t in (w, f"a view of {w}")}
    assert len(set(made.texts)) == len(made.texts)
    assert not any(unseen in made.texts for word in made.words for unseen in word.unseen)
    assert made.draw(key, 5) == made.draw(key, 5)
    assert len({made.draw(key, draw) for draw in range(50)}) > 2
    assert made.shows(key, [made.class_of[key]])


def test_scenes_are_captioned_by_their_masks(scene_shards):
    shards = ShardSet(scene_shards)
    made = captions(shards, sources=["masks", "metadata"])
    assert set(made.of_key) == {shards.entries[i].key for i in shards.indices(None)}
    for key, own in made.of_key.items():
        told = " ".join(made.texts[i] for i in own)
        largest = made.words[int(made.shares[key].argmax())]
        assert any(word in told for word in largest.seen)
        assert "degrees north" in told
    again = captions(shards, sources=["masks", "metadata"])
    assert again.texts == made.texts


def test_captions_of_masks_do_not_speak_of_held_out_classes(scene_shards):
    shards = ShardSet(scene_shards)
    config = CaptionConfig(sources=["masks"])
    made = make_captions(config, shards, shards.indices(None), turned=True, held_out=["grassland"])
    plain = make_captions(config, shards, shards.indices(None), turned=True)
    grass = plain.words[2].seen
    assert any(word in text for text in plain.texts for word in grass)
    assert not any(word in text for text in made.texts for word in grass)
    for key, shares in made.shares.items():
        assert made.shows(key, [2]) == (shares[2] >= 0.2)


def test_a_users_csv_is_read_and_directions_are_dropped_where_images_turn(tmp_path, caplog):
    path = tmp_path / "captions.csv"
    path.write_text('key,caption,more\na,"a lake, in the north",x\na,a road,y\nb,trees on the left,z\nq,unknown,z\n')
    with caplog.at_level(logging.INFO, "bandloom"):
        assert read_captions(path, ["a", "b"], turned=True) == {"a": ["a lake", "a road"], "b": ["trees"]}
    assert "taken out of 2 captions" in caplog.text
    assert "1 of 4 captions are of samples that the shards do not hold, such as q" in caplog.text
    assert read_captions(path, ["a", "b"], turned=False)["b"] == ["trees on the left"]


def test_captions_travel_in_the_shards_from_build_to_training(tmp_path, scenes_folder, caplog):
    scene = min(path.name for path in (scenes_folder / "scenes").iterdir()).removesuffix(".tif")
    told = tmp_path / "told.csv"
    told.write_text(f'scene,caption\n{scene},a lake in the north\n{scene},"a road, then fields"\n')
    build([str(scenes_folder / "scenes")], tmp_path / "shards", BuildOptions(120, captions=str(told)))
    shards = ShardSet(tmp_path / "shards")
    with caplog.at_level(logging.INFO, "bandloom"):
        turned = captions(shards, sources=["shards"])
    assert set(turned.of_key) == {entry.key for entry in shards.entries if entry.key.startswith(scene)}
    assert 0 < len(turned.of_key) < len(shards)
    assert set(turned.texts) == {"a lake", "a road, then fields"}
    assert f"taken out of {len(turned.of_key)} captions" in caplog.text
    assert set(captions(shards, sources=["shards"], turned=False).texts) == {
        "a lake in the north",
        "a road, then fields",
    }


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("key,caption\na,lake\nb,\n", "1 empty captions, the first in line 3"),
        ("key,title\na,lake\n", "no column 'caption'"),
        ("key,caption\nx,lake\n", "none of the 1 keys"),
        ("", "no column 'key'"),
    ],
)
def test_captions_that_cannot_be_used_are_refused_in_a_sentence(tmp_path, text, said):
    path = tmp_path / "captions.csv"
    path.write_text(text)
    with pytest.raises(TextError, match=said):
        read_captions(path, ["a", "b"], turned=True)


def test_sources_that_the_shards_cannot_serve_are_refused(scene_shards, chip_shards):
    with pytest.raises(LabelError, match="no label masks"):
        captions(ShardSet(chip_shards), sources=["masks"])
    with pytest.raises(TextError, match=r"captions\.csv names no file"):
        captions(ShardSet(chip_shards), sources=["csv"])
    with pytest.raises(TextError, match=r"no sample of the shards .* has a caption of its own.*build --captions"):
        captions(ShardSet(chip_shards), sources=["shards"])
    with pytest.raises(TextError, match="sources is empty"):
        captions(ShardSet(scene_shards), sources=[])
