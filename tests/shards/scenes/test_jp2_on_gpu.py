"""JPEG 2000 by nvImageCodec: the library's own calls where it is installed, and a stand-in with its signatures."""

import sys
from types import SimpleNamespace

import numpy as np
import pytest
import rasterio
from rasterio.io import MemoryFile

from bandloom.errors import SceneError
from bandloom.shards.scenes import jp2_on_gpu, open_scene
from bandloom.shards.scenes.jp2_on_gpu import NO_GPU, SWITCH, Jp2Decoder, golden_image, gpu_decoder
from tests.shards.safe_product import native_bands, write_safe


class Stream:
    """A code stream that GDAL decodes; ``region`` as nvImageCodec counts it: top, left, bottom, right."""

    def __init__(self, source, region=None):
        self.source, self.region = source, region
        with self.raster() as raster:
            self.height, self.width, self.dtype = raster.height, raster.width, np.dtype(raster.dtypes[0])

    def raster(self):
        return MemoryFile(self.source).open() if isinstance(self.source, bytes) else rasterio.open(self.source)

    def get_sub_code_stream(self, *, region):
        return Stream(self.source, region)


def library(spoil=lambda pixels, source: pixels, device=None):
    """Return a stand-in for ``nvidia.nvimgcodec``; ``spoil`` makes of right pixels what it answers, or None."""

    class Decoder:
        def __init__(self, device_id=-1, max_num_cpu_threads=0, backends=None, options=""):
            if device is not None and device_id != device:
                raise RuntimeError("CUDA Runtime failure: '#35'")

        def decode(self, src, *, image=None, params=None, cuda_stream=0):
            assert params["allow_any_depth"]  # else samples of 15 bits are stretched to 16
            top, left, bottom, right = src.region
            with src.raster() as raster:
                pixels = spoil(raster.read(1, window=((top, bottom), (left, right))), src.source)
            return None if pixels is None else SimpleNamespace(cpu=lambda: pixels[None])

    return SimpleNamespace(
        Decoder=Decoder,
        Backend=lambda kind: kind,
        BackendKind=SimpleNamespace(CPU_ONLY=2, GPU_ONLY=1, HYBRID_CPU_GPU=3),
        CodeStream=Stream,
        ColorSpec=SimpleNamespace(UNCHANGED=0),
        DecodeParams=lambda **given: given,
        Region=lambda *edges: edges,
        SampleFormat=SimpleNamespace(P_UNCHANGED=0),
    )


@pytest.fixture
def brought(monkeypatch):
    """Let a stand-in be what is installed."""

    def bring(given):
        monkeypatch.setitem(sys.modules, "nvidia.nvimgcodec", given)
        monkeypatch.setattr(jp2_on_gpu, "import_module", lambda name: sys.modules[name])
        gpu_decoder.cache_clear()

    yield bring
    gpu_decoder.cache_clear()


@pytest.fixture(scope="module")
def product(tmp_path_factory):
    return write_safe(tmp_path_factory.mktemp("safe"), native_bands())


def pixels_of(product):
    with open_scene(product) as scene:
        scene.walk_down()
        return [scene.read((0, top, int(scene.width_m), 240)) for top in range(0, int(scene.height_m), 240)]


def same(one, other):
    return all(np.array_equal(a[gsd], b[gsd]) for a, b in zip(one, other, strict=True) for gsd in a)


def test_a_scene_decoded_by_a_right_library_is_gdals(product, brought):
    expected, windows = pixels_of(product), []
    brought(library(lambda pixels, source: windows.append(source) or pixels))
    assert same(pixels_of(product), expected)
    assert {str(source).rsplit("_", 1)[-1] for source in windows if isinstance(source, str)} >= {"B02.jp2", "B8A.jp2"}


@pytest.mark.parametrize(
    "wrong",
    [
        lambda pixels, _: pixels * 2,  # 15 bits stretched to 16
        lambda pixels, _: pixels.astype(np.int32),
        lambda pixels, _: pixels[:, ::-1],
        lambda pixels, _: np.where(pixels == 0, 1, pixels).astype(pixels.dtype),
        lambda pixels, _: None,
    ],
)
def test_a_library_that_fails_the_golden_tile_is_left_alone(product, brought, wrong, caplog):
    expected = pixels_of(product)
    brought(library(wrong))
    assert gpu_decoder() is None
    assert "does not give a known tile back" in caplog.text
    assert same(pixels_of(product), expected)


def test_a_file_that_it_reads_otherwise_is_gdals_and_said(product, brought, caplog):
    expected = pixels_of(product)
    brought(library(lambda pixels, source: pixels + 1 if "B03" in str(source) else pixels))
    assert same(pixels_of(product), expected)
    said = [record.message for record in caplog.records if "gives other values" in record.message]
    assert len(said) == 1
    assert "B03" in said[0]


def test_a_later_window_that_it_reads_otherwise_ends_the_reading(product, brought):
    seen = []

    def spoil(pixels, source):
        if "B03" not in str(source):
            return pixels
        seen.append(source)
        return pixels if len(seen) == 1 else pixels + 1  # the first window alone is right

    brought(library(spoil))
    with pytest.raises(SceneError, match=r"gives other values of .*B03.jp2 than GDAL; .*BANDLOOM_NVIMGCODEC=0"):
        pixels_of(product)


def test_a_window_that_it_cannot_decode_is_gdals(product, brought):
    expected = pixels_of(product)
    brought(library(lambda pixels, source: None if "B8A" in str(source) else pixels))
    assert same(pixels_of(product), expected)


def test_no_gpu_and_a_switch_leave_it_to_gdal(brought, monkeypatch):
    brought(library(device=7))
    assert gpu_decoder() is None
    brought(library())
    assert gpu_decoder() is not None
    gpu_decoder.cache_clear()
    monkeypatch.setenv(SWITCH, "0")
    assert gpu_decoder() is None


def test_the_golden_image_is_what_gdal_reads_back():
    content, pixels = golden_image()
    with MemoryFile(content) as file, file.open() as raster:
        np.testing.assert_array_equal(raster.read(1), pixels)
        assert raster.block_shapes[0][0] == 64  # tiles
    assert pixels.max() > 2**14
    assert (pixels == 0).any()


def test_the_published_library_gives_the_golden_image_back_without_a_gpu():
    """Its CPU back ends take the calls that its GPU ones do: this is the contract, with the real bindings."""
    nvimgcodec = pytest.importorskip("nvidia.nvimgcodec")
    assert Jp2Decoder(nvimgcodec, NO_GPU).is_right()


def test_the_published_library_reads_a_product_as_gdal_does(product, brought, monkeypatch):
    nvimgcodec = pytest.importorskip("nvidia.nvimgcodec")
    expected = pixels_of(product)
    brought(nvimgcodec)
    monkeypatch.setattr(jp2_on_gpu, "ANY_GPU", NO_GPU)
    decoder = Jp2Decoder(nvimgcodec, NO_GPU)
    monkeypatch.setattr(jp2_on_gpu, "gpu_decoder", lambda: decoder)
    assert same(pixels_of(product), expected)
