"""Tables of the semantic probe for a terminal, each with what its numbers are."""

from collections.abc import Mapping
from typing import Any

from langpose_dist.evaluation.cells import align

Report = Mapping[str, Any]

_MAX_PAIRS = 10
"""Pairs of a kind in the table: those that the models tell apart worst."""


def probe_text(report: Report) -> str:
    """A row per kind and model, a row per pair, and what the numbers are."""
    tables = [align(probe_rows(report)), "", align(pair_rows(report)), ""]
    return "\n".join([*tables, *probe_notes(report)])


def probe_rows(report: Report) -> list[list[str]]:
    """A head and a row per kind and model."""
    interval = f"{100 * report['confidence']:g} % interval"
    rows = [["kind", "model", "pairs", "AUC", interval, "accuracy", interval]]
    for kind in report["models"][0]["kinds"]:
        for model in report["models"]:
            found = model["kinds"][kind]
            cells = [kind, model["name"], str(found["num_pairs"])]
            for one in (found["auc"], found["accuracy"]):
                cells += [f"{one['mean']:.3f}", f"[{one['low']:.3f}, {one['high']:.3f}]"]
            rows.append(cells)
    return rows


def pair_rows(report: Report) -> list[list[str]]:
    """A head and rows of the pairs of each kind that the models tell apart worst, with their AUC."""
    models = report["models"]
    rows = [["AUC of pair", "kind", "spans", "clips", *(model["name"] for model in models)]]
    for kind in models[0]["kinds"]:
        numbers = [number for number, pair in enumerate(report["pairs"]) if pair["kind"] == kind]
        numbers.sort(key=lambda number: sum(model["pairs"][number]["auc"]["mean"] for model in models))
        for number in numbers[:_MAX_PAIRS]:
            pair = report["pairs"][number]
            counts = (" / ".join(map(str, pair[name])) for name in ("num_spans", "num_clips"))
            means = (f"{model['pairs'][number]['auc']['mean']:.3f}" for model in models)
            rows.append(["/".join(pair["labels"]), kind, *counts, *means])
    return rows


def probe_notes(report: Report) -> list[str]:
    """Pairs that the table leaves out, protocol, data and commit."""
    data = report["data"]
    left_out = len(report["pairs"]) + 1 - len(pair_rows(report))
    notes = [f"and {left_out} pairs that are told apart better; --json has them"] * (left_out > 0)
    if left_out := report["num_pairs_left_out"]:
        notes.append(f"{left_out} pairs are left out: their labels share their frames")
    notes += [f"{name}: {text}" for name, text in report["protocol"].items()]
    notes.append(
        f"{data['num_spans']} spans of {data['num_clips']} clips of {data['dataset']}, split {data['split']} "
        f"({data['fingerprint'][:16]}); 2D: {data['source_2d']}; the model sees "
        f"{'a span alone' if report['is_isolated'] else 'the motion around a span too'}; text encoder of the "
        f"kinds: {report['text_encoder']}; commit {report['commit'][:12]}"
    )
    return notes


def curve_text(report: Report) -> str:
    """Mean probability of each label over the clip, and over each of its true spans."""
    return "\n".join([align(curve_rows(report)), *curve_notes(report)])


def curve_rows(report: Report) -> list[list[str]]:
    """A head, a row for the whole clip and one per true span."""
    times = report["times_s"]
    parts = [("whole clip", 0.0, len(times) / report["data"]["fps"])]
    parts += [(span["label"], span["start_s"], span["end_s"]) for span in report["true_spans"]]
    table = [["frames of", "from s", "to s", *report["labels"]]]
    for name, start, end in parts:
        inside = [number for number, time in enumerate(times) if start <= time < end]
        series = (report["probabilities"][label] for label in report["labels"])
        means = (sum(values[number] for number in inside) / len(inside) for values in series)
        table.append([name, f"{start:.1f}", f"{end:.1f}", *(f"{mean:.2f}" for mean in means)])
    return table


def curve_notes(report: Report) -> list[str]:
    """Temperature, clip, spans and commit."""
    data = report["data"]
    trained = report["trained_temperature"]
    origin = "the training's own" if report["temperature"] == trained else f"the training's is {trained:g}"
    return [
        f"mean probability: {report['meaning']}; temperature {report['temperature']:g}, {origin}",
        f"{report['clip']} of {data['dataset']}, split {data['split']} ({data['fingerprint'][:16]}); 2D: "
        f"{data['source_2d']}; spans of {report['span_s']:.3g} s every {report['hop_s']:.3g} s, "
        f"{'alone' if report['is_isolated'] else 'within their window'}; commit {report['commit'][:12]}",
    ]
