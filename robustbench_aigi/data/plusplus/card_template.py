"""The text of a set's dataset card."""

CARD_TEMPLATE = """---
{metadata}---

# {title}

{about}

{counts}

Label 0 is a real photograph (folder `REAL`), label 1 an AI-generated image (folder `FAKE`). A
perturbed image keeps the label of its source. Clean images keep their original bytes (converted
ones, named in the column `convert`, are PNG); perturbed ones are 8-bit RGB PNG. All images that
come from one original, its parent, are in the same split.

## How it was made

    {command}

Suite `{suite}` version {version}, seed {seed}:

{attacks}

{surrogates}

## Columns

`manifest.parquet` and `manifest.jsonl` have one row per image. `id`, `label`, `split`, `generator`,
`category`, `attack`: what it is. `source` and `parent_sha256`: id and SHA-256 of the clean image it
was made from; `parent`: what both were made from. `surrogate`, `surrogate_sha256`, `seed`, `eps`:
how it was attacked; `eps` is in grey levels of 255 for L-inf, and in the norm over pixels in [0, 1]
for L2. `linf` (grey levels), `l2` (norm of the whole change, pixels in [0, 1]), `l0` (changed
pixels), `psnr` (dB), `ssim`: distance from its source. `fooled`: whether the surrogate was wrong
about it. `forwards`, `backwards`: passes spent. `path`, `sha256`: its file.

## How to read it

    datasets.load_dataset("imagefolder", data_dir="PATH")

## How to check it

    robustbench-aigi verify PATH

reads every file again: SHA-256, pixels, format, labels, splits, and each change against its
source and its budget.

## Licences

{licence}
"""
"""README.md with the metadata that Hugging Face reads; the names in braces are filled in."""
