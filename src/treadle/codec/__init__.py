"""How events and values become bytes, and become what they were again."""

from treadle.codec.annotations import annotations_of
from treadle.codec.apart import Apart
from treadle.codec.codec import Codec

__all__ = ["Apart", "Codec", "annotations_of"]
