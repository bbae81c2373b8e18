import logging

from bandloom.finetune.text.captions.words import ClassWords, names_classes, told_words

WORDS = (ClassWords("lake", ("lake", "pond"), ("open water",)), ClassWords("trees", ("trees",), ("forest", "grove")))


def test_a_word_that_was_kept_back_and_is_told_in_captions_counts_as_seen(caplog):
    with caplog.at_level(logging.WARNING):
        told = told_words(WORDS, ["Forests and a road", "a lake", "open waterways"])
    assert told == (WORDS[0], ClassWords("trees", ("trees", "forest"), ("grove",)))
    assert "the captions hold 1 of 3 words that were kept back, such as 'forest'" in caplog.text


def test_words_stay_kept_back_where_no_caption_tells_them(caplog):
    assert told_words(WORDS, ["a road"]) == WORDS
    assert told_words(WORDS, []) == WORDS
    assert told_words((), ["a road"]) == ()
    assert not caplog.records


def test_names_are_found_as_whole_words_of_any_case():
    assert names_classes(["PONDS", "responding", "a grove"], WORDS).tolist() == [
        [True, False],
        [False, False],
        [False, True],
    ]
