"""A vision tower for LLaVA that reads the frozen backbone's features.

Planning therefore needs no second encoding of the image.
"""

from typing import cast

import torch
from torch import Tensor
from torch.nn import functional as F
from transformers import AutoConfig, AutoModel, PreTrainedConfig, PreTrainedModel
from transformers.modeling_outputs import BaseModelOutputWithPooling

from specialists.backbones.transunet import Features


class UsgenTowerConfig(PreTrainedConfig):
    """The backbone levels that the tower reads, averaged over a grid of cells.

    `levels` names feature levels; for those in `spread_of` the standard deviation in a cell is read
    too. `hidden_size` is the sum of their channels. `model` is the backbone's id in the manifest,
    `backbone_sha256` the hash of its content.
    """

    model_type = "usgen_tower"

    def __init__(
        self,
        model: str = "usgen",
        backbone_sha256: str = "",
        levels: tuple[str, ...] = ("vit",),
        spread_of: tuple[str, ...] = (),
        grid: int = 8,
        **kwargs: object,
    ) -> None:
        self.model = model
        self.backbone_sha256 = backbone_sha256
        self.levels = list(levels)
        self.spread_of = list(spread_of)
        self.grid = grid
        self.hidden_size = int(cast(int, kwargs.pop("hidden_size", 256)))
        super().__init__(**kwargs)  # type: ignore[arg-type]


class UsgenTower(PreTrainedModel):
    """Passes cells on as tokens for the projector to read; it has no weights of its own."""

    config_class = UsgenTowerConfig
    config: UsgenTowerConfig
    main_input_name = "pixel_values"
    base_model_prefix = "tower"

    def __init__(self, config: UsgenTowerConfig) -> None:
        super().__init__(config)
        self.post_init()  # type: ignore[no-untyped-call]

    def forward(self, pixel_values: Tensor, **_: object) -> BaseModelOutputWithPooling:
        """Reshape (B, C, g, g) cells to (B, g·g, C) tokens, row by row.

        The tokens are also returned as the only hidden state.
        """
        tokens = pixel_values.flatten(2).transpose(1, 2)
        return BaseModelOutputWithPooling(
            last_hidden_state=cast(torch.FloatTensor, tokens),
            hidden_states=(cast(torch.FloatTensor, tokens),),
        )


def cells(features: Features, config: UsgenTowerConfig) -> Tensor:
    """Return the cells of the features, (B, C, g, g) float32.

    They hold the mean of each level in each cell, then the standard deviation of the levels in
    `spread_of`.
    """
    means = {
        name: F.adaptive_avg_pool2d(features[name].float(), config.grid)
        for name in (*config.levels, *config.spread_of)
    }
    parts = [means[name] for name in config.levels]
    for name in config.spread_of:
        squares = F.adaptive_avg_pool2d(features[name].float().square(), config.grid)
        parts.append((squares - means[name].square()).clamp_min(0).sqrt())
    return torch.cat(parts, dim=1)


AutoConfig.register(UsgenTowerConfig.model_type, UsgenTowerConfig)
AutoModel.register(UsgenTowerConfig, UsgenTower)
