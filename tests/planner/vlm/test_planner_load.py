"""Planners from disk: the original layout, a conversion of it and ours, whole or not at all."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor
from transformers import CLIPVisionConfig

from planner.errors import BackboneMisfit
from planner.vlm.card import read_card
from planner.vlm.llava_med import sentencepiece_tokenizer
from planner.vlm.load import Placement, load_planner, padded_pixels, square
from planner.vlm.prompt import Turn
from specialists.errors import WeightsError
from specialists.image import image_of
from tests.builders import an_image
from tests.planner.tiny_llava import (
    PIECES,
    SIDE_PX,
    Backbone,
    write_converted,
    write_original,
    write_ours,
    write_pieces,
)

TURN = Turn(
    request_exam="breast", question="lesion?", state="nothing yet", legal=("exam_cls", "stop")
)
HEAD = "lm_head.weight"
NORM = "model.norm.weight"
TOWER = "model.vision_tower.vision_tower.vision_model.embeddings.patch_embedding.weight"


def test_the_original_layout_and_a_conversion_load_to_equal_tensors_and_scores(
    tmp_path: Path,
) -> None:
    published = load_planner(write_original(tmp_path / "published"))
    converted = load_planner(write_converted(tmp_path / "converted"))
    one, other = published.network.model.state_dict(), converted.network.model.state_dict()
    assert one.keys() == other.keys()
    assert all(torch.equal(one[name], other[name]) for name in one)
    config, reference = published.network.model.config, converted.network.model.config
    for name in ("text_config", "vision_config"):
        stated, expected = getattr(config, name).to_dict(), getattr(reference, name).to_dict()
        same = stated.keys() - {"dtype", "_name_or_path", "architectures"}
        assert {key: stated[key] for key in same} == {key: expected.get(key) for key in same}
    assert published.scores(an_image(), TURN) == converted.scores(an_image(), TURN)
    assert published.ref.research_only
    assert "research" in (published.ref.licence or "")


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({HEAD: None}, rf"missing: {HEAD}"),
        ({"model.extra.weight": torch.ones(2)}, r"unexpected: model\.extra\.weight"),
        ({NORM: torch.ones(7)}, r"of another shape: model\.language_model\.norm\.weight"),
        ({TOWER: None}, r"no vision tower of its own: .*patch_embedding"),
    ],
)
def test_a_tensor_that_is_missing_unexpected_or_of_another_shape_is_refused_by_name(
    tmp_path: Path, changes: dict[str, Tensor | None], named: str
) -> None:
    with pytest.raises(WeightsError, match=named):
        load_planner(write_original(tmp_path, changes))


def test_pickles_are_refused_and_never_opened(tmp_path: Path) -> None:
    write_original(tmp_path)
    for path in tmp_path.glob("*.safetensors"):
        path.rename(path.with_suffix(".bin"))
    with pytest.raises(WeightsError, match=r"only pickles \(model-00001"):
        load_planner(tmp_path)


def without_a_shard(folder: Path) -> None:
    (folder / "model-00002-of-00002.safetensors").unlink()


def with_another_projector(folder: Path) -> None:
    path = folder / "config.json"
    stated = json.loads(path.read_text())
    path.write_text(json.dumps(stated | {"mm_projector_type": "linear"}))


def without_a_tokenizer(folder: Path) -> None:
    (folder / "tokenizer.model").unlink()


def truncated(folder: Path) -> None:
    path = folder / "model-00001-of-00002.safetensors"
    path.write_bytes(path.read_bytes()[:-100])


@pytest.mark.parametrize(
    ("spoil", "says"),
    [
        (without_a_shard, r"model-00002-of-00002\.safetensors is missing"),
        (with_another_projector, "mm_projector_type = 'linear'"),
        (without_a_tokenizer, r"no tokenizer\.json or tokenizer\.model"),
        (truncated, r"model-00001-of-00002\.safetensors is not safetensors"),
    ],
)
def test_an_original_that_is_not_whole_or_not_known_is_refused(
    tmp_path: Path, spoil: Callable[[Path], None], says: str
) -> None:
    spoil(write_original(tmp_path))
    with pytest.raises(WeightsError, match=says):
        load_planner(tmp_path)


def test_a_folder_without_a_planner_is_named(tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match=r"config\.json is missing"):
        load_planner(tmp_path)


def test_ours_is_refused_when_altered_or_trained_on_another_backbone(tmp_path: Path) -> None:
    folder = write_ours(tmp_path)
    with pytest.raises(BackboneMisfit, match="here is none"):
        load_planner(folder)
    weights = folder / "model.safetensors"
    weights.write_bytes(weights.read_bytes() + b" ")
    with pytest.raises(WeightsError, match="truncated or altered"):
        load_planner(folder, backbones=Backbone())


def test_a_card_with_an_unknown_key_is_refused(tmp_path: Path) -> None:
    folder = write_ours(tmp_path, surprise=1)
    with pytest.raises(WeightsError, match=r"planner\.toml cannot be used"):
        read_card(folder)


def test_half_precision_on_a_cpu_scores_nearly_the_same(tmp_path: Path) -> None:
    folder = write_ours(tmp_path)
    full = load_planner(folder, backbones=Backbone()).scores(an_image(), TURN)
    half = load_planner(folder, Placement(precision="bf16"), Backbone())
    assert half.network.dtype is torch.bfloat16
    rounded = half.scores(an_image(), TURN)
    for label, value in full.by_label.items():
        assert rounded.by_label[label] == pytest.approx(value, abs=0.1)


@pytest.mark.parametrize(("aspect", "size"), [(1.0, (40, 30)), (0.5, (80, 30)), (1.5, (40, 45))])
def test_a_planner_sees_square_pixels_too(aspect: float, size: tuple[int, int]) -> None:
    image = image_of(np.full((30, 40), 90, dtype=np.uint8), aspect)
    assert square(image).size == size


@pytest.mark.parametrize("size", [(30, 40), (40, 30), (40, 40)])
def test_an_image_is_padded_to_a_square_and_never_cropped(size: tuple[int, int]) -> None:
    height, width = size
    pixels = np.zeros(size, dtype=np.uint8)
    pixels[0, 0] = pixels[0, -1] = pixels[-1, 0] = pixels[-1, -1] = 255
    side = max(size)
    seen = padded_pixels(side)(image_of(pixels))[0, 0]
    assert seen.shape == (side, side)
    top, left = (side - height) // 2, (side - width) // 2
    corners = seen[[top, top, top + height - 1, top + height - 1]]
    columns = [left, left + width - 1, left, left + width - 1]
    assert all(corners[row, column] > 1 for row, column in enumerate(columns))
    grey = seen[0, 0] if height < width else seen[0, 0] if width < height else None
    assert grey is None or abs(float(grey)) < 0.1  # The mean of CLIP's training images.


def test_the_tower_reads_the_size_that_its_own_tensors_say(tmp_path: Path) -> None:
    vision = load_planner(write_original(tmp_path)).network.model.config.vision_config
    assert isinstance(vision, CLIPVisionConfig)
    assert (vision.image_size, vision.patch_size, vision.num_hidden_layers) == (SIDE_PX, 14, 3)
    assert vision.num_attention_heads == 2


def test_a_sentencepiece_vocabulary_is_read_without_its_package(tmp_path: Path) -> None:
    write_pieces(tmp_path)
    tokenizer = sentencepiece_tokenizer(tmp_path / "tokenizer.model")
    pieces = [PIECES[n] for n in tokenizer.encode("state: exam A é", add_special_tokens=False)]
    assert pieces == ["▁state", ":", "▁exam", "▁A", "▁", "<0xC3>", "<0xA9>"]
    assert tokenizer.bos_token_id == 1


def test_a_broken_vocabulary_is_refused(tmp_path: Path) -> None:
    (tmp_path / "tokenizer.model").write_bytes(b"\x0a\xff")
    with pytest.raises(WeightsError, match="ends in the middle"):
        sentencepiece_tokenizer(tmp_path / "tokenizer.model")
