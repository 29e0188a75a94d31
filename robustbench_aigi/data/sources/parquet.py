"""Parquet files as Hugging Face writes an image dataset: ``image`` (struct of bytes and path) and ``label``."""

import json
from collections.abc import Iterator, Mapping
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from robustbench_aigi.data.sources.entry import TEXTS, Entry, Refused, Terms, fault_of
from robustbench_aigi.errors import BadData


def parquet_entries(shards: list[Path], terms: Terms) -> Iterator[Entry | Refused]:
    """List the rows of Parquet files; the split is a column, or in the name of the file or of its folder.

    Raises:
        BadData: a file is damaged, or lacks a column, or has a label that the recipe does not know.
    """
    block = 0
    for shard in shards:
        file = opened(shard)
        given = [name for name in TEXTS if name in file.schema_arrow.names]
        texts = {name: _class_names(file, name) for name in given if _is_text(file, name) or _class_names(file, name)}
        mapping = _mapping(file, terms)
        named = terms.split_of(shard)
        row = 0
        for group in range(file.num_row_groups):
            block += 1
            try:
                rows = file.read_row_group(group, columns=["image.path", "label", *texts]).to_pylist()
            except (pa.ArrowException, OSError, UnicodeDecodeError) as error:
                yield Refused(f"{shard.name}/row group {group}", f"damaged: {error}")
                rows = []
            for number, values in enumerate(rows, row):
                label = mapping.get(values["label"])
                if label is None:
                    known = ", ".join(map(repr, mapping)) or "none: name them under [numbers] in the recipe"
                    raise BadData(f"{shard} row {number} has label {values['label']!r}. Expected one of {known}.")
                about = {key: _text(values[key], texts[key]) if key in texts else "" for key in TEXTS}
                split = terms.split(about.pop("split")) or named
                name = (values["image"] or {}).get("path") or f"{shard.stem}-{number}"
                if fault := fault_of(name):
                    yield Refused(f"{shard.name}/{number}", fault)
                    continue
                stem = str(Path(f"{split}/{name}" if split else name).with_suffix(""))
                yield Entry(stem, label, split, shard, number, block=block, **about)
            row += file.metadata.row_group(group).num_rows


def opened(path: Path) -> pq.ParquetFile:
    """A Parquet file of images. Raises ``BadData`` if it is none."""
    try:
        file = pq.ParquetFile(path)
    except (pa.ArrowException, OSError) as error:
        raise BadData(f"{path} is no readable Parquet file ({error}). Download it again.") from error
    schema = file.schema_arrow
    if not {"image", "label"} <= set(schema.names):
        got = ", ".join(schema.names)
        raise BadData(f"{path} has the columns {got}. Expected image (struct of bytes and path) and label.")
    kind = schema.field("image").type
    if not (pa.types.is_struct(kind) and {"bytes", "path"} <= {kind.field(i).name for i in range(kind.num_fields)}):
        raise BadData(f"{path} has a column image of {kind}. Expected a struct of bytes and path.")
    return file


def _is_text(file: pq.ParquetFile, name: str) -> bool:
    kind = file.schema_arrow.field(name).type
    return bool(pa.types.is_string(kind) or pa.types.is_large_string(kind))


def _mapping(file: pq.ParquetFile, terms: Terms) -> Mapping[object, int]:
    """Label of each value of the column; class names that Hugging Face wrote into the schema beat the recipe's."""
    if _is_text(file, "label"):
        return {name: label for own, label in terms.labels.items() for name in (own, own.lower(), own.upper())}
    names = _class_names(file, "label")
    if not names:
        return dict(terms.numbers.items())
    labels = {number: terms.label(name) for number, name in enumerate(names)}
    if None in labels.values():
        raise BadData(
            f"the Parquet file names its classes {names}. Expected {', '.join(terms.labels)}; add them to the recipe."
        )
    return {number: label for number, label in labels.items() if label is not None}


def _text(value: object, names: list[str]) -> str:
    if isinstance(value, int):
        return names[value] if 0 <= value < len(names) else ""
    return str(value or "")


def _class_names(file: pq.ParquetFile, column: str) -> list[str]:
    metadata = (file.schema_arrow.metadata or {}).get(b"huggingface", b"{}")
    try:
        return [str(name) for name in json.loads(metadata)["info"]["features"][column]["names"]]
    except (ValueError, LookupError, TypeError):  # Hugging Face did not write it, or not of classes
        return []
