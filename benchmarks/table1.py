"""The rows of the paper's Table 1 as a sweep: no contrastive term, InfoNCE, its modified form.

  python -m tuning.sweep --config configs/pretrain/small.yaml --config configs/sweep/table1.yaml \
      data.path=SHARDS data.num_workers=0 output=DIR
  python -m benchmarks.table1 DIR

The second command gathers what the first one trained: every form with the same three seeds.
"""

import argparse
from pathlib import Path

from benchmarks.common import write_result
from benchmarks.sweeps import METRICS, by_seed, difference, summary
from langpose_dist.report.sweep import read_sweep


def main() -> None:
    """Gather the sweep in a folder."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folder", metavar="DIR", type=Path, help="folder of the sweep, at its end")
    arguments = parser.parse_args()
    folder = read_sweep(arguments.folder)
    forms = [str(form) for form in dict.fromkeys(trial.params["loss.contrastive"] for trial in folder.trials)]
    trials = {
        form: [trial for trial in folder.trials if trial.params["loss.contrastive"] == form] for form in forms
    }
    values = {
        form: {
            # Without the contrastive term nothing is retrieved.
            metric: by_seed(trials[form], metric, folder)
            for metric in METRICS
            if form != "none" or not metric.endswith("r_at_1")
        }
        for form in forms
    }
    write_result(
        "table1",
        {
            "sweep": folder.sweep.origin.model_dump(),
            "split": folder.sweep.split,
            "steps": folder.sweep.num_steps,
            "device_seconds": round(sum(trial.device_seconds for trial in folder.trials)),
            "rows": [
                {"contrastive": form, **{name: summary(found) for name, found in row.items()}}
                for form, row in values.items()
            ],
            "modified_minus": {
                form: {name: difference(values["modified"][name], found) for name, found in row.items()}
                for form, row in values.items()
                if form != "modified"
            },
        },
        arguments,
    )


if __name__ == "__main__":
    main()
