"""What was tried where a figure misses its goal, by benchmark; docs/benchmarks.md says it under its table."""

TRIED = {
    "build": (
        "what a build does beyond decoding IMG_DATA takes a fifth of it: a third of that decodes the quality "
        "masks, which the baseline leaves; the rest compresses, counts, writes and makes checksums. Tried: "
        "every JP2 tile decoded once (kept), tiles of equal bytes decoded once (kept), the codec `speed` in "
        "place of `default` (level)."
    ),
    "corpus_build": (
        "[decoding and encoding alone](decisions/corpora.md) take longer than the baseline; five ways tried."
    ),
    "decode": (
        "[no codec that was tried](shard-format.md#one-frame-or-one-a-band-group) decodes ten times as quick "
        "as npz in 1 / 3.5 of the bytes on every scene; `speed` does the one, `default` the other."
    ),
    "distillation": (
        "[no student](results.md#an-encoder-that-learns-from-a-teacher) reaches the strongest baseline. "
        "Tried: tokens, pixels and both as targets, visual words, Galileo-nano as the teacher."
    ),
    "fit_speed": (
        "[matrix products at the processor's peak, GELU and "
        "dropout](decisions/head.md#five-networks-and-every-set-as-good-as-the-best) are half of a step, so "
        "that 3 is out of reach of the same networks; seven ways tried."
    ),
    "loader_vs_float": (
        "against webdataset alone; rasterio and zarr reach theirs. Tried: chunks read without Blosc2's"
        " objects of a frame (kept), shuffle in place of bitshuffle (kept), smaller Blosc2 blocks"
        " (level). Again on shared cores on 2026-11-27: 6.7, 19.2 and 11.6, and the loader of the figure"
        " above was no faster there."
    ),
    "mae_step": (
        "[82 % of the step](decisions/step-time.md) is equal in both by the benchmark's terms; three ways tried."
    ),
    "ort": (
        "bound by the same matrix products as torch. Tried: OpenVINO (1.25 times torch), other session "
        "settings (level); int8 is twice as fast as fp32."
    ),
    "real_scenes": (
        "[282D](decisions/head.md#five-networks-and-every-set-as-good-as-the-best) alone, a small noisy set. "
        "Tried: five ways to weigh the networks, random features among them (0.744), a logistic regression as "
        "one of them (kept)."
    ),
    "scene_speed": "of [tiles of several chips](decisions/tiling.md): four further ways gave 4 % together.",
    "seam": "[a tie with terratorch's window](decisions/tiling.md); seven other windows tried.",
    "words": ("captions of masks alone: 0.522, 0.482 and 0.495 by seed where 0.556 is asked; no other way was tried."),
}
