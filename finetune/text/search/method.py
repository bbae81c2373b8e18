"""How vectors are compared in a search."""

from typing import Literal

Method = Literal["auto", "numpy", "faiss"]
