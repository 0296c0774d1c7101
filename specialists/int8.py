"""A network's int8 form as the manifest names it (docs/decisions/0024-int8.md)."""

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field


class Int8(BaseModel):
    """The int8 form of a network, made by `ustri train quantize`."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    weights: str
    sha256: str
    made_of: str
    """SHA-256 of the full-precision weights that it was made of."""
    noise: Annotated[float, Field(ge=0.0)]
    """Difference from these on a drawn image, as `specialists.runtime.traced.noise` measures it."""
    in_fp32: tuple[str, ...] = ()
    """Parts of the network that were left in fp32."""
    over: str | None = None
    """Of a head: SHA-256 of the backbone, in int8 or in full precision, over which it holds."""
    holds: dict[str, str] = {}
    """Of a backbone: SHA-256 of the specialists whose metrics hold on it, by id."""

    def current(self, sha256: str | None) -> bool:
        """Return whether it was made of the weights with that hash."""
        return self.made_of == sha256
