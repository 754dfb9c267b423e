"""Tables of recognition and of retrieval for a terminal, each with what its numbers are."""

from collections.abc import Iterable, Mapping
from typing import Any

from langpose_dist.analysis.recognise import METRICS
from langpose_dist.analysis.retrieve import DIRECTIONS, RECALLS
from langpose_dist.evaluation.cells import align
from langpose_dist.metrics.table import metric_of

Report = Mapping[str, Any]
Rows = list[list[str]]


def recognition_text(report: Report) -> str:
    """A row for each model and method, and references; by length; names that pretraining did not see."""
    tables = (align(rows) for rows in recognition_tables(report).values())
    return "\n".join([*(part for table in tables for part in (table, "")), *recognition_notes(report)])


def recognition_tables(report: Report) -> dict[str, Rows]:
    """Title -> rows with their head: all chunks, chunks by length, and names that pretraining did not see."""
    names = [name for name in METRICS if not (_is_single(report) and name.startswith("any_"))]
    titles = [metric_of(name).title for name in names]
    rows = [(_title(row), row) for row in report["rows"]]
    rows += [(name.replace("_", " "), row) for name, row in report["references"].items()]
    everything = [["model", *titles], *([title, *_cells(row["values"], names)] for title, row in rows)]
    lengths = list(dict.fromkeys(name for _, row in rows for name in row["by_length"]))
    some = next(row["by_length"] for _, row in rows)
    by_length = [["top-1, by length of the segment", *lengths]]
    by_length += [[title, *(f"{row['by_length'][n]['top_1']:.3f}" for n in lengths)] for title, row in rows]
    by_length.append(["chunks", *(str(some[name]["num_chunks"]) for name in lengths)])
    tables = {"all chunks": everything, "by length of the segment": by_length}
    if report["zero_shot"]:
        unseen = [["names that pretraining was not shown", "among", *titles]]
        for one in report["zero_shot"]:
            for among, row in one["among"].items():
                title = f"{among} ({row['num_classes']})"
                unseen.append([one["model"], title, *_cells(row["values"], names)])
                unseen.append(["chance", title, *_cells(row["chance"], names)])
        tables["names that pretraining was not shown"] = unseen
    return tables


def recognition_notes(report: Report) -> list[str]:
    """Lines that say what the numbers are."""
    protocol, data, train = report["protocol"], report["data"], report["train"]
    trained, tested = (sum(map(bool, one["samples_of_class"].values())) for one in (train, data))
    return [
        f"{protocol['num_classes']} classes ({protocol['classes']}), of which training has {trained} and the "
        f"tested split {tested}; {_describe(data)}, "
        f"{data['num_samples']} samples",
        f"probe trained on {_describe(train)}, {train['num_samples']} samples",
        *(f"{name}: {protocol[name]}" for name in ("samples", "text", "linear", "features")),
        f"a model sees a chunk {'alone' if protocol['is_isolated'] else 'within its window around it'}; a "
        "virtual camera, of synthetic 2D, is drawn for each chunk, the same for every model",
        f"top-k: {protocol['metrics']['top_1']}; top-1-norm: {protocol['metrics']['top_1_norm']}",
        "every chunk has one class, so any class of it is the same"
        if _is_single(report)
        else f"any class: {protocol['metrics']['any_top_1']}",
        f"interval: {protocol['interval']}; chance: {protocol['chance']}; most frequent: "
        f"{protocol['most_frequent']}; ceiling: {protocol['ceiling']}",
        f"2D input: {data['source_2d']}; commit {report['commit'][:12]}",
        *report["notes"],
    ]


def retrieval_text(report: Report) -> str:
    """A row for each model, protocol and direction; or the clips that fit each query."""
    tables = (align(rows) for rows in retrieval_tables(report))
    return "\n".join([*(part for table in tables for part in (table, "")), *retrieval_notes(report)])


def retrieval_tables(report: Report) -> list[Rows]:
    """Rows with their head: of all models, or of each query."""
    if "queries" in report:
        return [_hits(one) for one in report["queries"]]
    table = [["model", "protocol", "direction", *(f"R@{k}" for k in RECALLS), "median rank"]]
    for row in report["rows"]:
        names = [f"r_at_{k}" for k in RECALLS]
        title = f"{row['protocol']} ({row['num_pairs']})"
        for direction in DIRECTIONS:
            cells = _cells(row[direction], names)
            rank = f"{row[direction]['median_rank']['value']:.1f}"
            table.append([row["model"], title, direction.replace("_", " "), *cells, rank])
        chance = [f"{row['chance'][name]:.3f}" for name in names]
        table.append(["chance", title, "either", *chance, ""])
    return [table]


def retrieval_notes(report: Report) -> list[str]:
    """Lines that say what the numbers are."""
    data, protocol = report["data"], report["protocol"]
    names = ["pieces"] if "queries" in report else [name for name in protocol if name != "seed"]
    return [
        *(f"{name}: {protocol[name]}" for name in names),
        f"{data['dataset']}, split {data['split']} at {data['fps']:g} Hz ({data['fingerprint'][:16]}), "
        f"{data['num_spans']} {'pieces' if 'queries' in report else 'spans'} of {data['num_clips']} clips",
        f"2D input: {data['source_2d']}; commit {report['commit'][:12]}",
        *report["notes"],
    ]


def _hits(found: Report) -> Rows:
    rows = [[found["query"], "seconds", "cosine", "labels there"]]
    for hit in found["hits"]:
        seconds = f"{hit['start_s']:.1f}-{hit['end_s']:.1f}"
        rows.append([hit["clip"], seconds, f"{hit['cosine']:.3f}", ", ".join(hit["labels"]) or "-"])
    return rows


def _is_single(report: Report) -> bool:
    """True where every chunk has one class: both rules are the same."""
    return report["references"]["ceiling"]["values"]["top_1"]["value"] == 1


def _title(row: Report) -> str:
    return f"{row['model']}, {row['method']}, {row['features']}"


def _cells(values: Report, names: Iterable[str]) -> list[str]:
    some = (values[name] for name in names)
    return [f"{one['value']:.3f} [{one['low']:.3f}, {one['high']:.3f}]" for one in some]


def _describe(data: Report) -> str:
    left_out = data["num_extra_left_out"]
    return (
        f"{data['dataset']}, split {data['split']} at {data['fps']:g} Hz ({data['fingerprint'][:16]}), "
        f"{data['num_spans']} chunks of {data['num_clips']} clips"
        + (f" without {left_out} spans of BABEL's extra files" if left_out else "")
    )
