import re
import subprocess
import sys
from pathlib import Path

import blosc2
import numpy as np
import pytest

from bandloom.errors import ShardError
from bandloom.shards.read.shard_set import ShardSet
from bandloom.shards.store.codec import CODECS, checksum, decode_into, encode

PAGE = Path(__file__).resolve().parents[3] / "docs/shard-format.md"


def test_ten_lines_with_webdataset_and_blosc2_alone_read_the_shards(shards, tmp_path):
    code = re.search(r"```python\n(.*?)```", PAGE.read_text(), re.DOTALL).group(1)
    assert len([line for line in code.splitlines() if line.strip()]) <= 10
    (tmp_path / "read.py").write_text(code)
    done = subprocess.run(
        [sys.executable, "-I", str(tmp_path / "read.py"), str(shards)], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    lines = [line for line in done.stdout.splitlines() if "g10" in line]
    assert [line.split()[0] for line in lines] == [e.key for e in ShardSet(shards).entries]
    assert all("'g20': (6, 60, 60)" in line and line.endswith("True") for line in lines)


@pytest.mark.parametrize("codec", CODECS)
def test_every_codec_gives_the_same_pixels_and_the_same_bytes_twice(codec):
    pixels = np.random.default_rng(0).integers(0, 65536, (4, 30, 30), dtype=np.uint16)
    frame, out = encode(pixels, codec), np.empty_like(pixels)
    decode_into(frame, out, "here")
    np.testing.assert_array_equal(out, pixels)
    assert checksum(out) == checksum(pixels)
    assert encode(pixels, codec) == frame


def test_frames_of_a_block_a_band_as_they_were_written_before_decode_too():
    pixels = np.random.default_rng(1).integers(1000, 3000, (6, 60, 60), dtype=np.uint16)
    cparams = {"codec": blosc2.Codec.LZ4, "filters": [blosc2.Filter.BITSHUFFLE], "filters_meta": [0], "typesize": 2}
    frame = blosc2.asarray(pixels, chunks=pixels.shape, blocks=(1, 60, 60), cparams=cparams).to_cframe()
    out = np.empty_like(pixels)
    decode_into(frame, out, "here")
    np.testing.assert_array_equal(out, pixels)


def test_blosc2_lets_other_threads_go_on_and_starts_none_of_its_own():
    assert blosc2.set_releasegil(True) is True
    assert blosc2.set_nthreads(1) == 1


@pytest.mark.parametrize("codec", CODECS)
@pytest.mark.parametrize("fill", [None, 0, 1, 1000, 65535])
def test_a_group_decodes_to_what_blosc2_itself_says_also_where_all_of_it_is_one_value(codec, fill):
    pixels = np.random.default_rng(0).integers(0, 65536, (3, 24, 36)).astype(np.uint16)
    if fill is not None:
        pixels[:] = fill
    frame, out = encode(pixels, codec), np.ones_like(pixels)
    decode_into(frame, out, "here")
    np.testing.assert_array_equal(out, pixels)
    np.testing.assert_array_equal(blosc2.ndarray_from_cframe(frame)[:], pixels)
    with pytest.raises(ShardError, match="expected 10368"):
        decode_into(frame, np.empty((6, 24, 36), np.uint16), "here")
