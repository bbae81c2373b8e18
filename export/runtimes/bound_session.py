"""ONNX Runtime's IO binding: inputs and outputs keep their memory on the device from batch to batch.

A plain ``session.run`` takes device memory for every input, and gives it back, at each call. Here a batch's bytes are
copied into memory that stays bound, the answer lies in memory that stays bound, and only the answer's own copy comes
back. Calls from different threads take different lanes.
"""

from collections import OrderedDict
from collections.abc import Mapping, Sequence
from queue import LifoQueue
from typing import Any

import numpy as np

LANES = 2  # one batch is copied while another is computed
MOST_SHAPES = 4  # kept a lane: the usual batch, a remainder, and as many of further outputs


class BoundSession:
    """A session whose inputs and outputs lie on its device.

    Args:
        session: an ``onnxruntime.InferenceSession``.
        device: where its provider computes: ``cuda``, or ``cpu``.
    """

    def __init__(self, session: Any, device: str) -> None:
        self._session = session
        self._free: LifoQueue[_Lane] = LifoQueue()
        for _ in range(LANES):
            self._free.put(_Lane(session, device))

    def run(self, feed: Mapping[str, np.ndarray], names: Sequence[str]) -> list[np.ndarray]:
        """Return the named outputs, the caller's own, of inputs by name."""
        lane = self._free.get()
        try:
            return lane.run(feed, tuple(names))
        finally:
            self._free.put(lane)


class _Lane:
    """One caller's memory: a binding for each shape of batch, the longest unused given back."""

    def __init__(self, session: Any, device: str) -> None:
        self._session, self._device = session, device
        self._bound: OrderedDict[Any, _Binding] = OrderedDict()

    def run(self, feed: Mapping[str, np.ndarray], names: tuple[str, ...]) -> list[np.ndarray]:
        key = (names, tuple((name, array.shape) for name, array in feed.items()))
        binding = self._bound.pop(key, None)
        if binding is None:
            while len(self._bound) >= MOST_SHAPES:
                self._bound.popitem(last=False)
            binding = _Binding(self._session, self._device, feed, names)
        else:
            binding.fill(feed)
        self._bound[key] = binding
        return binding.run()


class _Binding:
    """Inputs and outputs of one shape."""

    def __init__(self, session: Any, device: str, feed: Mapping[str, np.ndarray], names: Sequence[str]) -> None:
        from onnxruntime import OrtValue

        self._session, self._binding = session, session.io_binding()
        made = OrtValue.ortvalue_from_shape_and_type
        self._inputs = {name: made(array.shape, array.dtype, device) for name, array in feed.items()}
        self.fill(feed)
        for name, value in self._inputs.items():
            self._binding.bind_ortvalue_input(name, value)
        for name in names:  # the first run tells the outputs' shapes, and leaves them on the device
            self._binding.bind_output(name, device)
        self._names, self._outputs = names, []
        self._shared = device == "cpu"  # where an array of an output is its memory itself

    def fill(self, feed: Mapping[str, np.ndarray]) -> None:
        """Copy a batch into the inputs' memory."""
        for name, array in feed.items():
            self._inputs[name].update_inplace(array)

    def run(self) -> list[np.ndarray]:
        """Compute, and return copies of the outputs."""
        self._session.run_with_iobinding(self._binding)
        if not self._outputs:
            self._outputs = self._binding.get_outputs()
            for name, value in zip(self._names, self._outputs, strict=True):
                self._binding.bind_ortvalue_output(name, value)
        return [value.numpy().copy() if self._shared else value.numpy() for value in self._outputs]
