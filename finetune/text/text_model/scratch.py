"""A small text model trained from the captions alone, for words that no model on the machine has read."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from bandloom.errors import TextError
from bandloom.finetune.text.text_model.tower import quiet

PAD, UNKNOWN, START, END = "[PAD]", "[UNK]", "[CLS]", "[SEP]"
WORDS, LENGTH = 8000, 64


def write_small_model(folder: Path, texts: Sequence[str], *, width: int = 128, depth: int = 2, seed: int = 0) -> None:
    """Write an untrained BERT of ``depth`` layers with a tokenizer of the texts' own words.

    Args:
        folder: the new folder.
        texts: captions.
        width: of a token.
        depth: number of layers.
        seed: of the weights.

    Raises:
        TextError: the texts hold no words.
    """
    import torch

    transformers = quiet()
    tokenizer = word_tokenizer(texts)
    torch.manual_seed(seed)
    config = transformers.BertConfig(
        vocab_size=len(tokenizer),
        hidden_size=width,
        num_hidden_layers=depth,
        num_attention_heads=max(1, width // 32),
        intermediate_size=2 * width,
        max_position_embeddings=LENGTH,
        pad_token_id=tokenizer.pad_token_id,
    )
    transformers.BertModel(config, add_pooling_layer=False).save_pretrained(folder)
    tokenizer.save_pretrained(folder)


def word_tokenizer(texts: Sequence[str]) -> Any:
    """Return a tokenizer whose tokens are the texts' words, with a start and an end token.

    Raises:
        TextError: the texts hold no words.
    """
    from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors, trainers  # type: ignore

    inner = Tokenizer(models.WordLevel(unk_token=UNKNOWN))
    inner.normalizer = normalizers.Sequence([normalizers.NFKC(), normalizers.Lowercase()])
    inner.pre_tokenizer = pre_tokenizers.Sequence([pre_tokenizers.Whitespace(), pre_tokenizers.Punctuation()])
    special = [PAD, UNKNOWN, START, END]
    inner.train_from_iterator(
        texts, trainers.WordLevelTrainer(vocab_size=WORDS, special_tokens=special, show_progress=False)
    )
    if inner.get_vocab_size() <= len(special):
        raise TextError("the captions hold no words; a text model from scratch needs some.")
    ends = [(START, inner.token_to_id(START)), (END, inner.token_to_id(END))]
    inner.post_processor = processors.TemplateProcessing(f"{START} $A {END}", f"{START} $A {END} $B {END}", ends)
    return quiet().PreTrainedTokenizerFast(
        tokenizer_object=inner,
        pad_token=PAD,
        unk_token=UNKNOWN,
        cls_token=START,
        sep_token=END,
        eos_token=END,
        bos_token=START,
        model_max_length=LENGTH,
    )
