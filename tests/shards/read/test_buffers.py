import threading

import numpy as np

from bandloom.shards.read.buffers import Buffers
from bandloom.shards.read.loader import Loader
from bandloom.shards.read.shard_set import ShardSet


def test_an_array_is_used_again_when_nobody_holds_it_or_a_view_of_it():
    buffers = Buffers(most=4)
    one = buffers.take((2, 3))
    address = one.ctypes.data
    view = one[1]
    del one
    other = buffers.take((2, 3))
    assert other.ctypes.data != address
    del view
    assert buffers.take((2, 3)).ctypes.data == address
    assert buffers.take((3, 2)).ctypes.data not in (address, other.ctypes.data)


def test_threads_never_share_an_array():
    buffers, wrong = Buffers(most=8), []

    def work(mark):
        for _ in range(300):
            array = buffers.take((64, 64))
            array[:] = mark
            if (array != mark).any():
                wrong.append(mark)

    threads = [threading.Thread(target=work, args=(mark,)) for mark in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


def test_batches_that_are_kept_keep_their_pixels(shards):
    found = ShardSet(shards)
    batches = iter(Loader(found, found.indices(), 2, workers=2, crop_px=60))
    kept = [next(batches) for _ in range(20)]
    before = [{gsd: pixels.copy() for gsd, pixels in batch.groups.items()} for batch in kept]
    for _ in range(20):
        next(batches)
    batches.close()
    for batch, copies in zip(kept, before, strict=True):
        for gsd, pixels in batch.groups.items():
            np.testing.assert_array_equal(pixels, copies[gsd])
