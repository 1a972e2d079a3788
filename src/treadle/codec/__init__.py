"""How events and values become bytes, and become what they were again."""

from treadle.codec.annotations import annotations_of
from treadle.codec.codec import Codec

__all__ = ["Codec", "annotations_of"]
