"""Target of the ``deepspeed`` launcher and torchrun: the same training as ``langpose train``.

deepspeed --num_gpus 2 launch/train.py --config configs/pretrain/small.yaml data.path=data/bandai
"""

import os
import sys

from langpose_dist.cli.main import main

if __name__ == "__main__":
    sys.argv.insert(1, "train")
    status = main()
    # Now and then a thread of the collectives' C++ library aborts a process whose interpreter is shutting
    # down, and the launcher takes the finished run for a failed one. All is written and closed by now.
    os._exit(status)
