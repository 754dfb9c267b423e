"""Size of each loss term's gradient on the motion encoder, at the start and at the end of pretraining.

    python -m benchmarks.gradients runs/table1/pretrain-none-0 runs/table1/pretrain-infonce-0 \
        runs/table1/pretrain-modified-0

The start is the run's own seed before its first step, the end its weights. Each number is the norm of one
batch's gradient over the encoder's parameters, the term's weight included: the mean over the first batches of
the training stream, the same for every run. Writes NAME.json and draws NAME.png.
"""

import argparse
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from benchmarks.common import RESULTS, write_result
from langpose_dist.batch import WindowBatch
from langpose_dist.config import RunConfig, load_config
from langpose_dist.data.corpus import Corpus
from langpose_dist.data.loader import stream_request
from langpose_dist.report.plots import new_figure, save_figure, tidy
from langpose_dist.runs.folder import RunFolder
from langpose_dist.tasks.exported import load_exported
from langpose_dist.tasks.pretrain import PretrainTask


def main() -> None:
    """Measure every run, write and draw."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("runs", nargs="+", type=Path, help="folders of finished pretrainings")
    parser.add_argument("--batches", type=int, default=16)
    parser.add_argument("--name", default="gradients", help="name of the result")
    parser.add_argument("--results", type=Path, default=RESULTS, help="folder of the result")
    arguments = parser.parse_args()

    rows = [row for run in arguments.runs for row in measure_run(run, arguments.batches)]
    path = write_result(arguments.name, {"rows": rows}, arguments, arguments.results)
    draw(rows, path.with_suffix(".png"))
    print(path)
    print(table(rows))


def measure_run(run: Path, num_batches: int) -> list[dict[str, Any]]:
    """Rows of one run: its start and its end."""
    folder = RunFolder(run)
    config = load_config(folder.config)
    corpus = PretrainTask.open(config)
    start = PretrainTask.build(config, corpus)
    end = PretrainTask.wrap(load_exported(folder.weights).model, config, corpus)
    return [
        {
            "contrastive": config.loss.contrastive,
            "moment": moment,
            **measure(task, corpus, config, num_batches),
        }
        for moment, task in (("start", start), ("end", end))
    ]


def measure(task: PretrainTask, corpus: Corpus, config: RunConfig, num_batches: int) -> dict[str, Any]:
    """Weighted gradient norm of each term, and the cosine of the contrastive term to the others together."""
    task.train()
    batches = [gradients(task, batch) for batch in read_batches(corpus, config, num_batches)]
    norms = {
        name: sum(float(found[name].norm()) for found in batches) / len(batches) for name in task.weights
    }
    row: dict[str, Any] = {"norms": norms}
    if "loss_con" in norms:
        cosines = [
            torch.cosine_similarity(found["loss_con"], found["loss_3d"] + found["loss_v"], dim=0)
            for found in batches
        ]
        row["cosine_of_loss_con_to_the_others"] = float(torch.stack(cosines).mean())
    return row


def gradients(task: PretrainTask, windows: WindowBatch) -> dict[str, Tensor]:
    """Gradient of each weighted term on all parameters of the encoder, as one vector."""
    parameters = [value for value in task.model.encoder.parameters() if value.requires_grad]
    terms, counted = task(windows), task.counted(windows)
    found = {}
    for name, values in terms.items():
        mask = counted.get(name, torch.ones_like(values, dtype=torch.bool))
        loss = task.weights[name] * values[mask].mean()
        parts = torch.autograd.grad(loss, parameters, retain_graph=True, materialize_grads=True)
        found[name] = torch.cat([part.flatten() for part in parts])
    return found


def read_batches(corpus: Corpus, config: RunConfig, num_batches: int) -> Iterator[WindowBatch]:
    """The first batches of the training stream."""
    dataset, size = corpus.training_set, config.train.global_batch_size
    for number in range(num_batches):
        places = range(number * size, (number + 1) * size)
        batch = dataset[[stream_request(0, place, len(dataset)) for place in places]]
        assert isinstance(batch, WindowBatch), batch
        yield batch


def table(rows: Sequence[Mapping[str, Any]]) -> str:
    """The rows as Markdown."""
    terms = list(dict.fromkeys(name for row in rows for name in row["norms"]))
    names = ["contrastive", "moment", *terms, "cosine"]
    lines = [f"| {' | '.join(names)} |", "|---" * len(names) + "|"]
    for row in rows:
        cells = [f"{row['norms'][name]:.3f}" if name in row["norms"] else "-" for name in terms]
        cosine = row.get("cosine_of_loss_con_to_the_others")
        cells.append("-" if cosine is None else f"{cosine:.2f}")
        lines.append(f"| {row['contrastive']} | {row['moment']} | {' | '.join(cells)} |")
    return "\n".join(lines)


def draw(rows: Sequence[Mapping[str, Any]], path: Path) -> None:
    """One group of bars for each form and moment, on a logarithmic axis."""
    terms = list(dict.fromkeys(name for row in rows for name in row["norms"]))
    figure = new_figure(8, 3.6)
    axes = figure.subplots()
    width = 0.8 / len(terms)
    for place, name in enumerate(terms):
        points = [(x, row["norms"][name]) for x, row in enumerate(rows) if name in row["norms"]]
        positions = [x + (place - (len(terms) - 1) / 2) * width for x, _ in points]
        axes.bar(positions, [norm for _, norm in points], width, label=name)
    axes.set_yscale("log")
    axes.set_xticks(range(len(rows)), [f"{row['contrastive']}\n{row['moment']}" for row in rows])
    axes.set_ylabel("norm of the weighted gradient")
    axes.legend(frameon=False)
    tidy(axes)
    save_figure(figure, path)


if __name__ == "__main__":
    main()
