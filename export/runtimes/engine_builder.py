"""Builds TensorRT and TensorRT-RTX engines through the part of their interfaces that the two, 10 and 11, share.

Precision is that of the ONNX file (strongly typed networks); shapes are fixed but for the batch, which has one profile.
TensorRT-RTX builds without a GPU; full TensorRT builds on the box, for the box.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Annotated, Any

from bandloom.command_line.console import logger
from bandloom.command_line.options import Option
from bandloom.errors import BundleError, MissingExtraError

BACKENDS = {"tensorrt": "tensorrt", "tensorrt-rtx": "tensorrt_rtx"}

# every name of the bindings that is used here; a test looks them up in TensorRT 10's and 11's published wheels
API_NAMES = (
    "Logger",
    "Builder",
    "NetworkDefinitionCreationFlag",
    "STRONGLY_TYPED",
    "create_network",
    "OnnxParser",
    "parse",
    "num_errors",
    "get_error",
    "create_builder_config",
    "create_optimization_profile",
    "set_shape",
    "add_optimization_profile",
    "set_flag",
    "BuilderFlag",
    "VERSION_COMPATIBLE",
    "build_serialized_network",
    "hardware_compatibility_level",
    "HardwareCompatibilityLevel",
    "AMPERE_PLUS",
    "Runtime",
    "deserialize_cuda_engine",
    "create_execution_context",
    "set_input_shape",
    "set_tensor_address",
    "execute_async_v3",
    "num_io_tensors",
    "get_tensor_name",
    "get_tensor_shape",
    "num_inputs",
    "get_input",
    "ERROR",
    "INTERNAL_ERROR",
    "clear_flag",
    "TF32",
    "ILogger",
    "engine_host_code_allowed",
)
RTX_NAMES = (
    "num_compute_capabilities",
    "set_compute_capability",
    "ComputeCapability",
    "create_runtime_config",
    "create_runtime_cache",
    "set_runtime_cache",
    "serialize",
    "deserialize",
    "cuda_graph_strategy",
    "CudaGraphStrategy",
    "WHOLE_GRAPH_CAPTURE",
    "is_stream_capturable",  # asked of a context that has it
)


def _batches(text: str) -> tuple[int, int, int]:
    sizes = tuple(int(part) if part.strip().isdigit() else 0 for part in text.split(","))
    if len(sizes) != 3 or not 0 < sizes[0] <= sizes[1] <= sizes[2]:
        raise BundleError(f"--batches is {text!r}; write smallest,usual,largest, such as 1,8,32.")
    return sizes[0], sizes[1], sizes[2]


def _capabilities(text: str) -> tuple[str, ...]:
    return tuple(part.strip() for part in text.split(",") if part.strip())


@dataclass(frozen=True)
class BuildOptions:
    """What an engine is built for."""

    compute_capabilities: Annotated[
        tuple[str, ...],
        Option("tensorrt-rtx: sm_86,sm_89,...; its own choice.", "--compute-capability", parse=_capabilities),
    ] = ()  # empty: this machine's GPU, or all that RTX offers
    batches: Annotated[tuple[int, int, int], Option("Smallest, usual and largest batch.", parse=_batches)] = (1, 8, 32)
    version_compatible: Annotated[bool, Option("Run on later versions too, perhaps slower.")] = False
    hardware_compatible: Annotated[bool, Option("Run on other GPUs from Ampere on, slower.")] = False


def load_backend(backend: str) -> Any:
    """Import a backend's bindings.

    Raises:
        BundleError: the backend is not known, or installed without its libraries.
        MissingExtraError: it is not installed.
    """
    if backend not in BACKENDS:
        raise BundleError(f"backend {backend!r} is not known; use one of {', '.join(BACKENDS)}.")
    try:
        return import_module(BACKENDS[backend])
    except ModuleNotFoundError as cause:
        raise MissingExtraError(BACKENDS[backend], backend) from cause
    except ImportError as cause:
        raise BundleError(
            f"{backend} is installed without its libraries ({cause}); install it as docs/deploy.md says."
        ) from cause


def build_engine(trt: Any, model: Path, options: BuildOptions) -> bytes:
    """Compile an ONNX file and return the serialised engine.

    Raises:
        BundleError: the parser or the builder refuses the model; its own words are given.
    """
    said = Said(trt)
    builder = trt.Builder(said.logger)
    network = builder.create_network(1 << int(trt.NetworkDefinitionCreationFlag.STRONGLY_TYPED))
    parser = trt.OnnxParser(network, said.logger)
    if not parser.parse(model.read_bytes()):
        errors = "; ".join(str(parser.get_error(i).desc()) for i in range(parser.num_errors))
        raise BundleError(f"{trt.__name__} {trt.__version__} cannot parse {model.name}: {errors or said.last}")
    config = builder.create_builder_config()
    config.add_optimization_profile(_profile(builder, network, options.batches))
    config.clear_flag(trt.BuilderFlag.TF32)  # on by default; it would cost fp32 its parity
    _target(trt, config, options)
    plan = builder.build_serialized_network(network, config)
    if plan is None:
        raise BundleError(
            f"{trt.__name__} {trt.__version__} cannot build {model.name}: {said.last or 'it gave no reason'}"
        )
    return bytes(plan)


def _profile(builder: Any, network: Any, batches: tuple[int, int, int]) -> Any:
    profile = builder.create_optimization_profile()
    for number in range(network.num_inputs):
        each = network.get_input(number)
        fixed = tuple(each.shape)[1:]
        profile.set_shape(each.name, *((batch, *fixed) for batch in batches))
    return profile


def _target(trt: Any, config: Any, options: BuildOptions) -> None:
    if options.version_compatible:
        config.set_flag(trt.BuilderFlag.VERSION_COMPATIBLE)
    if options.hardware_compatible:
        config.hardware_compatibility_level = trt.HardwareCompatibilityLevel.AMPERE_PLUS
    if options.compute_capabilities:
        if not hasattr(config, "set_compute_capability"):
            raise BundleError(f"{trt.__name__} builds for the GPU it runs on; leave --compute-capability out.")
        offered = {name.lower().replace("sm", "sm_"): name for name in dir(trt.ComputeCapability) if name[:2] == "SM"}
        unknown = [name for name in options.compute_capabilities if name not in offered]
        if unknown:
            raise BundleError(f"{trt.__name__} {trt.__version__} offers {', '.join(offered)}, not {unknown[0]}.")
        config.num_compute_capabilities = len(options.compute_capabilities)
        for number, name in enumerate(options.compute_capabilities):
            config.set_compute_capability(getattr(trt.ComputeCapability, offered[name]), number)


class Said:
    """Keeps a backend's first error since :meth:`clear` was last called, for our own sentence."""

    def __init__(self, trt: Any) -> None:
        outer = self
        self.last = ""

        class _Logger(trt.ILogger):
            def __init__(self) -> None:
                trt.ILogger.__init__(self)

            def log(self, severity: Any, message: str) -> None:
                if severity in (trt.ILogger.ERROR, trt.ILogger.INTERNAL_ERROR):
                    outer.last = outer.last or message.strip().splitlines()[0]
                logger.debug("%s: %s", trt.__name__, message)

        self.logger = _Logger()

    def clear(self) -> None:
        """Forget what was said before: a reason belongs to the call that failed."""
        self.last = ""


def trtexec_line(model: str, inputs: Sequence[tuple[str, tuple[int, ...]]], batches: tuple[int, int, int]) -> str:
    """Return the ``trtexec`` command that builds the same engine, for those who prefer it."""

    def shapes(batch: int) -> str:
        return ",".join(f"{name}:{'x'.join(map(str, (batch, *fixed)))}" for name, fixed in inputs)

    low, usual, high = (shapes(batch) for batch in batches)
    engine = Path(model).with_suffix(".engine")
    return (
        f"trtexec --onnx={model} --stronglyTyped --minShapes={low} --optShapes={usual} --maxShapes={high}"
        f" --saveEngine={engine}"
    )
