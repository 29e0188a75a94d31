"""Verdicts on single images, with what speaks against them."""

from robustbench_aigi.judging.doubts import UNSURE_LOGIT
from robustbench_aigi.judging.images import Skipped, find_images, read_image
from robustbench_aigi.judging.models import Judgement
from robustbench_aigi.judging.text import headline, to_json, to_text
from robustbench_aigi.judging.verdicts import AS_IT_IS, DELIVERY_ATTACKS, judge

__all__ = [
    "AS_IT_IS",
    "DELIVERY_ATTACKS",
    "UNSURE_LOGIT",
    "Judgement",
    "Skipped",
    "find_images",
    "headline",
    "judge",
    "read_image",
    "to_json",
    "to_text",
]
