"""What a description of a source holds."""

from dataclasses import dataclass, field

CountsByClass = dict[str, dict[str, int]]
"""A name to the number of images of each class."""


@dataclass(frozen=True)
class Reason:
    """Why images are left out.

    Attributes:
        reason: the words for the first one.
        count: number of images.
        examples: names of a few.
    """

    reason: str
    count: int
    examples: tuple[str, ...]


@dataclass(frozen=True)
class Description:
    """What a source holds.

    Attributes:
        source: where it is.
        recipe: that it is read by; empty for a built set.
        layout: its name.
        shown: how messages show the layout.
        why: what the choice of the layout rests on.
        images: their number.
        classes: split to images by class.
        generators: generator to images by class.
        looked_at: images whose headers were read; ``sizes``, ``formats`` and ``modes`` are theirs.
        decoded: images whose pixels were read.
        sizes: smallest, median and largest image to its width and height.
        distinct_sizes: number of different sizes.
        formats: file format to images by class.
        modes: colour mode to images by class.
        conversions: conversion to number of images.
        left_out: images that would not be read.
        passed_over: other files by their ending.
        notes: what a user should see before the source is used.
    """

    source: str
    recipe: str
    layout: str
    shown: str
    why: str
    images: int
    classes: CountsByClass
    generators: CountsByClass
    looked_at: int = 0
    decoded: int = 0
    sizes: dict[str, list[int]] = field(default_factory=dict)
    distinct_sizes: int = 0
    formats: CountsByClass = field(default_factory=dict)
    modes: CountsByClass = field(default_factory=dict)
    conversions: dict[str, int] = field(default_factory=dict)
    left_out: tuple[Reason, ...] = ()
    passed_over: dict[str, int] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
