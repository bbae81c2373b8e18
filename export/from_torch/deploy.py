"""The graph that is exported of a model or an ensemble: byte pairs in, logits and further outputs out."""

from collections.abc import Collection, Sequence

import numpy as np
import torch
from torch import Tensor, nn

from bandloom.export.bundle.native_groups import byte_pairs
from bandloom.export.bundle.record import Contract
from bandloom.export.from_torch.ensemble import Ensemble
from bandloom.export.from_torch.half_precision import CastGraph
from bandloom.export.from_torch.held_chips import Chips
from bandloom.export.from_torch.to_onnx import DeployGraph, from_byte_pairs
from bandloom.export.from_torch.token_space import TokenSpace
from bandloom.finetune.model.task_model import TaskModel

AnyModel = TaskModel | Ensemble


class EnsembleGraph(DeployGraph):
    """The deploy graphs of an ensemble's members in one, their answers averaged in fp32."""

    def __init__(self, ensemble: Ensemble, graphs: Sequence[DeployGraph]) -> None:
        super().__init__(ensemble)  # type: ignore[arg-type]
        self.model = nn.Identity()  # type: ignore[assignment]
        self._combine = ensemble.combine
        self.graphs = nn.ModuleList(graphs)

    def forward(self, *pairs: Tensor) -> tuple[Tensor, Tensor]:  # type: ignore[override]
        """Return logits and disagreement of ``(B, C, H, W, 2)`` uint8 pairs, low byte first."""
        return self._combine([graph(*pairs) for graph in self.graphs])


class SpaceGraph(DeployGraph):
    """A deploy graph that also gives how far every pixel's token lies from the training tokens, in fp32."""

    def __init__(self, graph: DeployGraph, space: TokenSpace) -> None:
        nn.Module.__init__(self)  # the model is the inner graph's: registered twice it does not export
        self.inner, self.space = graph, space  # `graph` is a word of the exporter
        self.gsds_m = graph.gsds_m

    def forward(self, *pairs: Tensor) -> tuple[Tensor, ...]:  # type: ignore[override]
        """Return what the graph does, and distances ``(B, 1, H, W)``."""
        answer = self.inner(*pairs)
        groups = {gsd_m: from_byte_pairs(pair) for gsd_m, pair in zip(self.gsds_m, pairs, strict=True)}
        first = self.inner.graphs[0] if isinstance(self.inner, EnsembleGraph) else self.inner
        return (*(answer if isinstance(answer, tuple) else (answer,)), self.space(first.model, groups))


def members_of(model: AnyModel) -> dict[str, TaskModel]:
    """Return the models that answer, by what their layers' names begin with."""
    if isinstance(model, TaskModel):
        return {"": model}
    return {f"members.{number}.": member for number, member in enumerate(model.members)}  # type: ignore[misc]


def deploy_graph(
    model: AnyModel, precision: str = "fp32", wide: Collection[str] = (), space: TokenSpace | None = None
) -> DeployGraph:
    """Return the graph of a model in fp32, or cast to 16 bits but for the layers ``wide``; with a space's distances."""
    graphs = {}
    for prefix, member in members_of(model).items():
        own = [layer.removeprefix(prefix) for layer in wide if layer.startswith(prefix)]
        graphs[prefix] = DeployGraph(member) if precision == "fp32" else CastGraph(member, precision, own)
    graph = graphs[""] if isinstance(model, TaskModel) else EnsembleGraph(model, list(graphs.values()))
    return graph if space is None else SpaceGraph(graph, space)


def extra_outputs(
    model: AnyModel, contract: Contract, chips: Chips, space: TokenSpace | None = None
) -> dict[str, np.ndarray]:
    """Return torch's further outputs in fp32, ``(B, 1, ...)`` each, by name."""
    graph, parts = deploy_graph(model, space=space).eval(), []
    with torch.inference_mode():
        for groups in chips.batches():
            _, *more = graph(*(torch.from_numpy(byte_pairs(groups[gsd_m])) for gsd_m in graph.gsds_m))
            parts.append([tensor.float().numpy() for tensor in more])
    return {name: np.concatenate([part[i] for part in parts]) for i, name in enumerate(contract.extras)}
