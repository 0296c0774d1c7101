"""A network of LLaVA-Med's size, random weights, on a GPU: time of its first and a later step."""

import sys
import time

import pytest
import torch
from transformers import CLIPVisionConfig, LlavaConfig, LlavaForConditionalGeneration, MistralConfig

from planner.protocols import read_protocols
from planner.rules import Rules
from planner.vlm.load import padded_pixels
from planner.vlm.network import INSTRUCT, Network
from planner.vlm.policy import LlavaPolicy
from planner.vlm.prompt import Turn
from reports.model import ExamCode
from reports.provenance import PlannerRef
from tests.builders import a_sha256, an_image
from tests.planner.tiny_llava import words

NEEDED_BYTES = 24 * 2**30

LEGAL = ("exam_cls", *(f"exam_cls@{exam.value}" for exam in ExamCode))


def a_7b_config() -> LlavaConfig:
    """CLIP ViT-L/14-336 and Mistral-7B v0.2, as LLaVA-Med v1.5 is built."""
    return LlavaConfig(
        vision_config=CLIPVisionConfig(
            hidden_size=1024,
            intermediate_size=4096,
            num_hidden_layers=24,
            num_attention_heads=16,
            image_size=336,
            patch_size=14,
        ),
        text_config=MistralConfig(
            vocab_size=32_000,
            rope_parameters={"rope_type": "default", "rope_theta": 1_000_000.0},
            max_position_embeddings=32_768,
            sliding_window=None,
        ),
        image_token_index=3,
    )


@pytest.mark.soak
def test_a_step_of_a_7b_network_is_timed(capsys: pytest.CaptureFixture[str]) -> None:
    if not torch.cuda.is_available() or torch.cuda.mem_get_info()[0] < NEEDED_BYTES:
        pytest.skip("No GPU with 24 GiB of free memory.")
    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.bfloat16)
    try:
        with torch.device("cuda"):
            model = LlavaForConditionalGeneration(a_7b_config())
    finally:
        torch.set_default_dtype(before)
    policy = LlavaPolicy(
        Network(model, words(), INSTRUCT),
        PlannerRef(id="random-7b", sha256=a_sha256("random-7b")),
        0.0,
        padded_pixels(336),
        Rules(read_protocols()),
    )
    lines = []
    for step in range(4):
        state = (
            "nothing yet" if step == 0 else "scores:exam breast 0.99 muscle 0.01; box:lesion found"
        )
        turn = Turn(request_exam=None, question="is there a lesion?", state=state, legal=LEGAL)
        torch.cuda.synchronize()
        started = time.perf_counter()
        scores = policy.scores(an_image(), turn)
        torch.cuda.synchronize()
        lines.append(f"step {step}: {(time.perf_counter() - started) * 1000:.0f} ms")
        assert sum(scores.by_label.values()) == pytest.approx(1)
    with capsys.disabled():
        sys.stdout.write(f"\n{torch.cuda.get_device_name()}: {'; '.join(lines)}\n")
