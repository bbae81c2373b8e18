from bandloom.export.from_torch.torch_model import load_model as load_model
from bandloom.export.predict.in_memory import Bundle as Bundle
from bandloom.pretrain.features import load_encoder as load_encoder
from bandloom.shards.scenes import open_scene as open_scene

__version__: str
