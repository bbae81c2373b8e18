"""What was tried where a figure misses its goal, by the benchmark's name; docs/benchmarks.md says it under its table."""

TRIED = {
    "build": (
        "what a build does beyond decoding IMG_DATA is a fifth of it. A third of that decodes the quality masks, which"
        " the baseline leaves; the rest compresses, counts, writes and makes checksums. Tried: every JP2 tile decoded"
        " once (kept), tiles of equal bytes read once (kept), the codec `speed` in place of `default` (level)."
    ),
    "corpus_build": "see [decisions/corpora.md](decisions/corpora.md): decoding and encoding alone take longer.",
    "decode": (
        "see [shard-format.md](shard-format.md#one-frame-or-one-a-band-group): no codec tried decodes ten times as"
        " quick as npz in 1 / 3.5 of the bytes on every scene; `speed` does the one, `default` the other."
    ),
    "distillation": (
        "see [results.md](results.md#a-small-model-taught-by-a-large-one): a student beats the same network from random"
        " weights on most sets, and no baseline that sees all bands of a chip."
    ),
    "fit_speed": (
        "matrix products at the processor's peak are half of a step, so that 3 is out of reach of the same networks."
        " See [decisions/head.md](decisions/head.md#how-fast-the-fit-is)."
    ),
    "loader_vs_float": (
        "against npy by webdataset. Most of its time is what both do: reading, and what a batch is handed over for."
        " Tried: frames read without Blosc2's objects (kept), Zstandard (slower), smaller Blosc2 blocks (level)."
    ),
    "mae_step": "see [decisions/step-time.md](decisions/step-time.md): 82 % of the step is equal in both by its terms.",
    "ort": (
        "ONNX Runtime in fp32 is bound by the same matrix products as torch. Tried: OpenVINO (1.25 times torch), int8"
        " (2 times ONNX Runtime's fp32), other session settings (level)."
    ),
    "real_scenes": "see [decisions/head.md](decisions/head.md): of three sets 282D, with two blocks to learn from.",
    "scene_speed": "see [decisions/tiling.md](decisions/tiling.md): four other ways gave 4 % together.",
    "seam": "see [decisions/tiling.md](decisions/tiling.md): seven windows; a tie with terratorch's own.",
    "words": "see [text.md](text.md): by seed 0.522, 0.482, 0.495 of 0.556; captions of labels reach the goal.",
}
